"""The Gaussian with the mean and covariance of the training data.

    log q_sigma(x) = -1/2 sum_i (v_i'(x - mean))^2 / (l_i + sigma^2) - 1/2 sum_i log(l_i + sigma^2) - d/2 log 2 pi

l_i and v_i are the eigenvalues and eigenvectors of the covariance. It is implemented as a mixture of one component: see mixture.py.
"""

from ebm_cli.references.mixture import Mixture


class FullGaussian(Mixture):
    """A mixture of one Gaussian. It has no settings."""

    def __init__(self) -> None:
        super().__init__(n_components=1, shrinkage=0.0, bound=None)
