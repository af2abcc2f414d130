"""The scripts of the benchmark: the steps within a budget, the cells that are skipped, and the tables. Expected values are by hand."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def scripts():
    """Both scripts as modules."""
    sys.path.insert(0, str(SCRIPTS))
    found = {}
    for name in ("benchmark", "benchmark_tables"):
        specification = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        found[name] = sys.modules[name] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(found[name])
    sys.path.remove(str(SCRIPTS))
    return found


def row(objective, dataset, seed, kl, **more):
    counts = {"n_energy_evaluations": 1_000_000, "n_score_evaluations": 3_000_000, "n_hvp_evaluations": 0}
    made_by = {"commits": ["abcdef0123456789"], "packages": {"torch": "2.13"}}
    return {
        **{"objective": objective, "dataset": dataset, "seed": seed, "kl": kl, "fixed": False, "n_steps": 1000},
        **counts,
        **{"train_seconds": 2.0, "mode_weight_error_density": 0.1, "curve": [[400, 0.5], [800, 0.2], [1000, kl]], "made_by": made_by},
        **more,
    }


def test_the_number_of_steps_within_a_budget(scripts, tmp_path, monkeypatch):
    """45 s at 3.7 ms per step (the median over datasets) are 12,162 steps, rounded to two digits."""
    benchmark = scripts["benchmark"]
    monkeypatch.setattr(benchmark, "STEPS", tmp_path / "steps.json")
    (tmp_path / "steps.json").write_text(json.dumps({"moons nce": 0.0037, "rings nce": 0.003, "pinwheel nce": 0.01, "moons cnce": 1.0}))
    assert benchmark.n_steps("nce", 45.0) == 12000
    assert benchmark.n_steps("nce", 3.0) == 810


def test_the_time_of_added_methods(scripts, tmp_path, monkeypatch):
    """In 45 s: 3 s for the fit of the mixture and 8,400 steps of 5 ms; 5,000 steps of the flow, with 256 new draws each."""
    benchmark = scripts["benchmark"]
    monkeypatch.setattr(benchmark, "STEPS", tmp_path / "steps.json")
    tilted, mixture, flow = benchmark.ADDED
    times = {f"moons {tilted}": 0.005, f"moons {tilted} (fit)": 3.0, f"moons {flow}": 0.009, "moons nce": 0.003}
    (tmp_path / "steps.json").write_text(json.dumps(times))
    assert benchmark.budget(tilted, 45.0) == ["trainer.n_steps=8400", "trainer.evaluate_every=420"]
    assert benchmark.budget(mixture, 45.0) == []
    assert benchmark.budget(flow, 45.0) == ["reference.n_steps=5000", "reference.patience=5000", "dataset.n_train=1280000"]
    assert "energy=reference" in benchmark.words(flow, "moons", fixed=False)
    assert "energy=residual_mlp" in benchmark.words(tilted, "moons", fixed=False)


def test_stored_cells_are_skipped_and_new_cells_are_appended(scripts, tmp_path, monkeypatch):
    benchmark, trained = scripts["benchmark"], []
    plan = benchmark.Plan(1.0, ("moons",), (("ssm", "moons"),), tmp_path, tmp_path)
    monkeypatch.setattr(benchmark, "METHODS", ("nce", "ssm"))

    def train(cell, plan):
        trained.append(cell)
        return [row(cell[0], cell[1], seed, 0.1, fixed=cell[2]) for seed in range(3)]

    monkeypatch.setattr(benchmark, "train", train)
    (tmp_path / "benchmark.jsonl").write_text(json.dumps(row("ssm", "moons", 0, 0.2)) + "\n")
    benchmark.run(plan)
    assert sorted(trained) == [("nce", "moons", False), ("ssm", "moons", True)]
    assert len((tmp_path / "benchmark.jsonl").read_text().splitlines()) == 7
    benchmark.run(plan)
    assert len(trained) == 2


def test_tables_by_hand(scripts):
    """Means with t intervals (4.3027 standard errors for three seeds). The best after `exact` is bold; a missing seed: no mean."""
    tables = scripts["benchmark_tables"]
    rows = [row("exact", "moons", seed, 0.001) for seed in range(3)]
    rows += [row("nce", "moons", seed, kl) for seed, kl in enumerate((0.01, 0.02, 0.03))]
    rows += [row("ssm", "moons", seed, kl) for seed, kl in enumerate((0.05, 0.05, 0.05))]
    rows += [row("pcd", "moons", seed, kl) for seed, kl in enumerate((0.001, None, 0.001))]
    lines = tables.table(tables.ordered(rows), tables.cell).splitlines()
    assert lines[2] == "| `exact` | 0.0010 ± 0.0000 |"
    assert lines[3] == f"| `nce` | **0.0200 ± {4.302652729749464 * 0.01 / 3**0.5:.4f}** |"
    assert lines[4] == "| `ssm` | 0.0500 ± 0.0000 |"
    assert lines[5] == "| `pcd` | - (1 of 3) |"
    assert tables.cell([row("pcd", "moons", seed, None) for seed in range(3)]) == "-"


@pytest.mark.parametrize(("budget", "expected"), [(1e6, "-"), (1.6e6, "0.5000"), (2.4e6, "0.3162"), (4e6, "0.1000"), (4.1e6, "-")])
def test_the_number_at_equal_evaluations_is_interpolated(scripts, budget, expected):
    """At 4,000 evaluations per step, 400 steps are 1.6 million. Halfway between 0.5 and 0.2 on a log scale is the square root of 0.1."""
    tables = scripts["benchmark_tables"]
    assert tables.at_equal_evaluations([row("nce", "moons", seed, 0.1) for seed in range(2)], budget).split(" ")[0] == expected


@pytest.mark.parametrize(
    ("kl", "curve", "expected"),
    [
        (None, [[400, 0.5], [800, 0.2], [1000, 0.1]], "-"),
        (0.1, [[400, 0.5], [800, None], [1000, 0.1]], "-"),
        (0.1, [[400, None], [800, 0.2], [1000, 0.1]], "-"),
        (0.1, [[400, 0.5], [800, 0.2], [1000, None]], "0.3162"),
    ],
)
def test_there_is_no_number_at_equal_evaluations_where_the_run_had_none(scripts, kl, curve, expected):
    tables = scripts["benchmark_tables"]
    assert tables.at_equal_evaluations([row("nce", "moons", 0, kl, curve=curve)], 2.4e6) == expected


def test_the_whole_page(scripts, tmp_path, monkeypatch):
    tables = scripts["benchmark_tables"]
    monkeypatch.setattr(scripts["benchmark"], "STEPS", tmp_path / "steps.json")
    (tmp_path / "steps.json").write_text(json.dumps({"moons nce": 0.002}))
    page = tables.markdown([row("nce", "moons", seed, 0.02) for seed in range(3)], [], seconds=45)
    assert "after 45 s of one core" in page
    assert "| `nce` | 1000 | 2.00 | 2.0 | 2 | 1 | 3 | 0 | 38% |" in page
    assert "commit abcdef0123, torch 2.13" in page
    assert "fixed" not in page
    fixed = [row("nce", "moons", seed, 0.02, fixed=True, generalization_gap=gap) for seed, gap in enumerate((-0.5, 0.25, 1.0))]
    fixed += [row("dsm", "moons", seed, None, fixed=True, generalization_gap=0.125) for seed in range(3)]
    page = tables.markdown([row("nce", "moons", 0, 0.02)], fixed, seconds=45)
    assert f"| `nce` | **0.0200 ± 0.0000**; 0.2500 ± {4.302652729749464 * 0.75 / 3**0.5:.4f} |" in page
    assert "| `dsm` | -; 0.1250 ± 0.0000 |" in page


def test_densities_without_training_are_in_the_tables_of_the_result_only(scripts, tmp_path, monkeypatch):
    """They have no curve and no cost of steps."""
    tables = scripts["benchmark_tables"]
    monkeypatch.setattr(scripts["benchmark"], "STEPS", tmp_path / "steps.json")
    (tmp_path / "steps.json").write_text(json.dumps({"moons nce": 0.002}))
    alone = dict(n_steps=0, n_energy_evaluations=0, n_score_evaluations=0, train_seconds=0.0, curve=[])
    rows = [row(method, "moons", 0, 0.02, **alone) for method in (tables.MIXTURE, tables.FLOW)]
    page = tables.markdown([row("nce", "moons", 0, 0.03), *rows], [], seconds=45)
    assert page.count(f"| `{tables.FLOW}` |") == 3  # KL, weights of the modes, samples
    assert f"| `{tables.MIXTURE}` | **0.0200** |" in page


def test_a_diverged_run_has_a_row_without_a_number(scripts, tmp_path, monkeypatch):
    """A real run that is not finite from the first steps on."""
    benchmark, tables = scripts["benchmark"], scripts["benchmark_tables"]
    plan = benchmark.Plan(0.0, ("moons",), (), tmp_path, tmp_path / "results")
    monkeypatch.setattr(benchmark, "METHODS", ("ssm",))
    monkeypatch.setattr(benchmark, "SEEDS", (3,))
    words = benchmark.words
    monkeypatch.setattr(benchmark, "words", lambda *cell, fixed: [*words(*cell, fixed=fixed), "optimizer.lr=1e30"])
    benchmark.run(plan)
    (found,) = (json.loads(line) for line in plan.rows.read_text().splitlines())
    assert (found["state"], found["kl"]) == ("diverged", None)
    rows = [*(row("ssm", "moons", seed, 0.02) for seed in range(2)), found]
    page = tables.markdown(rows, [], seconds=45)
    assert page.count("| `ssm` | - (1 of 3) |") == 2  # KL and mode weights
    assert "| `ssm` | 1000 |" in page
    tables.markdown([found], [], seconds=45)


@pytest.mark.slow
def test_from_the_runner_to_the_page(scripts, tmp_path, monkeypatch):
    """A real cell of 40 steps gives a curve that ends at the result, a page and a picture."""
    benchmark, tables = scripts["benchmark"], scripts["benchmark_tables"]
    plan = benchmark.Plan(0.0, ("moons",), (), tmp_path, tmp_path / "results")
    monkeypatch.setattr(benchmark, "METHODS", ("exact",))
    monkeypatch.setattr(benchmark, "SEEDS", (3,))
    benchmark.run(plan)
    rows = [json.loads(line) for line in plan.rows.read_text().splitlines()]
    assert [(row["seed"], row["n_steps"], row["energy"]) for row in rows] == [(3, 40, "residual_mlp")]
    assert [step for step, _ in rows[0]["curve"]] == list(range(2, 41, 2))
    assert 0 < rows[0]["kl"] < rows[0]["curve"][0][1]
    tables.write(plan)
    assert "| `exact` | " in (plan.results / "benchmark.md").read_text()
    assert (plan.results / "benchmark.png").stat().st_size > 10_000
