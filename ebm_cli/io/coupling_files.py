"""Quadratic models of bits from files of other programs: couplings and fields, or only the pairs of a graph.

    ising   E(s) = -(sum_ij J_ij s_i s_j + sum_i h_i s_i)               s = +1, -1; the sign of this program and of thrml
    dimod   E(s) =  sum_ij J_ij s_i s_j + sum_i h_i s_i + offset         the sign of dimod and of annealers
    qubo    E(x) =  sum_ij Q_ij x_i x_j + sum_i q_i x_i + offset         x = 0, 1

All are converted to the first form by the change of variables s = 2x - 1; the energy of the file is that of the result plus `constant`:

    dimod   J = -J', h = -h', constant = offset
    qubo    J_ij = -Q_ij/4, h_i = -(q_i/2 + sum_j Q_ij/4), constant = sum_i q_i/2 + sum_ij Q_ij/4 + offset

File types: text with a line `i j value` for each pair, `i i value` for each field (COO), or `i j` for the pairs of a graph, with comments
after #; the QUBO files of qbsolv (.qubo); NPZ files with the arrays `edges` and `couplings`, `fields`, or those of thrml, `edges`,
`weights`, `biases`, `beta`, `nodes`, or a matrix `J` with `h`, or a matrix `Q`; and the JSON form of a BinaryQuadraticModel of dimod
(`to_serializable`). Sites are counted from 0. Pickled objects are not read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ebm_cli.errors import bad
from ebm_cli.io import coupling_arrays, coupling_text
from ebm_cli.io.coupling_text import Raw

KINDS = "a text file with lines `i j value`, a .qubo, .npz or .json file; text files may be compressed (.gz, .xz, .bz2)"
MOST_SITES = 1 << 22  # a number of sites above it is a damaged file

Convention = Literal["ising", "dimod", "qubo"]


class Couplings(NamedTuple):
    """The model of a file, in the sign of this program: `edges` (m, 2) with i < j, `couplings` (m,) and `fields` (n,).

    `couplings` is None for a graph without values. `constant` is the difference of the energies, and `notes` say what was converted.
    """

    n_sites: int
    edges: np.ndarray
    couplings: np.ndarray | None
    fields: np.ndarray
    constant: float = 0.0
    notes: tuple[str, ...] = ()


def read(path: str, key: str, convention: Convention | None = None, convention_key: str = "") -> Couplings:
    """The model in a file. `key` is the config key of the path. A `convention` that is given wins over what the file says."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise bad(f"{key}: there is no file {path!r}", f"give the path of {KINDS}")
    raw = (coupling_arrays.read if file.suffix.lower() in coupling_arrays.KINDS else coupling_text.read)(file, key)
    if convention and raw.convention and convention != raw.convention:
        message = f"{convention_key}: {file.name} says that its convention is {raw.convention}, not {convention}"
        raise bad(message, f"{convention_key}=null")
    return converted(raw, file.name, key, convention or raw.convention or "ising", convention_key if convention is None else "")


def converted(raw: Raw, name: str, key: str, convention: Convention, convention_key: str) -> Couplings:
    """The model in the sign of this program."""
    check(raw, name, key)
    n = max(raw.n_sites, int(raw.pairs.max(initial=-1)) + 1)
    if n < 1:
        raise bad(f"{key}: {name} has no sites", f"give the path of {KINDS}")
    if n > MOST_SITES:
        raise bad(f"{key}: {name} has a site {n - 1}, and at most {MOST_SITES} sites are read", "count the sites from 0, without gaps")
    if raw.values is None:
        pairs = np.unique(np.sort(raw.pairs[raw.pairs[:, 0] != raw.pairs[:, 1]], 1), axis=0)
        return Couplings(n, pairs, None, np.zeros(n), 0.0, graph_notes(raw, name, pairs, n))
    pairs, sums, n_summed = summed(raw, name, key, convention)
    own = pairs[:, 0] == pairs[:, 1]
    fields, edges, values = np.bincount(pairs[own, 0], sums[own], n), pairs[~own], sums[~own]
    constant = raw.offset
    notes = [f"{name}: {len(edges)} couplings and {np.count_nonzero(fields)} fields of {n} sites, read as {convention}"]
    if convention == "dimod":
        fields, values = -fields, -values
        notes[0] += ": their signs are reversed"
    elif convention == "qubo":
        of_site = np.bincount(edges.flatten(), np.repeat(values, 2), n)
        constant += fields.sum() / 2 + values.sum() / 4
        fields, values = -(fields / 2 + of_site / 4), -values / 4
        notes[0] += ": with s = 2x - 1, J = -Q/4"
    if constant:
        notes.append(f"the energy in {name} is that of the model plus {constant:.10g}")
    if convention == "ising" and raw.convention is None and convention_key:
        notes[0] += f" (E = -sum J s s - sum h s); if it is to be minimized as E = +sum J s s + sum h s: {convention_key}=dimod"
    if n_summed:
        notes.append(f"{name}: the values of {n_summed} pairs or fields that are given more than once are added")
    if raw.beta != 1:
        notes.append(f"{name}: couplings and fields are multiplied by its beta of {raw.beta:.10g}")
    largest = abs(raw.beta) * np.abs(np.concatenate([values, fields])).max(initial=0.0)
    if not largest <= np.finfo(np.float32).max:
        raise bad(f"{key}: {name} has a value of {largest:.3g}, too large for single precision", "divide all values by one number")
    elsewhere = first_site(edges, fields, n, name)
    return Couplings(n, edges, raw.beta * values, raw.beta * fields, raw.beta * float(constant), (*notes, *elsewhere))


def check(raw: Raw, name: str, key: str) -> None:
    """Refuse negative sites and values that are not finite."""
    for row in np.flatnonzero((raw.pairs < 0).any(1))[:1]:
        raise bad(f"{key}: {name}{raw.place(row)}: a site is negative", "count the sites from 0")
    if raw.values is not None:
        for row in np.flatnonzero(~np.isfinite(raw.values))[:1]:
            raise bad(f"{key}: {name}{raw.place(row)}: {raw.values[row]} is not a finite number", "correct or remove this value")


def summed(raw: Raw, name: str, key: str, convention: Convention) -> tuple[np.ndarray, np.ndarray, int]:
    """Each pair and each field once, its value, and the number of those that occur more than once.

    In a polynomial the values of equal pairs add up. In a list of couplings both entries of a symmetric matrix would count twice: an error.
    """
    pairs, inverse, counts = np.unique(np.sort(raw.pairs, 1), axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)  # some versions of numpy return another shape
    if convention == "ising" and raw.convention is None:
        for k in np.flatnonzero(counts > 1)[:1]:
            (i, j), places = pairs[k], raw.places(*np.flatnonzero(inverse == k)[:2])
            what, half = (f"field of site {i}", "") if i == j else (f"pair {i} {j}", "; of a symmetric matrix only one half")
            raise bad(f"{key}: {name}: the {what} is given twice{places}", f"give each {what.split()[0]} once{half}")
    return pairs.reshape(-1, 2), np.bincount(inverse, raw.values, len(pairs)), int((counts > 1).sum())


def graph_notes(raw: Raw, name: str, pairs: np.ndarray, n: int) -> tuple[str, ...]:
    return (f"{name}: {len(pairs)} pairs of {n} sites, without values", *first_site(pairs, np.zeros(n), n, name))


def first_site(edges: np.ndarray, fields: np.ndarray, n: int, name: str) -> Sequence[str]:
    """A note for files that seem to count their sites from 1."""
    if n > 1 and len(edges) and not (edges == 0).any() and not fields[0]:
        return (f"{name}: site 0 has no coupling and no field. If the file counts from 1, subtract 1 from its sites",)
    return ()
