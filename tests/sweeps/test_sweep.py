"""Sweeps: containment of failures, the table at the end, repeated commands, concurrent sweeps, GPUs. Jobs are real processes.

Unless a test says otherwise, the sweep runs in this process, whose fork server is already running; its jobs are separate processes.
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
from lines import last_of_each_key
from rogue import TINY, Command, diary, train
from scipy.stats import t as student

from ebm_cli import __main__
from ebm_cli.errors import Problem
from ebm_cli.runs.run import Run
from ebm_cli.sweeps.jobs import Job, Outcome
from ebm_cli.sweeps.lines import Lines, id_of
from ebm_cli.sweeps.progress import SweepProgress
from ebm_cli.sweeps.sweep import Sweep

BAD = ("raise", "raise@count", "exit", "os_exit", "kill", "segv", "tensor", "memory", "limit")
WHY = {
    "raise": "ValueError: a mistake of the user",
    "raise@count": "ValueError: a mistake of the user",
    "exit": "a component called sys.exit(3)",
    "os_exit": "ended with exit code 4 and without a result",
    "kill": "killed, perhaps out of memory",
    "segv": "ended by SIGSEGV",
    "tensor": "out of memory: ",
    "memory": "out of memory",
    "limit": "out of memory: ",
}


def sweep_of(outputs):
    """The folder of the only sweep and the contents of its sweep.json."""
    (folder,) = (outputs / "sweeps").iterdir()
    return folder, json.loads((folder / "sweep.json").read_text())


def times(outputs):
    """The modification time of every file under runs/, except for lock files."""
    return {path: path.stat().st_mtime_ns for path in (outputs / "runs").rglob("*") if path.is_file() and path.name != ".lock"}


def how(run):
    return run.config()["objective"]["how"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A sweep in which one job finishes and nine fail in different ways, and the same command again."""
    outputs, words = tmp_path_factory.mktemp("mixed") / "outputs", (*TINY, f"objective.how=well,{','.join(BAD)}")
    first = train(outputs, *words)
    (well,) = [run.path for run in map(Run, (outputs / "runs").iterdir()) if how(run) == "well"]
    before = times(outputs)
    listing = {file.name for file in sweep_of(outputs)[0].iterdir()}
    second = train(outputs, *words)
    return outputs, first, second, {path for path, time in times(outputs).items() if before.get(path) != time}, well, listing


def test_failing_jobs_do_not_affect_the_others(mixed):
    outputs, first, *_, well, _ = mixed
    assert first.code == 1
    assert "Traceback" not in first.out + first.err
    assert first.err.endswith("error: 9 of 10 jobs failed\nhint: the same command tries them again\n")
    assert Run(well).state() == "finished"
    rows = [line.split() for line in first.out.splitlines()]
    assert rows[1][:3] == ["objective.how=well", "finished", "1"]
    assert {row[0].removeprefix("objective.how="): row[1] for row in rows[2:11]} == dict.fromkeys(BAD, "failed")
    assert f"Results saved to {sweep_of(outputs)[0] / 'sweep.json'}\n" in first.out


@pytest.mark.parametrize("way", BAD)
def test_a_table_lists_the_reason_and_the_log_of_each_failed_job(mixed, way):
    _, first, *_ = mixed
    (row,) = re.findall(rf"^objective\.how={way}  +failed  +(.*?)  +(/.*)$", first.err, re.MULTILINE)
    why, where = row
    assert why.startswith(WHY[way])
    text = Path(where).read_text()
    if way in ("os_exit", "kill", "segv"):  # the job could not write the reason itself
        assert WHY[way] in text
    else:
        assert "Traceback (most recent call last)" in text
        assert f"in {dict(exit='<lambda>', tensor='<lambda>', memory='<lambda>', limit='hit_a_limit').get(way, 'make_a_mistake')}" in text
    assert len(re.findall(rf"^\[\d+/10\] objective\.how={way}: failed .*{re.escape(WHY[way])}", first.err, re.MULTILINE)) == 1


def test_the_output_of_a_job_is_in_the_folder_of_its_run(mixed):
    """This includes the output before the folder was created, and the output of jobs that were killed."""
    outputs, _, _, _, well, listing = mixed
    for run in map(Run, (outputs / "runs").iterdir()):
        assert (run.path / "output.log").read_text().startswith(f"about to do: {how(run)}\n")
    assert f"Results saved to {well}\n" in (well / "output.log").read_text()
    assert listing == {"sweep.json", "2.log"}  # the second of BAD did not create a run


def test_sweep_json_stores_the_line_the_table_and_the_runs(mixed):
    outputs, first, *_, well, _ = mixed
    folder, facts = sweep_of(outputs)
    assert facts["id"] == facts["group"] == folder.name
    assert (facts["state"], facts["metric"], facts["direction"]) == ("finished", "test_loss", "min")
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
    states = {run["path"]: run["state"] for run in json.loads(out)}
    assert len(states) == 9
    assert {how(Run(Path(path))): state for path, state in states.items()} == {
        way: "finished" if way == "well" else "failed" for way in ("well", *BAD) if way != "raise@count"
    }


def test_the_same_command_reuses_finished_runs_and_tries_the_others(mixed):
    _, first, second, written, well, _ = mixed
    assert (second.code, second.out) == (1, first.out)
    assert not [path for path in written if well in path.parents]
    assert len({path.parent for path in written if path.name == "status.json"}) == 8
    assert re.search(
        r"^\[\d+/10\] objective.how=well: finished(  \(ETA .*\))?$", second.err, re.MULTILINE
    )  # without a duration: nothing was trained


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A sweep over seeds in which seed 1 of `poison` diverges, and the same sweep with stacks, in a named group."""
    outputs = tmp_path_factory.mktemp("seeded") / "outputs"
    ways, memory = "objective.how=other,poison,well", outputs.parent / "diary"
    swept = train(outputs, *TINY, "device=cpu", "seed=0,1", ways, ROGUE_DIARY=memory)
    stacked = train(outputs, *TINY, "device=cpu", ways, "seeds=2", "group=stacks", ROGUE_DIARY=memory)
    return outputs, swept, stacked, diary(memory)


def table(text):
    """{label: (state, n, mean, interval)} from the table of a sweep by test_loss, the best first."""
    cell = re.compile(r"^objective\.how=(\w+) +(\w.*?) {2,}(\d+) +(\S+)(?: +\[(\S+), (\S+)\])?", re.MULTILINE)
    return {way: (state, int(n), mean, (low, high)) for way, state, n, mean, low, high in cell.findall(text)}


@pytest.mark.parametrize("stacked", [False, True], ids=["seed=0,1", "seeds=2"])
def test_a_row_has_the_mean_and_the_interval_over_seeds(seeded, stacked):
    outputs, swept, stacks, _ = seeded
    ended = stacks if stacked else swept
    rows = table(ended.out)
    assert list(rows) == ["well", "other", "poison"]
    for way in ("well", "other"):
        runs = [run for run in map(Run, (outputs / "runs").glob("*-s0x2-*" if stacked else "*-s?-*")) if how(run) == way]
        summaries = [run.read("summary.json") for run in runs]
        values = np.array(summaries[0]["per_seed"]["test_loss"] if stacked else [summary["test_loss"] for summary in summaries])
        mean, half = values.mean(), student.ppf(0.975, 1) * values.std(ddof=1) / math.sqrt(2)
        state, n, *shown = rows[way]
        assert (state, n, len(values)) == ("finished", 2, 2)
        assert [float(shown[0]), *map(float, shown[1])] == pytest.approx([mean, mean - half, mean + half], rel=1e-3)


def test_separate_runs_and_a_stack_have_the_same_numbers(seeded):
    _, swept, stacks, _ = seeded
    for way in ("well", "other"):
        assert float(table(swept.out)[way][2]) == pytest.approx(float(table(stacks.out)[way][2]), abs=1e-3)


def test_there_is_no_mean_if_a_seed_diverged(seeded):
    _, swept, stacks, _ = seeded
    assert table(swept.out)["poison"] == ("1 finished, 1 diverged", 2, "-", ("", ""))
    assert table(stacks.out)["poison"] == ("diverged", 2, "-", ("", ""))
    assert (swept.code, stacks.code) == (1, 1)
    assert "error: 1 of 6 jobs failed" in swept.err
    assert re.search(r"^seed=1 objective.how=poison  diverged  diverged: loss or gradient was not finite .*/train\.log$", swept.err, re.M)
    assert re.search(r"^objective.how=poison  diverged  1 of 2 models diverged: seed 1 at step 1 .*/train\.log$", stacks.err, re.M)


def words_of(line):
    """The words of a printed command, and the environment variables that it sets."""
    words = shlex.split(line)
    start = words.index("ebm")
    assert words[start : start + 2] == ["ebm", "train"]
    return words[start + 2 :], dict(word.split("=", 1) for word in words[:start])


@pytest.mark.parametrize("stacked", [False, True], ids=["seed=0,1", "seeds=2"])
def test_the_best_line_reuses_its_runs(seeded, stacked, monkeypatch, capsys):
    outputs, swept, stacks, _ = seeded
    (best,) = re.findall("^best: (.*)$", (stacks if stacked else swept).out, re.MULTILINE)
    words, variables = words_of(best)
    assert ("seeds=2" if stacked else "seed=0,1") in words
    before = times(outputs)
    for name, value in ({"EBM_OUTPUTS": str(outputs)} | variables).items():
        monkeypatch.setenv(name, value)
    assert __main__.main(last_of_each_key(["train", *words])) == 0
    assert times(outputs) == before
    assert "its stored result is shown" in (captured := capsys.readouterr()).err or "[2/2]" in captured.err


def test_the_direction_of_the_table_can_be_reversed(seeded):
    outputs, *_ = seeded
    before, sweeps = times(outputs), {path.name for path in (outputs / "sweeps").iterdir()}
    turned = train(outputs, *TINY, "seeds=2", "objective.how=other,poison,well", "device=cpu", "group=stacks", "sweep.direction=max")
    assert turned.code == 1
    assert list(table(turned.out)) == ["other", "well", "poison"]
    (best,) = re.findall("^best: (.*)$", turned.out, re.MULTILINE)
    assert "objective.how=other" in words_of(best)[0]
    assert times(outputs) == before
    assert {path.name for path in (outputs / "sweeps").iterdir()} == sweeps  # it is the same sweep


def test_a_metric_that_no_run_will_have_is_refused_before_any_is_trained(seeded):
    outputs, *_ = seeded
    before = times(outputs)
    unknown = train(outputs, *TINY, "seeds=2", "objective.how=well", "device=cpu", "sweep.metric=test_los")
    assert unknown.code == 2
    assert "error: sweep.metric=test_los: no run will have this metric\nhint: did you mean test_loss?\n" in unknown.err
    assert times(outputs) == before


def test_a_metric_defines_its_best_value_and_a_number_without_one_is_refused(tmp_path):
    """A larger effective sample size is better; log Z has no best value."""
    words, found = ("objective=ssm", "device=cpu", "metric=[effective_sample_size,short_run_gap,quadrature]"), {}
    for metric, more in (("ess", ()), ("short_run_energy_gap", ()), ("kl", ()), ("log_z", ("sweep.direction=max",))):
        lines = Lines((), here=True)
        assert lines.check((*words, f"sweep.metric={metric}", *more)) == []
        found[metric] = lines.ranking.best
    assert found == {"ess": "max", "short_run_energy_gap": 0.0, "kl": "min", "log_z": "max"}
    (problem,) = Lines((), here=True).check((*words, "sweep.metric=log_z"))
    message = "sweep.metric=log_z: this metric has no direction of its own"
    assert problem == Problem(message, "add sweep.direction=min or sweep.direction=max")
    jobs = [Outcome((f"a={k}",), "finished", path=str(tmp_path / str(k))) for k in range(3)]
    for job, gap in zip(jobs, (-3.0, 1.0, 2.0), strict=True):
        Path(job.path).mkdir()
        (Path(job.path) / "summary.json").write_text(json.dumps({"gap": gap}))
    for best, order in {"min": (0, 1, 2), "max": (2, 1, 0), 0.0: (1, 2, 0)}.items():
        ended = Sweep((), Job((), "id", "group", metric="gap", best=best, outcomes=jobs))
        assert [line.words for line in ended.lines()] == [(f"a={k}",) for k in order]


def test_the_runs_of_a_sweep_store_its_group(seeded):
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
def test_settings_that_change_no_run_do_not_change_the_id_of_a_sweep(words):
    assert id_of(words) == id_of(WORDS)


@pytest.mark.parametrize(
    "words",
    [WORDS[:2], (*WORDS, "seeds=2"), (*WORDS[:2], "trainer.n_steps=21"), (*WORDS, "group=a"), (*WORDS, "hydra/sweeper=optuna")],
    ids=" ".join,
)
def test_settings_that_change_the_runs_change_the_id_of_a_sweep(words):
    assert id_of(words) != id_of(WORDS)


WRONG = {
    "when the launcher checks its settings": [
        ("hydra.launcher.jobs_per_gpu=0", "hydra.launcher.jobs_per_gpu: must be greater than or equal to 1, not 0"),
        ("hydra.launcher.cpu_jobs=-1", "hydra.launcher.cpu_jobs: must be greater than or equal to 1, not -1"),
        ("hydra.launcher.grace_s=soon", "hydra.launcher.grace_s: must be a number, not 'soon'"),
        ("hydra.launcher.gpus=many", "hydra.launcher.gpus: must be"),
    ],
    "when the line is checked": [
        (
            "hydra.launcher=gpu",
            "hydra.launcher=gpu: hydra.launcher is a group of keys, not a value\nhint: choose an option with hydra/launcher=...",
        ),
        ("~hydra.launcher", "~hydra.launcher: keys cannot be removed from a config"),
        (
            "hydra/sweeper=basic",
            "hydra/sweeper=basic: this sweeper does not record the results of its runs\n"
            "hint: use hydra/sweeper=grid or hydra/sweeper=optuna",
        ),
        ("hydra.launcher.gpu=1", "hydra.launcher.gpu: GpuLauncher has no parameter 'gpu'\nhint: did you mean hydra.launcher.gpus?"),
        ("hydra.sweep.dir=/tmp/elsewhere", "hydra.sweep.dir=/tmp/elsewhere: this key cannot be set"),
        ("sweep.direction=down", "sweep.direction: must be 'min' or 'max', not 'down'"),
    ],
    "when Hydra composes": [("hydra/launcher=gpuu", "hydra/launcher/gpuu'"), ("", "\nhint: did you mean hydra/launcher=gpu?")],
}


@pytest.mark.parametrize("when", WRONG)
def test_invalid_settings_are_refused_and_leave_no_files(tmp_path, when):
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
    """{gpu: the largest number of jobs that ran at the same time}, from the first to the last line of each job in the diary."""
    spans = {}
    for line in lines:
        spans.setdefault((line["gpu"], line["pid"]), []).append(line["time"])
    return {
        gpu: max(sum(min(other) <= min(span) <= max(other) for (its, _), other in spans.items() if its == gpu) for span in spans.values())
        for gpu, _ in spans
    }


def test_a_gpu_never_runs_more_than_jobs_per_gpu(two_gpus, tmp_path):
    """Of the two jobs on each GPU, one ends long before the other."""
    memory, pauses = tmp_path / "diary", "0.01,0.01,0.08,0.08"
    ended = train(tmp_path / "outputs", *TINY, "seed=range(6)", "hydra.launcher.jobs_per_gpu=2", ROGUE_DIARY=memory, ROGUE_PAUSE=pauses)
    assert ended.code == 0, ended.err
    assert ended.err.startswith("6 jobs on GPU 0 x 2, GPU 1 x 2\n")
    lines = diary(memory)
    assert sorted(line["seed"] for line in lines if line["here"] == "step/0") == list(range(6))
    assert most_at_once(lines) == {"0": 2, "1": 2}


def test_only_the_gpus_of_cuda_visible_devices_are_used(two_gpus, tmp_path, monkeypatch):
    memory = tmp_path / "diary"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", UUIDS[1])
    ended = train(tmp_path / "outputs", *TINY, "seed=0", ROGUE_DIARY=memory)
    assert ended.code == 0, ended.err
    assert most_at_once(diary(memory)) == {UUIDS[1]: 1}


def test_a_gpu_that_does_not_exist_is_refused(two_gpus, tmp_path):
    ended = train(tmp_path / "outputs", *TINY, "seed=0,1", "hydra.launcher.gpus=[0,2]")
    assert (ended.code, ended.out) == (2, "")
    assert "error: hydra.launcher.gpus: there is no GPU 2; visible GPUs: 0, 1\n" in ended.err
    assert not (tmp_path / "outputs").exists()


def steps_begun(lines):
    """{name of a command: the seeds that it started}."""
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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_jobs_share_compiled_code(tmp_path):
    """The second job reuses the code compiled by the first and compiles nothing."""
    line = (*TINY, "energy.n_blocks=1", "trainer.n_steps=4", "trainer.compile=true", "device=cpu", "seed=0,1", "hydra.launcher.cpu_jobs=1")
    ended = train(tmp_path / "outputs", *line, ROGUE_DIARY=tmp_path / "diary", TORCHINDUCTOR_CACHE_DIR=tmp_path / "cache")
    assert ended.code == 0, ended.err
    first, second = [line for line in diary(tmp_path / "diary") if line["here"] == "test_loss"]
    assert first["pid"] != second["pid"]
    assert first["compiled"] > 0
    assert second["compiled"] == 0


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
    assert begun.keys() == {"here", "there"}  # both trained
    assert sorted(begun["here"] + begun["there"]) == list(range(4))
    for run in there.runs:
        assert (run.path / "train.log").read_text().count("new run: ") == 1
        assert "continuing" not in (run.path / "train.log").read_text()
        assert run.state() == "finished"


def test_a_sweep_takes_over_the_runs_of_an_interrupted_one(commands, tmp_path, monkeypatch):
    """This sweep waits, without starting processes, for both runs of another one; when that one is interrupted, it continues the runs."""
    outputs, memory = tmp_path / "outputs", tmp_path / "diary"
    words = (*TINY, "device=cpu", "seed=0,1", "hydra.launcher.cpu_jobs=2", "trainer.log_every=1", "trainer.checkpoint_every=1")
    there = commands(outputs, *words, "hydra.launcher.grace_s=0.5", ROGUE_DIARY=memory, ROGUE_NAME="there", ROGUE_HOLD="sleep@step/3")

    busy, began_before, see = set(), [], SweepProgress.see

    def watched(self, number, event):
        if event.get("event") == "busy":
            busy.add(number)
        see(self, number, event)

    def end_it():
        there.wait_for(lambda: busy == {0, 1})
        time.sleep(0.5)
        began_before.extend(line for line in diary(memory) if line["name"] == "here")
        there.kill(signal.SIGTERM)

    monkeypatch.setattr(SweepProgress, "see", watched)

    there.wait_for_step(3, n_runs=2)
    thread = threading.Thread(target=end_it)
    thread.start()
    here = train(outputs, *words, ROGUE_DIARY=memory, ROGUE_NAME="here")
    thread.join()
    assert there.end().code == 143
    assert here.code == 0, here
    assert began_before == []
    for run in there.runs:
        assert run.state() == "finished"
        assert re.findall(r"continuing from step (\d+)$", (run.path / "train.log").read_text(), re.MULTILINE) == ["3"]
    assert [path.name for path in sweep_of(outputs)[0].iterdir()] == ["sweep.json"]


TWICE = {
    "seed=0,0": "this sweep lists a value twice\nhint: list each value once",
    "draws.n_steps=2,4": "draws.n_steps=2 and draws.n_steps=4 train the same run\nhint: `ebm evaluate RUN n_steps=4` measures",
    "sampler=mala,langevin": "sampler=mala and sampler=langevin train the same run\nhint: `ebm evaluate RUN sampler=langevin`",
    "force=false,true": "force=False and force=True train the same run\nhint: give force a single value",
    "seed=0,1 seeds=2": "seed=0 and seed=1 with seeds=2: seed 1 would count twice\nhint: choose seeds that are 2 apart",
}


@pytest.mark.parametrize("words", TWICE)
def test_a_sweep_with_a_repeated_run_is_refused(tmp_path, words):
    ended = train(tmp_path / "outputs", *TINY, *words.split())
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {TWICE[words]}" in ended.err
    assert not (tmp_path / "outputs").exists()


def test_missing_data_and_devices_are_reported_before_the_first_run(tmp_path):
    line = ("experiment=smoke", "dataset=table", "dataset.path=no.csv,nor.csv", "device=cpu,cuda:9")
    ended = train(tmp_path / "outputs", *line)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("error: ") >= 2
    assert "no.csv" in ended.err
    assert "nor.csv" in ended.err
    assert not (tmp_path / "outputs").exists()


def test_resume_last_is_resolved_before_the_first_job(ebm, monkeypatch, tmp_path):
    outputs = tmp_path / "outputs"
    assert ebm("train", "experiment=smoke", "trainer.n_steps=4", "device=cpu")[0] == 0
    (parent,) = map(Run, (outputs / "runs").iterdir())
    ended = train(outputs, "resume=last", "trainer.n_steps=6,8", "device=cpu", "hydra.launcher.cpu_jobs=1")
    assert ended.code == 0, ended.err
    children = [run for run in map(Run, (outputs / "runs").iterdir()) if run.id != parent.id]
    assert [run.config()["resume"] for run in children] == [f"{parent.id}@4"] * 2
    assert f"resume={parent.id}@4" in ended.out
