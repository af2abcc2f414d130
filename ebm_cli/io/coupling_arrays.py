"""Couplings as arrays: NPZ files, and the JSON form of a BinaryQuadraticModel of dimod."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ebm_cli.errors import InputError, bad
from ebm_cli.io import array_files
from ebm_cli.io.coupling_text import VARTYPES, Raw

KINDS = (".npz", ".npy", ".json")
MOST_JSON = 1 << 30  # bytes
FORMS = "edges with couplings and fields, or with weights, biases and beta (thrml), or edges alone, or J and h, or Q"
KNOWN = ({"edges", "couplings", "fields", "n_sites", "offset"}, {"edges", "weights", "biases", "beta", "nodes"}, {"J", "h"}, {"Q"})


def read(path: Path, key: str) -> Raw:
    """The entries of an NPZ or JSON file."""
    try:
        if path.suffix.lower() == ".json":
            if path.stat().st_size > MOST_JSON:
                raise ValueError(f"it has {path.stat().st_size} bytes")
            return of_json(json.loads(path.read_bytes()))
        with open(path, "rb") as file:
            arrays = array_files.load(file)
        return of_arrays({"J": arrays} if isinstance(arrays, np.ndarray) else arrays)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        hint = "a BinaryQuadraticModel: json.dump(bqm.to_serializable(), file)" if path.suffix.lower() == ".json" else FORMS
        raise bad(f"{key}: {path.name} cannot be read: {why}", f"it must hold {hint}") from None


def of_arrays(arrays: Mapping[str, np.ndarray]) -> Raw:
    """The entries of named arrays. Raises `ValueError`."""
    names = set(arrays)
    if not any(names <= known for known in KNOWN) or not names & {"edges", "J", "Q"}:
        raise ValueError(f"its arrays are {', '.join(sorted(names)[:8]) or 'none'}")
    if "edges" not in names:
        return of_matrix(arrays)
    edges = whole(arrays["edges"], "edges")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges has the shape {edges.shape}, not (m, 2)")
    fields = vector(arrays, "biases" if "weights" in names or "biases" in names else "fields", None)
    n = int(arrays["n_sites"]) if "n_sites" in names else 0 if fields is None else len(fields)
    if "nodes" in names:
        edges, n = positions(whole(arrays["nodes"], "nodes"), edges)
    if fields is not None and (len(fields) < n or ("nodes" in names and len(fields) > n)):
        raise ValueError(f"there are {len(fields)} fields for {n} sites")
    if {"couplings", "weights", "fields", "biases"} & names:
        values = vector(arrays, "couplings" if "couplings" in names else "weights", len(edges))
        if values is None:
            raise ValueError("it has fields, but no couplings")
        offset, beta = (float(arrays[name]) if name in names else default for name, default in (("offset", 0.0), ("beta", 1.0)))
        return with_fields(edges, values, fields, n, "ising", offset, beta)
    return Raw(edges, None, n)


def with_fields(
    edges: np.ndarray, values: np.ndarray, fields: np.ndarray | None, n: int, convention: str, offset: float, beta: float
) -> Raw:
    """The entries of couplings and fields, of which those of a field have equal sites."""
    if not np.isfinite([offset, beta]).all():
        raise ValueError("beta or offset is not a finite number")
    if (edges[:, 0] == edges[:, 1]).any():
        raise ValueError("a pair has two equal sites")
    if fields is None:
        return Raw(edges, values, n, convention, offset, beta)
    if len(edges) and edges.max() >= len(fields):
        raise ValueError(f"a pair has the site {edges.max()}, but there are fields for {len(fields)} sites only")
    own = np.repeat(np.arange(len(fields)), 2).reshape(-1, 2)
    return Raw(np.concatenate([edges, own]), np.concatenate([values, fields]), n, convention, offset, beta)


def of_matrix(arrays: Mapping[str, np.ndarray]) -> Raw:
    """The entries of a matrix: couplings J, symmetric or with one half filled, and fields h; or the matrix Q of a QUBO."""
    name = "J" if "J" in arrays else "Q"
    matrix = numbers(arrays[name], name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} has the shape {matrix.shape}, not (n, n)")
    n = len(matrix)
    if name == "Q":
        i, j = np.nonzero(matrix)
        return Raw(np.stack([i, j], -1), matrix[i, j], n, "qubo")
    if matrix.diagonal().any():
        raise ValueError("the diagonal of J is not zero; fields are in the array h")
    if not ((matrix == matrix.T).all() or not np.triu(matrix).any() or not np.tril(matrix).any()):
        raise ValueError("J is not symmetric, and both of its halves are filled")
    upper = np.triu(matrix) if np.triu(matrix).any() else np.tril(matrix).T
    i, j = np.nonzero(upper)
    fields = vector(arrays, "h", n)
    return with_fields(np.stack([i, j], -1), upper[i, j], np.zeros(n) if fields is None else fields, n, "ising", 0.0, 1.0)


def of_json(data: Any) -> Raw:
    """The entries of `BinaryQuadraticModel.to_serializable()` of dimod, whose variables must be the numbers from 0."""
    if not isinstance(data, dict) or data.get("type") != "BinaryQuadraticModel":
        raise ValueError("it is not a BinaryQuadraticModel")
    if data.get("use_bytes"):
        raise ValueError("its numbers are stored as bytes")
    convention, labels = VARTYPES[data["variable_type"]], data["variable_labels"]
    fields = numbers(np.array(data["linear_biases"], dtype=float), "linear_biases")
    edges = whole(np.stack([np.array(data[name], dtype=float) for name in ("quadratic_head", "quadratic_tail")], -1), "quadratic_head")
    if sorted(map(repr, labels)) != sorted(map(repr, range(len(fields)))):
        raise ValueError("its variables are not the numbers from 0 to n - 1; bqm.relabel_variables renames them")
    place = np.array(labels, dtype=int)
    values = numbers(np.array(data["quadratic_biases"], dtype=float), "quadratic_biases")
    if len(values) != len(edges) or (len(edges) and not 0 <= edges.min() <= edges.max() < len(place)):
        raise ValueError("its quadratic_head, quadratic_tail and quadratic_biases do not fit together")
    ordered = np.empty(len(fields))
    ordered[place] = fields
    return with_fields(place[edges], values, ordered, len(fields), convention, float(data["offset"]), 1.0)


def positions(nodes: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, int]:
    """The edges by the positions of their nodes in the list of nodes, and the number of nodes."""
    order = np.argsort(nodes.reshape(-1))
    ordered = nodes.reshape(-1)[order]
    if len(np.unique(ordered)) < len(ordered):
        raise ValueError("nodes names a node twice")
    place = np.searchsorted(ordered, edges).clip(max=len(ordered) - 1)
    if not len(ordered) or (ordered[place] != edges).any():
        raise ValueError("edges names a node that is not in nodes")
    return order[place], len(ordered)


def vector(arrays: Mapping[str, np.ndarray], name: str, n: int | None) -> np.ndarray | None:
    """An array of n numbers; None if there is none."""
    if name not in arrays:
        return None
    found = numbers(arrays[name], name).reshape(-1)
    if n is not None and len(found) != n:
        raise ValueError(f"{name} has {len(found)} values, and {n} are needed")
    return found


def numbers(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {array.dtype}, not numbers")
    return array.astype(np.float64)


def whole(array: np.ndarray, name: str) -> np.ndarray:
    found = numbers(array, name)
    if not (np.isfinite(found) & (found == np.floor(found)) & (abs(found) < 1 << 53)).all():
        raise ValueError(f"{name} holds a number that is no site")
    return found.astype(np.int64)
