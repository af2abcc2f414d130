"""A local imitation of the Slurm commands that submitit uses: `fake_slurm.py sbatch ...`, srun, sacct, scontrol, scancel.

The jobs really run, with their files in the folder FAKE_SLURM. Array tasks run in parallel within the limits of the array and of the GPUs,
each with the GPUs that its sbatch file requests. As with Slurm's `--export=NONE`, a task starts in / and without the variables EBM_*.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
KILL_WAIT_S = 4.0  # from SIGTERM to SIGKILL; Slurm's default is 30
N_GPUS = 2
TICK_S = 0.05


def sbatch(path):
    text = Path(path).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    if options.get("partition") == "nowhere":
        sys.exit("sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed: Invalid partition name")
    number = int(os.environ["FAKE_SLURM_FIRST"]) + len(list(FOLDER.glob("*.sh")))
    Path(FOLDER / f"{number}.sh").write_text(text)
    Path(FOLDER / f"{number}.json").write_text(json.dumps(options))
    process = subprocess.Popen(
        [sys.executable, __file__, "controller", str(number)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    Path(FOLDER / f"{number}.pid").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def controller(number):
    """Run a Slurm job until its last task has ended."""
    options = json.loads((FOLDER / f"{number}.json").read_text())
    tasks, limit = [""], 1
    if "array" in options:
        first, last, limit = map(int, re.fullmatch(r"(\d+)-(\d+)%(\d+)", options["array"]).groups())
        tasks = [f"_{task}" for task in range(first, last + 1)]
    places, gpus, lock = threading.Semaphore(limit), list(range(N_GPUS)), threading.Lock()
    for task in tasks:
        say(number + task, "PENDING")
    threads = [threading.Thread(target=live, args=(number, task, options, places, gpus, lock)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def live(number, task, options, places, gpus, lock):
    """Run a task, again after each requeue, until it ends."""
    name, n_gpus = number + task, int(options.get("gpus-per-node", 0))
    while True:
        with places:
            mine = []
            while len(mine) < n_gpus:
                time.sleep(TICK_S)
                with lock:
                    if len(gpus) >= n_gpus:
                        mine, gpus[:] = gpus[:n_gpus], gpus[n_gpus:]
            state = "CANCELLED by 0" if (FOLDER / f"{name}.cancelled").exists() else start(number, task, options, mine)
            with lock:
                gpus.extend(mine)
        say(name, state)
        if state != "PENDING":
            return


def start(number, task, options, gpus):
    """Run a task once and return its state."""
    name, began = number + task, time.time()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EBM_")}
    environment |= {"SLURM_JOB_ID": str(100 * int(number) + int(task[1:] or 0)), "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    environment |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    environment |= {"SLURM_CPUS_PER_TASK": options.get("cpus-per-task", "1"), "FAKE_SLURM_TASK": name}
    if task:
        environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": task[1:]}
    else:
        environment |= {"SLURM_JOB_ID": number}
    say(name, "RUNNING")
    with open(FOLDER / f"{name}.out", "a") as output:
        process = subprocess.Popen(["bash", FOLDER / f"{number}.sh"], env=environment, cwd="/", stdout=output, stderr=output)
    told = 0.0
    while process.poll() is None:
        if (FOLDER / f"{name}.cancelled").exists() or (FOLDER / f"{name}.requeued").exists():
            if not told:
                told = time.time()
                tell(name, signal.SIGCONT)
                tell(name, signal.SIGTERM)
            elif time.time() > told + KILL_WAIT_S:
                tell(name, signal.SIGKILL)
        time.sleep(TICK_S)
    with open(FOLDER / "starts.jsonl", "a") as file:
        file.write(json.dumps({"task": name, "gpus": gpus, "began": began, "ended": time.time(), "code": process.returncode}) + "\n")
    if (FOLDER / f"{name}.requeued").exists():
        (FOLDER / f"{name}.requeued").unlink()
        return "PENDING"
    if (FOLDER / f"{name}.cancelled").exists():
        return "CANCELLED by 0"
    return {0: "COMPLETED", 128 + signal.SIGKILL: "OUT_OF_MEMORY"}.get(process.returncode, "FAILED")


def tell(name, number):
    """Send a signal to a task's step."""
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((FOLDER / f"{name}.step").read_text()), number)


def say(name, state):
    partial = FOLDER / f".{name}"
    partial.write_text(state)
    partial.replace(FOLDER / f"{name}.state")


def srun(*words):
    """Redirect the output and replace this process by the command."""
    name, words = os.environ["FAKE_SLURM_TASK"], list(words)
    number, _, task = name.partition("_")
    patterns = {"%A": number, "%a": task, "%j": os.environ["SLURM_JOB_ID"], "%t": "0"}
    while words[0].startswith("--"):
        flag, _, value = words.pop(0).partition("=")
        if flag in ("--output", "--error"):
            value = words.pop(0)
            for pattern, text in patterns.items():
                value = value.replace(pattern, text)
            descriptor = os.open(value, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for stream in (1, 2) if flag == "--output" else (2,):
                os.dup2(descriptor, stream)
    (FOLDER / f"{name}.step").write_text(str(os.getpid()))
    os.execvp(words[0], words)


def sacct(*words):
    print("JobID|State|NodeList")
    for number in (words[i + 1] for i, word in enumerate(words) if word == "-j"):
        for path in sorted(FOLDER.glob(f"{number}*.state")):
            print(f"{path.stem}|{path.read_text()}|node1\n{path.stem}.batch|{path.read_text()}|node1")


def scontrol(verb, name):
    assert verb == "requeue"
    note("scontrol", verb, name)
    (FOLDER / f"{name}.requeued").touch()


def scancel(*names):
    note("scancel", *names)
    for name in names:
        for path in FOLDER.glob(f"{name}*.state" if "_" not in name else f"{name}.state"):
            if path.read_text() in ("PENDING", "RUNNING"):
                (FOLDER / f"{path.stem}.cancelled").touch()


def note(*words):
    with open(FOLDER / "commands", "a") as file:
        file.write(shlex.join(words) + "\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
