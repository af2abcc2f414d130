"""Couplings and fields of a quadratic energy, in the formats of other programs.

dimod minimizes E(s) = sum_i h'_i s_i + sum_ij J'_ij s_i s_j + offset: h' = -h, J' = -J.
"""

import io
import json
from collections.abc import Callable

import numpy as np
import torch

from ebm_cli.core.quadratic import Quadratic
from ebm_cli.core.quantize import quantized
from ebm_cli.errors import bad
from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs.run import Run

SCHEMA_OF_DIMOD = "3.0.0"


def exported(run: Run, to: str, n_bits: int | None, model: int) -> tuple[bytes, str]:
    """The content of the file, and a sentence on what it holds."""
    trained = TrainedModel.load(run, torch.device("cpu")).select(model)
    found = quadratic_of(run, trained)
    if n_bits is not None:
        found = Quadratic(quantized(found.coupling, n_bits), quantized(found.field, n_bits), found.constant)
    n, n_visible = len(found.field), trained.standardization.mean.numel()
    i, j = found.coupling.nonzero(as_tuple=True)
    edges, values = torch.stack([i, j], -1).numpy(), found.coupling[i, j].numpy()
    hidden = f" of {n_visible} visible units, from 0, and {n - n_visible} hidden units, from {n_visible}" if n > n_visible else ""
    note = f"{len(edges)} couplings and {n} fields{hidden}"
    return WRITERS[to](edges, values, found.field.numpy(), found.constant.item()), note


def quadratic_of(run: Run, trained: TrainedModel) -> Quadratic:
    """The quadratic form of the energy at its temperature, in double precision."""
    if not hasattr(trained.network.module, "quadratic"):
        name = run.read("environment.json").get("choices", {}).get("energy", "of this run")
        message = f"{run.path.name}: energy={name} is not quadratic in bits, so that it has no couplings and fields"
        raise bad(message, "ebm export works with energy=ising, rbm and dbm")
    params = {name: value.double() for name, value in trained.params.items()}
    found = trained.network.call(params, "quadratic")
    return Quadratic(*(value.detach() / trained.model.temperature for value in found))


def _dimod(edges: np.ndarray, values: np.ndarray, fields: np.ndarray, constant: float) -> bytes:
    """What `BinaryQuadraticModel.to_serializable()` of dimod returns."""
    head, tail = edges.T.tolist()
    sizes = {"num_variables": len(fields), "num_interactions": len(values), "variable_labels": list(range(len(fields)))}
    types = {"use_bytes": False, "index_type": "int32", "bias_type": "float64", "variable_type": "SPIN"}
    biases = {"linear_biases": (-fields).tolist(), "quadratic_biases": (-values).tolist(), "quadratic_head": head, "quadratic_tail": tail}
    about = {"type": "BinaryQuadraticModel", "version": {"bqm_schema": SCHEMA_OF_DIMOD}}
    return json.dumps(about | types | sizes | {"offset": constant, "info": {}} | biases).encode()


def _coo(edges: np.ndarray, values: np.ndarray, fields: np.ndarray, constant: float) -> bytes:
    """Lines in the order of the sites, as dimod writes them. Fields of zero are written, so that no site is missing."""
    entries = {(i, i): value for i, value in enumerate((-fields).tolist())}
    entries |= {(i, j): value for (i, j), value in zip(edges.tolist(), (-values).tolist(), strict=True)}
    return "".join(["# vartype=SPIN\n", *(f"{i} {j} {entries[i, j]!r}\n" for i, j in sorted(entries))]).encode()


def _npz(edges: np.ndarray, values: np.ndarray, fields: np.ndarray, constant: float) -> bytes:
    file = io.BytesIO()
    np.savez(file, edges=edges, couplings=values, fields=fields, offset=np.array(constant))
    return file.getvalue()


WRITERS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, float], bytes]] = {"dimod": _dimod, "coo": _coo, "npz": _npz}
