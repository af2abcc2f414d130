"""What the server that jobs are forked from does once for all of them. Imported by that server only.

It computes nothing with torch: threads of its pools would be missing in the jobs.
"""

import ctypes
import gc
import io
import os
import pkgutil
import signal
import sys
from importlib import import_module

if sys.platform == "linux":  # the server ends with the sweep, also while it is still importing
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        os._exit(1)

ROOMS = ("datasets", "energies", "figures", "metrics", "objectives", "optimizers", "regularizers", "samplers")
MODULES = ("ebm_cli.sweeps.jobs", "contourpy", "filelock", "matplotlib.backends.backend_agg")
for name in MODULES:
    import_module(name)
for room in ROOMS:
    for module in pkgutil.iter_modules(import_module(f"ebm_cli.{room}").__path__):
        import_module(f"ebm_cli.{room}.{module.name}")

import_module("ebm_cli.config.compose").compose(())  # Hydra's plugins and its parser's tables: a job finds them filled
figure = import_module("matplotlib.figure").Figure(layout="constrained")
figure.subplots().semilogy([1, 1000])
figure.savefig(io.BytesIO(), format="png")  # and fonts and the powers of ten beside an axis
gc.freeze()  # no job's collector touches, and so copies, the memory that all share
