"""What the server that jobs are forked from imports, once for all of them. Imported by that server only."""

import ctypes
import os
import signal
import sys
from importlib import import_module

if sys.platform == "linux":  # the server ends with the sweep, also while it is still importing
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() == 1:
        os._exit(1)
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # jobs share the cores, and one cache of compiled code

MODULES = ("ebm_cli.jobs", "hydra.core.override_parser.overrides_parser", "matplotlib.backends.backend_agg", "scipy.special")
for name in MODULES:
    import_module(name)
import_module("ebm_cli.config").compose(())  # Hydra's plugins and its parser's tables: a job finds them filled
