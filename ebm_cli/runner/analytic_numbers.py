"""Numbers of an analytic energy and of samples drawn from it: log Z in closed form and on a grid, and mean energies."""

import math
from typing import Any

import torch
from torch import Tensor

from ebm_cli.core.contracts import Dataset
from ebm_cli.core.held import Held
from ebm_cli.core.pointwise import energy_of
from ebm_cli.metrics import quadrature
from ebm_cli.metrics.quadrature import Grid
from ebm_cli.runner.trained_model import TrainedModel

TOLERANCE = 0.001  # maximum change of log Z when the resolution and the box of the grid are doubled, in nats
NATS = ("log_z", "log_z_quadrature", "log_z_error", "mean_energy", "mean_energy_quadrature", "mean_energy_data", "mean_energy_data_error")
UNITS = dict.fromkeys((*NATS, "mean_energy_exact", "mean_energy_error"), "nats") | {"seconds": "s"}
MAY_DIVERGE = {"box": ": the energy may not be normalizable; samples are then meaningless"}
N_BOXES = 3  # number of boxes that are tried, each twice as wide as the previous one


def numbers(energy: Any, trained: TrainedModel, samples: Tensor, data: Dataset | None) -> dict[str, Any]:
    """log Z in closed form and by quadrature, and mean energies of samples, grid and data. A missing number is null, with a reason."""
    params = {name: value.double() if value.is_floating_point() else value for name, value in trained.params.items()}
    at_samples = energy_of(trained.model, params, samples.flatten(0, 1).cpu())
    given = isinstance(trained.model, Held)  # log Z and the mean energy of the model are not those of the conditional distribution
    found, reasons = {"log_z": None if given else energy.log_z, "mean_energy": at_samples.mean().item()}, {}
    if found["log_z"] is None:
        reasons["log_z"] = "some coordinates are fixed" if given else "it has no closed form"
    exact = None if given else getattr(energy, "mean_energy", None)
    if exact is not None:  # of an Ising model, from the derivative of log Z
        of_chains = at_samples.view(samples.shape[:2]).mean(1)
        found["mean_energy_exact"] = exact
        found |= {"mean_energy_error": of_chains.std().item() / len(of_chains) ** 0.5} if len(of_chains) > 1 else {}
    if data is not None:  # the energy is that of the data, so exact draws give its mean in any dimension
        at_data = energy_of(trained.model, params, data.split("test", quadrature.N_DATA, trained.rng).x)
        found |= {"mean_energy_data": at_data.mean().item(), "mean_energy_data_error": at_data.std().item() / len(at_data) ** 0.5}
    if trained.space.kind == "real" and quadrature.has_grid(energy.shape):
        found |= integrals(energy, trained.model, params, trained.standardization.log_det, reasons)
    for key, value in found.items():
        if value is not None and not math.isfinite(value):
            found[key], reasons[key] = None, f"the value is {value}"
    by = getattr(energy, "log_z_by", None)
    return found | ({"log_z_by": by} if by and found["log_z"] is not None else {}) | {"reasons": reasons}


def integrals(energy: Any, model: Any, params: Any, log_det: float, reasons: dict[str, str]) -> dict[str, float | None]:
    """log Z and the mean energy on a grid. `log_z_error` is the change of log Z when the resolution and the box are doubled."""
    box = tuple(energy.box)
    for _ in range(N_BOXES):
        spacing = max(energy.length_scale, (math.prod(high - low for low, high in box) / quadrature.FIRST) ** (1 / len(box)))
        coarse = Grid.of(model, params, None, box, spacing).log_z
        wide, inner = quadrature.widen(box, 2.0), box
        wider = Grid.of(model, params, None, wide, spacing).log_z
        if abs(wider - coarse) <= TOLERANCE / 2:
            break
        box = wide
    fine = Grid.of(model, params, None, inner, spacing / 2)
    changes = {"resolution": abs(fine.log_z - coarse), "box": abs(wider - coarse)}
    if not sum(changes.values()) <= TOLERANCE:
        worst = max(changes, key=lambda name: changes[name])
        reason = f"doubling the {worst} of the grid changes log Z by {changes[worst]:.2g} nats"
        reasons["log_z_quadrature"] = reason + MAY_DIVERGE.get(worst, "")
        return {"log_z_quadrature": None}
    p = fine.mass
    mean = torch.where(p > 0, p * fine.energy, 0).sum().item()
    return {"log_z_quadrature": fine.log_z + log_det, "log_z_error": sum(changes.values()), "mean_energy_quadrature": mean}


def frame(energy: Any, samples: Tensor) -> list[list[float]]:
    """The region that pictures show, in data units. For a composition it includes the samples, which may lie far from those of its runs."""
    inside = torch.tensor(energy.frame, dtype=torch.double).T
    if energy.log_z is None:
        flat = samples.flatten(0, 1).flatten(1).cpu().double()
        flat = flat[:: 1 + len(flat) // 2**24]  # the maximum size of the input of torch.quantile
        low, high = (flat.nanquantile(level, 0) for level in (0.005, 0.995))
        inside = torch.stack([torch.minimum(inside[0], low), torch.maximum(inside[1], high)])
    return energy.standardization.to_data(inside.reshape(2, *energy.shape)).reshape(2, -1).T.tolist()
