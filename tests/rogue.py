"""Helpers of the tests of sweeps: an objective that misbehaves on request, and the command in its own session."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from hashlib import pbkdf2_hmac
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from lines import last_of_each_key
from torch._dynamo.utils import counters

from ebm_cli import __main__
from ebm_cli.objectives.ssm import SlicedScoreMatching
from ebm_cli.runner import results
from ebm_cli.runner.plot import Pictures
from ebm_cli.runs.run import Run
from ebm_cli.sweeps import processes

PATIENCE = 300  # seconds; on an idle machine each sweep takes less than ten, and compiling a network half a minute
OPTION = """# Sliced score matching that misbehaves
_target_: rogue.Rogue
directions: rademacher
n_projections: 1
variance_reduced: true
how: well
"""
TINY = (
    "objective=rogue",
    "experiment=smoke",
    "trainer.n_steps=20",
    "energy.width=8",
    "draws.n_samples=100",
    "draws.n_steps=20",
    "metric=[]",
    "figure=[]",
    "dataset.noise=0.3",
    "sweep.metric=test_loss",
)


@dataclass(frozen=True)
class Rogue(SlicedScoreMatching):
    """Sliced score matching that misbehaves in the way `how` before step 12, or with `how@place` at a place: count, step/N, test_loss.

    Settings that must not change the identity of a run are environment variables; values separated by commas apply to one seed each.
    ROGUE_PAUSE: additional seconds per step. ROGUE_HOLD: another `how@place`. ROGUE_DIARY: a file to which every job appends lines.
    ROGUE_NAME: the name of the command in these lines.
    """

    how: str

    def prepare(self, model, params, carry, x, rng):
        here, seed = rng.path.lstrip("/"), rng.seed_list[0]
        if here == "count":
            results.save_figures = lambda *arguments: Pictures([], {}, {})  # figures take most of the time of a tiny job
        if here in ("count", "step/0", "test_loss"):
            note(here, seed)
        for order in (self.how, of_seed("ROGUE_HOLD", seed, "well")):
            how, _, place = order.partition("@")
            if here == (place or "step/12"):
                print(f"about to do: {how}")
                WAYS.get(how, lambda: None)()
        if here.startswith("step/"):
            time.sleep(float(of_seed("ROGUE_PAUSE", seed, "0")))
        aux, carry, info = super().prepare(model, params, carry, x, rng)
        factor = torch.tensor([FACTORS.get(self.how, lambda seed: 1.0)(own) for own in rng.seed_list])
        return {"directions": aux["directions"] * factor.reshape(*rng.model_shape, 1, 1, 1)}, carry, info


def of_seed(name, seed, default):
    values = os.environ.get(name, default).split(",")
    return values[seed % len(values)]


def note(here, seed):
    """Append a line to the diary, with the slot as the job sees it."""
    if "ROGUE_DIARY" in os.environ:
        slot = {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "omp": os.environ["OMP_NUM_THREADS"], "threads": torch.get_num_threads()}
        process = {"name": os.environ.get("ROGUE_NAME"), "pid": os.getpid(), "time": time.time()}
        compiled = counters["inductor"]["fxgraph_cache_miss"]  # the graphs for which no compiled code was found
        line = process | {"seed": seed, "here": here, "compiled": compiled} | slot
        with open(os.environ["ROGUE_DIARY"], "a") as file:
            file.write(json.dumps(line) + "\n")


def diary(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_a_mistake():
    raise ValueError("a mistake of the user")


def hit_a_limit():
    """Limit the address space to 300 MB above its present size, and allocate until the limit is reached."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 300_000_000,) * 2)
    kept = []
    while True:
        kept.append(torch.ones(10_000_000))


def meet():
    """Wait until a job of another command has started to train."""
    end = time.monotonic() + PATIENCE
    mine, memory = os.environ["ROGUE_NAME"], Path(os.environ["ROGUE_DIARY"])
    while time.monotonic() < end and not any(line["name"] != mine and line["here"] == "step/0" for line in diary(memory)):
        time.sleep(0.05)


WAYS = {
    "meet": meet,
    "raise": make_a_mistake,
    "exit": lambda: sys.exit(3),
    "os_exit": lambda: os._exit(4),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "tensor": lambda: torch.zeros(10**13),
    "memory": lambda: bytearray(10**14),
    "limit": hit_a_limit,
    "sleep": lambda: time.sleep(PATIENCE),
    "compute": lambda: pbkdf2_hmac("sha256", b"", b"", 10**9),  # minutes during which Python handles no signal
}
FACTORS = {"other": lambda seed: 0.5, "poison": lambda seed: float("nan") if seed == 1 else 1.0}  # multiply the directions


class Ended(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


def environment(outputs, **more):
    """The environment variables of a command with its runs in `outputs`."""
    return {"EBM_OUTPUTS": str(outputs), "EBM_ALLOW": "rogue", "OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in more.items()}


def options(outputs):
    """The flag that names a folder with the option file of the objective."""
    folder = outputs.parent / "options"
    (folder / "objective").mkdir(parents=True, exist_ok=True)
    (folder / "objective" / "rogue.yaml").write_text(OPTION)
    return f"--config-dir={folder}"


@contextmanager
def patience(seconds=PATIENCE):
    """Raise `TimeoutError` in this thread if the block takes longer."""

    def complain(number, frame):
        raise TimeoutError(f"nothing for {seconds} seconds")

    before = signal.signal(signal.SIGALRM, complain)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def train(outputs, *words, err=None, **more):
    """`ebm train -m ...` in this process, with stderr in the file `err` if given; the jobs are separate processes."""
    out, err = io.StringIO(), err or io.StringIO()
    with patience(), pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment(outputs, **more).items():
            patch.setenv(name, value)
        code = __main__.main(last_of_each_key(["train", "-m", options(outputs), *words]))
    return Ended(code, out.getvalue(), err.getvalue() if isinstance(err, io.StringIO) else "")


class Command:
    """`ebm train -m ...` in its own session, with its output in files.

    The process is forked from a server that has imported everything, which saves seconds; with `as_a_user` the installed command is
    started instead. In both cases the command has its own fork server for its jobs. `signal_at`: (module, function, signal); the process
    sends itself the signal when the function is called.
    """

    def __init__(self, outputs, *words, as_a_user=False, signal_at=None, **more):
        name = more.get("ROGUE_NAME", "command")
        outputs.parent.mkdir(exist_ok=True)
        self.outputs, self.signal_at = outputs, signal_at
        self.files = [outputs.parent / f"{name}.{stream}" for stream in ("out", "err")]
        for file in self.files:
            file.write_text("")
        names, words = list(map(str, self.files)), last_of_each_key(["train", "-m", options(outputs), *words])
        variables = environment(outputs, **more)
        if as_a_user:
            out, err = (os.open(name, os.O_WRONLY | os.O_APPEND) for name in names)
            folders = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
            variables = os.environ | variables | {"PYTHONPATH": os.pathsep.join(folders)}
            command = [Path(sys.executable).with_name("ebm"), *words]
            self.process = subprocess.Popen(command, env=variables, stdout=out, stderr=err, start_new_session=True)
            os.close(out)
            os.close(err)
        else:
            self.process = processes.warm().Process(target=forked, args=(words, names, os.environ | variables, signal_at))
            self.process.start()

    @property
    def runs(self):
        return [Run(path) for path in sorted(self.outputs.glob("runs/*"))]

    def output(self):
        return [file.read_text() for file in self.files]

    def wait_for(self, condition):
        """Wait until a condition holds; the command must still be running."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.is_alive(), self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.01)

    def wait_for_step(self, step, n_runs):
        """Wait until `n_runs` runs have reached a step."""
        self.wait_for(lambda: sum(run.rows()[-1:] != [] and run.rows()[-1]["step"] >= step for run in self.runs) >= n_runs)

    def is_alive(self):
        return self.process.poll() is None if isinstance(self.process, subprocess.Popen) else self.process.is_alive()

    def kill(self, number):
        os.kill(self.process.pid, number)

    def kill_all(self, number):
        """Send a signal to the whole process group, as a terminal does at Ctrl-C."""
        os.killpg(self.process.pid, number)

    def end(self):
        if isinstance(self.process, subprocess.Popen):
            code = self.process.wait(PATIENCE)
        else:
            self.process.join(PATIENCE)
            code = self.process.exitcode
            assert code is not None
        return Ended(code, *self.output())

    def left(self):
        """The processes of the session that still exist."""
        return session(self.process.pid)

    def assert_all_gone_within(self, seconds):
        end = time.monotonic() + seconds
        while self.left() and time.monotonic() < end:
            time.sleep(0.01)
        assert self.left() == {}

    def clean_up(self):
        """Kill the processes that a failed test has left."""
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


def forked(words, names, variables, signal_at):
    """The main function of a command that is forked from the server."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])  # the server has blocked them
    os.environ.clear()
    os.environ.update(variables)
    for stream, name in zip((1, 2), names, strict=True):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), stream)
    if signal_at:
        module, name, number = signal_at
        function = getattr(import_module(module), name)
        setattr(import_module(module), name, lambda *given, **named: os.kill(os.getpid(), number) or function(*given, **named))
    sys.argv = ["ebm", *words]
    sys.exit(__main__.main(words))


def session(leader):
    """{pid: command line} of a session, without zombies."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, _, session_id, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(session_id) == leader and state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            except (OSError, ValueError):  # the process has just ended
                continue
    return found
