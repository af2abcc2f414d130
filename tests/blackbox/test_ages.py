"""Ages of runs in listings."""

import json
import time


def test_a_run_whose_clock_was_ahead_has_no_negative_age(ebm, run):
    path = run / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": time.time() + 3600}))
    ended = ebm("runs")
    assert ended.code == 0, ended
    assert "in the future" in ended.out
    assert " -3" not in ended.out
