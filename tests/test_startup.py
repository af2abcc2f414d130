"""The command starts quickly. CPU time is measured, since it depends less on the load of the machine than wall-clock time."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

specification = importlib.util.spec_from_file_location("bench_startup", Path(__file__).parents[1] / "scripts" / "bench_startup.py")
bench_startup = importlib.util.module_from_spec(specification)
specification.loader.exec_module(bench_startup)


@pytest.mark.parametrize("line", bench_startup.LINES)
def test_the_cpu_time_is_within_its_bound(line, tmp_path):
    words, n_runs = bench_startup.LINES[line]
    bench_startup.make_runs(tmp_path, n_runs)
    least = float("inf")
    for _ in range(4):
        environment = os.environ | {"EBM_OUTPUTS": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-m", "ebm_cli", *words], env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        least = min(least, usage.ru_utime + usage.ru_stime)
    assert least < bench_startup.BOUNDS[line]


@pytest.mark.parametrize("words", [["--help"], ["runs"], ["train", "--help"], ["train", "--cfg", "job"]])
def test_torch_is_not_imported_where_it_is_not_needed(words):
    code = f"import sys; from ebm_cli.__main__ import main; main({words!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
