#!/usr/bin/env bash
# submitit 1.5.4, LocalExecutor: CUDA_VISIBLE_DEVICES of the submitting shell is overwritten, not narrowed.
#
# A user of a shared machine exports CUDA_VISIBLE_DEVICES=3 and submits two jobs of one GPU each with the executor "local", the same calls
# that a Slurm cluster takes. Expected: both see device 3, or the second waits, since CUDA, PyTorch and the other launchers all number
# devices within the mask. Observed: both jobs are given CUDA_VISIBLE_DEVICES=0, the device of somebody else, at the same time. A job that
# asks for no GPU is given an empty mask. The parameter `visible_gpus` of LocalExecutor changes the device; AutoExecutor, which most callers
# use (Hydra's submitit launcher among them), does not accept it as `local_visible_gpus`.
# No GPU is needed to see it: the jobs print the variable.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4 cloudpickle==3.1.2 typing_extensions==4.15.0
cat >"$folder/masks.py" <<'PY'
import os
import sys

import submitit


def mask():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def seen(executor, gpus, n_jobs=1, **parameters):
    executor.update_parameters(timeout_min=1, gpus_per_node=gpus, **parameters)
    return [job.result() for job in [executor.submit(mask) for _ in range(n_jobs)]]


folder = sys.argv[1]
print(f"submitit {submitit.__version__}, CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}")
print("two jobs of one GPU each:", seen(submitit.AutoExecutor(folder, cluster="local"), 1, n_jobs=2))
print("a job without GPUs:", seen(submitit.AutoExecutor(folder, cluster="local"), 0))
print("LocalExecutor, visible_gpus=[3]:", seen(submitit.LocalExecutor(folder), 1, visible_gpus=[3]))
try:
    seen(submitit.AutoExecutor(folder, cluster="local"), 1, local_visible_gpus=[3])
except NameError:
    print("AutoExecutor, local_visible_gpus=[3]: NameError")
PY
CUDA_VISIBLE_DEVICES=3 "$folder/venv/bin/python" "$folder/masks.py" "$folder/jobs" | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
submitit 1.5.4, CUDA_VISIBLE_DEVICES=3
two jobs of one GPU each: ['0', '0']
a job without GPUs: ['']
LocalExecutor, visible_gpus=[3]: ['3']
AutoExecutor, local_visible_gpus=[3]: NameError
EXPECTED
