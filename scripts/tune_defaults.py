"""The searches behind the defaults in conf/: a few settings at a time, on a seed that no test and no table uses.

    python scripts/tune_defaults.py [name ...]

Each entry of SEARCHES is a line for `ebm train -m`, with seed 100 and the exact KL on moons unless it says otherwise. A line that was
interrupted is continued. The results are printed and stored in results/tune_defaults.json, with the commit and the versions that made them.
"""

import json
import re
import sys

import torch
from measured import ROOT, made_by, row, sweep

RESULTS = ROOT / "results" / "tune_defaults.json"
OUTPUTS = ROOT / "outputs" / "tune_defaults"
KEPT = ("kl", "mode_weight_error", "sliced_wasserstein", "train_seconds")
COMMON = ("device=cpu", "metric=[quadrature,mode_weights,sliced_wasserstein]", "seed=100")
CHAINLESS = "exact,ism,ssm,fd_ssm,nce,cnce,energy_discrepancy,dsm,lsd,ksd"
MANY_MODES = "dataset=twentyfive_gaussians"
SEARCHES = {
    "energy": [f"objective={CHAINLESS}", "energy=mlp,residual_mlp,fourier_mlp"],
    "energy, many modes": [MANY_MODES, "objective=exact,nce,cnce,energy_discrepancy", "energy=mlp,residual_mlp,fourier_mlp"],
    "energy, the benchmark's": [
        "dataset=moons,eight_gaussians,twentyfive_gaussians,rings,checkerboard,pinwheel,two_spirals",
        "objective=nce,energy_discrepancy",
        "energy=residual_mlp,fourier_mlp",
        "trainer.n_steps=10000",
    ],
    "energy under chains": ["objective=pcd,cd,short_run,mle", "energy=mlp,residual_mlp,fourier_mlp"],
    "rate": ["objective=ssm,nce,pcd", "optimizer.lr=0.003,0.006,0.01"],
    "batch": ["objective=ssm,nce", "trainer.batch_size=128,256,512"],
    "averaging": ["objective=ssm,nce", "trainer.ema_decay=0,0.99,0.999"],
    "residual": ["objective=ssm,nce", "energy.n_blocks=1,2,3"],
    "ssm": ["objective=ssm", "objective.directions=rademacher,gaussian,sphere"],
    "fd_ssm": ["objective=fd_ssm", "objective.eps=0.03,0.1,0.2"],
    "nce": ["objective=nce", "reference=gaussian,mixture", "objective.n_noise=1,4"],
    "cnce": ["objective=cnce", "objective.eps=0.15,0.3,0.6"],
    "cnce, far mass": [MANY_MODES, "objective=cnce", "objective.eps=0.3,[0.3,1.0],[0.3,2.0]", "seed=100,101,102,103"],
    "cnce, widths": ["objective=cnce", "objective.eps=0.3,[0.3,1.0],[0.3,2.0]", "seed=100,101,102,103"],
    "energy_discrepancy": ["objective=energy_discrepancy", "objective.t=0.15,0.3,0.6", "objective.w=0,1"],
    "energy_discrepancy, far mass": [MANY_MODES, "objective=energy_discrepancy", "objective.t=0.3,[0.3,2.0]", "seed=range(100,112)"],
    "energy_discrepancy, widths": ["objective=energy_discrepancy", "objective.t=0.3,[0.3,2.0]", "seed=100,101,102,103"],
    "lsd critic": ["objective=lsd", "objective.n_critic=1,3,5", "objective.critic_lr=0.001,0.003"],
    "lsd penalty": ["objective=lsd", "objective.penalty=0.03,0.1,0.5,2"],
    "mle hmc": ["objective=mle", "sampler=hmc", "objective.n_steps=5", "sampler.step_size=0.07,0.1"],
    "lsd critic and penalty": ["objective=lsd", "objective.n_critic=3,5", "objective.penalty=0.1,0.2"],
    "ksd": ["objective=ksd", "objective.bandwidth=0.05,0.1,0.2,0.4"],
    "pcd": ["objective=pcd", "sampler.step_size=0.005,0.01,0.02"],
    "pcd steps": ["objective=pcd", "objective.n_steps=5,15"],
    "cd": ["objective=cd", "objective.kl_weight=0,1", "sampler.step_size=0.001,0.005"],
    "short_run": ["objective=short_run", "sampler.step_size=0.005,0.01", "sampler.noise_scale=0.05,0.1"],
    "mle": ["objective=mle", "objective.n_steps=30,60"],
    "mle step": ["objective=mle", "objective.n_steps=40", "sampler.step_size=0.02,0.03"],
    "recovery": ["objective=recovery", "energy=noise_mlp,noise_residual_mlp,noise_fourier_mlp"],
    "dsm_multi": [MANY_MODES, "objective=dsm_multi", "energy=noise_mlp,noise_residual_mlp,noise_fourier_mlp"],
    "dsm_multi ladder": [MANY_MODES, "objective=dsm_multi", "objective.n_levels=8,12,20", "objective.sigma_min=0.03,0.05"],
}


def search(name: str) -> None:
    """Run a search and store its results."""
    runs = sweep([*COMMON, *SEARCHES[name], f"group={re.sub('[^a-z]+', '-', name)}"], OUTPUTS)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows = [{"words": words, **row(run, KEPT)} for words, run in runs]
    found[name] = {"line": SEARCHES[name], "made_by": made_by(*(run for _, run in runs)), "rows": rows}
    RESULTS.write_text(json.dumps({key: found[key] for key in SEARCHES if key in found}, indent=1) + "\n")


def show(name: str, rows: list[dict]) -> None:
    print(f"\n{name}: {' '.join(SEARCHES[name])}")
    for result in rows:
        numbers = [f"{key} {result[key]:.4g}" for key in KEPT if result.get(key) is not None]
        print("  ", ", ".join(numbers) or result["state"], " ", *result["words"])


def main() -> None:
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(SEARCHES)
    for name in names:
        search(name)
    found = json.loads(RESULTS.read_text())
    for name in names:
        show(name, found[name]["rows"])


if __name__ == "__main__":
    main()
