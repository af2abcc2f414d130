"""The command line: help, the form of error messages, and the packages that a config may use. Bad input is refused with exit code 2, and
nothing is written."""

import re
import shlex
import shutil

import pytest
import torch
import yaml

from ebm_cli import __main__
from ebm_cli.config import option_files

SMALL = ["experiment=smoke", "trainer.n_steps=2", "energy.width=8", "draws.n_samples=20", "draws.n_steps=4", "metric=[]", "figure=[]"]
OUTSIDE = "lies outside ebm_cli, torch.nn, torch.optim"

# (the line typed, a part of the message, a part of the hint): each line has one fault
FAULTS = [
    ("trian", "ebm has no command 'trian'", "did you mean train?"),
    ("train objectve=nce", "there is no key 'objectve'", "did you mean objective?"),
    ("train objective=ncee", "objective: there is no option 'ncee'", "did you mean objective=nce?"),
    ("train metric=[quadratur]", "metric: there is no option 'quadratur'", "did you mean metric=quadrature?"),
    ("train objective=[ssm,nce]", "the group objective takes one option", "`ebm train -m` makes a sweep of objective=ssm,nce"),
    ("train optimizer.lrr=0.1", "optimizer.lrr: Adam has no parameter 'lrr'", "did you mean optimizer.lr?"),
    ("train trainer.n_step=3", "trainer.n_step: there is no key 'n_step'", "did you mean trainer.n_steps?"),
    ("train seed.x=3", "seed.x: seed is a value", ""),
    ("train +optimizer.lrr=0.1", "+optimizer.lrr=0.1: keys cannot be added", ""),
    ("train ++seed=1", "++seed=1: keys cannot be added", "seed="),
    ("train +sed=1", "+sed=1: keys cannot be added", "did you mean seed"),
    ("train +experiment=smoke", "keys cannot be added", "omit the plus sign: experiment=smoke"),
    ("train ~metric", "~metric: keys cannot be removed", "metric=[]"),
    ("train optimizer.lr=fast", "optimizer.lr: must be a number, not 'fast'", ""),
    ("train optimizer.lr=true", "optimizer.lr: must be a number, not true", ""),
    ("train seed=true", "seed: must be a number, not true", ""),
    ("train trainer.n_steps=1.5", "trainer.n_steps: must be a whole number, not 1.5", ""),
    ("train trainer.compile=3", "trainer.compile: must be", ""),
    ("train energy=mlp energy.hidden=[8,0]", "energy.hidden[1]: must be greater than or equal to 1, not 0", ""),
    ("train energy.activation=swish", "energy.activation: must be", "'swish'"),
    ("train trainer=3", "trainer: must be a group of keys, not 3", ""),
    ("train optimizer.lr=-1", "optimizer.lr: must be greater than 0, not -1", ""),
    ("train trainer.ema_decay=1", "trainer.ema_decay: must be less than 1, not 1", ""),
    ("train seed=-1", "seed: must be greater than or equal to 0, not -1", ""),
    ("train optimizer.lr=nan", "optimizer.lr: must be a finite number, not nan", ""),
    ("train dataset.noise=inf", "dataset.noise: must be a finite number, not inf", ""),
    ("train seed=1,2", "seed=1,2: several values need a sweep", "`ebm train -m` makes a sweep"),
    ("train objective._target_=os.system", f"objective._target_: os.system {OUTSIDE}", "EBM_ALLOW"),
    ("train objective._target_=torch.load", f"torch.load {OUTSIDE}", ""),
    ("train objective._target_=builtins.open", f"builtins.open {OUTSIDE}", ""),
    ("train objective._target_=open", f"open {OUTSIDE}", ""),
    ("train objective._target_=ebm_cli_evil.Objective", f"ebm_cli_evil.Objective {OUTSIDE}", ""),
    ("train objective._target_=torch.nn.functional.torch.load", "torch.nn.functional.torch.load cannot be imported", ""),
    ("train objective._target_=torch.nn.parallel.distributed.os.system", "os.system cannot be imported", ""),
    ("train objective._target_=torch.nn.functional.relu", "torch.nn.functional.relu is not a class", ""),
    ("train dataset._target_=ebm_cli.datasets.moons.math", "ebm_cli.datasets.moons.math is not a class", ""),
    ("train dataset._target_=ebm_cli.datasets.moons.Moon", "ebm_cli.datasets.moons has no Moon", "did you mean Moons?"),
    ("train dataset._target_=ebm_cli.datasets.table.Path", "ebm_cli.datasets.table.Path is not a class", ""),
    ("train objective._target_=torch.nn.Linear", "torch.nn.Linear is not a valid objective: it has no", ""),
    ("train metric.quadrature._target_=os.system", f"metric.quadrature._target_: os.system {OUTSIDE}", ""),
    ("train dataset=table", "dataset.path: a value is needed", "dataset.path="),
    ("train dataset=table dataset.path=gone.csv", "dataset.path: there is no file 'gone.csv'", ""),
    (
        "train energy=score_mlp objective=nce",
        "objective=nce needs an energy, but energy=score_mlp outputs the score itself",
        "or energy=fourier_mlp or gaussian_rbm or mlp",
    ),
    (
        "train energy=score_mlp sampler=mala",
        "sampler=mala needs an energy, but energy=score_mlp outputs the score itself",
        "sampler=langevin or sgld or underdamped, or energy=fourier_mlp or gaussian_rbm or mlp",
    ),
    (
        "train sampler=annealed",
        "sampler=annealed uses several noise levels, but energy=residual_mlp takes no noise level",
        "sampler=hmc or langevin",
    ),
    (
        "train objective=pcd trainer.batch_size=64 objective.n_chains=32",
        "32 chains are fewer than the batch size, 64",
        "objective.n_chains=256",
    ),
    ("train hydra.run.dir=x", "hydra.run.dir=x: this key cannot be set", "EBM_OUTPUTS"),
    ("train -m hydra.sweep.dir=x seed=1,2", "hydra.sweep.dir=x: this key cannot be set", "EBM_OUTPUTS"),
    ("train objective", "'objective' cannot be read", "key=value"),
    ("train 'name=a b(c'", "'name=a b(c' cannot be read", "quote"),
    ("train --confi-dir x", "there is no flag --confi-dir", "did you mean --config-dir?"),
    ("train --cfg", "--cfg: a value is needed", ""),
    ("train --cfg jobs", "--cfg", "job"),
    ("train --resolve", "--resolve", ""),
    ("train --package x", "--package", ""),
    ("train --config-dir gone", "--config-dir: there is no folder 'gone'", ""),
    ("train device=gpu", "device: there is no device 'gpu'", "cpu"),
    ("train device=3", "device: there is no device '3'", "cpu"),
    ("sample", "a run is needed", "ebm sample energy=four_wells"),
    ("sample n_samples=3", "an energy is needed if no run is named", "ebm sample last"),
    ("sample four_wells", "four_wells is an energy, not a run", "ebm sample energy=four_wells"),
    ("sample energy=fourwells", "energy: there is no option 'fourwells'", "did you mean energy=four_wells?"),
    ("sample energy=four_wells energy.dims=3", "FourWells has no parameter 'dims'", "did you mean energy.dim?"),
    ("sample energy=banana energy.dataset.bnd=1", "energy.dataset.bnd: Banana has no parameter 'bnd'", "did you mean energy.dataset.bend?"),
    ("sample energy=banana energy.dataset.bend=x", "energy.dataset.bend: must be a number, not 'x'", ""),
    ("sample energy=banana energy.bend=1", "energy.bend: Exact has no parameter 'bend'", ""),
    ("sample energy=banana energy.dataset._target_=os.system", f"energy.dataset._target_: os.system {OUTSIDE}", ""),
    ("sample energy=four_wells energy.temperature=-1", "energy.temperature: must be greater than 0, not -1", ""),
    ("sample energy=four_wells seed=x", "seed: must be a whole number, not 'x'", ""),
    ("sample energy=four_wells draws.n_steps=9", "draws.n_steps: there is no key 'draws'", "did you mean n_steps?"),
    ("sample energy=four_wells model=1", "model: there is no key 'model'", ""),
    ("sample energy=four_wells sampler=mal", "sampler: there is no option 'mal'", "did you mean sampler=mala?"),
    ("sample energy=four_wells dataset=moons", "energy=four_wells reads no data", "energy=exact"),
    ("sample energy=four_wells dataset.noise=1", "energy=four_wells reads no data", "energy=exact"),
    ("sample energy=four_wells start=data", "start=data: this energy has no data", "start=noise"),
    ("sample energy=four_wells start=buffer", "start=buffer: there is no replay buffer", "start=noise"),
    ("sample energy=four_wells start=nois", "start: 'nois' is neither a known start nor an existing file", "did you mean noise?"),
    ("sample energy=four_wells start=gone.csv", "start: there is no file 'gone.csv'", ""),
    ("sample energy=four_wells out=x.txt", "out: x.txt has an unknown file type", ".csv, .npy, .npz"),
    ("sample energy=four_wells out=gone/x.csv", "out: there is no folder 'gone'", ""),
    ("sample energy=four_wells out=3", "out: 3 has an unknown file type", ".csv, .npy, .npz"),
    ("sample energy=four_wells energy._target_=os.system", f"energy._target_: os.system {OUTSIDE}", ""),
    ("sample energy=gaussian energy.mean=3", "energy.mean: must be a list such as [a,b], not 3", ""),
    ("sample energy=mlp", "energy=mlp must be trained before it can be sampled", "ebm train energy=mlp"),
    ("sample energy=exact dataset=table dataset.path=x.csv", "energy=exact: the density of this dataset is not known", "dataset=moons"),
    ("sample energy=exact dataset.nois=1", "Moons has no parameter 'nois'", "did you mean dataset.noise?"),
    ("sample energy=compose", "energy.runs: name the runs", "energy.runs=[ID,ID]"),
    ("sample energy=compose energy.runs=[gone]", "there is no run 'gone'", "ebm train"),
    ("train energy=four_wells", "energy=four_wells is analytic: there is nothing to train", "ebm sample energy=four_wells"),
    ("train energy=banana", "energy=banana is analytic: there is nothing to train", "ebm sample energy=banana"),
    (
        "train energy=noise_mlp objective=ssm",
        "energy=noise_mlp takes a noise level, but objective=ssm provides none",
        "energy=fourier_mlp or gaussian_rbm or mlp",
    ),
    (
        "train reference=bernoulli",
        "reference=bernoulli needs binary events, but dataset=moons has events of another kind",
        "reference=flow or full_gaussian",
    ),
    ("sample .", ". is not a run: config.yaml or environment.json is missing", "ebm runs"),
    ("sample 0123456789", "there is no run '0123456789'", "ebm train"),
    ("sample last", "there is no run under", "ebm train"),
    ("sample last --jsn", "there is no flag --jsn", ""),
    ("evaluate last --jsn", "there is no flag --jsn", "did you mean --json?"),
    ("evaluate", "a run is needed", "usage: ebm evaluate RUN"),
    ("evaluate last --config-dir gone", "--config-dir: there is no folder 'gone'", ""),
    ("plot last --config-dir=gone", "--config-dir: there is no folder 'gone'", ""),
    ("plot last --config-dir", "--config-dir: a value is needed", "--config-dir DIR"),
    ("sample last --config-dir gone", "--config-dir: there is no folder 'gone'", ""),
    ("sample energy=four_wells -cd", "-cd: a value is needed", "-cd DIR"),
    ("list --config-dir gone", "--config-dir: there is no folder 'gone'", ""),
    ("list --jsn", "there is no flag --jsn", ""),
    ("plot", "a run is needed", "usage: ebm plot RUN"),
    ("score", "a run is needed", "usage: ebm score RUN"),
    ("runs seed=1", "ebm runs takes no argument 'seed=1'", ""),
]

# the same, for verbs that take a run
FAULTS_WITH_RUN = [
    ("sample last model=9", "model=9: this run has only model 0", "model=0"),
    ("sample last model=-1", "model: must be greater than or equal to 0, not -1", ""),
    ("sample last model=true", "model: must be a number, not true", ""),
    ("sample last n_samples=0", "n_samples: must be greater than or equal to 1, not 0", ""),
    ("sample last out=x", "out: x has an unknown file type", ".csv, .npy, .npz"),
    ("sample last n_sample=5", "n_sample: there is no key 'n_sample'", "did you mean n_samples?"),
    ("sample last sampler=mal", "sampler: there is no option 'mal'", "did you mean sampler=mala?"),
    ("sample last sampler.step_size=-1", "sampler.step_size: must be greater than 0", ""),
    ("sample last sampler._target_=os.system", f"sampler._target_: os.system {OUTSIDE}", ""),
    ("sample last seed=1,2", "several values need a sweep", ""),
    ("sample last device=3", "device: ", ""),
    ("evaluate last n_chains=0", "n_chains: must be greater than or equal to 1, not 0", ""),
    ("evaluate last n_chains=true", "n_chains: must be a number, not true", ""),
    ("evaluate last metric=foo", "metric: there is no option 'foo'", "metric=importance"),
    ("evaluate last device=3", "device: ", ""),
    ("plot last figure=energ", "figure: there is no figure 'energ'", "did you mean energy?"),
    ("plot last figure=[density,energ]", "figure: there is no figure 'energ'", "did you mean energy?"),
    ("plot last model=x", "model: must be a whole number, not 'x'", ""),
    ("plot last model=true", "model: must be a whole number, not true", ""),
    ("plot last model=9", "model=9: this run has only model 0", "model=0"),
    ("plot last seed=1", "seed: there is no key 'seed'", ""),
    ("score last", "data: a file is needed", ""),
    ("score last data=gone.csv", "data: there is no file 'gone.csv'", ""),
    ("score last data=gone.csv model=9", "model=9: this run has only model 0", "model=0"),
    ("score last data=gone.csv model=true", "model: must be a whole number, not true", ""),
    ("score last data=gone.csv device=3", "device: ", ""),
]


@pytest.fixture
def refused(ebm, tmp_path):
    """`refused(...)` returns the stderr of a line that must be refused. Nothing may be written."""

    def call(*words):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = ebm(*words)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
        assert all(re.match(r"(error|hint): \S", line) for line in err.splitlines()), err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An outputs folder that holds one run."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBM_OUTPUTS", str(outputs))
        assert __main__.main(["train", *SMALL]) == 0
    return outputs


@pytest.mark.parametrize("line", ["", "--help", "-h", "help"])
def test_usage_names_every_command(ebm, line):
    code, out, err = ebm(*line.split())
    assert (code, err) == (0, "")
    for name, description in __main__.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(description)}$", out, re.MULTILINE)


def test_version(ebm):
    from importlib.metadata import version

    assert ebm("--version") == (0, f"ebm {version('ebm-cli')}\n", "")


@pytest.mark.parametrize("command", sorted(set(__main__.COMMANDS) - {"train"}))
def test_every_verb_has_help(ebm, command):
    code, out, err = ebm(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: ebm {command}")


def comments(path):
    """The comments beside the keys of a file."""
    return [line.partition(" # ")[2].strip() for line in path.read_text().splitlines() if " # " in line]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_train_names_everything(ebm, flag):
    """Groups with their defaults, options, and keys with their defaults, each with its description."""
    code, out, err = ebm("train", flag)
    assert (code, err) == (0, "")
    groups, options, keys = (" ".join(part.split()) for part in re.split(r"\n(?:Groups|Options|Keys|Flags).*:\n", out)[1:4])
    assert "regularizer [] penalties added to the loss" in groups
    assert "metric [quadrature,sliced_wasserstein] the metrics" in groups
    for group, default in option_files.train_defaults().items():
        assert isinstance(default, list) or f"{group} {'null' if default is None else default} " in groups
        assert f"{group} {', '.join(option_files.groups()[group])}" in options
    train = option_files.conf_dir() / "train.yaml"
    written = yaml.safe_load(train.read_text())
    for key in [*written, *(f"{part}.{key}" for part in ("sweep", "trainer", "draws") for key in written[part])]:
        assert key == "defaults" or re.search(rf"(?<!\S){re.escape(key)}(?!\S)", keys), key
    assert "trainer.n_steps 6500 training steps" in keys
    assert "seeds null M trains M models" in keys
    assert "tags [] " in keys
    assert "trainer.compile false " in keys
    for comment in comments(train):
        assert comment in f"{groups} {keys}"
    assert "ebm train objective=ssm dataset=moons" in out.partition("Examples")[2]


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_help_fits_the_terminal(ebm, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    tables = re.split(r"\n(?:Groups|Options|Keys|Flags).*:\n", ebm("train", "--help")[1])[1:4]
    assert max(len(line) for part in tables for line in part.splitlines()) <= columns
    assert not [line for part in tables for line in part.splitlines() if line != line.rstrip()]


def test_help_names_options_from_a_folder_of_options(ebm, tmp_path):
    folder = tmp_path / "mine" / "objective"
    folder.mkdir(parents=True)
    node = "_target_: ebm_cli.objectives.nce.NoiseContrastive\nreference: ${reference}\nn_noise: 1\n"
    (folder / "tiny.yaml").write_text(f"# Something small\n{node}")
    assert re.search(
        r"^  objective .*(\n {10}.*)*\btiny\b", ebm("train", "--help", "--config-dir", str(tmp_path / "mine"))[1], re.MULTILINE
    )
    assert re.search(r"tiny +Something small", ebm("list", "objective", "--config-dir", str(tmp_path / "mine"))[1])
    code, out, _ = ebm("train", f"--config-dir={tmp_path / 'mine'}", "objective=tiny", "--cfg", "job")
    assert code == 0
    assert yaml.safe_load(out)["objective"]["n_noise"] == 1


@pytest.mark.parametrize(("line", "message", "hint"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_bad_input_is_refused(refused, line, message, hint):
    err = refused(*shlex.split(line))
    assert err.count("error: ") == 1, err
    first, _, second = err.partition("\n")
    assert message in first
    assert hint in (second or first)


@pytest.mark.parametrize(("line", "message", "hint"), FAULTS_WITH_RUN, ids=[fault[0] for fault in FAULTS_WITH_RUN])
def test_bad_input_is_refused_by_verbs_that_take_a_run(refused, trained, monkeypatch, line, message, hint):
    monkeypatch.setenv("EBM_OUTPUTS", str(trained))
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    err = refused(*line.split())
    first, _, second = err.partition("\n")
    assert message in first
    assert hint in (second or first)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


def test_the_allowed_packages_apply_to_the_sampler_of_an_objective(refused):
    err = refused("train", "objective=pcd", "sampler._target_=os.system")
    assert f"error: sampler._target_: os.system {OUTSIDE}" in err
    assert err.count(OUTSIDE) == 1  # a mistake in a shared component is told once
    assert "hint: it is set by sampler._target_" in refused("train", "objective=pcd", "objective.sampler._target_=os.system")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_unavailable_device_is_refused(refused):
    assert "cuda is not available to torch on this machine" in refused("train", "device=cuda")


@pytest.mark.parametrize(("cell", "named"), [("nan", "'nan'"), ("oops", "'oops'"), ("", "''")])
def test_a_bad_cell_is_named(refused, tmp_path, cell, named):
    path = tmp_path / "data.csv"
    path.write_text("width,height\n" + "1,2\n3,4.5\n" * 20 + f"5,{cell}\n")
    assert f"data.csv, line 42, column height: {named} is not a finite number" in refused("train", "dataset=table", f"dataset.path={path}")


def test_a_plus_does_not_add_a_misspelled_key(refused):
    """The hint does not suggest it either."""
    assert "did you mean optimizer.lr?" in refused("train", "+optimizer.lrr=0.1")
    assert "defaults" not in refused("train", "+zzz=1")


def test_an_objective_with_components_of_its_own_is_refused_with_one_message(refused):
    """pcd comes with a sampler and a regularizer, which also need an energy."""
    message, hint, *_ = refused("train", "energy=score_mlp", "objective=pcd").splitlines()
    assert message == "error: objective=pcd needs an energy, but energy=score_mlp outputs the score itself"
    assert (
        hint == "hint: objective=ism or ssm or dsm or lsd or ksd, or energy=fourier_mlp or gaussian_rbm or mlp or quadratic or residual_mlp"
    )


@pytest.mark.parametrize("word", ["regularizer=energy_l2", "regularizer=[energy_l2]"])
def test_a_hint_names_only_options_that_work(refused, word):
    assert (
        "hint: regularizer=gradient_penalty or spectral_norm or weight_decay, "
        "or energy=fourier_mlp or gaussian_rbm or mlp or quadratic or residual_mlp\n" in refused("train", "energy=score_mlp", word)
    )


def test_every_fault_of_a_line_is_named(refused):
    err = refused("train", "objective=foo", "optimizer.lrr=1", "trainer.n_steps=abc", "~metric", "seed=-1")
    assert err.count("error: ") == 5
    for fault in ("no option 'foo'", "no parameter 'lrr'", "trainer.n_steps: must be", "~metric: keys cannot", "seed: must be"):
        assert fault in err


def test_every_fault_of_a_sweep_is_named_before_it_starts(refused):
    err = refused("train", "-m", "objective=ssm,foo", "optimizer.lr=0.1,fast", "seed=1,2")
    assert err.count("error: ") == 2
    assert "no option 'foo'" in err
    assert "optimizer.lr: must be a number, not 'fast'" in err


def test_a_sweep_without_values_is_refused(refused):
    err = refused("train", "-m", "seed=range(3,1)", "energy=glob(z*)")
    assert "error: seed=range(3,1): this sweep has no values\n" in err
    assert "error: energy=glob(z*): this sweep has no values\n" in err


def test_bad_input_is_refused_in_a_process_of_its_own(ebm_process, tmp_path):
    """It prints no traceback and leaves no files."""
    process = ebm_process("train", "optimizer.lrr=1")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == "error: optimizer.lrr: Adam has no parameter 'lrr'\nhint: did you mean optimizer.lr?\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize("line", ["seed=4 --cfg job", "--cfg job seed=4", "--cfg=job seed=4", "-c job seed=4", "seed=4 -m -c job"])
def test_cfg_prints_the_config_and_runs_nothing(ebm, tmp_path, line):
    code, out, err = ebm("train", "optimizer=sgd", *line.split(), "objective=pcd")
    assert (code, err) == (0, "")
    composed = yaml.safe_load(out)
    assert composed["seed"] == 4
    assert composed["optimizer"]["momentum"] == 0.9
    assert composed["objective"]["sampler"] == composed["sampler"]
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize(
    "line", ["-m seed=1,2 trainer.n_steps=0", "seed=1,2 -m trainer.n_steps=0", "seed=1,2 trainer.n_steps=0 --multirun"]
)
def test_flags_may_stand_anywhere(refused, line):
    assert refused("train", *line.split()).startswith("error: trainer.n_steps: 0 steps")


@pytest.mark.parametrize("sweep", ["objective=glob(*sm)", "seed=range(0,3)", "optimizer.lr=choice(0.1,0.2)"])
def test_every_kind_of_sweep_is_understood(refused, sweep):
    """The single fault is reported once, and no sweep is taken for a single value."""
    assert refused("train", "-m", sweep, "trainer.n_steps=0").count("error: ") == 1


PLACES = ["dataset", "energy", "objective", "objective.sampler", "sampler", "optimizer", "metric.evil", "regularizer.evil"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("line", ["sample", "evaluate", "score data=points.csv"])
def test_the_allowed_packages_apply_to_a_run_folder_from_elsewhere(refused, trained, tmp_path, place, line):
    """A run whose config.yaml was edited executes nothing."""
    shutil.copytree(next((trained / "runs").iterdir()), tmp_path / "theirs")
    stored = yaml.safe_load((tmp_path / "theirs" / "config.yaml").read_text())
    if place == "objective.sampler":
        pcd = {
            "_target_": "ebm_cli.objectives.contrastive.PersistentContrastiveDivergence",
            "n_steps": 1,
            "adapt": 0.0,
            "n_chains": 512,
            "restart": 0.0,
        }
        stored["objective"] = pcd
    group, _, name = place.partition(".")
    (stored[group] if name else stored)[name or group] = {"_target_": "os.system", "command": f"touch {tmp_path / 'owned'}"}
    (tmp_path / "theirs" / "config.yaml").write_text(yaml.safe_dump(stored))
    (tmp_path / "here" / "points.csv").write_text("0,0\n")
    command, *rest = line.split()
    err = refused(command, str(tmp_path / "theirs"), *rest)
    assert f"{place}._target_: os.system {OUTSIDE}" in err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("text", ["", "- 1\n", "seed: 0\n", "seed: [\n"])
@pytest.mark.parametrize("line", ["sample", "evaluate", "score data=points.csv"])
def test_a_damaged_config_is_bad_input(refused, tmp_path, text, line):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.yaml").write_text(text)
    command, *rest = line.split()
    assert "config.yaml" in refused(command, str(tmp_path / "theirs"), *rest)
