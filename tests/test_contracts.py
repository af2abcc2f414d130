"""The contracts, for every option of every group: shapes, purity, a stack equals its models, and tracing into a single graph.

Four spaces of events are covered: the plane, images, bits, and the plane with labels. A new option is tested here automatically. The
package has no components for some spaces; those of components.py are used there. `EXCUSED` names options that need not trace into a single
graph, with the reason.
"""

import csv
import math
from functools import cache
from importlib import import_module

import pytest
import torch
from components import ALLOWED, OPTIONS, SPACES
from standard import gaussian
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ebm_cli.config import compatibility, compose, option_files, schema
from ebm_cli.core import chain
from ebm_cli.core.fitted_reference import FittedReference
from ebm_cli.core.metric import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.standardize import event_scale
from ebm_cli.core.states import states
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.errors import InputError
from ebm_cli.runner import estimators, evaluate
from ebm_cli.runner.experiment import Experiment
from ebm_cli.training import trainer as trainer_module
from ebm_cli.types import Space

GROUPS = option_files.groups([OPTIONS])
SHIPPED = option_files.groups()
EXCUSED = {
    "wolff": "clusters grow in a loop whose length depends on the values"
}  # why the loss or step of an option does not trace into a single graph
SMALL = ["trainer.batch_size=32", "trainer.n_steps=50", "trainer.max_grad_norm=1.0", "metric=[]", "device=cpu"]
REFUSED = {("image", "exact"): "at most 2 coordinates"}  # why an objective is refused once the events are known
NARROW = {
    "n_hidden": "energy.n_hidden=5",
    "hidden": "energy.hidden=[16,16]",
    "width": "energy.width=16",
    "channels": "energy.channels=2",
}  # for energies with these keys
SHORT = {  # small values that are not neutral
    "cd": ["objective.n_steps=3", "objective.kl_weight=0.3"],
    "exact": ["objective.n_points=20"],
    "fd_ssm": ["objective.eps=0.5"],  # smaller differences lose digits in single precision
    "lsd": ["objective.hidden=[8]", "objective.n_critic=2"],
    "mle": ["objective.n_steps=3"],
    "nce": ["reference=mixture", "reference.n_components=3", "reference.shrinkage=1.0"],
    "pcd": ["objective.n_steps=3", "objective.n_chains=64", "objective.restart=0.2", "objective.adapt=0.1"],
    "recovery": ["objective.n_steps=3"],
    "short_run": ["objective.n_steps=3"],
}
SHORT_OF = {  # these replace SHORT on some spaces
    ("binary", "cd"): ["objective.n_steps=3"],  # bits have no gradient
    ("binary", "nce"): [],
    ("image", "fd_ssm"): ["objective.eps=4.0"],  # 64 coordinates
    ("image", "nce"): [],  # 32 points are too few to fit three covariances of 64 pixels
}


TRACED = ("real", "binary")  # the slow tests cover all components on these spaces, and a few on the others


@pytest.fixture(autouse=True)
def _world(monkeypatch):
    """Allow configs to name the components of components.py, and fit references to few points, which takes less time."""
    monkeypatch.setenv("EBM_ALLOW", ALLOWED)
    monkeypatch.setattr(trainer_module, "N_FIT", 500)


def options(group, known=GROUPS):
    return sorted(known.get(group, {}))


def nodes(group, known=GROUPS):
    """The node of every option, read from its file."""
    return {option: dict(node) for option, node in read(group, known is GROUPS).items()}


@cache
def read(group, own):
    """The nodes of the options of a group, with those of the tests, read once."""
    return {option: option_files.node_of(found.path) for option, found in (GROUPS if own else SHIPPED)[group].items()}


def space_of(group, option):
    """The space of SPACES on which a dataset or an energy is tested."""
    target = compatibility.class_of(nodes(group)[option], group)
    words = target.provided(nodes(group)[option]) if group == "dataset" else target.requires
    kind = "categorical" if "categorical" in words else "binary" if {"binary", "discrete"} & words else "real"
    return next((space for space, chosen in SPACES.items() if chosen.get(group) == option), kind)


def table(tmp_path):
    x = Rng(0).normal("table", 60, 2).tolist()
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], *x])
    return str(tmp_path / "x.csv")


def experiment(tmp_path, *words, space="real"):
    """A small experiment on a space of events. The given words override those of the space."""
    chosen = {"energy": "mlp"} | SPACES[space] | dict(word.split("=", 1) for word in words)
    node, objective = nodes("energy")[chosen["energy"]], chosen.get("objective")
    own = [f"{group}={option}" for group, option in ({"energy": "mlp"} | SPACES[space]).items() if f"{group}=" not in " ".join(words)]
    short = SHORT_OF.get((space, objective), SHORT.get(objective, []))
    line = [*SMALL, *own, *short, *(word for key, word in NARROW.items() if key in node), *words]
    if chosen["dataset"] == "table":
        line.append(f"dataset.path='{table(tmp_path)}'")
    return Experiment.of(compose.compose(line, [OPTIONS]))


def trainer_of(tmp_path, *words, space="real"):
    return experiment(tmp_path, *words, space=space).trainer()


def offered(space, energy=None):
    """The capabilities that the dataset of a space and an energy provide."""
    chosen = {group: nodes(group)[option] for group, option in SPACES[space].items()}
    return compatibility.provides(chosen | ({"energy": nodes("energy")[energy]} if energy else {}))


def fits(space, objective, energy):
    """Whether an objective can train an energy on a space: requirements are met, and existing noise levels and labels are used."""
    node, has = nodes("objective")[objective], offered(space, energy)
    needs = compatibility.requires(node, "objective") | compatibility.requires(nodes("energy")[energy], "energy")
    labels = "unconditional" in has or compatibility.class_of(node, "objective").takes_labels
    return needs <= has and ("noise_level" in needs) == ("noise_level" in has) and labels


def pairs():
    """On each space, every objective with the first energy that it can train, and every trainable energy with the first such objective."""
    objectives = sorted(options("objective"), key=lambda name: (name != "ssm", name))
    trainable = sorted(
        (name for name, node in nodes("energy").items() if compatibility.trainable(node)), key=lambda name: (len(name), name)
    )
    for space in SPACES:
        energies = [name for name in trainable if space_of("energy", name) == space]
        found = [(name, next((energy for energy in energies if fits(space, name, energy)), None)) for name in objectives]
        found += [(next((name for name in objectives if fits(space, name, energy)), None), energy) for energy in energies]
        for objective, energy in dict.fromkeys(pair for pair in found if None not in pair and (space, pair[0]) not in REFUSED):
            yield pytest.param(space, f"objective={objective}", f"energy={energy}", id=f"{space}-{objective}-{energy}")


def kernels():
    """On each space, every sampler with the first energy that it can sample."""
    for space, chosen in SPACES.items():
        first = chosen.get("energy", "mlp")
        energies = [first, *(name for name in nodes("energy") if name != first and space_of("energy", name) == space)]
        for sampler, node in nodes("sampler").items():
            needs = compatibility.requires(node, "sampler") - {"noise_level"}
            found = [name for name in energies if needs <= offered(space, name) and compatibility.trainable(nodes("energy")[name])]
            yield from [(space, sampler, name) for name in found[:1]]


with pytest.MonkeyPatch.context() as patch:  # during the collection of tests
    patch.setenv("EBM_ALLOW", ALLOWED)
    PAIRS = list(pairs())
    FEW = [pair for pair in PAIRS if pair.values[0] in TRACED or pair.values[1].partition("=")[2] in ("ssm", "nce", "pcd")]
    KERNELS = [pytest.param(*kernel, id="-".join(kernel)) for kernel in kernels()]
    PLAIN = [option for option in options("dataset") if space_of("dataset", option) == "real" and option != SPACES["real"]["dataset"]]
    LEARNED = [option for option, node in nodes("energy").items() if not compatibility.analytic(node)]


def prepared(trainer):
    """The arguments of a trainer's loss in its first step: parameters with labels, events, and the results of `prepare`."""
    x, label = trainer.batch(0)
    aux, carry, info = trainer.objective.prepare(
        trainer.model, trainer.frozen | label, trainer.state.carry, x, trainer.rng.at("step").at(0)
    )
    return trainer.params | label, x, aux, carry, info


@pytest.fixture
def tracing():
    """Let torch.compile trace torch.autograd.grad, as `trainer.compile` does."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        yield


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize(("space", "objective", "energy"), PAIRS)
def test_objective(tmp_path, space, objective, energy, seeds):
    trainer = trainer_of(tmp_path, objective, energy, f"seeds={'null' if seeds is None else seeds}", space=space)
    m = () if seeds is None else (3,)
    before = {name: value.clone() for name, value in trainer.frozen.items()}
    params, x, aux, carry, _ = prepared(trainer)
    loss, info = trainer.objective.loss(trainer.model, params, x, aux)
    assert x.shape == (*m, 32, *trainer.dataset.shape)
    assert loss.shape == (*m, 32)
    assert loss.isfinite().all()
    assert all(value.shape[: len(m)] == m for value in (carry | aux | info).values())
    assert not any(value.requires_grad for value in (carry | aux).values())
    _, _, aux2, carry2, _ = prepared(trainer)
    assert same(aux, aux2)
    assert same(carry, carry2)
    assert torch.equal(loss, trainer.objective.loss(trainer.model, params, x, aux)[0])
    assert same(before, trainer.frozen)


@pytest.mark.parametrize(("space", "objective"), REFUSED)
def test_an_objective_that_does_not_suit_the_events_is_refused(tmp_path, space, objective):
    with pytest.raises(InputError, match=REFUSED[space, objective]):
        trainer_of(tmp_path, f"objective={objective}", space=space)


@pytest.mark.parametrize(("space", "objective", "energy"), FEW)
def test_the_loss_traces_into_a_single_graph(tmp_path, space, objective, energy, tracing):
    if objective in EXCUSED:
        pytest.skip(EXCUSED[objective])
    single = space == "real" and objective.partition("=")[2] in ("ssm", "nce", "pcd")
    for seeds in ("null", "2") if single else ("2",):
        torch._dynamo.reset()
        penalty = "regularizer=[energy_l2]" if energy == "energy=mlp" else "regularizer=[]"
        trainer = trainer_of(tmp_path, objective, energy, f"seeds={seeds}", penalty, space=space)
        params, x, aux, _, _ = prepared(trainer)
        compiled = torch.compile(trainer._value_and_gradient, fullgraph=True, backend="eager")
        loss, gradient, _ = compiled(params, x, aux)
        loss2, gradient2, _ = trainer._value_and_gradient(params, x, aux)
        torch.testing.assert_close(loss, loss2)
        torch.testing.assert_close(gradient, gradient2)


class NoReadBack(TorchDispatchMode):
    """Raises if a value is copied from the device, or to the device from a list, since the host would wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        assert func not in (aten._local_scalar_dense.default, aten.nonzero.default), f"a step reads a value back: {func}"
        assert func is not aten.lift_fresh.default, "a step copies a list from the host to the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("seeds", ["null", "3"])
@pytest.mark.parametrize(("space", "objective", "energy"), PAIRS)
def test_a_step_copies_nothing_between_host_and_device(tmp_path, space, objective, energy, seeds, monkeypatch):
    trainer = trainer_of(tmp_path, objective, energy, f"seeds={seeds}", space=space)
    trainer.step()
    with monkeypatch.context() as patch, NoReadBack():
        for name in ("tolist", "numpy", "cpu"):  # on the CPU these bypass the dispatcher
            patch.setattr(torch.Tensor, name, lambda *_: pytest.fail("a step reads a value back"))
        trainer.step()
    with pytest.raises(AssertionError, match="reads a value back"), NoReadBack():
        bool(trainer.state.alive.all())
    with pytest.raises(AssertionError, match="a list from the host"), NoReadBack():
        torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("space", "objective", "energy", "dataset"),
    [pytest.param(*pair.values, f"dataset={SPACES[pair.values[0]]['dataset']}", id=pair.id) for pair in FEW]
    + [pytest.param("real", "objective=nce", "energy=mlp", f"dataset={name}", id=name) for name in PLAIN],
)
def test_a_stack_equals_its_models(tmp_path, space, objective, energy, dataset):
    """Model m of a stack equals the single run with its seed: draws bit by bit, and parameters after 15 steps to within 5e-5.

    Adam divides gradients by their size, so that the rounding errors of small gradients are enlarged.
    """
    needs = compatibility.requires(nodes("objective")[objective.removeprefix("objective=")], "objective")
    # without the penalty, the gradient of a constant in the energy is only rounding errors, whose sign Adam would follow
    words = [dataset, objective, energy, *(["regularizer=[energy_l2]"] if "energy" in needs else [])]
    words += ["trainer.n_steps=15"]
    stack = trainer_of(tmp_path, *words, "seeds=3", space=space)
    singles = [trainer_of(tmp_path, *words, f"seed={seed}", space=space) for seed in range(3)]
    for m, single in enumerate(singles):
        (x, label), (x_alone, label_alone) = stack.batch(7), single.batch(7)
        assert torch.equal(x[m], x_alone)
        assert same({name: value[m] for name, value in label.items()}, label_alone)
        assert torch.equal(stack.state.theta[m], single.state.theta)
        for name, value in single.state.carry.items():
            assert torch.equal(stack.state.carry[name][m], value)
    for trainer in (stack, *singles):
        for _ in trainer.steps():
            pass
    for m, single in enumerate(singles):
        torch.testing.assert_close(stack.state.theta[m], single.state.theta, rtol=0, atol=5e-5)
        torch.testing.assert_close(stack.state.ema[m], single.state.ema, rtol=0, atol=5e-5)
    assert not torch.equal(singles[0].state.theta, singles[1].state.theta)


class NoiseConditional(nn.Module):
    """x (B, *d), noise level (B,) -> E(x, sigma) (B,), or s(x, sigma) (B, *d)."""

    takes_noise_level = True

    def __init__(self, n, outputs_score):
        super().__init__()
        self.outputs_score = outputs_score
        self.network = nn.Sequential(nn.Linear(n + 1, 8), nn.SiLU(), nn.Linear(8, n if outputs_score else 1))

    def forward(self, x, noise_level):
        flat = x.flatten(1)
        return self.network(torch.cat([flat, noise_level.log().unsqueeze(-1)], -1)).view(x.shape if self.outputs_score else len(x))


def asked(kernel, trainer, *, outputs_score=False):
    """The trainer's model with its params and labels; for a sampler over noise levels, a noise-conditional model."""
    if "noise_level" not in kernel.requires:
        return trainer.model, trainer.frozen | trainer.batch(0)[1]
    shape = trainer.dataset.shape
    module = NoiseConditional(math.prod(shape), outputs_score)
    params = {name: trainer.rng.normal(name, *value.shape) for name, value in tensors(module).items()}
    return AtNoiseLevel(Model(module, event_ndim=len(shape), stacked=trainer.model.stacked), (2.0, 0.5)), params


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize(("space", "sampler", "energy"), KERNELS)
def test_sampler(tmp_path, space, sampler, energy, seeds, tracing):
    trainer = trainer_of(tmp_path, "objective=nce", f"energy={energy}", f"seeds={'null' if seeds is None else seeds}", space=space)
    kernel = schema.build(nodes("sampler")[sampler])
    model, params = asked(kernel, trainer)
    m, shape = () if seeds is None else (3,), trainer.dataset.shape
    x = trainer.dataset.batch(0, 32, trainer.rng).x
    state = kernel.init(model, params, x)
    assert state.x.shape == (*m, 32, *shape)
    assert hasattr(state, "step_size") or kernel.target_acceptance is None
    assert getattr(state, "step_size", torch.zeros(m)).shape == m
    noise = kernel.noise(trainer.rng, state, 5)
    assert all(part.shape[: len(m) + 1] == (*m, 5) for part in noise)
    noise = tuple(part.select(len(m), 0) for part in noise)
    after, info = kernel.step(model, params, state, noise)
    again, _ = kernel.step(model, params, state, noise)
    assert all(torch.equal(a, b) for a, b in zip(after, again, strict=True))
    assert torch.equal(state.x, x)
    assert not torch.equal(after.x, x)
    assert all(value.shape == (*m, 32) for value in info.values())
    assert ("acceptance_rate" in info) == (kernel.target_acceptance is not None)
    assert not info["divergence"].any()
    assert kernel.finish(model, params, after).shape == (*m, 32, *shape)
    assert not any(part.requires_grad for part in after)
    if trainer.dataset.space.kind == "binary":
        assert ((after.x == 0) | (after.x == 1)).all()
    for k in range(3 if m else 0):
        single = {name: value[k] for name, value in params.items()}
        part = type(state)(*(value[k] for value in state))
        alone, _ = kernel.step(model.alone(), single, part, tuple(value[k] for value in noise))
        torch.testing.assert_close(alone.x, after.x[k])
    if m and sampler not in EXCUSED and space in TRACED:
        torch._dynamo.reset()
        whole, _ = torch.compile(kernel.step, fullgraph=True, backend="eager")(model, params, state, noise)
        torch.testing.assert_close(whole.x, after.x)


@pytest.mark.parametrize("sampler", options("sampler"))
def test_a_sampler_requires_what_it_uses(tmp_path, sampler):
    """A sampler that does not require an energy runs on a score network."""
    kernel = schema.build(nodes("sampler")[sampler])
    if kernel.requires & {"energy", "block_gibbs", "ising"}:
        pytest.skip("it requires an energy")
    trainer = trainer_of(tmp_path, "energy=score_mlp")
    model, params = asked(kernel, trainer, outputs_score=True)
    x, _ = chain.run(kernel, model, params, trainer.dataset.batch(0, 16, trainer.rng).x, trainer.rng, n_steps=3)
    assert x.shape == (16, 2)


def dataset_of(tmp_path, dataset):
    """The dataset of an option; tables of bits and of categories have 8 columns of two values."""
    if dataset == "potts":  # SPACES has no space of categories
        return schema.build(nodes("dataset")[dataset])
    if dataset not in ("binary_table", "categorical_table"):
        words = ["dataset.validation=0.1"] if "validation" in nodes("dataset")[dataset] else []
        return experiment(tmp_path, f"dataset={dataset}", "objective=nce", *words, space=space_of("dataset", dataset)).dataset
    rows = Rng(0).integers("bits", 2, 60, 8).tolist()
    (tmp_path / "bits.csv").write_text("\n".join(",".join("xy"[bit] for bit in row) for row in rows))
    return schema.build(nodes("dataset")[dataset] | {"path": str(tmp_path / "bits.csv"), "header": False})


@pytest.mark.parametrize("dataset", options("dataset"))
def test_dataset(tmp_path, dataset):
    data = dataset_of(tmp_path, dataset)
    assert data.space.kind in data.provides
    assert data.shape == data.space.shape
    for rng, m in ((Rng(3), ()), (Rng((3, 4)), (2,))):
        x, y = data.batch(5, 8, rng)
        batches = [(8, data.batch(5, 8, rng), data.batch(5, 8, rng))]
        batches += [(6, data.split(name, 6, rng), data.split(name, 6, rng)) for name in ("train", "validation", "test")]
        for n, batch, again in batches:
            assert batch.x.shape == (*m, n, *data.shape)
            assert torch.equal(batch.x, again.x)
            assert batch.x.dtype == torch.get_default_dtype()
            assert (batch.y is not None) == ("labels" in data.provides)
            if batch.y is not None:
                assert batch.y.shape == (*m, n)
                assert batch.y.dtype == torch.int64
                assert torch.equal(batch.y, again.y)
            if data.space.kind == "binary":
                assert ((batch.x == 0) | (batch.x == 1)).all()
        assert not torch.equal(x, data.batch(6, 8, rng).x)
        assert not torch.equal(data.split("test", 6, rng).x, data.split("validation", 6, rng).x)
        for k, seed in enumerate(rng.seed_list if m else ()):
            alone = data.batch(5, 8, Rng(seed))
            assert torch.equal(x[k], alone.x)
            assert y is None or torch.equal(y[k], alone.y)
        if "density" in data.provides:
            log_p = data.log_prob(x)
            assert log_p.shape == (*m, 8)
            assert log_p.dtype == torch.double
            assert log_p.isfinite().all()
    assert len(data.column_names) == math.prod(data.shape)
    round_trip = data.standardization.from_data(data.standardization.to_data(x))
    torch.testing.assert_close(round_trip, x.double(), atol=1e-6, rtol=0)


def test_the_custom_densities_are_those_of_their_draws(tmp_path):
    """Bits: probabilities sum to one and match the frequencies of 40,000 draws. Images: E |L^-1 (x - mean)|^2 = 64, from log p."""
    bits = schema.build(nodes("dataset")["chain_of_bits"] | {"n_bits": 4})
    x = states(bits.space)
    p = bits.log_prob(x).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    drawn = bits.draw(40_000, Rng(0))
    share = (drawn.unsqueeze(1) == x).all(-1).double().mean(0)
    assert ((share - p).abs() <= 5 * (p * (1 - p) / 40_000).sqrt()).all()
    images = schema.build(nodes("dataset")["gaussian_images"])
    log_p = images.log_prob(images.draw(20_000, Rng(0)))
    squared = 2 * (images.log_prob(images.mean) - log_p)
    assert squared.mean().item() == pytest.approx(64, abs=5 * (2 * 64 / 20_000) ** 0.5)
    assert squared.var().item() == pytest.approx(128, rel=0.1)


def built(energy, seed=0):
    """The energy of an option with random weights, 8 events of its space, and labels if it takes them."""
    node = nodes("energy")[energy]
    space = space_of("energy", energy)
    shape = {"image": (1, 8, 8), "binary": (16,)}.get(space, (2,))
    x = (Rng(0).normal("x", 8, *shape) > 0).float() if space in ("binary", "categorical") else Rng(0).normal("x", 8, *shape)
    params = {"label": Rng(0).integers("label", 2, 8)} if space == "labelled" else {}
    if compatibility.analytic(node):
        return schema.build(compose.compose([f"energy={energy}"]).config["energy"]), Rng(0).normal("x", 8, *(2,)), params
    torch.manual_seed(seed)
    mean, scale = torch.ones(shape), torch.linspace(2.0, 0.5, math.prod(shape)).view(shape)
    events = Space(shape, space if space in ("binary", "categorical") else "real", 3 if space == "categorical" else None)
    return schema.build(node, space=events, shape=shape, mean=mean, scale=scale, reference=gaussian(mean, scale)), x, params


@pytest.mark.parametrize("energy", sorted(set(options("energy")) - {"compose"}))  # compose needs runs: test_composition.py
def test_energy(energy):
    """Shapes and purity; values are finite far from the data and independent between events; a stack equals its models."""
    trainable = energy in LEARNED
    modules, (x, label) = [built(energy, seed)[0] for seed in range(2 if trainable else 1)], built(energy)[1:]
    if not trainable and modules[0].shape != x.shape[1:]:
        x = Rng(0).normal("x", 8, *modules[0].shape)
    params = [{k: v.detach() for k, v in tensors(module).items()} for module in modules]
    model = Model(modules[0], event_ndim=x.ndim - 1, stacked=False)
    ask = model.score if model.outputs_score else model.energy
    for reach in (1.0,) if space_of("energy", energy) in ("binary", "categorical") else (1.0, 30.0):
        far = reach * x
        level = (torch.linspace(0.05, 3.0, 8),) if "noise_level" in model.provides else ()
        answer = ask(params[0] | label, far, *level)
        assert answer.shape == (x.shape if model.outputs_score else (8,))
        assert answer.isfinite().all()
        assert torch.equal(answer, ask(params[0] | label, far, *level))
        some = {name: value[3:5] for name, value in label.items()}
        torch.testing.assert_close(ask(params[0] | some, far[3:5], *(part[3:5] for part in level)), answer[3:5])
        if label:  # the labels are repeated for the second half of 2 x 8 events
            twice = ask(params[0] | label, torch.cat([far, far]))
            torch.testing.assert_close(twice, torch.cat([answer, answer]))
            assert not torch.allclose(ask(params[0] | {"label": 1 - label["label"]}, far), answer)
        if not trainable:
            continue
        stack = Model(modules[0], event_ndim=x.ndim - 1, stacked=True)
        both = {name: torch.stack([single[name] for single in params]) for name in params[0]}
        both |= {name: torch.stack([value, value]) for name, value in label.items()}
        answers = (stack.score if model.outputs_score else stack.energy)(
            both, far.expand(2, *far.shape), *(part.expand(2, 8) for part in level)
        )
        for m in range(2):
            torch.testing.assert_close(answers[m], ask(params[m] | label, far, *level))


def test_a_tilted_convolution_starts_at_the_reference(tmp_path):
    """f = 0, so E = -log q, on events with three axes."""
    trainer = trainer_of(tmp_path, "objective=nce", "reference=full_gaussian", space="image")
    x = trainer.dataset.batch(0, 8, trainer.rng).x
    torch.testing.assert_close(trainer.model.energy(trainer.frozen, x), -trainer.reference.log_prob(x))
    assert trainer.model.score(trainer.frozen, x).shape == x.shape


SMALL_REFERENCES = {
    "mixture": {"n_components": 3, "shrinkage": 1.0},
    "bernoulli_mixture": {"n_components": 3},
    "flow": {"n_steps": 10, "hidden": [8]},
}
REFERENCES = [pytest.param(option, id=option) for option in options("reference")]


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference(reference):
    """Shapes and purity; fits to the data of each model; -log q from the tilt and its constant; scores from the tilt."""
    node = nodes("reference")[reference]
    q = schema.build(node | SMALL_REFERENCES.get(reference, {}))
    x = Rng((0, 1)).normal("x", 200, 2, 3)
    x = (x > 0).float() if {"binary", "discrete"} & q.requires else x
    stack, alone = FittedReference.fit(q, x, (2, 3), Rng((0, 1)), x), FittedReference.fit(q, x[1], (2, 3), Rng(1), x[1])
    assert all(value.shape[0] == 2 for value in stack.params.values())
    for name, value in stack.select(1).params.items():
        torch.testing.assert_close(value, alone.params[name])
    drawn, points = stack.draw(50, Rng((0, 1)), "s"), x[:, :20]
    assert drawn.shape == (2, 50, 2, 3)
    assert torch.equal(drawn, stack.draw(50, Rng((0, 1)), "s"))
    assert not torch.equal(drawn, stack.draw(50, Rng((0, 1)), "t"))
    torch.testing.assert_close(drawn[1], alone.draw(50, Rng(1), "s"))
    log_q = stack.log_prob(points)
    assert log_q.shape == (2, 20)
    assert stack.log_prob(drawn).isfinite().all()
    torch.testing.assert_close(log_q[1], alone.log_prob(points[1]))
    flat, mean, scale = points[1].flatten(1), x[1].flatten(1).mean(0), event_scale(x[1], 2).flatten()
    tilt = q.tilt(alone.params, flat, (flat - mean) / scale)
    torch.testing.assert_close(-tilt - q.log_normalizer(alone.params), log_q[1], rtol=1e-4, atol=1e-4)
    if q.smoothable:
        for level in (None, torch.full((20,), 0.7)):
            width = scale if level is None else (scale**2 + 0.49).sqrt()
            at = flat.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(q.tilt(alone.params, at, (at - mean) / width, level).sum(), at)
            score = q.score(alone.params, flat, (flat - mean) / width, 1 / width, level)
            torch.testing.assert_close(score / width, -gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("energy", sorted(set(options("energy")) - set(LEARNED)))
def test_an_energy_without_parameters_is_not_trained(energy):
    with pytest.raises(InputError, match="nothing to train") as refused:
        Experiment.of(compose.compose([f"energy={energy}"]))
    assert f"ebm sample energy={energy}" in refused.value.problems[0].hint


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("regularizer", options("regularizer"))
def test_regularizer(tmp_path, regularizer, space):
    if not compatibility.requires({"a": nodes("regularizer")[regularizer]}, "regularizer") <= offered(space):
        pytest.skip("it requires events of another kind")
    for seeds, m in (("null", ()), ("3", (3,))):
        trainer = trainer_of(tmp_path, "objective=nce", f"regularizer=[{regularizer}]", f"seeds={seeds}", space=space)
        params, x, aux, _, _ = prepared(trainer)
        penalty = trainer.regularizers[0].penalty(trainer.model, params, x, aux)
        assert penalty.shape == (*m, 32)
        assert torch.equal(penalty, trainer.regularizers[0].penalty(trainer.model, params, x, aux))


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_a_diverged_model_of_a_stack_is_frozen(tmp_path, optimizer):
    """A model is frozen from its first non-finite gradient on. The other models stay bit-identical."""
    intact, diverged = (trainer_of(tmp_path, f"optimizer={optimizer}", "objective=nce", "seeds=3") for _ in range(2))
    for step in range(20):
        if step == 10:
            before = diverged.state.theta.clone()
            diverged.params["network.0.weight"].data[1, 0, 0] = float("nan")
            before[1] = diverged.state.theta[1]
        intact.step()
        diverged.step()
    for m in (0, 2):
        assert torch.equal(intact.state.theta[m], diverged.state.theta[m])
    torch.testing.assert_close(diverged.state.theta[1], before[1], equal_nan=True, rtol=0, atol=0)
    assert diverged.dead() == {1: 10}
    assert not torch.equal(diverged.state.theta[0], before[0])


@pytest.mark.parametrize("metric", options("metric"))
def test_metric(tmp_path, metric):
    """Every metric on a space that meets its requirements; test_evaluate.py tests unmet requirements."""
    needs = compatibility.requires({metric: nodes("metric")[metric]}, "metric")
    space = "binary" if needs & {"binary", "discrete"} or metric not in SHIPPED["metric"] else "real"
    labels = Rng(0).normal("table", 60, 2)[:30, 0].tolist()  # half of the values of a column
    blocks = ["energy=rbm", "metric.ais_of_blocks.n_temperatures=20"]
    words = {
        "ais": ["metric.ais.n_temperatures=30"],
        "ais_of_blocks": blocks,
        "auroc": ["dataset=table", "dataset.label=a", f"dataset.anomaly={labels}"],
    }
    measured = experiment(tmp_path, "objective=nce", f"metric=[{metric}]", *words.get(metric, ()), space=space)
    (measure,), trainer = measured.metrics().values(), measured.trainer()
    needed = evaluate.requirements(measure) - (measured.dataset.provides if metric == "auroc" else set())
    assert needed <= offered(space, "rbm" if "block_gibbs" in needed else "couplings" if space == "binary" else "mlp")
    samples = (Rng(1).normal("samples", 100, 1) if metric == "auroc" else trainer.dataset.draw(100, Rng(1))).unflatten(0, (20, 5))
    context = [
        MetricContext(trainer.model, trainer.frozen, trainer.dataset, trainer.rng, samples, reference=trainer.reference) for _ in range(2)
    ]
    numbers, again = map(measure, context)
    assert numbers == again
    assert {*measure.headline, *measure.best, *measure.unaveraged} <= {*measure.units, *estimators.COMMON}
    assert all(isinstance(best, float) or best in ("min", "max") for best in measure.best.values())
    assert not set(measure.unaveraged) & {*measure.best, *measure.headline}
    assert not measure.headline or set(measure.headline) & set(measure.best)
    if not isinstance(numbers, str):
        assert metric != "auroc" or all(isinstance(value, float) for value in numbers.values())
        assert list(numbers) == [key for key in measure.units if key in numbers]
        assert all(isinstance(value, (float, str)) for value in numbers.values())


def test_the_metrics_that_rank_models():
    """Lower bounds, and diagnostics of a metric itself, do not rank models."""
    found = {}
    for node in nodes("metric", SHIPPED).values():
        module, _, name = node["_target_"].rpartition(".")
        found |= vars(import_module(module))[name].best
    others = {"pseudo_nll": "min", "ess": "max", "ess_per_draw": "max", "c2st_accuracy": 0.5, "short_run_energy_gap": 0.0}
    least = "kl nll ais_nll_upper fisher ksd2 mmd2 sliced_wasserstein short_run_sliced_wasserstein r_hat magnetization_time"
    least += " mean_error mean_error_max covariance_error covariance_error_max"
    others |= dict.fromkeys(("auroc", "average_precision", "auroc_score_norm", "average_precision_score_norm"), "max")
    assert found == dict.fromkeys([*least.split(), "mode_weight_error", "mode_weight_error_density"], "min") | others


TEMPERED = ("tempered_block_gibbs", "tempered_flip", "tempered_gibbs", "tempered_gwg")
SHARED = {"dmala": "dlp"} | dict.fromkeys(TEMPERED, "tempered_kernel")  # options of one class


def test_sampler_options_are_named_like_their_modules():
    """A comparison uses this to name the sampler of `ebm evaluate`."""
    shipped = nodes("sampler", SHIPPED)
    assert {option: node["_target_"].split(".")[-2] for option, node in shipped.items()} == {
        name: SHARED.get(name, name) for name in shipped
    }


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in {**schema.KINDS, **schema.KINDS_OF_LISTS} for option in options(group)]
)
def test_yaml_and_signature_have_the_same_keys(group, option):
    """Values are defined only in YAML: every parameter has a key, and classes have no defaults."""
    node = nodes(group)[option]
    module, _, name = node.pop("_target_").rpartition(".")
    target = vars(import_module(module))[name]
    known = schema.parameters(target, schema.injected(schema.kind_of(group), target))
    assert set(node) | set(option_files.placed(GROUPS[group][option].path)) == set(known)
    assert all(parameter.default is parameter.empty for parameter in known.values())


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_has_a_description_and_a_reference(group, option):
    found = GROUPS[group][option]
    assert len(found.description) > 3
    assert found.reference


@pytest.mark.parametrize("group", [*schema.KINDS, *schema.KINDS_OF_LISTS])
def test_requirements_and_capabilities_are_in_the_vocabulary(group):
    for node in nodes(group).values() if group in GROUPS else ():
        target = compatibility.class_of(node, group)
        words = getattr(target, "provides" if group == "dataset" else "requires", frozenset())
        assert words <= compatibility.VOCABULARY.keys()
        assert group != "dataset" or len(words & {"real", "binary", "categorical"}) == 1
