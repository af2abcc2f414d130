"""Sweeps: containment, the table at the end, the same line again, two at once, GPUs. Jobs are real processes, on real signals.

Where nothing else is said the sweep is run in this process, whose server of jobs is warm; its jobs are processes all the same.
"""

import json
import math
import re
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from rogue import TINY, Command, diary, train
from scipy.stats import t as student

from ebm_cli import __main__
from ebm_cli.errors import Problem
from ebm_cli.runs.run import Run
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.sweeps.sweep import Lines, Sweep, id_of

BAD = ("raise", "raise@count", "exit", "os_exit", "kill", "segv", "tensor", "memory", "limit")
WHY = {
    "raise": "ValueError: a mistake of the user",
    "raise@count": "ValueError: a mistake of the user",
    "exit": "a component called sys.exit(3)",
    "os_exit": "ended with exit code 4, without a word",
    "kill": "killed, perhaps out of memory",
    "segv": "ended by SIGSEGV",
    "tensor": "allocation failed: ",
    "memory": "allocation failed: no memory",
    "limit": "allocation failed: ",
}


def sweep_of(outputs):
    """The only sweep's folder and what its sweep.json says."""
    (folder,) = (outputs / "sweeps").iterdir()
    return folder, json.loads((folder / "sweep.json").read_text())


def times(outputs):
    """Every file under runs/ that is written once, with its time."""
    return {path: path.stat().st_mtime_ns for path in (outputs / "runs").rglob("*") if path.is_file() and path.name != ".lock"}


def how(run):
    return run.config()["objective"]["how"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A sweep of which one job ends well and nine do not, each in its own way; the same line again; where it all is."""
    outputs, words = tmp_path_factory.mktemp("mixed") / "outputs", (*TINY, f"objective.how=well,{','.join(BAD)}")
    first = train(outputs, *words)
    (well,) = [run.path for run in map(Run, (outputs / "runs").iterdir()) if how(run) == "well"]
    before = times(outputs)
    listing = {file.name for file in sweep_of(outputs)[0].iterdir()}
    second = train(outputs, *words)
    return outputs, first, second, {path for path, time in times(outputs).items() if before.get(path) != time}, well, listing


def test_the_jobs_that_go_well_are_none_the_worse_for_those_that_do_not(mixed):
    outputs, first, *_, well, _ = mixed
    assert first.code == 1
    assert "Traceback" not in first.out + first.err
    assert first.err.endswith("error: 9 of 10 jobs did not end well\nhint: the same line again tries these once more\n")
    assert Run(well).state() == "finished"
    rows = [line.split() for line in first.out.splitlines()]
    assert rows[1][:3] == ["objective.how=well", "finished", "1"]
    assert {row[0].removeprefix("objective.how="): row[1] for row in rows[2:11]} == dict.fromkeys(BAD, "failed")
    assert f"Results saved to {sweep_of(outputs)[0] / 'sweep.json'}\n" in first.out


@pytest.mark.parametrize("way", BAD)
def test_a_table_says_of_each_job_that_failed_why_and_where_to_look(mixed, way):
    _, first, *_ = mixed
    (row,) = re.findall(rf"^objective\.how={way}  +failed  +(.*?)  +(/.*)$", first.err, re.MULTILINE)
    why, where = row
    assert why.startswith(WHY[way])
    text = Path(where).read_text()
    if way in ("os_exit", "kill", "segv"):  # they could not say it themselves
        assert WHY[way] in text
    else:
        assert "Traceback (most recent call last)" in text
        assert f"in {dict(exit='<lambda>', tensor='<lambda>', memory='<lambda>', limit='hit_a_limit').get(way, 'make_a_mistake')}" in text
    assert len(re.findall(rf"^\[\d+/10\] objective\.how={way}: failed .*{re.escape(WHY[way])}", first.err, re.MULTILINE)) == 1


def test_what_a_job_prints_is_in_its_runs_folder(mixed):
    """What it printed before it had one too; what was killed has said what it said."""
    outputs, _, _, _, well, listing = mixed
    for run in map(Run, (outputs / "runs").iterdir()):
        assert (run.path / "output.log").read_text().startswith(f"about to do: {how(run)}\n")
    assert f"Results saved to {well}\n" in (well / "output.log").read_text()
    assert listing == {"sweep.json", "2.log"}  # the second of BAD never had a run


def test_sweep_json_says_it_all(mixed):
    outputs, first, *_, well, _ = mixed
    folder, facts = sweep_of(outputs)
    assert facts["id"] == facts["group"] == folder.name
    assert (facts["state"], facts["metric"], facts["direction"]) == ("finished", "test_loss", "least")
    assert shlex.split(facts["line"])[-1] == f"objective.how=well,{','.join(BAD)}"
    assert f"best: {facts['best']}\n" in first.out
    assert [run["words"][-1] for run in facts["runs"]] == [f"objective.how={way}" for way in ("well", *BAD)]
    assert [run["state"] for run in facts["runs"]] == ["finished", *["failed"] * 9]
    assert [Path(run["path"]).exists() and run["path"] != "" for run in facts["runs"]] == [way != "raise@count" for way in ("well", *BAD)]
    assert all(run["reason"].startswith(WHY.get(run["words"][-1][14:], "")) for run in facts["runs"])
    best, *others = facts["table"]
    assert best["test_loss"] == Run(well).read("summary.json")["test_loss"]
    assert (best["n"], best["ci95"], best["state"]) == (1, None, "finished")
    assert [(line["test_loss"], line["state"]) for line in others] == [(None, "failed")] * 9


def test_ebm_runs_shows_the_states(mixed, ebm, monkeypatch):
    outputs, *_ = mixed
    monkeypatch.setenv("EBM_OUTPUTS", str(outputs))
    code, out, _ = ebm("runs", "--json")
    assert code == 0
    states = {one["path"]: one["state"] for one in json.loads(out)}
    assert len(states) == 9
    assert {how(Run(Path(path))): state for path, state in states.items()} == {
        way: "finished" if way == "well" else "failed" for way in ("well", *BAD) if way != "raise@count"
    }


def test_the_same_line_again_leaves_the_finished_alone_and_tries_the_others(mixed):
    _, first, second, written, well, _ = mixed
    assert (second.code, second.out) == (1, first.out)
    assert not [path for path in written if well in path.parents]
    assert len({path.parent for path in written if path.name == "status.json"}) == 8
    assert re.search(r"^\[\d+/10\] objective.how=well: finished(  \(ETA .*\))?$", second.err, re.MULTILINE)  # in no time


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A sweep over seeds: of `poison` seed 1 diverges. And the same as stacks, in a group with a name."""
    outputs = tmp_path_factory.mktemp("seeded") / "outputs"
    ways, memory = "objective.how=other,poison,well", outputs.parent / "diary"
    swept = train(outputs, *TINY, "device=cpu", "seed=0,1", ways, ROGUE_DIARY=memory)
    stacked = train(outputs, *TINY, "device=cpu", ways, "seeds=2", "group=stacks", ROGUE_DIARY=memory)
    return outputs, swept, stacked, diary(memory)


def table(text):
    """{label: (state, n, mean, interval)} of a sweep by test_loss, the best first."""
    cell = re.compile(r"^objective\.how=(\w+) +(\w.*?) {2,}(\d+) +(\S+)(?: +\[(\S+), (\S+)\])?", re.MULTILINE)
    return {way: (state, int(n), mean, (low, high)) for way, state, n, mean, low, high in cell.findall(text)}


@pytest.mark.parametrize("stacked", [False, True], ids=["seed=0,1", "seeds=2"])
def test_seeds_stand_in_one_row_with_their_mean_and_interval(seeded, stacked):
    outputs, swept, stacks, _ = seeded
    ended = stacks if stacked else swept
    rows = table(ended.out)
    assert list(rows) == ["well", "other", "poison"]
    for way in ("well", "other"):
        runs = [run for run in map(Run, (outputs / "runs").glob("*-s0x2-*" if stacked else "*-s?-*")) if how(run) == way]
        summaries = [run.read("summary.json") for run in runs]
        values = np.array(summaries[0]["per_seed"]["test_loss"] if stacked else [one["test_loss"] for one in summaries])
        mean, half = values.mean(), student.ppf(0.975, 1) * values.std(ddof=1) / math.sqrt(2)
        state, n, *shown = rows[way]
        assert (state, n, len(values)) == ("finished", 2, 2)
        assert [float(shown[0]), *map(float, shown[1])] == pytest.approx([mean, mean - half, mean + half], rel=1e-3)


def test_seeds_as_runs_and_seeds_as_a_stack_have_the_same_numbers(seeded):
    _, swept, stacks, _ = seeded
    for way in ("well", "other"):
        assert float(table(swept.out)[way][2]) == pytest.approx(float(table(stacks.out)[way][2]), abs=1e-3)


def test_where_one_seed_diverged_there_is_no_mean(seeded):
    _, swept, stacks, _ = seeded
    assert table(swept.out)["poison"] == ("1 finished, 1 diverged", 2, "-", ("", ""))
    assert table(stacks.out)["poison"] == ("diverged", 2, "-", ("", ""))
    assert (swept.code, stacks.code) == (1, 1)
    assert "error: 1 of 6 jobs did not end well" in swept.err
    assert re.search(r"^seed=1 objective.how=poison  diverged  diverged: loss or gradient was not finite .*/train\.log$", swept.err, re.M)
    assert re.search(r"^objective.how=poison  diverged  1 of 2 models diverged: seed 1 at step 1 .*/train\.log$", stacks.err, re.M)


def words_of(line):
    """A line as it is typed: its words, and what it sets in the environment."""
    words = shlex.split(line)
    start = words.index("ebm")
    assert words[start : start + 2] == ["ebm", "train"]
    return words[start + 2 :], dict(word.split("=", 1) for word in words[:start])


@pytest.mark.parametrize("stacked", [False, True], ids=["seed=0,1", "seeds=2"])
def test_the_best_line_typed_again_finds_its_runs(seeded, stacked, monkeypatch, capsys):
    outputs, swept, stacks, _ = seeded
    (best,) = re.findall("^best: (.*)$", (stacks if stacked else swept).out, re.MULTILINE)
    words, variables = words_of(best)
    assert ("seeds=2" if stacked else "seed=0,1") in words
    before = times(outputs)
    for name, value in ({"EBM_OUTPUTS": str(outputs)} | variables).items():
        monkeypatch.setenv(name, value)
    assert __main__.main(["train", *words]) == 0
    assert times(outputs) == before
    assert "finished before" in (captured := capsys.readouterr()).err or "[2/2]" in captured.err


def test_what_is_sorted_by_can_be_turned_round(seeded):
    outputs, *_ = seeded
    before, sweeps = times(outputs), {path.name for path in (outputs / "sweeps").iterdir()}
    turned = train(outputs, *TINY, "seeds=2", "objective.how=other,poison,well", "device=cpu", "group=stacks", "sweep.direction=max")
    assert turned.code == 1
    assert list(table(turned.out)) == ["other", "well", "poison"]
    (best,) = re.findall("^best: (.*)$", turned.out, re.MULTILINE)
    assert "objective.how=other" in words_of(best)[0]
    assert times(outputs) == before
    assert {path.name for path in (outputs / "sweeps").iterdir()} == sweeps  # it is no other sweep


def test_a_metric_that_no_run_will_have_is_refused_before_any_is_trained(seeded):
    outputs, *_ = seeded
    before = times(outputs)
    unknown = train(outputs, *TINY, "seeds=2", "objective.how=well", "device=cpu", "sweep.metric=test_los")
    assert unknown.code == 2
    assert "error: sweep.metric=test_los: no run will have it\nhint: did you mean test_loss?\n" in unknown.err
    assert times(outputs) == before


def test_a_metric_ranks_as_it_says_and_one_that_ranks_nothing_is_refused(tmp_path):
    """Of draws more are better; of log Z neither less nor more."""
    words, found = ("objective=ssm", "device=cpu", "metric=[effective_sample_size,short_run_gap]"), {}
    for metric, more in (("ess", ()), ("short_run_energy_gap", ()), ("kl", ()), ("log_z", ("sweep.direction=max",))):
        lines = Lines((), here=True)
        assert lines.check((*words, f"sweep.metric={metric}", *more)) == []
        found[metric] = lines.best
    assert found == {"ess": "greatest", "short_run_energy_gap": 0.0, "kl": "least", "log_z": "greatest"}
    (problem,) = Lines((), here=True).check((*words, "sweep.metric=log_z"))
    assert problem == Problem("sweep.metric=log_z: no value of it is better than another", "sweep.direction=min, or max")
    jobs = [Outcome((f"a={k}",), "finished", path=str(tmp_path / str(k))) for k in range(3)]
    for one, gap in zip(jobs, (-3.0, 1.0, 2.0), strict=True):
        Path(one.path).mkdir()
        (Path(one.path) / "summary.json").write_text(json.dumps({"gap": gap}))
    for best, order in {"least": (0, 1, 2), "greatest": (2, 1, 0), 0.0: (1, 2, 0)}.items():
        ended = Sweep((), Job((), "id", "group", metric="gap", best=best, outcomes=jobs))
        assert [line.words for line in ended.lines()] == [(f"a={k}",) for k in order]


def test_the_group_of_a_sweep_is_in_its_runs(seeded):
    outputs, swept, *_ = seeded
    (by_default,) = re.findall(r"/sweeps/(\w+)/sweep.json", swept.out)
    groups = {}
    for run in map(Run, (outputs / "runs").iterdir()):
        in_config = yaml.safe_load((run.path / "config.yaml").read_text())["group"]
        assert in_config == run.read("environment.json")["group"]
        groups.setdefault(in_config, []).append("-s0x2-" in run.path.name)
    assert groups == {by_default: [False] * 6, "stacks": [True] * 3}


def test_jobs_on_cores_see_no_gpu_and_have_one_thread(seeded):
    *_, lines = seeded
    assert len(lines) > 9
    assert {(line["gpu"], line["omp"], line["threads"]) for line in lines} == {("", "1", 1)}


WORDS = ("objective=ssm,nce", "seed=0,1", "trainer.n_steps=20")


@pytest.mark.parametrize(
    "words",
    [
        WORDS[::-1],
        (*WORDS, "device=cpu"),
        (*WORDS, "hydra.launcher.jobs_per_gpu=3", "hydra/launcher=basic"),
        (*WORDS, "hydra.sweeper.n_trials=40", "name=b", "tags=[c]", "force=true"),
        (*WORDS, "metric=[]", "logger=tensorboard", "sweep.metric=nll"),
    ],
    ids=" ".join,
)
def test_what_changes_no_run_changes_no_sweeps_id(words):
    assert id_of(words) == id_of(WORDS)


@pytest.mark.parametrize(
    "words",
    [WORDS[:2], (*WORDS, "seeds=2"), (*WORDS[:2], "trainer.n_steps=21"), (*WORDS, "group=a"), (*WORDS, "hydra/sweeper=optuna")],
    ids=" ".join,
)
def test_what_changes_the_runs_changes_the_sweeps_id(words):
    assert id_of(words) != id_of(WORDS)


WRONG = {
    "when the launcher looks": [
        ("hydra.launcher.jobs_per_gpu=0", "hydra.launcher.jobs_per_gpu: must be greater than or equal to 1, not 0"),
        ("hydra.launcher.cpu_jobs=-1", "hydra.launcher.cpu_jobs: must be greater than or equal to 1, not -1"),
        ("hydra.launcher.grace_s=soon", "hydra.launcher.grace_s: must be a number, not 'soon'"),
        ("hydra.launcher.gpus=many", "hydra.launcher.gpus: must be"),
    ],
    "when the line is checked": [
        ("hydra.launcher=gpu", "hydra.launcher=gpu: hydra.launcher holds keys, it is no value\nhint: hydra/launcher=... chooses an option"),
        ("~hydra.launcher", "~hydra.launcher: nothing can be taken out of a config"),
        ("hydra/sweeper=basic", "hydra/sweeper=basic: what its runs give would be lost\nhint: hydra/sweeper=grid or optuna"),
        ("hydra.launcher.gpu=1", "hydra.launcher.gpu: GpuLauncher has no parameter 'gpu'\nhint: did you mean hydra.launcher.gpus?"),
        ("hydra.sweep.dir=/tmp/elsewhere", "hydra.sweep.dir=/tmp/elsewhere is not yours to set"),
        ("sweep.direction=down", "sweep.direction: must be 'min' or 'max', not 'down'"),
    ],
    "when Hydra composes": [("hydra/launcher=gpuu", "hydra/launcher/gpuu'"), ("", "\nhint: did you mean hydra/launcher=gpu?")],
}


@pytest.mark.parametrize("when", WRONG)
def test_wrong_settings_are_refused_and_leave_nothing(tmp_path, when):
    ended = train(tmp_path / "outputs", *TINY, "seed=0,1", *(word for word, _ in WRONG[when] if word))
    assert (ended.code, ended.out) == (2, "")
    for _, message in WRONG[when]:
        assert f"error: {message}" in ended.err or when == "when Hydra composes"
        assert message in ended.err
    assert re.fullmatch(r"(error: .*\n(hint: .*\n)?)+", ended.err), ended.err
    assert not (tmp_path / "outputs").exists()
    assert list((tmp_path / "here").iterdir()) == []


UUIDS = ("GPU-aaaaaaaa-1111-2222-3333-444444444444", "GPU-bbbbbbbb-1111-2222-3333-444444444444")


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists two GPUs."""
    lines = [f"echo 'GPU {index}: NVIDIA H100 PCIe (UUID: {uuid})'" for index, uuid in enumerate(UUIDS)]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("\n".join(["#!/bin/sh", *lines]))
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def most_at_once(lines):
    """{gpu: the most jobs that were between their first and their last line at one time}."""
    spans = {}
    for line in lines:
        spans.setdefault((line["gpu"], line["pid"]), []).append(line["time"])
    return {
        gpu: max(sum(min(other) <= min(one) <= max(other) for (its, _), other in spans.items() if its == gpu) for one in spans.values())
        for gpu, _ in spans
    }


def test_a_gpu_never_has_more_jobs_than_it_is_given(two_gpus, tmp_path):
    """One of two jobs on each ends long before the other."""
    memory, pauses = tmp_path / "diary", "0.01,0.01,0.08,0.08"
    ended = train(tmp_path / "outputs", *TINY, "seed=range(6)", "hydra.launcher.jobs_per_gpu=2", ROGUE_DIARY=memory, ROGUE_PAUSE=pauses)
    assert ended.code == 0, ended.err
    assert ended.err.startswith("6 jobs on GPU 0 x 2, GPU 1 x 2\n")
    lines = diary(memory)
    assert sorted(line["seed"] for line in lines if line["here"] == "step/0") == list(range(6))
    assert most_at_once(lines) == {"0": 2, "1": 2}


def test_with_cuda_visible_devices_only_those_are_used(two_gpus, tmp_path, monkeypatch):
    memory = tmp_path / "diary"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", UUIDS[1])
    ended = train(tmp_path / "outputs", *TINY, "seed=0", ROGUE_DIARY=memory)
    assert ended.code == 0, ended.err
    assert most_at_once(diary(memory)) == {UUIDS[1]: 1}


def test_a_gpu_that_is_not_there_is_refused(two_gpus, tmp_path):
    ended = train(tmp_path / "outputs", *TINY, "seed=0,1", "hydra.launcher.gpus=[0,2]")
    assert (ended.code, ended.out) == (2, "")
    assert "error: hydra.launcher.gpus: there is no GPU 2; can be seen: 0, 1\n" in ended.err
    assert not (tmp_path / "outputs").exists()


def steps_begun(lines):
    """{name: the seeds whose first step it took}."""
    begun = {}
    for line in lines:
        if line["here"] == "step/0":
            begun.setdefault(line["name"], []).append(line["seed"])
    return begun


@pytest.fixture
def commands():
    started = []

    def start(*arguments, **options):
        started.append(Command(*arguments, **options))
        return started[-1]

    yield start
    for command in started:
        command.clean_up()


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_the_jobs_share_what_is_compiled(tmp_path):
    """The second job finds the first one's code, and adds nothing to it."""
    cache, line = tmp_path / "cache", ("experiment=smoke", "objective=nce", "trainer.n_steps=4", "trainer.compile=true", "device=cpu")
    ended = train(tmp_path / "outputs", *line, "seed=0,1", "hydra.launcher.cpu_jobs=1", TORCHINDUCTOR_CACHE_DIR=cache)
    assert ended.code == 0, ended.err
    first, second = [Run(Path(run["path"])) for run in sweep_of(tmp_path / "outputs")[1]["runs"]]
    made = [path.stat().st_mtime for path in cache.rglob("*") if path.suffix in (".so", ".py")]
    assert made
    assert max(made) < second.read("environment.json")["created"]
    assert second.read("summary.json")["train_seconds"] < 0.5 * first.read("summary.json")["train_seconds"]


def test_two_identical_sweeps_at_once_share_the_work(commands, tmp_path):
    outputs, memory = tmp_path / "outputs", tmp_path / "diary"
    words = (*TINY, "device=cpu", "seed=range(4)", "hydra.launcher.cpu_jobs=1")
    there = commands(outputs, *words, ROGUE_DIARY=memory, ROGUE_NAME="there", ROGUE_HOLD="meet@step/5")
    there.wait_for(lambda: diary(memory))
    here = train(outputs, *words, ROGUE_DIARY=memory, ROGUE_NAME="here")
    ended = there.end()
    assert (here.code, ended.code) == (0, 0), (here, ended)
    assert here.out == ended.out
    begun = steps_begun(diary(memory))
    assert begun.keys() == {"here", "there"}  # neither was idle
    assert sorted(begun["here"] + begun["there"]) == list(range(4))
    for run in there.runs:
        assert (run.path / "train.log").read_text().count("new run: ") == 1
        assert "going on" not in (run.path / "train.log").read_text()
        assert run.state() == "finished"


def test_what_another_sweep_had_to_leave_is_taken_over(commands, tmp_path):
    """This one waits for both runs of that one, which is stuck in them and told to end: it goes on with them."""
    outputs, memory = tmp_path / "outputs", tmp_path / "diary"
    words = (*TINY, "device=cpu", "seed=0,1", "hydra.launcher.cpu_jobs=2", "trainer.log_every=1", "trainer.checkpoint_every=1")
    there = commands(outputs, *words, "hydra.launcher.grace_s=0.5", ROGUE_DIARY=memory, ROGUE_NAME="there", ROGUE_HOLD="sleep@step/3")

    def end_it():
        there.wait_for(lambda: sum((line["name"], line["here"]) == ("here", "count") for line in diary(memory)) == 4)
        time.sleep(0.2)
        there.kill(signal.SIGTERM)

    there.wait_for_step(3, n_runs=2)
    thread = threading.Thread(target=end_it)
    thread.start()
    here = train(outputs, *words, ROGUE_DIARY=memory, ROGUE_NAME="here")
    thread.join()
    assert there.end().code == 143
    assert here.code == 0, here
    for run in there.runs:
        assert run.state() == "finished"
        assert re.findall(r"going on from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE) == ["3"]
    assert [path.name for path in sweep_of(outputs)[0].iterdir()] == ["sweep.json"]


TWICE = {
    "seed=0,0": "a value stands twice in this sweep",
    "draws.n_steps=2,4": "draws.n_steps=2 and draws.n_steps=4 train the same run\nhint: `ebm evaluate RUN n_steps=4` measures",
    "sampler=mala,langevin": "sampler=mala and sampler=langevin train the same run\nhint: `ebm evaluate RUN sampler=langevin`",
    "force=false,true": "force=False and force=True train the same run\nhint: take it out of the sweep",
    "seed=0,1 seeds=2": "seed=0 and seed=1 with seeds=2: seed 1 would count twice\nhint: seeds 2 apart do not overlap",
}


@pytest.mark.parametrize("words", TWICE)
def test_a_sweep_that_would_count_a_run_twice_is_refused(tmp_path, words):
    ended = train(tmp_path / "outputs", *TINY, *words.split())
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {TWICE[words]}" in ended.err
    assert not (tmp_path / "outputs").exists()


def test_no_data_and_no_device_for_one_value_is_seen_before_the_first_run(tmp_path):
    line = ("experiment=smoke", "dataset=table", "dataset.path=no.csv,nor.csv", "device=cpu,cuda:9")
    ended = train(tmp_path / "outputs", *line)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("error: ") >= 2
    assert "no.csv" in ended.err
    assert "nor.csv" in ended.err
    assert not (tmp_path / "outputs").exists()


def test_the_jobs_go_on_from_the_run_that_was_the_last_when_the_line_was_typed(ebm, monkeypatch, tmp_path):
    outputs = tmp_path / "outputs"
    assert ebm("train", "experiment=smoke", "trainer.n_steps=4", "device=cpu")[0] == 0
    (parent,) = map(Run, (outputs / "runs").iterdir())
    ended = train(outputs, "resume=last", "trainer.n_steps=6,8", "device=cpu", "hydra.launcher.cpu_jobs=1")
    assert ended.code == 0, ended.err
    children = [run for run in map(Run, (outputs / "runs").iterdir()) if run.id != parent.id]
    assert [run.config()["resume"] for run in children] == [f"{parent.id}@4"] * 2
    assert f"resume={parent.id}@4" in ended.out
