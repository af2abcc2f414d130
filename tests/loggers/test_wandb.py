"""`logger=wandb`, read back from what wandb wrote to disk or sent to a server: rows, names, figures, final states, and no API key."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import wandb
import yaml
from fake_wandb import Offline, Server

from ebm_cli.config import compose
from ebm_cli.runner import results
from ebm_cli.runner.plot import Pictures
from ebm_cli.runs.catalog import find
from ebm_cli.runs.run import Run, outputs
from ebm_cli.training import checkpoint
from ebm_cli.training.trainer import Trainer

LINE = (
    "experiment=smoke",
    "trainer.n_steps=20",
    "trainer.checkpoint_every=8",
    "trainer.log_every=3",
    "energy.width=8",
    "dataset.noise=0.3",
    "draws.n_samples=50",
    "draws.n_steps=10",
    "metric=[]",
    "device=cpu",
)
LOGGED = (*LINE, "logger=wandb")
SAVE_FIGURES = results.save_figures
KEY = "5ec2e7" + "0123456789abcdef" * 2 + "42"
PATIENCE = 120  # seconds; on an idle machine each of these processes takes less than ten
MANY = 1500  # steps, enough to interrupt a process in the middle of training


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Stop wandb after each test, and draw no figures, which take most of the time of a small run."""
    monkeypatch.setattr(results, "save_figures", lambda *_: Pictures([], {}, {}))
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    """A fake wandb server and an API key for it."""
    fake = Server()
    monkeypatch.setenv("WANDB_BASE_URL", fake.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    yield fake
    fake.shutdown()


def folders(run):
    return sorted((run.path / "wandb").glob("offline-run-*"))


def logged(run):
    """The contents of the only folder of an offline run."""
    (folder,) = folders(run)
    return Offline(folder)


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds" and not key.startswith("_")} for row in rows]


def memory(run, where="wandb offline ebm"):
    return run.read("mirrors.json")[where]


def holds_the_key(folder):
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def fail_at(step):
    """A `Trainer.step` that raises at a step."""
    whole = Trainer.step

    def failing(self):
        if self.state.step == step:
            raise OSError("No space left on device")
        whole(self)

    return failing


def test_an_offline_run_mirrors_the_folder_of_the_run(ebm, monkeypatch):
    """The config, rows, summary, names, figures and exit code agree."""
    monkeypatch.setattr(results, "save_figures", SAVE_FIGURES)
    words = ["metric=[quadrature,sliced_wasserstein]", "group=some group", "tags=[a,b]", "trainer.evaluate_every=9"]
    code, out, err = ebm("train", *LOGGED, *words)
    run = find("last")
    mirror = logged(run)
    assert code == 0
    assert mirror.config == yaml.safe_load((run.path / "config.yaml").read_text())
    rows = run.rows()
    assert mirror.rows == rows
    assert [row["step"] for row in rows if "kl" in row] == [9, 18, 20]
    summary = run.read("summary.json")
    assert {key: mirror.summary.get(key, {}) for key in summary} == summary
    assert mirror.summary["state"] == "finished"
    assert mirror.exit_code == 0
    assert mirror.pictures == {path.stem: path.read_bytes() for path in run.figures.iterdir()}
    assert len(mirror.pictures) == 3
    assert ("*", "step") in mirror.step_metrics
    sent = mirror.run
    names = sent.run_id, sent.display_name, sent.run_group, list(sent.tags), sent.job_type, sent.project
    assert names == (run.id, run.path.name, "some group", ["a", "b"], "train", "ebm")
    (folder,) = folders(run)
    assert err.splitlines()[1:] == [f"logged offline; to upload: wandb sync {folder.resolve()}"]  # the first line shows the progress
    assert out.splitlines()[-1] == f"Results saved to {run.path}"
    assert {path.name for path in run.path.parents[2].iterdir()} == {"here", "outputs"}
    assert not list((run.path.parents[2] / "here").iterdir())


def test_a_stack_logs_the_numbers_of_each_seed_and_their_mean(ebm):
    assert ebm("train", *LOGGED, "seed=4", "seeds=2", "metric=quadrature", "name=mine")[0] == 0
    run = find("last")
    mirror = logged(run)
    assert mirror.run.display_name == "mine"
    expected = []
    for row in run.rows():
        expected.append({key: value for key, value in row.items() if not isinstance(value, list)})
        for key, value in row.items():
            if isinstance(value, list):
                expected[-1] |= {key: sum(value) / 2, f"{key}/seed4": value[0], f"{key}/seed5": value[1]}
    assert mirror.rows == expected
    assert {"kl", "kl/seed4", "kl/seed5", "loss", "loss/seed4", "loss/seed5", "step", "seconds"} <= set(mirror.rows[-1])
    assert mirror.summary["per_seed"] == run.read("summary.json")["per_seed"]


def test_overrides_take_precedence_over_the_environment_and_that_over_the_file(monkeypatch):
    def node(*words):
        return {key: value for key, value in compose.compose(["logger=wandb", *words]).config["logger"].items() if "_" not in key}

    monkeypatch.delenv("WANDB_MODE")
    assert node() == {"project": "ebm", "entity": None, "mode": "online"}
    for name in ("project", "entity", "mode"):
        monkeypatch.setenv(f"WANDB_{name.upper()}", f"{name}-there")
    assert node() == {"project": "project-there", "entity": "entity-there", "mode": "mode-there"}
    typed = {"project": "p", "entity": "e", "mode": "offline"}
    assert node(*(f"logger.{key}={value}" for key, value in typed.items())) == typed


def test_wandb_dir_and_wandb_project_are_respected(ebm, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_PROJECT", "a project")
    assert ebm("train", *LOGGED)[0] == 0
    (folder,) = (tmp_path / "elsewhere" / "wandb").glob("offline-run-*")
    assert Offline(folder).run.project == "a project"
    assert not (find("last").path / "wandb").exists()


def test_wandb_mode_can_disable_the_logger(ebm, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(wandb, "init", None)
    assert ebm("train", *LOGGED)[0] == 0
    assert not (find("last").path / "wandb").exists()


@pytest.mark.parametrize(
    ("environment", "words", "message", "hint"),
    [
        ({"WANDB_MODE": "online"}, [], "there is no API key", "store a key with `wandb login`"),
        ({"WANDB_MODE": "offline"}, ["logger.mode=online"], "there is no API key", "logger.mode=offline needs no account"),
        ({"WANDB_MODE": "online", "WANDB_API_KEY": "5ec2e7-short"}, [], "must have 40+ characters", "`wandb login`"),
        ({"WANDB_MODE": "shared"}, [], "logger.mode: must be 'online', 'offline' or 'disabled', not 'shared'", ""),
        ({}, ["logger.project=a/b"], "Invalid project name 'a/b'", "logger.project"),
        ({}, [f"tags=[{'x' * 65}]"], "between 1 and 64 characters", "tags"),
        ({"WANDB_DEBUG": "true", "WANDB_API_KEY": KEY}, [], "with WANDB_DEBUG wandb writes the API key into its logs", "unset WANDB_DEBUG"),
        ({}, ["logger.init_timeout=0"], "logger.init_timeout: must be greater than 0", ""),
        ({}, [f"logger.api_key={KEY}"], "logger.api_key: Wandb has no parameter 'api_key'", "logger.entity"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_written(ebm, tmp_path, monkeypatch, environment, words, message, hint):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Trainer, "step", None)
    code, out, err = ebm("train", *LOGGED, *words)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[0]
    assert hint in err
    assert "5ec2e7" not in err
    assert not (tmp_path / "outputs").exists()


def test_a_logger_key_needs_a_chosen_logger(ebm):
    assert "error: logger.mode: no option of the group logger is chosen" in ebm("train", *LINE, "logger.mode=offline")[2]


def test_without_a_network_the_run_is_logged_offline(ebm_process, tmp_path):
    """This takes seconds, the command for the upload is printed, and the key is stored nowhere."""
    (tmp_path / "home").mkdir()
    environment = os.environ | {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
    environment |= {"HOME": str(tmp_path / "home"), "EBM_DEBUG": "1"}
    process = ebm_process("train", *LOGGED, "logger.init_timeout=2", env=environment)
    out, err = process.communicate(timeout=PATIENCE)
    run = find("last")
    mirror, (folder,) = logged(run), folders(run)
    assert process.returncode == 0
    first, _, last = err.splitlines()
    assert re.match(r"warning: wandb: .*connection refused; logging offline$", first)
    assert last == f"logged offline; to upload: wandb sync {folder.resolve()}"
    assert mirror.rows == run.rows()
    assert mirror.exit_code == 0
    seconds = (folder / "logs" / "debug.log").stat().st_mtime - (run.path / "dataset.json").stat().st_mtime
    assert not mirror.kinds & {"output", "output_raw"}  # our terminal output is not logged
    assert seconds < 30  # three on an idle machine; with its defaults wandb retries for ninety
    assert KEY not in out + err
    assert holds_the_key(tmp_path) == []


def test_an_online_run_mirrors_the_folder_of_the_run(ebm, server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")  # the override logger.mode takes precedence
    code, _, err = ebm("train", *LOGGED, "group=g", "tags=[a]", "metric=quadrature", "logger.entity=somebody", "logger.mode=online")
    run = find("last")
    received = server.runs[run.id]
    assert code == 0, err
    assert len(err.splitlines()) == 1  # the progress
    assert [{key: value for key, value in row.items() if not key.startswith("_")} for row in received["rows"]] == run.rows()
    summary = run.read("summary.json")
    assert {key: received["summary"].get(key, {}) for key in summary} == summary
    sent, stored = json.loads(received["config"]), yaml.safe_load((run.path / "config.yaml").read_text())
    assert {key: sent.get(key, {"value": {}})["value"] for key in stored} == stored  # empty values are not sent
    assert set(sent) - set(stored) == {"_wandb"}
    assert (received["groupName"], received["tags"], received["jobType"], received["displayName"]) == ("g", ["a"], "train", run.path.name)
    assert (received["project"], received["entity"], received["exit_code"]) == ("ebm", "somebody", 0)
    assert holds_the_key(tmp_path) == []
    assert KEY not in json.dumps(run.read("environment.json"))


def test_a_continued_online_run_keeps_its_wandb_run(ebm, server, monkeypatch):
    """Only the rows that the server lacks are sent."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at(13))  # after the row of step 12, and the checkpoint of step 8
        assert ebm("train", *LOGGED)[0] == 1
    run = find("last")
    received = server.runs[run.id]
    assert [row["step"] for row in received["rows"]] == [3, 6, 9, 12]
    assert (received["exit_code"], received["summary"]["state"]) == (1, "failed")
    del received["rows"][1:]  # as if they had been lost when the process was killed
    received["summary"]["step"] = 3
    code, _, err = ebm("train", *LOGGED)
    assert code == 0, err
    assert without_seconds(received["rows"]) == without_seconds(run.rows())
    assert [row["step"] for row in received["rows"]] == [3, 6, 9, 12, 15, 18, 20]
    assert (received["exit_code"], received["summary"]["state"]) == (0, "finished")
    assert list(server.runs) == [run.id]


def test_rows_logged_offline_are_sent_when_the_network_is_back(ebm, server, monkeypatch):
    """The offline folder is then removed."""
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patch.setattr(Trainer, "step", fail_at(13))
        assert ebm("train", *LOGGED, "logger.init_timeout=1")[0] == 1
    run = find("last")
    assert [row["step"] for row in logged(run).rows] == [3, 6, 9, 12]
    code, _, err = ebm("train", *LOGGED, "logger.init_timeout=30")
    assert code == 0, err
    assert without_seconds(server.runs[run.id]["rows"]) == without_seconds(run.rows())
    assert folders(run) == []


def test_an_upload_that_does_not_finish_can_be_continued(ebm, server, monkeypatch):
    """The run ends after `finish_timeout`, and the data are on disk."""
    monkeypatch.setattr(Server, "stream", lambda *_: time.sleep(20))
    code, _, err = ebm("train", *LOGGED, "logger.finish_timeout=1")
    run = find("last")
    (folder,) = (run.path / "wandb").glob("run-*")
    assert code == 0, err
    assert f"warning: wandb: the upload was not finished after 1 s; to continue it: wandb sync {folder.resolve()}" in err
    assert Offline(folder).rows == run.rows()


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_continued_offline_run_is_one_folder_with_all_rows(ebm, monkeypatch, uploaded):
    """If the first folder was uploaded meanwhile, the second holds the rows that the server does not have."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", fail_at(13))
        assert ebm("train", *LOGGED)[0] == 1
    run = find("last")
    assert (logged(run).exit_code, logged(run).summary["state"]) == (1, "failed")
    (first,) = folders(run)
    if uploaded:
        (first / "run.wandb.synced").touch()  # the mark of `wandb sync`
    code, _, err = ebm("train", *LOGGED)
    assert code == 0, err
    (last,) = {*folders(run)} - {first}
    assert first.exists() == uploaded
    part, rows = Offline(last), run.rows()
    assert without_seconds(part.rows) == without_seconds(rows[4:] if uploaded else rows)
    assert (part.run.run_id, part.exit_code) == (run.id, 0)
    sent = [first, last] if uploaded else [last]
    assert err.splitlines()[-1] == f"logged offline; to upload: wandb sync {' '.join(str(folder.resolve()) for folder in sent)}"


def start_and_wait(ebm_process, step):
    """Start a process and wait for the row of a step: the process, its run and its overrides."""
    words = [*LOGGED, f"trainer.n_steps={MANY}", "trainer.log_every=1", "trainer.checkpoint_every=20"]
    process, end, run = ebm_process("train", *words), time.monotonic() + PATIENCE, None
    while not (run and run.rows() and run.rows()[-1]["step"] >= step):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
        found = list((outputs() / "runs").glob("*/metrics.jsonl"))
        run = Run(found[0].parent) if found else None
    return process, run, words


def test_a_killed_run_that_is_continued_has_a_complete_mirror(ebm_process, ebm):
    """Rows that wandb had not written are taken from metrics.jsonl, and the incomplete offline folder is removed."""
    process, run, words = start_and_wait(ebm_process, 50)
    process.kill()
    process.communicate()
    (killed,) = folders(run)
    assert Offline(killed).exit_code is None
    assert ebm("train", *words, "trainer.log_every=7")[0] == 0  # rows after the checkpoint are replaced by rows of other steps
    mirror = logged(run)
    assert not killed.exists()
    assert without_seconds(mirror.rows) == without_seconds(run.rows())
    assert [row["step"] for row in mirror.rows][:40] == list(range(1, 41))
    assert mirror.rows[-1]["step"] == MANY


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_logged_as_interrupted(ebm_process, number, code):
    process, run, _ = start_and_wait(ebm_process, 50)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    saved = int(checkpoint.newest(run.checkpoints, print).name)
    assert (process.returncode, out) == (code, "")
    assert err.endswith(f"error: interrupted by {number.name}\nhint: the same command continues from step {saved}\n")
    assert run.read("status.json")["reason"].endswith(f"at step {saved}")
    mirror = logged(run)
    assert without_seconds(mirror.rows) == without_seconds(run.rows())
    assert (mirror.exit_code, mirror.summary["state"]) == (130, "interrupted")


def test_a_diverged_run_is_logged_as_diverged(ebm):
    assert ebm("train", *LOGGED, "optimizer.lr=1e30")[0] == 1
    run = Run(next(outputs().glob("runs/*")))
    mirror = logged(run)
    assert (mirror.exit_code, mirror.summary["state"]) == (1, "diverged")
    assert run.rows()[-1]["loss"] is None
    assert "loss" not in mirror.rows[-1]
    assert mirror.rows[-1]["step"] == run.rows()[-1]["step"]
    assert memory(run)["step"] == run.rows()[-1]["step"]


def test_a_finished_run_is_sent_once_to_each_project(ebm):
    assert ebm("train", *LINE)[0] == 0
    run = find("last")
    before = (run.path / "metrics.jsonl").read_bytes()
    assert not (run.path / "mirrors.json").exists()
    code, _, err = ebm("train", *LOGGED, "group=later")
    assert code == 0
    assert err.splitlines()[0] == "the run now has group=later"
    assert err.splitlines()[1].startswith("this run is finished")
    assert err.splitlines()[2].startswith("logged offline; to upload: wandb sync ")
    mirror = logged(run)
    assert mirror.rows == run.rows()
    assert (mirror.run.run_id, mirror.run.run_group, mirror.exit_code) == (run.id, "later", 0)
    assert mirror.config == yaml.safe_load((run.path / "config.yaml").read_text())
    summary = run.read("summary.json")
    assert {key: mirror.summary.get(key, {}) for key in summary} == summary
    assert ebm("train", *LOGGED)[2] == "this run is finished: its stored result is shown; force=true trains it again\n"
    assert len(folders(run)) == 1
    assert ebm("train", *LOGGED, "logger.project=another")[0] == 0
    first, second = map(Offline, folders(run))
    assert (first.run.project, second.run.project) == ("ebm", "another")
    assert first.rows == second.rows == run.rows()
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_a_metric_added_to_a_finished_run_is_sent(ebm):
    """The new folder has all rows, so the one before is removed."""
    assert ebm("train", *LOGGED)[0] == 0
    run = find("last")
    before = logged(run)
    assert ebm("train", *LOGGED, "metric=quadrature")[0] == 0
    assert (len(before.rows), len(logged(run).rows)) == (7, 7)
    assert before.summary.get("kl") is None
    assert logged(run).summary["kl"] == run.read("summary.json")["kl"]


def test_a_run_trained_with_force_is_another_wandb_run(ebm):
    """With the same id, wandb would mix the old rows with the new ones."""
    assert ebm("train", *LOGGED)[0] == 0
    assert ebm("train", *LOGGED, "force=true")[0] == 0
    run = find("last")
    mirror = logged(run)
    assert mirror.run.run_id == f"{run.id}x2"
    assert mirror.rows == run.rows()
    (replaced,) = outputs().glob("replaced/*")
    assert logged(Run(replaced)).run.run_id == run.id


@pytest.mark.parametrize("method", ["init", "log", "finish"])
def test_an_error_in_wandb_does_not_end_training(ebm, monkeypatch, method):
    def broken(*_, **__):
        raise RuntimeError("wandb\nis out of order")

    monkeypatch.setattr(*((wandb, method, broken) if method == "init" else (wandb.Run, method, broken)))
    code, out, err = ebm("train", *LOGGED)
    run = find("last")
    assert code == 0
    assert run.state() == "finished"
    assert out.endswith(f"Results saved to {run.path}\n")
    warning = "wandb offline ebm: RuntimeError: wandb is out of order"
    assert err.count("warning: ") == err.count(f"warning: {warning}; the run continues without this logger\n") == 1
    assert warning in (run.path / "train.log").read_text()
    assert "seen" not in run.read("mirrors.json")["wandb offline ebm"]
    monkeypatch.undo()


def test_the_death_of_the_wandb_process_does_not_end_training(ebm, monkeypatch):
    """The process is killed, as it would be when out of memory."""
    whole = Trainer.step

    def killing(self):
        if self.state.step == 10:
            children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True).stdout
            (pid,) = [line.split()[0] for line in children.splitlines() if "wandb-core" in line]
            os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.3)
        whole(self)

    monkeypatch.setattr(Trainer, "step", killing)
    code, _, err = ebm("train", *LOGGED)
    run = find("last")
    assert code == 0, err
    assert err.count("warning: wandb offline ebm: ") == 1
    assert [row["step"] for row in run.rows()] == [3, 6, 9, 12, 15, 18, 20]
    assert run.read("status.json")["state"] == "finished"


def test_loggers_are_only_imported_if_chosen():
    code = """
import sys
from ebm_cli.config import compose
from ebm_cli.runner import experiment
experiment.check(compose.compose(sys.argv[1:]))
sys.exit("wandb" in sys.modules or "tensorboard" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code, *LINE]).returncode == 0
