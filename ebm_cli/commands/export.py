"""usage: ebm export RUN to=dimod|coo|npz [out=FILE] [bits=K] [model=K]

Write the couplings and fields of a run for other programs. The energy must be quadratic in bits: an Ising model (energy=ising), or a
Boltzmann machine (energy=rbm or dbm), which becomes a model of its visible units, which come first, and its hidden units.
Spins are s = 2x - 1, and a temperature or beta is part of the couplings: exp(-E) is the distribution of the run.

  RUN     an id, a unique prefix, a path, or `last`
  to      dimod: the JSON form of a BinaryQuadraticModel, for BinaryQuadraticModel.from_serializable; coo: lines `i j value`, without the
          constant. Both have the sign of dimod, E = sum h s + sum J s s + offset. npz: arrays edges, couplings, fields and offset in the
          sign of this program, E = -sum J s s - sum h s + offset
  out     the file to write; by default couplings-ID.json, .coo or .npz in the working directory
  bits    the number of bits to which couplings and fields are rounded, each with one step, as hardware needs it; null: not rounded
  model   the index of a model in a stack (default: 0)

Each of these files is also read by energy=ising energy.couplings=FILE."""

from collections.abc import Sequence
from pathlib import Path

from ebm_cli import console
from ebm_cli.commands._words import check_whole, run_and_words
from ebm_cli.config import compose
from ebm_cli.errors import bad, nearest
from ebm_cli.io import atomic, out_files

SUFFIXES = {"dimod": ".json", "coo": ".coo", "npz": ".npz"}
MOST_BITS = 16


def main(words: Sequence[str]) -> int:
    run, overrides, _ = run_and_words(words, __doc__)
    given = compose.amend({"to": None, "out": None, "bits": None, "model": 0}, overrides)
    if given["to"] is None:
        raise bad("to: a format is needed", f"to={' or to='.join(SUFFIXES)}")
    if given["to"] not in SUFFIXES:
        raise bad(f"to: there is no format {given['to']!r}", nearest(str(given["to"]), SUFFIXES, "to="))
    check_whole("model", given["model"])
    if given["bits"] is not None:
        check_whole("bits", given["bits"])
        if not 2 <= given["bits"] <= MOST_BITS:
            raise bad(f"bits: must be from 2 to {MOST_BITS}, not {given['bits']}", "bits=8")
    suffix = SUFFIXES[given["to"]]
    out = Path(f"couplings-{run.id}{suffix}" if given["out"] is None else str(given["out"])).expanduser()
    if out.suffix.lower() != suffix:
        raise bad(f"out: {out.name} is not a {suffix} file, and to={given['to']} writes one", f"out={out.with_suffix(suffix)}")
    out_files.check(str(out), (suffix,))
    out_files.keep_inputs(out, run.config())

    from ebm_cli.runner import export

    content, note = export.exported(run, given["to"], given["bits"], given["model"])
    with atomic.reporting(out, "out"), atomic.replacing(out) as file:
        file.write(content)
    console.say(f"note: {note}")
    console.show(f"Couplings saved to {out}")
    return 0
