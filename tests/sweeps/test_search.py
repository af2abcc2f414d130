"""A search: its search space, its choices, its continuation after a kill, and its treatment of runs that fail or diverge."""

import json
import math
import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from ebm_cli.config import compose, hydra_section, option_files
from ebm_cli.config.overrides import Choices, Interval
from ebm_cli.errors import InputError, RunFailed
from ebm_cli.runner.experiment import check
from ebm_cli.sweeps import search
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.sweeps.search import Search

TPE = {"n_trials": 40, "n_jobs": 4, "sampler": "tpe", "n_startup_trials": 8, "seed": 0}
CONFIG = {"optimizer": {"lr": 0.006, "weight_decay": 0.0}, "trainer": {"batch_size": 256}, "dataset": {"n_train": None}}
WORDS = ("a=1", "lr=tag(log,interval(1e-4,1))", "n=int(interval(1,9))", "o=x,y")
TINY = ("trainer.n_steps=20", "energy.width=8", "metric=[]", "sweep.metric=test_loss", "device=cpu")
TINY += ("draws.n_samples=20", "draws.n_chains=10", "draws.n_steps=4", "figure=[]")


@pytest.fixture
def job():
    return Job((), "id", "group", search.GOOD)


class Bowl:
    """A launcher whose metric is smallest at lr=0.001. It records the lines that it is given."""

    def __init__(self, folder, **states):
        self.folder, self.states, self.asked, self.batches = folder, states, [], []

    def __call__(self, lines, first):
        self.batches.append((first, len(lines)))
        return [self.run(words, first + i) for i, words in enumerate(lines)]

    def run(self, words, number):
        self.asked.append(words)
        path, values = self.folder / str(len(self.asked)), dict(word.split("=") for word in words)
        path.mkdir()
        summary = {"kl": math.log(float(values["lr"]) / 0.001) ** 2, "name": "x"}
        (path / "summary.json").write_text(json.dumps(summary))
        return Outcome(words, self.states.get(f"of_{number}", "finished"), "", str(path))


@pytest.fixture
def bowl(tmp_path):
    def make(**states):
        folder = tmp_path / f"bowl{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Bowl(folder, **states)

    return make


def searched(bowl, best="min", metric="kl", **settings):
    """The outcomes of a search with this launcher."""
    job = Job((), "id", "group", search.GOOD, metric, best)
    Search(**TPE | settings).run(WORDS, compose.sweep_space(WORDS, (), {"lr": 0.006}), job, bowl)
    return job.outcomes


def values(outcomes, key):
    return [float(dict(word.split("=") for word in outcome.words)[key]) for outcome in outcomes]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("optimizer.lr=interval(1e-4,1e-1)", Interval(1e-4, 1e-1, False)),
        ("optimizer.lr=tag(log,interval(1e-4,1e-1))", Interval(1e-4, 1e-1, True)),
        ("optimizer.weight_decay=interval(0,1)", Interval(0.0, 1.0, False)),  # a float in the config
        ("trainer.batch_size=tag(log,interval(16,512))", Interval(16, 512, True)),
        ("dataset.n_train=interval(100,1000)", Interval(100, 1000, False)),  # null in the config
        ("optimizer.lr=int(interval(1,3))", Interval(1, 3, False)),
        ("trainer.batch_size=range(16,65,16)", Choices(["16", "32", "48", "64"], True)),
        ("objective=ssm,nce", Choices(["ssm", "nce"], False)),
        ("objective=choice(ssm,nce)", Choices(["ssm", "nce"], False)),
        ("optimizer=glob(a*)", Choices(["adam", "adamw", "adamw_small"], False)),
        ("optimizer.lr=shuffle(3,1,2)", Choices(["3", "1", "2"], False)),
        ("energy.hidden=[8],[8,8]", Choices(["[8]", "[8,8]"], False)),
    ],
)
def test_the_search_space_of_a_word(word, values):
    found = compose.sweep_space([word, "seed=1", "energy.hidden=[4,4]"], (), CONFIG)
    assert found == {word: (word.partition("=")[0], values)}
    if isinstance(values, Interval):
        assert type(found[word][1].low) is type(values.low)


def test_values_are_written_with_few_digits():
    assert search.written(Interval(1e-4, 1e-1, True), 0.0031622776601683794) == "0.003162"
    assert search.written(Interval(0.99, 0.9999, False), 0.99541234) == "0.9954123"
    assert search.written(Interval(-1.0, 1.0, False), 0.123456789) == "0.1235"
    assert search.written(Interval(0.123451, 1.0, False), 0.123451) == "0.123451"  # 0.12345 would be outside the interval
    assert search.written(Interval(16, 512, True), 17) == "17"
    assert search.written(Choices(["0.1", "0.2"], True), 1) == "0.2"
    assert search.written(Choices(["ssm", "nce"], False), "nce") == "nce"


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_results_lead_to_the_same_trials(bowl, sampler):
    first, again, longer, other = bowl(), bowl(), bowl(), bowl()
    searched(first, sampler=sampler)
    searched(again, sampler=sampler)
    searched(longer, sampler=sampler, n_trials=48)
    searched(other, sampler=sampler, seed=1)
    assert len(first.asked) == 40
    assert first.asked == again.asked == longer.asked[:40]
    assert len(longer.asked) == 48
    assert not {*first.asked} & {*other.asked}


@pytest.mark.parametrize("best", ["min", "max"])
def test_a_search_approaches_the_best_value(bowl, best):
    """The metric is smallest at 0.001 and largest at 1. Half of all random trials, uniform in log lr, lie within 1 and 2 decades."""
    outcomes = searched(bowl(), best)
    target, random = {"min": (0.001, 1.0), "max": (1.0, 2.0)}[best]
    away = [abs(math.log10(lr / target)) for lr in values(outcomes, "lr")]
    assert statistics.median(away[20:]) < random / 2 < statistics.median(away[:8])
    assert all(1e-4 <= lr <= 1 for lr in values(outcomes, "lr"))
    assert {*values(outcomes, "n")} <= {*range(1, 10)}
    assert all(outcome.words[0] == "a=1" and outcome.words[3] in ("o=x", "o=y") for outcome in outcomes)


@pytest.fixture
def told(monkeypatch):
    """`told()` is the state and value of each trial in Optuna's study."""
    studies, make = [], Search.study
    monkeypatch.setattr(Search, "study", lambda self: studies.append(make(self)) or studies[-1])
    return lambda: [(trial.state, trial.value) for trial in studies[-1].trials]


@pytest.mark.parametrize(("best", "loss"), [("min", lambda kl: kl), ("max", lambda kl: -kl), (0.5, lambda kl: abs(kl - 0.5))])
def test_divergence_counts_as_infinitely_bad_and_failure_does_not_count(bowl, told, best, loss):
    """Optuna minimizes the loss that it is told for each trial."""
    states = dict.fromkeys(("of_1", "of_9", "of_17"), "diverged") | {"of_2": "failed", "of_10": "refused"}
    first, again = bowl(**states), bowl(**states)
    outcomes = searched(first, best)
    assert len(outcomes) == 40
    assert [outcome.state for outcome in outcomes[:3]] == ["finished", "diverged", "failed"]
    assert [told()[n] for n in (1, 9, 17)] == [(TrialState.COMPLETE, math.inf)] * 3
    assert [told()[n] for n in (2, 10)] == [(TrialState.FAIL, None)] * 2
    assert told()[0] == (TrialState.COMPLETE, loss(outcomes[0].summary["kl"]))
    searched(again, best)
    assert first.asked == again.asked


def test_a_search_continues_even_if_every_trial_diverges(bowl):
    assert len(searched(bowl(**{f"of_{n}": "diverged" for n in range(40)}))) == 40


def test_batches_have_n_jobs_trials_and_identical_trials_share_a_job(bowl, job, told):
    searched(launcher := bowl(), n_trials=10)
    assert launcher.batches == [(0, 4), (4, 4), (8, 2)]
    words, launcher = ("lr=0.1,0.2",), bowl()
    Search(**TPE).run(words, compose.sweep_space(words), job, launcher)
    assert sorted(launcher.asked) == [("lr=0.1",), ("lr=0.2",)]
    assert len(told()) == 40
    assert {value for _, value in told()} == {outcome.summary["kl"] for outcome in job.outcomes}


def test_a_metric_that_no_run_has_ends_the_search_after_its_first_batch(bowl):
    launcher = bowl()
    with pytest.raises(RunFailed, match=r"sweep.metric=kll: no run has this metric") as error:
        searched(launcher, metric="kll")
    assert error.value.problems[0].hint == "the runs have kl"
    assert len(launcher.asked) == 4
    with pytest.raises(RunFailed):
        searched(bowl(), metric="name")


@pytest.mark.parametrize("preset", [name for name in option_files.groups()["experiment"] if name.startswith("search_")])
def test_search_presets_compose_at_the_ends_of_their_intervals(preset, ebm):
    hydra = hydra_section.of_hydra([f"experiment={preset}"])
    assert hydra.sweeper["_target_"] == search.TARGET
    assert not hydra.problems + search.problems(hydra.sweeper, compose.sweep_space(hydra.words))
    lines = list(compose.one_at_a_time(hydra.words))
    assert len(lines) == 1 + len(hydra.sweeper["params"])  # the lower ends, then each upper end in turn
    for line in lines:
        check(compose.compose(line))
    with pytest.raises(InputError, match=f"experiment={preset} is a search for {'.*, '.join(hydra.sweeper['params'])}"):
        check(compose.compose([f"experiment={preset}"]))
    assert ebm("train", "--cfg", "job", f"experiment={preset}")[0] == 0


def test_search_negatives_works_with_another_sampler():
    words = hydra_section.of_hydra(["experiment=search_negatives", "sampler=langevin", "objective.n_steps=9"]).words
    (*_, line) = compose.one_at_a_time(words)
    sampler = check(compose.compose(line))["objective"]["sampler"]
    assert sampler == {"_target_": "ebm_cli.samplers.langevin.Langevin", "step_size": 0.1, "max_score_norm": None}
    assert {key for key, _ in compose.sweep_space(words).values()} == {"sampler.step_size"}


REFUSED = [
    (["optimizer.lr=interval(1e-4,1e-1)"], "only a search can choose from an interval", "add hydra/sweeper=optuna"),
    (["experiment=search_lr", "hydra/sweeper=grid"], "only a search can choose from an interval", "add hydra/sweeper=optuna"),
    (["experiment=search_lr,smoke"], "experiment=search_lr is a search for optimizer.lr", "with this experiment alone"),
    (["hydra/sweeper=optuna"], "there is nothing to search over", "optimizer.lr=interval(1e-4,1e-1)"),
    (["experiment=search_lr", "seed=0,1"], "a search over seeds would select the luckiest seed", "seeds=3"),
    (["experiment=search_lr", "optimizer.lr=interval(-1,1)"], "optimizer.lr: must be greater than 0, not -1.0", ""),
    (["experiment=search_lr", "optimizer.lr=interval(1,0.5)"], "needs two finite ends, the lower one first", ""),
    (
        ["experiment=search_lr", "trainer.ema_decay=tag(log,interval(0,0.9))"],
        "both ends of a logarithmic interval must be greater than 0",
        "",
    ),
    (["experiment=search_lr", "trainer.n_steps=interval(5,7.5)"], "trainer.n_steps: must be a whole number, not 7.5", ""),
    (["experiment=search_lr", "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials: must be greater than or equal to 1", ""),
    (["experiment=search_lr", "hydra.sweeper.n_trials=1,2"], "hydra.sweeper.n_trials=1,2: this key takes one value", ""),
    (["experiment=search_lr", "hydra.sweeper.sampler=gp"], "hydra.sweeper.sampler: must be 'tpe' or 'random'", ""),
    (["experiment=search_lr", "hydra.sweeper.n_trial=3"], "no parameter 'n_trial'", "did you mean hydra.sweeper.n_trials?"),
]


@pytest.mark.parametrize(("words", "message", "hint"), REFUSED, ids=[" ".join(words) for words, *_ in REFUSED])
def test_invalid_searches_are_refused_before_anything_starts(ebm, words, message, hint):
    code, out, err = ebm("train", "-m", "hydra/launcher=basic", *words)
    assert (code, out) == (2, "")
    assert err.count("error: ") == 1, err
    assert message in err.splitlines()[0]
    assert hint in err
    assert not Path(os.environ["EBM_OUTPUTS"]).exists()


def test_a_search_without_multirun_names_the_missing_flags(ebm):
    assert ebm("train", "experiment=search_lr")[::2] == (
        2,
        "error: experiment=search_lr is a search for optimizer.lr\n"
        "hint: add -m, with this experiment alone; or give values: optimizer.lr=...\n",
    )
    assert "hint: `ebm train -m hydra/sweeper=optuna` makes a sweep\n" in ebm("train", "optimizer.lr=interval(1e-4,1e-1)")[2]


def test_a_missing_package_is_reported_before_anything_starts(ebm, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert ebm("train", "-m", "experiment=search_lr", "hydra/launcher=basic") == (
        2,
        "",
        "error: hydra/sweeper=optuna needs a package that is not installed\nhint: pip install 'ebm-cli[optuna]'\n",
    )


def finished():
    """The folder of every finished run and the time at which it finished."""
    states = Path(os.environ["EBM_OUTPUTS"]).glob("runs/*/status.json")
    return {path.parent: path.stat().st_mtime_ns for path in states if json.loads(path.read_text())["state"] == "finished"}


def test_a_killed_search_continues_and_trains_nothing_twice(ebm_process):
    Path("data.csv").write_text(
        "a\n" + "\n".join(str(i * i % 7 + i / 100) for i in range(60))
    )  # a table: figures would take half of each run
    data = (
        "dataset=table",
        "dataset.path=data.csv",
        "metric=[]",
        "reference=gaussian",
        "trainer.select=null",
        "trainer.patience=null",
        "trainer.refit=false",
    )
    line = ("train", "-m", "experiment=search_lr", "objective=nce", *data, *TINY, "hydra.sweeper.n_trials=20")
    process, end = ebm_process(*line, start_new_session=True), time.monotonic() + 100
    while len(finished()) < 8:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = finished()
    assert 8 <= len(before) < 20

    again = ebm_process(*line)
    out, err = again.communicate(timeout=100)
    assert again.returncode == 0, err
    after = finished()
    assert len(after) == 20
    assert {path: after[path] for path in before} == before
    for path in after:
        log = (path / "train.log").read_text()
        assert (log.count(" new run: "), log.count(" finished\n")) == (1, 1), log
    (stored,) = Path(os.environ["EBM_OUTPUTS"]).glob("sweeps/*/sweep.json")
    sweep = json.loads(stored.read_text())
    assert {*map(Path, (run["path"] for run in sweep["runs"]))} == {*after}
    assert {*map(Path, (run["path"] for run in sweep["runs"][:8]))} <= {*before}  # the same trials in the same order
    losses = [row["test_loss"] for row in sweep["table"]]
    assert losses == sorted(losses)
    assert losses[0] == min(json.loads((path / "summary.json").read_text())["test_loss"] for path in after)
    assert f"best: {sweep['best']}\n" in out
    assert sweep["best"].startswith("ebm train optimizer.lr=0.")
    assert not compose.compose(sweep["best"].split()[2:4]).searched  # an ordinary line, without a search


def test_a_diverged_trial_is_in_the_table_and_does_not_fail_the_search(ebm):
    line = ("train", "-m", "hydra/launcher=basic", "optimizer.lr=0.01,1e30", "objective=nce", *TINY)
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=5")
    grid = ("hydra/sweeper=grid", "experiment=search_lr")  # the same runs: the line overrides the preset
    for words, expected in ((search, 0), (grid, 1)):
        code, out, err = ebm(*line, *words)
        assert code == expected, err
        rows = [row.split()[:3] for row in out[out.rindex("  state ") :].splitlines()[1:3]]
        assert rows == [["optimizer.lr=0.01", "finished", "1"], ["optimizer.lr=1e+30", "diverged", "1"]]
