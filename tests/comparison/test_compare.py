"""ebm compare: rows, means, intervals, paired differences and budgets, on run folders that the tests write. Expected values are by hand."""

import csv
import io
import json
import math
import subprocess
import sys

import pytest

from ebm_cli.commands.compare import plus_minus
from ebm_cli.comparison.record import option_of
from ebm_cli.config import option_files, roles
from ebm_cli.io import yaml_text
from ebm_cli.runs.run import SCHEMA, Run, write

T2 = 4.302652729749464  # Student's t at 2 degrees of freedom
T1 = 12.706204736174707
UNITS = {"kl": "nats", "nll": "nats", "sliced_wasserstein": ""}
BEST = {key: "min" for key in (*UNITS, "train_seconds", "test_loss", "mmd2")} | {"ess": "max", "c2st_accuracy": 0.5, "gap": 0.0}


DATASET = {"shape": [2], "kind": "real", "n_states": None, "columns": ["x0", "x1"], "named": False, "mean": [0.0, 0.0], "scale": [1.0, 1.0]}
DATASET |= {"matrix": None}


@pytest.fixture
def make(tmp_path):
    """`make("nce", 0, kl=0.1)` writes a finished run. For a stack `kl` is a list; `rows` are the rows of metrics.jsonl."""
    made = []

    def build(
        objective,
        seed=0,
        *,
        lr=0.01,
        kl=0.1,
        group=None,
        rows=(),
        state="finished",
        counts=(1000, 0, 0),
        changed=None,
        sha256="",
        **summary,
    ):
        run = Run(tmp_path / "outputs" / "runs" / f"moons-{objective}-s{seed}-{len(made):010x}")
        run.path.mkdir(parents=True)
        stack = kl if isinstance(kl, list) else None
        config = {
            **{"seed": seed, "seeds": len(stack) if stack else None, "device": "cpu", "group": group},
            "dataset": {"_target_": "x.Moons", "noise": 0.1},
            "objective": {"_target_": f"x.{objective}", **({"n_noise": 4} if objective == "nce" else {})},
            "sampler": {"_target_": "x.MALA", "step_size": 0.01},
            "optimizer": {"_target_": "x.Adam", "lr": lr},
            "metric": {},
            "regularizer": {},
            "trainer": {"n_steps": 100, "evaluate_every": 10, "log_every": 5, "select": None},
            "draws": {"n_samples": 10},
        }
        for key, value in (changed or {}).items():
            group_name, _, last = key.rpartition(".")
            (config[group_name] if group_name else config)[last] = value
        (run.path / "config.yaml").write_text(yaml_text.dump(config))
        choices = {"dataset": "moons", "objective": objective, "sampler": "mala", "optimizer": "adam"}
        identity = roles.identity(config, sha256, schema=SCHEMA)
        facts = {"schema": SCHEMA, "id": identity, "created": 1000.0 + len(made), "group": group, "choices": choices}
        facts |= {"device": "cpu", "reproduce": "ebm train", "differs": []}
        run.write("environment.json", facts)
        if sha256:
            run.write("dataset.json", DATASET | {"sha256": sha256})
        run.set_status(state, summary.pop("why", ""))
        if state == "finished" or summary:
            costs = dict(zip(("n_energy_evaluations", "n_score_evaluations", "n_hvp_evaluations"), counts, strict=True))
            found = {"kl": sum(kl) / len(kl) if stack and None not in kl else kl, "nll": 1.0, "train_seconds": 20.0 + seed, "n_steps": 100}
            found |= {"kl": None} if stack and None in kl else {}
            found |= {"per_seed": {"kl": kl, "nll": [1.0] * len(kl)}} if stack else {}
            said = {"reasons": {}, "headline": ["kl", "nll"], "units": UNITS, "best": BEST, "unaveraged": ["p_value"]}
            run.write("summary.json", {"id": run.id} | said | found | costs | summary)
        write(run.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        made.append(run)
        return run

    return build


@pytest.fixture
def compare(ebm):
    """`compare(...)` returns the output of --json."""

    def call(*words):
        code, out, err = ebm("compare", *words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


def numbers(row, key="kl"):
    return row["numbers"][key]


def test_mean_interval_and_paired_difference_by_hand(make, compare):
    """nce: 1, 2, 6; ssm: 2, 4, 9. The differences 1, 2 and 3 have a narrower interval than the means."""
    for seed, (nce, ssm) in enumerate([(1.0, 2.0), (2.0, 4.0), (6.0, 9.0)]):
        make("ssm", seed, kl=ssm, group="mine")
        make("nce", seed, kl=nce, group="mine")
    best, other = compare("mine")["rows"]
    assert (best["differs"], other["differs"]) == ({"objective": "nce"}, {"objective": "ssm"})
    assert (best["n"], other["n"]) == (3, 3)
    half = T2 * math.sqrt(7 / 3)
    assert numbers(best) == {"mean": 3.0, "ci95": pytest.approx([3 - half, 3 + half]), "best": True, "per_seed": {"0": 1, "1": 2, "2": 6}}
    assert numbers(other)["mean"] == 5.0
    assert numbers(other)["ci95"] == pytest.approx([5 - T2 * math.sqrt(13 / 3), 5 + T2 * math.sqrt(13 / 3)])
    assert not numbers(other)["best"]
    half = T2 / math.sqrt(3)
    assert best["difference"] is None
    assert other["difference"] == {"mean": 2.0, "ci95": pytest.approx([2 - half, 2 + half]), "per_seed": {"0": 1, "1": 2, "2": 3}}
    assert numbers(best, "train_seconds")["per_seed"] == {"0": 20.0, "1": 21.0, "2": 22.0}
    assert {entry["seeds"][0] for entry in best["runs"]} == {0, 1, 2}


def test_a_stack_has_a_number_per_seed_and_one_total_of_seconds(make, compare):
    """The seeds of a stack are paired with those of single runs."""
    make("ssm", 1, kl=[5.0, 7.0, 9.0], group="mine")
    for seed, kl in enumerate([3.0, 4.0, 5.0]):
        make("nce", seed, kl=kl, group="mine")
    made = compare("mine")
    best, other = made["rows"]
    assert numbers(other)["per_seed"] == {"1": 5.0, "2": 7.0, "3": 9.0}
    assert other["difference"]["per_seed"] == {"1": 1.0, "2": 2.0}
    assert other["difference"]["ci95"] == pytest.approx([1.5 - T1 / 2, 1.5 + T1 / 2])
    assert numbers(other, "train_seconds") == {"mean": 21.0, "ci95": None, "best": True, "per_seed": {"1": 21.0}}
    assert made["notes"] == [
        "kl - best of objective=ssm: only over seeds 1, 2, which both rows have",
        "train_seconds of a stack is the total over its seeds",
    ]
    assert best["n"] == other["n"] == 3


def test_rows_without_a_common_seed_have_no_difference(make, compare):
    make("ssm", 1, kl=2.0, group="mine")
    make("nce", 0, kl=1.0, group="mine")
    made = compare("mine")
    assert made["rows"][1]["difference"] == {"mean": None, "ci95": None, "per_seed": {}}
    assert made["notes"] == ["kl - best of objective=ssm: the two rows have no seed in common"]


def test_rows_are_labelled_by_options_and_by_keys_of_the_same_option(make, compare):
    """n_noise is a key of nce, so it distinguishes two rows of nce, but not nce from ssm. Intervals and names do not affect training."""
    make("ssm", lr=0.01, kl=0.4, group="mine", changed={"trainer.evaluate_every": 50, "name": "a", "tags": ["b"]})
    make("nce", lr=0.01, kl=0.1, group="mine")
    make("nce", lr=0.01, kl=0.2, group="mine", changed={"objective.n_noise": 8})
    assert [row["differs"] for row in compare("mine")["rows"]] == [
        {"objective": "nce", "objective.n_noise": "4"},
        {"objective": "nce", "objective.n_noise": "8"},
        {"objective": "ssm"},
    ]


def test_draws_and_regularizers_distinguish_runs_and_the_sampler_is_named_once(make, compare):
    kernel = {"_target_": "x.MALA", "step_size": 0.05}
    make("pcd", kl=0.1, group="mine", changed={"objective.sampler": {"_target_": "x.MALA", "step_size": 0.01}})
    make("pcd", kl=0.2, group="mine", changed={"objective.sampler": kernel, "sampler": kernel})
    make("pcd", kl=0.3, group="mine", changed={"objective.sampler": kernel, "sampler": kernel, "draws.n_samples": 20})
    make("pcd", kl=0.4, changed={"regularizer": {"energy_l2": {"_target_": "x.L2", "weight": 0.1}}}, group="mine")
    shared = {"regularizer": "[]", "sampler.step_size": "0.05"}
    assert [row["differs"] for row in compare("mine")["rows"]] == [
        {"sampler.step_size": "0.01", "regularizer": "[]", "draws.n_samples": "10"},
        {**shared, "draws.n_samples": "10"},
        {**shared, "draws.n_samples": "20"},
        {"sampler.step_size": "0.01", "regularizer": "[energy_l2]", "draws.n_samples": "10"},
    ]


def test_runs_that_were_measured_again_are_compared_by_their_last_measurement(make, compare):
    """The sampler and draws of `ebm evaluate` replace those of the config. The sampler used in training does not change."""
    kernel, draws = {"_target_": "x.mala.MALA", "step_size": 0.05}, {"n_samples": 10}
    own = {"objective.sampler": kernel, "sampler": kernel}
    other = {"_target_": "x.langevin.Langevin", "step_size": 0.2}
    make("pcd", 0, kl=0.1, group="mine", changed=own, measured_with={"draws": draws, "sampler": kernel, "metric": {}})
    make("pcd", 1, kl=0.2, group="mine", changed=own, measured_with={"draws": draws, "sampler": other, "metric": {}})
    make("pcd", 2, kl=0.3, group="mine", changed=own, measured_with={"draws": {"n_samples": 99}, "sampler": kernel, "metric": {}})
    make("pcd", 3, kl=0.4, group="mine", changed=own | {"sampler": other, "draws.n_samples": 50}, measured_with={"sampler": kernel})
    assert [(row["differs"], row["n"]) for row in compare("mine")["rows"]] == [
        ({"sampler": "mala", "draws.n_samples": "10"}, 1),
        ({"sampler": "langevin", "draws.n_samples": "10"}, 1),
        ({"sampler": "mala", "draws.n_samples": "99"}, 1),
        ({"sampler": "mala", "draws.n_samples": "50"}, 1),
    ]


def test_the_sampler_of_training_is_named_if_it_differs_from_the_sampler_of_the_draws(make, compare):
    """Two runs with the same sampler for their draws were trained with different samplers."""
    slow, fast = ({"_target_": "x.mala.MALA", "step_size": step_size} for step_size in (0.01, 0.05))
    make("pcd", 0, kl=0.1, group="mine", changed={"objective.sampler": slow, "sampler": slow}, measured_with={"sampler": fast})
    make("pcd", 0, kl=0.2, group="mine", changed={"objective.sampler": fast, "sampler": fast})
    make("nce", 0, kl=0.3, group="mine", changed={"sampler": fast})
    assert [row["differs"] for row in compare("mine")["rows"]] == [
        {"objective": "pcd", "objective.sampler.step_size": "0.01"},
        {"objective": "pcd", "objective.sampler.step_size": "0.05"},
        {"objective": "nce"},
    ]


@pytest.mark.parametrize("option", ["dmala", "tempered_flip", "wolff"])
def test_a_sampler_is_named_by_its_option(option):
    """Several options have classes of one module, or the same class around another kernel."""
    node = option_files.node_of(option_files.groups()["sampler"][option].path)
    assert option_of("sampler", node) == option
    assert option_of("sampler", {"_target_": "mine.kernels.Mine"}) == "kernels"


def test_differences_in_the_settings_of_metrics_are_noted(make, compare):
    """Within a row and between two rows. A metric that only one run has is no difference."""

    def with_metrics(n, **more):
        return {"metric": {"ais": {"_target_": "x.AIS", "n_temperatures": n}} | more}

    make("ssm", 0, kl=0.1, group="mine", measured_with=with_metrics(100))
    make("ssm", 1, kl=0.2, group="mine", measured_with=with_metrics(100, fisher={"_target_": "x.Fisher"}))
    make("nce", 0, kl=0.3, group="mine", measured_with=with_metrics(1000))
    make("nce", 1, kl=0.4, group="mine", measured_with=with_metrics(100))
    made = compare("mine")
    assert [row["n"] for row in made["rows"]] == [2, 2]
    assert made["notes"] == [
        "metric.ais.n_temperatures: 100 for objective=ssm at seeds 0, 1; objective=nce at seed 1, 1000 for objective=nce at seed 0"
    ]


def test_a_run_that_was_measured_before_the_end_of_training_is_noted(make, compare):
    """One run was interrupted at step 50 of 100 and measured there; another diverged at step 80."""
    rows = curve((50, 5.0, 0.4), (80, 8.0, 0.5), (100, 10.0, 0.2))
    make("nce", 0, kl=0.1, group="mine", rows=rows)
    make("nce", 1, kl=0.2, group="mine", rows=rows)
    make("ssm", 0, kl=0.3, group="mine", rows=rows[:2], state="interrupted", n_steps=50, counts=(500, 0, 0))
    make("ssm", 1, kl=0.3, group="mine", rows=rows[:2], state="diverged", n_steps=80, counts=(800, 0, 0))
    expected = [
        "objective=ssm at seed 0: interrupted, measured at step 50 of 100",
        "objective=ssm at seed 1: diverged, measured at step 80 of 100",
    ]
    assert compare("mine")["notes"] == expected
    made = compare("mine", "--budget", "n_energy_evaluations=600")
    assert {row["differs"]["objective"]: numbers(row)["per_seed"] for row in made["rows"]} == {
        "nce": {"0": 0.4, "1": 0.4},
        "ssm": {"0": 0.4, "1": 0.4},
    }
    assert made["notes"][:2] == expected
    assert "measured before the learning-rate schedule had ended: objective=nce; objective=ssm" in made["notes"]
    assert not [note for note in made["notes"] if note.startswith("the whole run")]


def test_continuations_of_runs_that_differ_only_in_their_seed_are_one_row(make, compare):
    """A parent is identified by its settings, without its draws, and the step. A parent that was removed is identified by its id."""
    for seed in (0, 1):
        parent = make("nce", seed, lr=0.1, measured_with={"draws": {"n_samples": 10 + seed}})
        make("nce", seed, kl=0.1, group="mine", changed={"resume": f"{parent.id}@50"})
    other, late = make("nce", 2, lr=0.2), make("nce", 3, lr=0.1)
    make("nce", 2, kl=0.2, group="mine", changed={"resume": f"{other.id}@50"})
    make("nce", 3, kl=0.3, group="mine", changed={"resume": f"{late.id}@40"})
    make("nce", 4, kl=0.4, group="mine", changed={"resume": "ffffffffff@50"})
    make("nce", 5, kl=0.5, group="mine", changed={"resume": None})
    assert [(row["differs"], row["n"]) for row in compare("mine")["rows"]] == [
        ({"resume": "@50", "resume.optimizer.lr": "0.1"}, 2),
        ({"resume": "@50", "resume.optimizer.lr": "0.2"}, 1),
        ({"resume": "@40"}, 1),
        ({"resume": "ffffffffff@50"}, 1),
        ({"resume": "null"}, 1),
    ]


def test_each_seed_of_a_stack_has_its_own_reason(make, compare):
    reasons = {"kl": ["seed 0 diverged at step 9", None, "the energy may not be normalizable"]}
    make("ssm", kl=[None, 0.2, None], reasons=reasons, group="mine")
    make("nce", kl=0.1, group="mine")
    assert compare("mine")["notes"][:2] == [
        "no kl of objective=ssm at seed 0: seed 0 diverged at step 9",
        "no kl of objective=ssm at seed 2: the energy may not be normalizable",
    ]


def test_a_table_is_identified_by_its_content(make, compare):
    """The same content under two names is one row. A file with other content is another row."""
    for seed, (path, content) in enumerate([("a.csv", "1" * 64), ("b.csv", "1" * 64), ("a.csv", "2" * 64)]):
        make("ssm", seed, kl=seed, group="mine", changed={"dataset.path": path}, sha256=content)
    rows = compare("mine")["rows"]
    assert [(row["differs"], row["n"]) for row in rows] == [
        ({"dataset.path": "sha256:1111111111"}, 2),
        ({"dataset.path": "sha256:2222222222"}, 1),
    ]


def test_runs_are_named_by_id_path_prefix_group_or_sweep_and_counted_once(make, compare, tmp_path):
    first, second = make("ssm", kl=0.3), make("nce", kl=0.1)
    make("pcd", kl=0.2, group="mine")
    sweep = {"id": "12345678", "group": "theirs", "runs": [{"path": f"elsewhere/{first.path.name}"}, {"path": ""}]}
    (tmp_path / "outputs" / "sweeps" / "12345678").mkdir(parents=True)
    (tmp_path / "outputs" / "sweeps" / "12345678" / "sweep.json").write_text(json.dumps(sweep))
    for words in (
        [first.id, "mine", str(second.path)],
        ["moons-ssm", "moons-nce", "last"],
        ["12345678", "theirs", second.id, "mine", "last"],
    ):
        assert [row["differs"]["objective"] for row in compare(*words)["rows"]] == ["nce", "pcd", "ssm"]


def test_rows_are_ordered_by_the_first_named_metric(make, compare):
    """A larger effective sample size is better, and so are fewer seconds and a smaller divergence."""
    make("ssm", 1, kl=0.1, ess=5.0, group="mine")
    make("nce", 0, kl=0.2, ess=9.0, group="mine")
    made = compare("mine", "--metric", "ess", "--metric", "kl")
    assert (made["metrics"], made["ordered_by"]) == (["ess", "kl", "train_seconds"], "ess")
    best, other = made["rows"]
    assert (best["differs"]["objective"], numbers(best, "ess")["best"], numbers(other, "ess")["best"]) == ("nce", True, False)
    assert [numbers(row, "kl")["best"] for row in made["rows"]] == [False, True]
    assert [numbers(row, "train_seconds")["best"] for row in made["rows"]] == [True, False]


@pytest.mark.parametrize(
    ("key", "values", "best"),
    [
        ("ess", (5.0, 9.0, 7.0), "1 2 0"),
        ("c2st_accuracy", (0.48, 0.505, 0.53), "1 0 2"),
        ("gap", (-3.0, 1.0, 2.0), "1 2 0"),
        ("mmd2", (-0.001, 0.0, 0.002), "0 1 2"),
    ],
)
def test_the_best_value_is_defined_by_the_metric(make, compare, key, values, best):
    """The largest effective sample size, a classifier at chance, a gap of zero, and the smallest unbiased estimate, even if negative."""
    for k, value in enumerate(values):
        make("nce", lr=0.001 * (1 + k), group="mine", **{key: value})
    made = compare("mine", "--metric", key)
    assert [row["differs"]["optimizer.lr"] for row in made["rows"]] == [f"0.00{1 + int(k)}" for k in best.split()]
    assert [numbers(row, key)["best"] for row in made["rows"]] == [True, False, False]
    first, *others = [numbers(row, key)["mean"] for row in made["rows"]]
    assert [row["difference"]["mean"] for row in made["rows"][1:]] == pytest.approx([value - first for value in others])


def test_a_number_that_only_one_row_has_is_not_marked_as_best(make, compare, ebm):
    """The row is first nevertheless."""
    make("ssm", kl=None, group="mine", reasons={"kl": "a score network has no energy"})
    make("nce", kl=0.2, r_hat=1.4, best=BEST | {"r_hat": 1.0}, group="mine")
    made = compare("mine", "--metric", "kl", "--metric", "r_hat")
    assert [row["differs"]["objective"] for row in made["rows"]] == ["nce", "ssm"]
    assert made["ordered_by"] == "kl"
    assert [numbers(made["rows"][0], key)["best"] for key in ("kl", "r_hat", "train_seconds")] == [False, False, True]


def test_rows_are_ordered_by_the_upper_bound_and_not_by_the_lower(make, compare):
    """The loosest bounds include the smallest lower bound."""
    changed = {"headline": ["nll_lower", "nll_upper"], "best": {"nll_upper": "min"}, "group": "mine"}
    make("ssm", nll_lower=0.5, nll_upper=3.0, **changed)
    make("nce", nll_lower=1.0, nll_upper=1.2, **changed)
    made = compare("mine")
    assert made["ordered_by"] == "nll_upper"
    assert [row["differs"]["objective"] for row in made["rows"]] == ["nce", "ssm"]
    assert not any(numbers(row, "nll_lower")["best"] for row in made["rows"])
    assert numbers(made["rows"][0], "nll_upper")["best"]


def test_rows_keep_the_given_order_if_no_metric_has_a_best_value(make, compare, ebm):
    for objective, log_z in (("ssm", 2.0), ("nce", 1.0)):
        make(objective, log_z=log_z, best={}, group="mine")
    made = compare("mine", "--metric", "log_z")
    assert made["ordered_by"] is None
    assert [row["differs"]["objective"] for row in made["rows"]] == ["ssm", "nce"]
    assert [(row["difference"], numbers(row, "log_z")["best"]) for row in made["rows"]] == [(None, False)] * 2
    assert "- best" not in ebm("compare", "mine", "--metric", "log_z")[1]
    assert ebm("compare", "mine", "--metric", "log_z", "--csv")[1].splitlines()[0] == (
        "objective,n,log_z,log_z_low,log_z_high,train_seconds,train_seconds_low,train_seconds_high"
    )


def test_losses_of_different_objectives_are_not_ranked(make, compare):
    make("ssm", lr=0.01, test_loss=-5.0, group="mine")
    make("nce", lr=0.01, test_loss=0.5, group="mine")
    make("nce", lr=0.02, test_loss=0.4, group="theirs")
    apart = compare("mine", "--metric", "test_loss")
    assert [numbers(row, "test_loss")["best"] for row in apart["rows"]] == [False, False]
    assert apart["ordered_by"] == "train_seconds"
    alike = compare("moons-nce-s0-0000000001", "theirs", "--metric", "test_loss")
    assert [(row["differs"], numbers(row, "test_loss")["best"]) for row in alike["rows"]] == [
        ({"optimizer.lr": "0.02"}, True),
        ({"optimizer.lr": "0.01"}, False),
    ]


def test_p_values_of_several_seeds_have_no_mean(make, compare, ebm):
    """This holds for a stack and for single runs in one row."""
    make("ssm", kl=[0.1, 0.2], per_seed={"kl": [0.1, 0.2], "p_value": [3.2e-9, 0.26]}, p_value=None, group="mine")
    for seed, p_value in enumerate((0.5, 0.75)):
        make("nce", seed, p_value=p_value, group="mine")
    made = compare("mine", "--metric", "p_value", "--metric", "kl")
    assert made["ordered_by"] == "kl"
    rows = {row["differs"]["objective"]: numbers(row, "p_value") for row in made["rows"]}
    assert rows["ssm"] == {"mean": None, "ci95": None, "best": False, "per_seed": {"0": 3.2e-9, "1": 0.26}}
    assert rows["nce"] == {"mean": None, "ci95": None, "best": False, "per_seed": {"0": 0.5, "1": 0.75}}
    assert not [note for note in made["notes"] if note.startswith("no ")]
    out = ebm("compare", "mine", "--metric", "p_value")[1]
    assert "3.2e-09 0.26" in out
    assert "0.5 0.75" in out
    table = {
        row["objective"]: row["p_value"] for row in csv.DictReader(ebm("compare", "mine", "--metric", "p_value", "--csv")[1].splitlines())
    }
    assert table == {"ssm": "3.2e-09 0.26", "nce": "0.5 0.75"}


def test_a_row_has_no_mean_if_a_seed_has_no_number(make, compare, ebm):
    for seed in (0, 1):
        make("nce", seed, kl=0.1 * (1 + seed), group="mine")
    make("ssm", 0, kl=0.01, group="mine")
    make("ssm", 1, kl=None, group="mine", reasons={"kl": "the energy may not be normalizable"})
    make("pcd", 0, group="mine", state="diverged", why="diverged: not finite from step 7 on\nmore of it")
    make("mle", 0, kl=[0.3, None], group="mine", reasons={"kl": [None, "seed 1 diverged at step 9"]})
    made = compare("mine")
    assert [row["differs"]["objective"] for row in made["rows"]] == ["nce", "ssm", "pcd", "mle"]
    best, *others = made["rows"]
    assert numbers(best)["mean"] == pytest.approx(0.15)
    for row in others:
        assert (numbers(row)["mean"], numbers(row)["ci95"], row["difference"], numbers(row)["best"]) == (None, None, None, False)
    assert numbers(others[0])["per_seed"] == {"0": 0.01, "1": None}
    lacking = [note for note in made["notes"] if note.startswith("no ")]
    assert lacking == [
        "no kl of objective=ssm at seed 1: the energy may not be normalizable",
        "no kl, nll, train_seconds of objective=pcd: diverged: not finite from step 7 on",
        "no kl of objective=mle at seed 1: seed 1 diverged at step 9",
    ]
    (pcd,) = (line.split() for line in ebm("compare", "mine")[1].splitlines() if line.startswith("objective=pcd"))
    assert pcd == ["objective=pcd", "1", *"----"]


def test_the_reasons_are_listed_if_no_row_has_all_numbers(make, compare):
    for objective in ("ssm", "nce"):
        make(objective, 0, kl=0.1, group="mine")
        make(objective, 1, group="mine", state="failed", why="OSError: the disk is full")
    made = compare("mine")
    assert [numbers(row)["mean"] for row in made["rows"]] == [None, None]
    assert made["notes"][0] == "no kl, nll, train_seconds of objective=ssm at seed 1: failed OSError: the disk is full"
    assert made["rows"][0]["difference"] is made["rows"][1]["difference"] is None


def test_rows_are_ordered_by_the_next_metric_if_the_first_has_no_number(make, compare):
    """The KL is missing for a table with many columns."""
    for objective, nll in (("ssm", 2.0), ("nce", 1.0)):
        make(objective, kl=None, nll=nll, group="mine", reasons={"kl": "four columns"})
    made = compare("mine")
    assert made["ordered_by"] == "nll"
    assert [row["differs"]["objective"] for row in made["rows"]] == ["nce", "ssm"]
    assert made["rows"][1]["difference"]["mean"] == 1.0


@pytest.fixture
def three(make):
    """A group of two learning rates with three seeds each."""
    for seed, (low, high) in enumerate([(0.010, 0.020), (0.012, 0.025), (0.014, 0.030)]):
        make("nce", seed, lr=0.01, kl=low, group="mine")
        make("nce", seed, lr=0.1, kl=high, group="mine")


def test_text_output(ebm, three):
    """The mean is 0.012 with a standard deviation of 0.002 over 3 seeds: half the interval is 4.3027 * 0.002 / sqrt 3 = 0.00497."""
    code, out, err = ebm("compare", "mine")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "                   n                 kl        kl - best  nll  train_seconds",
        "optimizer.lr=0.01  3  0.0120 ± 0.0050 *                   1 *   21.0 ± 2.5 *",
        "optimizer.lr=0.1   3    0.025 ± 0.012    0.0130 ± 0.0075  1 *   21.0 ± 2.5 *",
        "± is half the 95 % t interval of the mean over n seeds; * marks the best; kl - best is paired by seed",
    ]


def test_markdown_output(ebm, three):
    assert ebm("compare", "mine", "--markdown")[1].splitlines() == [
        "|  | n | kl | kl - best | nll | train_seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| optimizer.lr=0.01 | 3 | **0.0120 ± 0.0050** |  | **1** | **21.0 ± 2.5** |",
        "| optimizer.lr=0.1 | 3 | 0.025 ± 0.012 | 0.0130 ± 0.0075 | **1** | **21.0 ± 2.5** |",
        "",
        "± is half the 95 % t interval of the mean over n seeds; bold marks the best; kl - best is paired by seed",
    ]


def test_csv_output(ebm, three):
    """Numbers have all digits, and an interval is given by its ends."""
    code, out, err = ebm("compare", "mine", "--csv")
    low, high = csv.DictReader(io.StringIO(out))
    assert (code, err) == (0, "")
    assert list(low) == [
        *("optimizer.lr", "n", "kl", "kl_low", "kl_high", "kl_difference", "kl_difference_low", "kl_difference_high"),
        *("nll", "nll_low", "nll_high", "train_seconds", "train_seconds_low", "train_seconds_high"),
    ]
    assert (low["optimizer.lr"], low["n"], low["kl_difference"]) == ("0.01", "3", "")
    half = T2 * 0.002 / math.sqrt(3)
    assert [float(low[key]) for key in ("kl", "kl_low", "kl_high")] == pytest.approx([0.012, 0.012 - half, 0.012 + half])
    half = T2 * 0.003 / math.sqrt(3)
    found = [float(high[f"kl_difference{end}"]) for end in ("", "_low", "_high")]
    assert found == pytest.approx([0.013, 0.013 - half, 0.013 + half])


def test_notes_of_csv_go_to_stderr(ebm, make):
    make("ssm", kl=None, group="mine", reasons={"kl": "a score network has no energy"})
    make("nce", kl=1.0, group="mine")
    _, out, err = ebm("compare", "mine", "--csv")
    assert len(out.splitlines()) == 3
    assert err == "no kl of objective=ssm: a score network has no energy\n"


@pytest.mark.parametrize(
    ("mean", "low_high", "expected"),
    [
        (0.012, (0.007, 0.017), "0.0120 ± 0.0050"),
        (0.01234, None, "0.01234"),
        (2.0, (2.0, 2.0), "2"),
        (123456.0, (123000.0, 123912.0), "123456 ± 4.6e+02"),
        (1e-12, (0.0, 2e-12), "1e-12 ± 1e-12"),
        (None, None, "-"),
    ],
)
def test_numbers_are_rounded_to_the_precision_of_the_interval(mean, low_high, expected):
    assert plus_minus(mean, low_high) == expected


def curve(*points):
    """Rows as training writes them: every row has a loss, and rows of evaluations have a KL."""
    rows = [{"step": step, "seconds": seconds, "loss": 1.0} for step, seconds, _ in points]
    return [row | ({} if kl is None else {"kl": kl}) for row, (_, _, kl) in zip(rows, points, strict=True)]


@pytest.fixture
def curves(make):
    """nce: four evaluations in 40 s. ssm: a stack of two, evaluated at steps 50 and 100 of 100, in 20 s."""
    rows = curve((10, 10.0, 0.9), (15, 15.0, None), (20, 20.0, 0.8), (50, 30.0, 0.7), (100, 40.0, 0.6))
    make("nce", 1, kl=0.6, group="mine", rows=rows, counts=(1000, 0, 0))
    rows = curve((50, 10.0, [0.5, 0.4]), (75, 15.0, None), (100, 20.0, [0.3, 0.2]))
    changed = {"trainer.evaluate_every": 50}
    make("ssm", 0, kl=[0.3, 0.2], group="mine", rows=rows, counts=(500, 500, 200), changed=changed)


@pytest.mark.parametrize(
    ("budget", "nce", "ssm", "spent"),
    [
        ("seconds=10", 0.9, [0.5, 0.4], (10.0, 10.0)),
        ("seconds=19.9", 0.9, [0.5, 0.4], (10.0, 10.0)),
        ("seconds=20", 0.8, [0.3, 0.2], (20.0, 20.0)),
        ("seconds=1e9", 0.6, [0.3, 0.2], (40.0, 20.0)),
        ("n_steps=50", 0.7, [0.5, 0.4], (50, 50)),
        ("n_energy_evaluations=499", 0.8, [0.5, 0.4], (200, 250)),
        ("n_energy_evaluations=500", 0.7, [0.3, 0.2], (500, 500)),
        ("n_score_evaluations=499", 0.6, [0.5, 0.4], (0, 250)),
        ("n_hvp_evaluations=100", 0.6, [0.5, 0.4], (0, 100)),
    ],
)
def test_the_last_evaluation_within_a_budget(compare, curves, budget, nce, ssm, spent):
    made = compare("mine", "--budget", budget)
    cost = budget.partition("=")[0]
    rows = {row["differs"]["objective"]: row for row in made["rows"]}
    assert made["metrics"] == ["kl", cost]  # nll was not measured while they trained
    assert numbers(rows["nce"])["per_seed"] == {"1": nce}
    assert numbers(rows["ssm"])["per_seed"] == {"0": ssm[0], "1": ssm[1]}
    assert rows["nce"]["difference"]["per_seed"] == {"1": pytest.approx(nce - ssm[1])}
    assert tuple(numbers(rows[name], cost)["mean"] for name in ("nce", "ssm")) == spent


def test_the_notes_on_a_budget(compare, curves):
    made = compare("mine", "--budget", "seconds=30")
    assert made["notes"] == [
        "the numbers are those of the last evaluation within seconds=30",
        "measured before the learning-rate schedule had ended: objective=nce",
        "the whole run is within the budget: objective=ssm",
        "seconds of a stack is the total over its seeds",
    ]


def test_a_run_whose_first_evaluation_is_beyond_the_budget(compare, curves):
    made = compare("mine", "--budget", "n_energy_evaluations=100")
    best, other = made["rows"]
    assert (numbers(best)["mean"], best["differs"]["objective"]) == (0.9, "nce")
    assert (numbers(other)["per_seed"], other["difference"]) == ({"0": None, "1": None}, None)
    assert made["notes"][0] == (
        "no kl, n_energy_evaluations of objective=ssm at seeds 0, 1: the first evaluation, at 250 n_energy_evaluations, exceeds the budget"
    )


def test_a_number_that_is_missing_at_the_end_is_missing_within_a_budget(make, compare):
    """Earlier evaluations do not replace the numbers of a seed that diverged later, or of an evaluation without a number."""
    rows = curve((50, 10.0, [0.5, 0.4]), (100, 20.0, [0.5, 0.2]))
    make("ssm", kl=[None, 0.2], group="mine", rows=rows, reasons={"kl": ["seed 0 diverged at step 60", None]})
    make("nce", kl=0.1, group="mine", rows=curve((50, 10.0, 0.9), (60, 12.0, None), (100, 20.0, 0.6)))
    make("pcd", kl=0.3, group="mine", rows=curve((50, 10.0, 0.5), (100, 20.0, 0.6)))
    made = compare("mine", "--budget", "seconds=15")
    rows = {row["differs"]["objective"]: numbers(row)["per_seed"] for row in made["rows"]}
    assert rows == {"pcd": {"0": 0.5}, "ssm": {"0": None, "1": 0.4}, "nce": {"0": None}}
    assert "no kl of objective=ssm at seed 0: seed 0 diverged at step 60" in made["notes"]
    assert "no kl of objective=nce: it could not be measured at step 60" in made["notes"]


@pytest.mark.parametrize(("budget", "is_known"), [("seconds=15", True), ("n_steps=15", True), ("n_energy_evaluations=1e9", False)])
def test_the_cost_per_step_is_unknown_for_a_run_without_steps(make, compare, budget, is_known):
    make("nce", kl=0.1, group="mine", rows=curve((10, 10.0, 0.9), (100, 20.0, 0.1)))
    make("ssm", kl=0.8, group="mine", rows=curve((10, 10.0, 0.7)), state="interrupted", n_steps=0, counts=(0, 0, 0))
    made = compare("mine", "--budget", budget)
    rows = {row["differs"]["objective"]: numbers(row)["per_seed"]["0"] for row in made["rows"]}
    assert rows["ssm"] == (0.7 if is_known else None)
    assert rows["nce"] == (0.9 if is_known else 0.1)


@pytest.fixture
def faulty(make):
    make("ssm", kl=0.1, group="mine", sliced_wasserstein=0.1)
    make("nce", kl=0.2, group="mine", rows=curve((50, 1.0, 0.3)))
    make("pcd", kl=0.2, state="failed", group="broken", why="ValueError: no")
    make("mle", kl=0.2, state="interrupted", group="broken")
    make("dsm", seed=3, group="alone")
    make("dsm", seed=4, group="alone")


FAULTS = [
    ("", "runs are needed", "usage: ebm compare"),
    ("mien", "there is no run 'mien'", "did you mean mine?"),
    ("mine --metric nl", "--metric: no run has the metric 'nl'", "did you mean nll?"),
    ("mine --metric id", "--metric: no run has the metric 'id'", ""),
    ("mine --metric", "--metric: a value is needed", ""),
    ("mine --budget 45s", "--budget 45s: name the cost, for example seconds=45", "the costs are n_energy_evaluations,"),
    ("mine --budget secs=45", "--budget: there is no cost 'secs'", "did you mean seconds?"),
    ("mine --budget seconds", "--budget seconds: the value must be a positive number", "--budget seconds=1000"),
    ("mine --budget seconds=-1", "--budget seconds=-1: the value must be a positive number", ""),
    ("mine --budget n_steps=nan", "--budget n_steps=nan: the value must be a positive number", ""),
    (
        "mine --budget seconds=9 --metric sliced_wasserstein",
        "no run measured 'sliced_wasserstein' during training",
        "available: kl",
    ),
    ("alone moons-ssm --budget seconds=9", "no run was measured during training", "metric=quadrature"),
    ("moons-pcd mine", "moons-pcd-s0-0000000002 has no results; its state is failed", "ebm show 0000000002"),
    ("broken", "none of these runs has results; moons-pcd-s0-0000000002: failed ValueError: no", "ebm runs"),
    ("alone", "a comparison needs at least two rows, but there is only one: 2 runs that differ only in their seed", "ebm show"),
    ("moons-ssm moons-ssm", "a comparison needs at least two rows, but there is only one: one run", "ebm show"),
    ("mine --json --csv", "--json and --csv exclude each other", "--json alone"),
    ("mine --jsn", "there is no flag --jsn", "did you mean --json?"),
]


@pytest.mark.parametrize(("words", "message", "hint"), FAULTS, ids=[words for words, *_ in FAULTS])
def test_wrong_input_is_refused(ebm, faulty, words, message, hint):
    code, out, err = ebm("compare", *words.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert hint in err


def test_a_seed_must_not_count_twice(ebm, make):
    make("ssm", 0, kl=[0.1, 0.2], group="mine")
    make("ssm", 1, kl=0.2, group="mine")
    make("nce", 0, kl=0.2, group="mine")
    code, out, err = ebm("compare", "mine")
    assert (code, out) == (2, "")
    assert "seed 1 would count twice" in err
    assert "moons-ssm-s0-0000000000" in err
    assert "moons-ssm-s1-0000000001" in err


def test_neither_torch_nor_scipy_is_imported(three):
    code = """
import sys
from ebm_cli.__main__ import main
assert main(["compare", "mine", "--json"]) == 0
sys.exit(bool({"torch", "scipy", "numpy", "hydra", "omegaconf"} & {*sys.modules}))"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(json.loads(ended.stdout)["rows"]) == 2


def test_a_group_whose_runs_are_all_damaged_is_refused(make, ebm):
    (make("ssm", group="mine").path / "status.json").write_text('{"state": "unknown"}')
    code, _, err = ebm("compare", "mine")
    assert code == 2
    assert "error: all runs of mine are damaged" in err


def test_no_row_is_the_best_if_the_data_differ(make, compare, ebm):
    """The same data in other units have another NLL: it ranks nothing. The number of training points may differ."""
    make("ssm", group="mine", kl=0.1)
    make("ssm", group="mine", kl=0.2, changed={"dataset.noise": 0.2})
    made = compare("mine")
    assert not any(numbers["best"] for row in made["rows"] for numbers in row["numbers"].values())
    assert (made["ordered_by"], {row["difference"] for row in made["rows"]}) == (None, {None})
    assert made["notes"] == ["the rows have different data, so none is the best; compare the runs of one dataset to rank them"]
    assert "marks the best" not in ebm("compare", "mine")[1]


def test_rows_with_other_numbers_of_training_points_are_ranked(make, compare):
    make("ssm", group="mine", kl=0.1)
    make("ssm", group="mine", kl=0.2, changed={"dataset.n_train": 64})
    assert compare("mine")["rows"][0]["numbers"]["kl"]["best"]


def test_a_run_with_the_config_of_another_is_refused(make, ebm):
    runs = [make("ssm", seed, kl=0.1) for seed in range(2)]
    (runs[0].path / "config.yaml").write_text((runs[1].path / "config.yaml").read_text())
    code, out, err = ebm("compare", runs[0].path.name, runs[1].path.name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {runs[0].path.name}: its id is not that of its config.yaml and dataset.json")
