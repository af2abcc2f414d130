"""Networks tilted by a reference q start at q, except for the diagonal Gaussian; with noise, q_sigma replaces q."""

import math

import pytest
import torch
from standard import gaussian
from targets import by_differences, log_integral
from torch import nn
from torch.distributions import MultivariateNormal

from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.energies.fourier_mlp import FourierMLP, NoiseFourierMLP
from ebm_cli.energies.mlp import MLP, NoiseMLP
from ebm_cli.energies.residual_mlp import NoiseResidualMLP, ResidualMLP
from ebm_cli.energies.score_mlp import NoiseScoreMLP, ScoreMLP
from ebm_cli.errors import InputError
from ebm_cli.references.bernoulli import Bernoulli
from ebm_cli.references.full_gaussian import FullGaussian
from ebm_cli.references.gaussian import Gaussian
from ebm_cli.references.mixture import Mixture
from ebm_cli.references.uniform import Uniform

pytestmark = pytest.mark.usefixtures("double")

PERCEPTRON = {"hidden": [5, 4], "activation": "silu"}
SETTINGS = {
    MLP: PERCEPTRON,
    ResidualMLP: {"width": 5, "n_blocks": 2, "activation": "silu"},
    FourierMLP: {"n_features": 3, "bandwidth": 2.0} | PERCEPTRON,
    ScoreMLP: PERCEPTRON,
    NoiseMLP: PERCEPTRON,
    NoiseResidualMLP: {"width": 5, "n_blocks": 2, "activation": "silu"},
    NoiseFourierMLP: {"n_features": 3, "bandwidth": 2.0} | PERCEPTRON,
    NoiseScoreMLP: PERCEPTRON,
}
ENERGIES = [MLP, ResidualMLP, FourierMLP]
NOISE_ENERGIES = [NoiseMLP, NoiseResidualMLP, NoiseFourierMLP]
SCORES = [ScoreMLP, NoiseScoreMLP]
AT_ZERO = [FullGaussian(), Mixture(3, 0.0, None), Uniform(0.2)]
SMOOTHABLE = [FullGaussian(), Mixture(3, 0.0, None)]
LEVEL = torch.tensor([0.05, 0.1, 0.4, 1.0, 2.0, 3.0], dtype=torch.double)


def name_of(value):
    return value.__name__ if isinstance(value, type) else type(value).__name__


def data(shape=(2,), n=300, rng=None):
    """Events in two correlated clusters."""
    rng = rng or Rng(1)
    x = rng.normal("x", n, 2) @ torch.tensor([[0.9, 0.5], [0.0, 0.3]])
    return (x + 3.0 * (rng.uniform("side", n, 1) < 0.4)).unflatten(-1, shape)


def network(kind, reference, *, shape=(2,), tilt=1.0, seed=0, x=None, **more):
    """A new network of a kind, tilted by the reference fitted to the data, and the fitted reference."""
    x = data(shape) if x is None else x
    fitted = FittedReference.fit(reference, x, shape, Rng(0))
    more = more if kind in SCORES else {"positive": "exp"} | more
    torch.manual_seed(seed)
    module = kind(shape, x.mean(0), x.std(0), fitted, tilt=tilt, **SETTINGS[kind], **more)
    return module, fitted


def model_of(module, shape=(2,)):
    return Model(module, event_ndim=len(shape), stacked=False), {name: value.detach() for name, value in tensors(module).items()}


def smoothed_log_prob(fitted, x, sigma):
    """log q_sigma of a mixture, (N, 2) -> (N,), with C_k + sigma^2 I by torch; sigma a number or one per point."""
    covariance = (fitted.params["factor"] @ fitted.params["factor"].mT).unsqueeze(1)
    noise = torch.as_tensor(sigma).expand(len(x)).square()[:, None, None] * torch.eye(2)
    components = MultivariateNormal(fitted.params["mean"].unsqueeze(1), covariance + noise)  # (K, N)
    return torch.logsumexp(fitted.params["log_weight"].unsqueeze(1) + components.log_prob(x), 0)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("tilt", [1.0, 0.6])
@pytest.mark.parametrize("reference", AT_ZERO, ids=name_of)
@pytest.mark.parametrize("kind", ENERGIES, ids=name_of)
def test_an_energy_starts_at_the_reference(kind, reference, tilt, shape):
    """f = 0: E = -tilt log q at the data and far from them, where it is infinite for the uniform reference."""
    module, fitted = network(kind, reference, shape=shape, tilt=tilt)
    model, params = model_of(module, shape)
    x = torch.cat([data(shape)[:20], data(shape)[:20] + 5.0])
    energy = model.energy(params, x)
    torch.testing.assert_close(energy, -tilt * fitted.log_prob(x), rtol=1e-12, atol=1e-12)
    assert energy[:20].isfinite().all()
    assert energy[20:].isinf().any() == isinstance(reference, Uniform)


@pytest.mark.parametrize("positive", ["exp", "softplus", "square", "abs"])
def test_with_every_positive_function_f_of_zero_gives_the_reference(positive):
    """Up to -log g(0), which is 0 except for softplus; the floor of square and abs changes it by 1e-8."""
    module, fitted = network(MLP, Mixture(3, 0.0, None), positive=positive)
    model, params = model_of(module)
    constant = -math.log(math.log(2.0)) if positive == "softplus" else 0.0
    torch.testing.assert_close(model.energy(params, data()), constant - fitted.log_prob(data()), rtol=0, atol=2e-8)


@pytest.mark.parametrize("reference", [Gaussian(), *SMOOTHABLE], ids=name_of)
def test_initial_log_z_is_the_normalizer_of_the_reference(reference):
    module, fitted = network(MLP, reference)
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.zero_()
    log_normalizer = torch.as_tensor(reference.log_normalizer(fitted.params)).item()
    assert log_integral(module, [(-12.0, 15.0), (-9.0, 12.0)]) == pytest.approx(log_normalizer, abs=1e-9)


@pytest.mark.parametrize("reference", SMOOTHABLE, ids=name_of)
@pytest.mark.parametrize("kind", NOISE_ENERGIES, ids=name_of)
def test_a_noise_conditional_energy_starts_at_the_smoothed_reference(kind, reference):
    """Each point has its own noise level; the score is that of q_sigma, by finite differences."""
    module, fitted = network(kind, reference, tilt=0.6)
    model, params = model_of(module)
    x = data()[:6] + 1.0
    torch.testing.assert_close(model.energy(params, x, LEVEL), -0.6 * smoothed_log_prob(fitted, x, LEVEL))
    score = by_differences(lambda x: -0.6 * smoothed_log_prob(fitted, x, LEVEL), x)
    torch.testing.assert_close(model.score(params, x, LEVEL), score, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(2,), (1, 2)])
@pytest.mark.parametrize("tilt", [1.0, 0.6])
@pytest.mark.parametrize("reference", SMOOTHABLE, ids=name_of)
def test_a_score_network_starts_at_the_score_of_the_reference(reference, tilt, shape):
    module, fitted = network(ScoreMLP, reference, shape=shape, tilt=tilt)
    model, params = model_of(module, shape)
    x = (data(shape)[:20] + 1.0).requires_grad_()
    (expected,) = torch.autograd.grad(tilt * fitted.log_prob(x).sum(), x)
    torch.testing.assert_close(model.score(params, x.detach()), expected)


@pytest.mark.parametrize("reference", SMOOTHABLE, ids=name_of)
def test_a_noise_conditional_score_network_starts_at_the_score_of_the_smoothed_reference(reference):
    module, fitted = network(NoiseScoreMLP, reference, tilt=0.6)
    model, params = model_of(module)
    x = data()[:6] + 1.0
    expected = by_differences(lambda x: -0.6 * smoothed_log_prob(fitted, x, LEVEL), x)
    torch.testing.assert_close(model.score(params, x, LEVEL), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", SETTINGS, ids=name_of)
def test_with_the_gaussian_the_initialization_is_unchanged(kind):
    """It equals that of the network without a tilt for each seed. The last layer is not zero."""
    tilted, plain = network(kind, Gaussian())[0], network(kind, Gaussian(), tilt=0.0)[0]
    usual = dict(plain.network.named_parameters())
    assert all(torch.equal(parameter, usual[name]) for name, parameter in tilted.network.named_parameters())
    assert all((parameter != 0).any() for parameter in tilted.network.parameters())


@pytest.mark.parametrize("kind", SETTINGS, ids=name_of)
def test_only_the_last_layer_starts_at_zero_and_only_with_a_tilt(kind):
    started, plain = network(kind, FullGaussian())[0], network(kind, FullGaussian(), tilt=0.0)[0]
    usual = dict(plain.network.named_parameters())
    last = [name for name, layer in started.network.named_modules() if isinstance(layer, nn.Linear)][-1]
    for name, parameter in started.network.named_parameters():
        assert (usual[name] != 0).any()
        assert (parameter == 0).all() if name.startswith(f"{last}.") else torch.equal(parameter, usual[name])
    assert {name for name, _ in plain.named_buffers() if name.startswith("reference.")} == set()


@pytest.mark.parametrize("kind", ENERGIES, ids=name_of)
def test_the_tilt_is_added_to_the_network(kind):
    """The difference from the network without a tilt is tilt E_q for every f."""
    for reference in (Gaussian(), *AT_ZERO):
        module, fitted = network(kind, reference, tilt=0.6)
        plain = network(kind, reference, tilt=0.0)[0]
        module.network.load_state_dict(plain.network.state_dict())
        x, shift = data()[:20], torch.as_tensor(reference.log_normalizer(fitted.params))
        assert plain(x).std() > 1e-3
        torch.testing.assert_close(module(x) - plain(x), -0.6 * (fitted.log_prob(x) + shift))


def test_the_bound_of_a_reference_limits_the_network():
    """E - tilt E_q is b tanh(f / b), where f is the output of the network without a bound."""
    x = Rng(0).normal("x", 200, 2)
    free, fitted = network(MLP, Mixture(3, 0.0, None))
    tight, _ = network(MLP, Mixture(3, 0.0, 0.3))
    for module in (free, tight):
        with torch.no_grad():
            module.network[-1].weight.copy_(3 * torch.ones_like(module.network[-1].weight))
            module.network[-1].bias.fill_(0.1)
    energy_of_q = -fitted.log_prob(x)
    f = free(x) - energy_of_q
    torch.testing.assert_close(tight(x) - energy_of_q, 0.3 * (f / 0.3).tanh(), rtol=0, atol=1e-4)
    assert f.abs().max() > 0.3 >= (tight(x) - energy_of_q).abs().max() - 1e-4


def test_each_model_of_a_stack_is_tilted_by_its_own_reference():
    x = data(rng=Rng((1, 2)))
    x[1] += 7.0
    for kind in (MLP, NoiseScoreMLP):
        alone = [network(kind, Mixture(3, 0.0, None), seed=m, x=x[m]) for m in range(2)]
        params = {name: torch.stack([tensors(module)[name].detach() for module, _ in alone]) for name in tensors(alone[0][0])}
        stacked = Model(alone[0][0], event_ndim=1, stacked=True)
        level = None if kind is MLP else torch.stack([LEVEL, LEVEL.flip(0)])
        together = stacked.score(params, x[:, :6], level)
        for m, (module, _) in enumerate(alone):
            model, own = model_of(module)
            torch.testing.assert_close(together[m], model.score(own, x[m, :6], None if level is None else level[m]))
    assert not torch.equal(params["reference.mean"][0], params["reference.mean"][1])


@pytest.mark.parametrize("reference", ["full_gaussian", "mixture", "uniform"])
def test_training_starts_at_the_reference_of_the_run(trainer, reference):
    """The network, the objective and the metrics share the tensors of the reference."""
    run = trainer("energy=mlp", f"reference={reference}", "objective=nce", "seeds=2")
    x = run.dataset.batch(0, 50, run.rng).x
    torch.testing.assert_close(run.model.energy(run.frozen, x), -run.reference.log_prob(x))
    for name, value in run.reference.named.items():
        assert torch.equal(run.frozen[name], value)
        assert name not in run.shapes  # it is not trained


@pytest.mark.parametrize("reference", [Uniform(0.1), Bernoulli(1.0)], ids=name_of)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        *((kind, "takes a noise level") for kind in NOISE_ENERGIES),
        *((kind, "outputs the score itself") for kind in SCORES),
    ],
)
def test_a_reference_that_is_not_smoothable_cannot_tilt_a_score_or_a_noise_conditional_energy(kind, words, reference):
    x = (data() > 0).double()
    with pytest.raises(InputError, match=f"a network that {words} cannot be tilted by {name_of(reference)}"):
        network(kind, reference, x=x)
    network(kind, reference, x=x, tilt=0.0)


def test_the_tilt_by_the_gaussian_is_quadratic():
    x = data()
    module = MLP((2,), x.mean(0), x.std(0), gaussian(x.mean(0), x.std(0)), tilt=0.6, positive="exp", **PERCEPTRON)
    plain = MLP((2,), x.mean(0), x.std(0), gaussian(x.mean(0), x.std(0)), tilt=0.0, positive="exp", **PERCEPTRON)
    plain.network.load_state_dict(module.network.state_dict())
    torch.testing.assert_close(module(x) - plain(x), 0.3 * ((x - x.mean(0)) / x.std(0)).square().sum(-1))
