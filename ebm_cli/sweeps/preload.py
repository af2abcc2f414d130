"""The preparation that the fork server does once for all jobs. Only that server imports this module.

It must not compute anything with torch: the threads of torch's pools do not survive a fork.
"""

import ctypes
import gc
import io
import os
import pkgutil
import signal
import sys
from importlib import import_module

if sys.platform == "linux":  # the server ends with the sweep, even while it is still importing
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        os._exit(1)

GROUPS = ("datasets", "energies", "figures", "metrics", "objectives", "optimizers", "references", "regularizers", "samplers")
MODULES = ("ebm_cli.sweeps.jobs", "contourpy", "filelock", "matplotlib.backends.backend_agg")
for name in MODULES:
    import_module(name)
for group in GROUPS:
    for module in pkgutil.iter_modules(import_module(f"ebm_cli.{group}").__path__):
        import_module(f"ebm_cli.{group}.{module.name}")

import_module("ebm_cli.config.compose").compose(())  # loads Hydra's plugins and the tables of its parser
figure = import_module("matplotlib.figure").Figure(layout="constrained")
figure.subplots().semilogy([1, 1000])
figure.savefig(io.BytesIO(), format="png")  # loads the fonts, including those of the powers of ten on an axis
gc.freeze()  # keeps the garbage collectors of the jobs from touching, and thereby copying, the shared memory
