"""Fit the mixture of factor analysers of `dataset=digits_mixture` to the 8 x 8 digits of scikit-learn (`make digits-mixture`).

Expectation maximization (Ghahramani & Hinton 1996) on all 1,797 digits, x = (gray level + uniform noise) / 17, starting at random digits.
It writes ebm_cli/datasets/digits_mixture.npz: weight (K,), centre (K, 64), loading (K, 64, R) and variance (K, 64) in single precision.
With `--held-out`, it fits four fifths of the digits and prints the mean NLL of both parts, in nats, and writes nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

N_COMPONENTS, N_FACTORS, N_ITERATIONS = 20, 8, 100
FLOOR = 1 / 12 / 17**2  # of the variance: that of the uniform noise of one gray level
FILE = Path(__file__).parents[1] / "ebm_cli" / "datasets" / "digits_mixture.npz"


def digits():
    gray = load_digits().data
    return torch.from_numpy((gray + np.random.default_rng(0).uniform(size=gray.shape)) / 17)


def log_components(x, weight, centre, loading, variance):
    """log w_k N(x; c_k, L_k L_k' + diag(v_k)), (N, K)."""
    covariance = loading @ loading.mT + torch.diag_embed(variance)
    normal = torch.distributions.MultivariateNormal(centre, covariance)
    return weight.log() + normal.log_prob(x.unsqueeze(1))


def maximized(x, share, loading, variance):
    """The parameters that maximize the expected log-likelihood, for responsibilities (N, K)."""
    total = share.sum(0)
    centre = share.T @ x / total.unsqueeze(-1)
    between = x.unsqueeze(0) - centre.unsqueeze(1)  # (K, N, d)
    covariance = between.mT @ (between * share.T.unsqueeze(-1)) / total[:, None, None]
    model = loading @ loading.mT + torch.diag_embed(variance)
    beta = torch.linalg.solve(model, loading).mT  # (K, R, d): E[z | x] = beta (x - c)
    cross = covariance @ beta.mT
    second = torch.eye(loading.shape[-1], dtype=x.dtype) - beta @ loading + beta @ cross
    loading = torch.linalg.solve(second, cross, left=False)
    variance = (covariance - loading @ cross.mT).diagonal(dim1=-2, dim2=-1).clamp(min=FLOOR)
    return total / len(x), centre, loading, variance


def fit(x):
    generator = torch.Generator().manual_seed(0)
    centre = x[torch.randperm(len(x), generator=generator)[:N_COMPONENTS]]
    share = torch.nn.functional.one_hot(torch.cdist(x, centre).argmin(-1), N_COMPONENTS).double()
    loading = 0.1 * torch.randn(N_COMPONENTS, x.shape[-1], N_FACTORS, dtype=x.dtype, generator=generator)
    variance = x.var(0).clamp(min=FLOOR).expand(N_COMPONENTS, -1)
    for _ in range(N_ITERATIONS):
        parameters = maximized(x, share, loading, variance)
        loading, variance = parameters[2:]
        share = log_components(x, *parameters).softmax(-1)
    return parameters


def nll(x, parameters):
    """The mean NLL in nats."""
    return -log_components(x, *parameters).logsumexp(-1).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--held-out", action="store_true", help="fit four fifths of the digits and print the NLL of both parts")
    held_out, x = parser.parse_args().held_out, digits()
    if held_out:
        train, test = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))].tensor_split([4 * len(x) // 5])
        parameters = fit(train)
        print(f"NLL {nll(train, parameters):.2f} of the fitted digits, {nll(test, parameters):.2f} of the others, in nats")
        return
    parameters = fit(x)
    names = ("weight", "centre", "loading", "variance")
    np.savez_compressed(FILE, **{name: value.numpy().astype(np.float32) for name, value in zip(names, parameters, strict=True)})
    print(f"{FILE.name}: NLL {nll(x, parameters):.2f} nats, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
