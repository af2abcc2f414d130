"""The parameter types that completion reads from source code are those that Python reports. Reading them does not import torch."""

import subprocess
import sys
from inspect import signature
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from ebm_cli.commands import _signatures
from ebm_cli.commands._signatures import is_analytic, values_of
from ebm_cli.config import compatibility, option_files, schema, settings

COMPONENTS = [
    pytest.param(group, name, node, id=f"{group}={name}")
    for group in (*schema.KINDS, *schema.KINDS_OF_LISTS)
    for name, node in ((name, option_files.node_of(option.path)) for name, option in option_files.groups()[group].items())
]


def listed(hint):
    """The values that a type lists, read from the type itself."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if get_origin(hint) in (Union, UnionType):
        return list(dict.fromkeys(value for member in get_args(hint) for value in listed(member)))
    if get_origin(hint) is Annotated:
        return listed(get_args(hint)[0])
    return ["true", "false"] if hint is bool else []


@pytest.mark.parametrize(("group", "name", "node"), COMPONENTS)
def test_the_values_of_every_parameter_are_those_of_its_type(group, name, node):
    target = compatibility.class_of(node, group)
    hints = get_type_hints(target.__init__, include_extras=True)
    for parameter in signature(target).parameters:
        assert values_of(node["_target_"], parameter) == listed(hints.get(parameter)), parameter


@pytest.mark.parametrize("target", [settings.root, settings.TrainerSettings, settings.SweepSettings], ids=lambda target: target.__name__)
def test_the_values_of_keys_that_belong_to_no_component(target):
    hints = get_type_hints(target, include_extras=True)
    for key in signature(target).parameters:
        assert values_of(f"ebm_cli.config.settings.{target.__name__}", key) == listed(hints[key])


@pytest.mark.parametrize(
    ("target", "parameter", "values"),
    [
        ("ebm_cli.objectives.ssm.SlicedScoreMatching", "directions", {"gaussian", "rademacher", "sphere"}),
        ("ebm_cli.objectives.ssm.SlicedScoreMatching", "variance_reduced", {"true", "false"}),
        ("ebm_cli.objectives.ssm.SlicedScoreMatching", "n_projections", set()),
        ("ebm_cli.energies.mlp.MLP", "activation", {"elu", "gelu", "silu", "softplus", "tanh"}),
        ("ebm_cli.config.settings.SweepSettings", "direction", {"min", "max"}),
        ("ebm_cli.config.settings.TrainerSettings", "compile", {"true", "false"}),
        ("hydra_plugins.ebm.OptunaSweeper", "sampler", {"tpe", "random"}),
        ("hydra_plugins.ebm.GpuLauncher", "gpus", {"auto"}),
        ("hydra_plugins.ebm.SubmititLauncher", "stderr_to_stdout", {"true", "false"}),
        ("ebm_cli.objectives.ssm.SlicedScoreMatching", "gone", set()),
        ("ebm_cli.objectives.ssm.Gone", "directions", set()),
        ("ebm_cli.gone.Gone", "directions", set()),
        ("somebody.elses.Thing", "directions", set()),
        ("", "seed", set()),
    ],
)
def test_values(target, parameter, values):
    assert {*values_of(target, parameter)} == values


@pytest.mark.parametrize("target", _signatures.ELSEWHERE.values())
def test_signatures_that_are_defined_elsewhere_exist(target):
    module, _, name = target.rpartition(".")
    assert name in _signatures._source(module).definitions


BASE = """
from typing import Literal
from toys.words import Color, Mixed

Size = Literal["small", "large"]
Any = Size | None

class Root:
    paint: Color

class Base(Root):
    ready: bool
    size: Size
    twice: Mixed | Color

    def __init__(self, mixed: Mixed, *, nested: Any | Literal[3] | list[Literal["inside"]], single: Literal["one"]) -> None: ...
"""
WORDS = """
from typing import Annotated, Literal

Color = Literal["red", "green"]
Count = Annotated[int, 1]
Mixed = Color | bool | Count | None
"""
OWN = """
from toys.base import Base
from torch import nn

class Own(Base, nn.Module):
    size: int

class Other(Own):
    def __init__(self, paint: str) -> None: ...

def plain(a, b: bool = True, /, *, c: "bool" = False) -> None: ...
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A small package that replaces ours."""
    (tmp_path / "toys").mkdir()
    for name, text in (("base", BASE), ("words", WORDS), ("own", OWN)):
        (tmp_path / "toys" / f"{name}.py").write_text(text)
    monkeypatch.setattr(_signatures, "PACKAGE", tmp_path / "toys")
    _signatures._source.cache_clear()
    yield
    _signatures._source.cache_clear()


@pytest.mark.parametrize(
    ("target", "parameter", "values"),
    [
        ("toys.base.Base", "ready", ["true", "false"]),
        ("toys.base.Base", "size", ["small", "large"]),
        ("toys.base.Base", "paint", ["red", "green"]),  # an alias from another module
        ("toys.base.Base", "mixed", ["red", "green", "true", "false"]),
        ("toys.base.Base", "nested", ["small", "large", "3"]),
        ("toys.base.Base", "single", ["one"]),
        ("toys.base.Base", "twice", ["red", "green", "true", "false"]),
        ("toys.own.Own", "paint", ["red", "green"]),  # of the base of a base, with an alias from another module
        ("toys.own.Own", "mixed", ["red", "green", "true", "false"]),  # inherited; only the module of the base knows the alias
        ("toys.own.Own", "size", []),  # the nearest definition is used
        ("toys.own.Other", "nested", ["small", "large", "3"]),
        ("toys.own.Other", "paint", []),
        ("toys.own.plain", "b", ["true", "false"]),
        ("toys.own.plain", "a", []),
        ("toys.own.nn", "a", []),
    ],
)
def test_aliases_unions_and_inherited_parameters(toys, target, parameter, values):
    assert values_of(target, parameter) == values


@pytest.mark.parametrize(("name", "node"), compatibility.options("energy", ()).items())
def test_an_energy_is_analytic_if_it_cannot_be_trained(name, node):
    assert is_analytic(node["_target_"]) == (compatibility.analytic(node))


@pytest.mark.parametrize("target", ["", "somebody.elses.Energy", "ebm_cli.gone.Gone", "ebm_cli.energies.analytic.Gone"])
def test_an_unknown_target_is_not_analytic(target):
    assert not is_analytic(target)


def test_nothing_heavy_is_imported():
    targets = [values[2]["_target_"] for values in (component.values for component in COMPONENTS)]
    code = f"""
import sys
from ebm_cli.commands._signatures import is_analytic, values_of
for target in {targets}:
    values_of(target, "activation"), is_analytic(target)
sys.exit(bool({{"torch", "numpy", "hydra", "omegaconf", "pydantic"}} & {{*sys.modules}}))"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_a_run_the_analytic_energies_are_offered(ebm):
    _, out, _ = ebm("completion", "--line", "ebm sample energy=")
    offered = {line.partition("\t")[0].removeprefix("energy=") for line in out.splitlines()}
    assert offered == {
        name for name in option_files.groups()["energy"] if compatibility.analytic(compatibility.options("energy", ())[name])
    }
