"""Every option of every group through the contract of its kind: shapes, purity, a stack equals its models, one whole graph.

A new option is tested here without a line of test being written for it. `EXCUSED` names what may not trace whole, with the reason.
"""

import csv
from importlib import import_module

import pytest
import torch
import yaml
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ebm_cli.config import compatibility, compose, schema
from ebm_cli.core import chain
from ebm_cli.core.metric_context import MetricContext
from ebm_cli.core.model import Model, tensors
from ebm_cli.core.rng import Rng
from ebm_cli.core.wrappers import AtNoiseLevel
from ebm_cli.errors import InputError
from ebm_cli.runner.experiment import Experiment

GROUPS = compose.groups()
EXCUSED: dict[str, str] = {}  # option: why its loss or step does not trace whole
SMALL = ["trainer.batch_size=32", "trainer.n_steps=50", "trainer.max_grad_norm=1.0", "metric=[]", "device=cpu"]
NARROW = {"hidden": "energy.hidden=[16,16]", "width": "energy.width=16"}  # where an energy has such a key
SHORT = {  # small, and away from what is neutral
    "cd": ["objective.n_steps=3", "objective.kl_weight=0.3"],
    "exact": ["objective.n_points=20"],
    "fd_ssm": ["objective.eps=0.5"],  # in single precision smaller differences are known to fewer digits
    "lsd": ["objective.hidden=[8]", "objective.n_critic=2"],
    "mle": ["objective.n_steps=3"],
    "nce": ["objective.noise=mixture", "objective.n_components=3"],
    "pcd": ["objective.n_steps=3", "objective.n_chains=64", "objective.restart=0.2", "objective.adapt=0.1"],
    "recovery": ["objective.n_steps=3"],
    "short_run": ["objective.n_steps=3"],
}


def options(group):
    return sorted(GROUPS.get(group, {}))


def nodes(group):
    """Every option's node, from its file alone."""
    for option, found in GROUPS[group].items():
        node = yaml.safe_load(found.path.read_text())
        yield option, next(iter(node.values())) if group in schema.KINDS_OF_LISTS else node


def table(tmp_path):
    x = Rng(0).normal("table", 60, 2).tolist()
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], *x])
    return str(tmp_path / "x.csv")


def trainer(tmp_path, *words):
    chosen = dict(word.split("=", 1) for word in words)
    node = dict(nodes("energy"))[chosen.setdefault("energy", "mlp")]
    words = [*SMALL, f"energy={chosen['energy']}", *(word for word in words if not word.startswith("energy="))]
    words += [*SHORT.get(chosen.get("objective"), []), *(word for key, word in NARROW.items() if key in node)]
    if chosen.get("dataset") == "table":
        words.append(f"dataset.path='{table(tmp_path)}'")
    return Experiment.of(compose.compose(words)).trainer()


def pairs():
    """Every objective with the plainest energy that it can be trained with, and every energy that learns with one such objective."""
    objectives = sorted(nodes("objective"), key=lambda one: (one[0] != "ssm", one[0]))
    energies = sorted((one for one in nodes("energy") if compatibility.trainable(one[1])), key=lambda one: (len(one[0]), one[0]))

    def fit(objective, energy):
        needs, has = compatibility.requires(objective, "objective"), compatibility.provides(energy)
        return needs <= has and ("noise_level" in needs) == ("noise_level" in has)

    found = [(one, next((energy for energy, has in energies if fit(node, has)), None)) for one, node in objectives]
    found += [(next((one for one, node in objectives if fit(node, has)), None), energy) for energy, has in energies]
    for objective, energy in dict.fromkeys(pair for pair in found if None not in pair):
        yield pytest.param(f"objective={objective}", f"energy={energy}", id=f"{objective}-{energy}")


def prepared(one):
    """What a trainer's loss takes in its first step."""
    x = one.dataset.batch(0, 32, one.rng)
    aux, carry, info = one.objective.prepare(one.model, one.frozen, one.state.carry, x, one.rng.at("step").at(0))
    return x, aux, carry, info


@pytest.fixture
def tracing():
    """torch.compile may look into torch.autograd.grad, as `trainer.compile` has it."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        yield


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize(("objective", "energy"), list(pairs()))
def test_objective(tmp_path, objective, energy, seeds):
    one = trainer(tmp_path, objective, energy, f"seeds={'null' if seeds is None else seeds}")
    m = () if seeds is None else (3,)
    before = {name: value.clone() for name, value in one.frozen.items()}
    x, aux, carry, _ = prepared(one)
    loss, info = one.objective.loss(one.model, one.params, x, aux)
    assert loss.shape == (*m, 32)
    assert all(value.shape[: len(m)] == m for value in (carry | aux | info).values())
    assert not any(value.requires_grad for value in (carry | aux).values())
    _, aux2, carry2, _ = prepared(one)
    assert same(aux, aux2)
    assert same(carry, carry2)
    assert torch.equal(loss, one.objective.loss(one.model, one.params, x, aux)[0])
    assert same(before, one.frozen)


@pytest.mark.parametrize(("objective", "energy"), list(pairs()))
def test_loss_is_one_graph(tmp_path, objective, energy, tracing):
    if objective in EXCUSED:
        pytest.skip(EXCUSED[objective])
    for seeds in ("null", "2"):
        torch._dynamo.reset()
        one = trainer(
            tmp_path, objective, energy, f"seeds={seeds}", "regularizer=[energy_l2]" if energy == "energy=mlp" else "regularizer=[]"
        )
        x, aux, _, _ = prepared(one)
        compiled = torch.compile(one._value_and_gradient, fullgraph=True, backend="eager")
        loss, gradient, _ = compiled(one.params, x, aux)
        loss2, gradient2, _ = one._value_and_gradient(one.params, x, aux)
        torch.testing.assert_close(loss, loss2)
        torch.testing.assert_close(gradient, gradient2)


class NoReadBack(TorchDispatchMode):
    """Raises where a value leaves the device, or comes to it from a list: on a GPU the host would wait."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        assert func not in (aten._local_scalar_dense.default, aten.nonzero.default), f"a step reads a value back: {func}"
        assert func is not aten.lift_fresh.default, "a step brings a list of the host to the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("seeds", ["null", "3"])
@pytest.mark.parametrize(("objective", "energy"), list(pairs()))
def test_a_step_reads_nothing_back(tmp_path, objective, energy, seeds, monkeypatch):
    one = trainer(tmp_path, objective, energy, f"seeds={seeds}")
    one.step()
    with monkeypatch.context() as patch, NoReadBack():
        for name in ("tolist", "numpy", "cpu"):  # on the CPU these pass the dispatcher by
            patch.setattr(torch.Tensor, name, lambda *_: pytest.fail("a step reads a value back"))
        one.step()
    with pytest.raises(AssertionError, match="reads a value back"), NoReadBack():
        bool(one.state.alive.all())
    with pytest.raises(AssertionError, match="a list of the host"), NoReadBack():
        torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("objective", "energy", "dataset"),
    [pytest.param(*pair.values, "dataset=moons", id=pair.id) for pair in pairs()]
    + [pytest.param("objective=nce", "energy=mlp", f"dataset={dataset}", id=dataset) for dataset in options("dataset")],
)
def test_stack_equals_its_models(tmp_path, objective, energy, dataset):
    """Model m of a stack: the single run with its seed. Draws are equal to the bit; parameters, after 50 steps, to 1e-5."""
    needs = compatibility.requires(dict(nodes("objective"))[objective.removeprefix("objective=")], "objective")
    # a constant in the energy, which no gradient but the penalty's moves, would follow the sign of rounding errors
    words = (dataset, objective, energy, *(["regularizer=[energy_l2]"] if "energy" in needs else []))
    stack, singles = trainer(tmp_path, *words, "seeds=3"), [trainer(tmp_path, *words, f"seed={seed}") for seed in range(3)]
    for m, single in enumerate(singles):
        assert torch.equal(stack.dataset.batch(7, 32, stack.rng)[m], single.dataset.batch(7, 32, single.rng))
        assert torch.equal(stack.state.theta[m], single.state.theta)
        for name, value in single.state.carry.items():
            assert torch.equal(stack.state.carry[name][m], value)
    for one in (stack, *singles):
        for _ in one.steps():
            pass
    for m, single in enumerate(singles):
        torch.testing.assert_close(stack.state.theta[m], single.state.theta, rtol=0, atol=1e-5)
        torch.testing.assert_close(stack.state.ema[m], single.state.ema, rtol=0, atol=1e-5)
    assert not torch.equal(singles[0].state.theta, singles[1].state.theta)


class NoiseConditional(nn.Module):
    """x (B, 2), sigma (B,) -> E(x, sigma) (B,), or s(x, sigma) (B, 2)."""

    takes_noise_level = True

    def __init__(self, outputs_score):
        super().__init__()
        self.outputs_score = outputs_score
        self.network = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2 if outputs_score else 1))

    def forward(self, x, sigma):
        return self.network(torch.cat([x, sigma.log().unsqueeze(-1)], -1)).squeeze(-1)


def asked(kernel, one, *, outputs_score=False):
    """The trainer's model; a noise-conditional one for a sampler that walks down its levels."""
    if "noise_level" not in kernel.requires:
        return one.model, one.frozen
    module = NoiseConditional(outputs_score)
    params = {name: one.rng.normal(name, *value.shape) for name, value in tensors(module).items()}
    return AtNoiseLevel(Model(module, event_ndim=1, stacked=one.model.stacked), (2.0, 0.5)), params


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize("sampler", options("sampler"))
def test_sampler(tmp_path, sampler, seeds, tracing):
    one = trainer(tmp_path, f"seeds={'null' if seeds is None else seeds}")
    kernel = schema.build(yaml.safe_load(GROUPS["sampler"][sampler].path.read_text()))
    model, params = asked(kernel, one)
    m = () if seeds is None else (3,)
    x = one.dataset.batch(0, 16, one.rng)
    state = kernel.init(model, params, x)
    assert state.x.shape == (*m, 16, 2)
    assert state.step_size.shape == m
    noise = kernel.noise(one.rng, state, 5)
    assert all(part.shape[: len(m) + 1] == (*m, 5) for part in noise)
    noise = tuple(part.select(len(m), 0) for part in noise)
    after, info = kernel.step(model, params, state, noise)
    again, _ = kernel.step(model, params, state, noise)
    assert all(torch.equal(a, b) for a, b in zip(after, again, strict=True))
    assert torch.equal(state.x, x)
    assert not torch.equal(after.x, x)
    assert all(value.shape == (*m, 16) for value in info.values())
    assert ("acceptance_rate" in info) == (kernel.target_acceptance is not None)
    assert not info["divergence"].any()
    assert kernel.finish(model, params, after).shape == (*m, 16, 2)
    assert not any(part.requires_grad for part in after)
    for k in range(3 if m else 0):
        single = {name: value[k] for name, value in params.items()}
        part = type(state)(*(value[k] for value in state))
        alone, _ = kernel.step(model.alone(), single, part, tuple(value[k] for value in noise))
        torch.testing.assert_close(alone.x, after.x[k])
    if sampler not in EXCUSED:
        torch._dynamo.reset()
        whole, _ = torch.compile(kernel.step, fullgraph=True, backend="eager")(model, params, state, noise)
        torch.testing.assert_close(whole.x, after.x)


@pytest.mark.parametrize("sampler", options("sampler"))
def test_sampler_needs_what_it_says(tmp_path, sampler):
    """A sampler that claims to need no energy runs on a score network."""
    kernel = schema.build(yaml.safe_load(GROUPS["sampler"][sampler].path.read_text()))
    if "energy" in kernel.requires:
        pytest.skip("needs an energy, and says so")
    one = trainer(tmp_path, "energy=score_mlp")
    model, params = asked(kernel, one, outputs_score=True)
    x, _ = chain.run(kernel, model, params, one.dataset.batch(0, 16, one.rng), one.rng, n_steps=3)
    assert x.shape == (16, 2)


@pytest.mark.parametrize("dataset", options("dataset"))
def test_dataset(tmp_path, dataset):
    data = trainer(tmp_path, f"dataset={dataset}").dataset
    for rng, m in ((Rng(3), ()), (Rng((3, 4)), (2,))):
        x = data.batch(5, 8, rng)
        assert x.shape == (*m, 8, *data.shape)
        assert torch.equal(x, data.batch(5, 8, rng))
        assert not torch.equal(x, data.batch(6, 8, rng))
        for name in ("train", "validation", "test"):
            points = data.split(name, 6, rng)
            assert points.shape == (*m, 6, *data.shape)
            assert torch.equal(points, data.split(name, 6, rng))
        assert not torch.equal(data.split("test", 6, rng), data.split("validation", 6, rng))
    assert len(data.column_names) == data.shape[0]
    round_trip = data.standardization.from_data(data.standardization.to_data(x))
    torch.testing.assert_close(round_trip, x.double(), atol=1e-6, rtol=0)


def built(node, seed=0):
    """A component of its node, for events of two columns; a network's own weights."""
    torch.manual_seed(seed)
    return schema.build(
        node, **({"shape": (2,), "mean": torch.ones(2), "scale": torch.tensor([2.0, 0.5])} if compatibility.trainable(node) else {})
    )


@pytest.mark.parametrize("energy", sorted(set(options("energy")) - {"compose"}))  # compose: of runs, in test_composition.py
def test_energy(energy):
    """Shapes, purity, finite far from the data, no event touches another, a stack equals its models."""
    node = dict(nodes("energy"))[energy]
    node.pop("defaults", None)
    if energy == "exact":
        node["dataset"] = yaml.safe_load(GROUPS["dataset"]["moons"].path.read_text())
    modules = [built(node, seed) for seed in range(2 if compatibility.trainable(node) else 1)]
    model, params = Model(modules[0], event_ndim=1, stacked=False), [{k: v.detach() for k, v in tensors(one).items()} for one in modules]
    ask = model.score if model.outputs_score else model.energy
    for reach in (1.0, 30.0):
        x = reach * Rng(0).normal("x", 8, 2)
        level = (torch.linspace(0.05, 3.0, 8),) if "noise_level" in model.provides else ()
        answer = ask(params[0], x, *level)
        assert answer.shape == (x.shape if model.outputs_score else (8,))
        assert answer.isfinite().all()
        assert torch.equal(answer, ask(params[0], x, *level))
        torch.testing.assert_close(ask(params[0], x[3:5], *(one[3:5] for one in level)), answer[3:5])
        if not compatibility.trainable(node):
            continue
        stack = Model(modules[0], event_ndim=1, stacked=True)
        both = {name: torch.stack([one[name] for one in params]) for name in params[0]}
        answers = (stack.score if model.outputs_score else stack.energy)(both, x.expand(2, 8, 2), *(one.expand(2, 8) for one in level))
        for m in range(2):
            torch.testing.assert_close(answers[m], ask(params[m], x, *level))


@pytest.mark.parametrize("energy", sorted(option for option, node in nodes("energy") if not compatibility.trainable(node)))
def test_what_learns_nothing_is_not_trained(energy):
    with pytest.raises(InputError, match="nothing to train") as refused:
        Experiment.of(compose.compose([f"energy={energy}"]))
    assert f"ebm sample energy={energy}" in refused.value.problems[0].hint


@pytest.mark.parametrize("regularizer", options("regularizer"))
def test_regularizer(tmp_path, regularizer):
    for seeds, m in (("null", ()), ("3", (3,))):
        one = trainer(tmp_path, "objective=nce", f"regularizer=[{regularizer}]", f"seeds={seeds}")
        x, aux, _, _ = prepared(one)
        penalty = one.regularizers[0].penalty(one.model, one.params, x, aux)
        assert penalty.shape == (*m, 32)
        assert torch.equal(penalty, one.regularizers[0].penalty(one.model, one.params, x, aux))


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_optimizer_leaves_a_diverged_model_of_a_stack_alone(tmp_path, optimizer):
    """From the first gradient that is not finite a model stands still; the others' bits do not notice."""
    whole, hurt = (trainer(tmp_path, f"optimizer={optimizer}", "objective=nce", "seeds=3") for _ in range(2))
    for step in range(20):
        if step == 10:
            before = hurt.state.theta.clone()
            hurt.params["network.0.weight"].data[1, 0, 0] = float("nan")
            before[1] = hurt.state.theta[1]
        whole.step()
        hurt.step()
    for m in (0, 2):
        assert torch.equal(whole.state.theta[m], hurt.state.theta[m])
    torch.testing.assert_close(hurt.state.theta[1], before[1], equal_nan=True, rtol=0, atol=0)
    assert hurt.dead() == {1: 10}
    assert not torch.equal(hurt.state.theta[0], before[0])


@pytest.mark.parametrize("metric", options("metric"))
def test_metric(tmp_path, metric):
    experiment = Experiment.of(compose.compose([*SMALL[:-2], "energy=mlp", NARROW["hidden"], f"metric=[{metric}]", "device=cpu"]))
    one, samples = experiment.trainer(), Rng(1).normal("samples", 20, 5, 2)
    (measure,) = experiment.metrics().values()
    numbers, again = (measure(MetricContext(one.model, one.frozen, one.dataset, one.rng, samples)) for _ in range(2))
    assert numbers == again
    assert {*measure.headline, *measure.best, *measure.unaveraged} <= set(measure.units)
    assert all(isinstance(best, float) or best in ("least", "greatest") for best in measure.best.values())
    assert not set(measure.unaveraged) & {*measure.best, *measure.headline}
    assert not measure.headline or set(measure.headline) & set(measure.best)
    if not isinstance(numbers, str):
        assert list(numbers) == [key for key in measure.units if key in numbers]
        assert all(isinstance(value, (float, str)) for value in numbers.values())


def test_what_ranks_models():
    """Neither a lower bound, nor what a metric says of itself."""
    found = {}
    for _, node in nodes("metric"):
        module, _, name = node["_target_"].rpartition(".")
        found |= vars(import_module(module))[name].best
    others = {"ess": "greatest", "ess_per_draw": "greatest", "c2st_accuracy": 0.5, "short_run_energy_gap": 0.0}
    least = "kl nll ais_nll_upper fisher ksd2 mmd2 sliced_wasserstein short_run_sliced_wasserstein r_hat"
    assert found == dict.fromkeys([*least.split(), "mode_weight_error", "mode_weight_error_density"], "least") | others


def test_an_option_of_a_sampler_has_its_modules_name():
    """By it a comparison names the sampler of `ebm evaluate`."""
    assert {option: node["_target_"].split(".")[-2] for option, node in nodes("sampler")} == {name: name for name in options("sampler")}


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in {**schema.KINDS, **schema.KINDS_OF_LISTS} for option in options(group)]
)
def test_yaml_and_signature_have_the_same_keys(group, option):
    """Values stand in YAML only: every parameter has a key, and no class has a second set of defaults."""
    node = dict(nodes(group))[option]
    module, _, name = node.pop("_target_").rpartition(".")
    target = vars(import_module(module))[name]
    known = schema.parameters(target, schema.injected(schema.kind_of(group), target))
    assert set(node) - {"defaults"} == set(known)
    assert all(parameter.default is parameter.empty for parameter in known.values())


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_says_what_it_is(group, option):
    found = GROUPS[group][option]
    assert len(found.description) > 3
    assert found.reference
