"""Samples that cannot be drawn, or whose chains diverge, do not replace good ones."""

import re
from pathlib import Path

import numpy as np
import pytest
from command import LINE, refused, tree

UNSTABLE = ("sampler=langevin", "sampler.step_size=100")
HUGE = 10**13


def samples(folder):
    return np.load(folder / "samples.npz")["x"]


def lost(text, out):
    """The number of samples that a message calls not finite. A file must hold as many."""
    n = int(re.search(r"(\d+) of 300 samples are not finite", text)[1])
    assert n == (~np.isfinite(samples(out) if out.is_dir() else np.load(out)).all(1)).sum()
    return n


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_samples_of_which_none_is_finite_replace_nothing(ebm, run, verb):
    before = tree(run)
    ended = ebm(verb, run, *UNSTABLE, "n_steps=100")
    assert ended.code == 1, ended
    assert "none of the 20 samples is finite" in ended.err
    assert tree(run) == before
    ended = ebm("train", *(word for word in LINE if not word.startswith("draws")), *UNSTABLE, "draws.n_samples=20", "draws.n_steps=100")
    assert "none of the 20 samples is finite" in ended.err
    assert tree(run) == before


def test_samples_of_which_some_are_not_finite_replace_nothing_but_are_written_to_out(ebm, run):
    words = (*UNSTABLE, "n_steps=8", "n_samples=300", "n_chains=300", "start=far.csv")
    Path("far.csv").write_text("x0,x1\n0,0\n1e30,0\n")
    before = tree(run)
    ended = ebm("sample", run, *words)
    assert ended.code == 1, ended
    assert "150 of 300 samples are not finite" in ended.err
    assert tree(run) == before
    ended = ebm("sample", run, *words, "out=x.npy")
    assert ended.code == 0, ended
    assert lost(ended.err, Path("x.npy")) == 150
    assert tree(run) == before


def test_samples_of_an_analytic_energy_that_are_not_finite_are_counted(ebm, tmp_path):
    wells = ("energy=four_wells", "sampler=langevin", "n_samples=300", "n_chains=300", "figure=[]")
    ended = ebm("sample", *wells, "sampler.step_size=0.05", "n_steps=100")
    assert ended.code == 0, ended
    assert 0 < lost(ended.err, next((tmp_path / "outputs" / "samples").iterdir())) < 300
    ended = ebm("sample", *wells, "sampler.step_size=100", "n_steps=100", "out=x.npy")
    assert ended.code == 1, ended
    assert not Path("x.npy").exists()
    assert len(list((tmp_path / "outputs" / "samples").iterdir())) == 1


def test_a_run_whose_own_samples_diverge_is_finished_with_the_number_and_can_be_measured(ebm, tmp_path):
    ended = ebm("train", *LINE, *UNSTABLE, "draws.n_steps=100")
    assert ended.code == 0, ended
    assert "20 of 20 samples are not finite" in ended.err
    ended = ebm("evaluate", "last", "metric=[quadrature]")
    assert ended.code == 0, ended


@pytest.mark.parametrize("words", [("sampler=hmc", "sampler.step_size=1e9"), ("sampler=mh", "sampler.step_size=1e9")])
def test_a_sampler_that_accepts_nothing_warns(ebm, run, words):
    for of in ([run], ["energy=four_wells"]):
        ended = ebm("sample", *of, *words, "n_samples=20", "n_steps=4")
        assert ended.code == 0, ended
        assert "warning: the chains hardly move" in ended.err


def test_samples_for_which_there_is_no_memory_are_refused_at_once(ebm, run):
    before = tree(run.parent)
    for key in ("n_samples", "n_chains"):
        several = ("n_samples=1e13",) if key == "n_chains" else ()
        for words in (["sample", run], ["sample", "energy=four_wells"], ["sample", run, "start=data"], ["evaluate", run]):
            refused(ebm(*words, *several, f"{key}=1e13"), "n_samples: 10000000000000 samples of 2 numbers", "GB of memory")
    for words in ((), ("-m", "seed=1,2")):
        refused(ebm("train", *LINE, "trainer.n_steps=5", "draws.n_samples=1e13", *words), "draws.n_samples=")
    assert tree(run.parent) == before


def test_the_number_of_samples_in_the_hint_fits(ebm, run):
    hint = re.search(r"n_samples=\d+", ebm("sample", run, "n_samples=1e13", "n_chains=1e13").err.partition("hint")[2])[0]
    refused(ebm("sample", run, hint, "n_chains=1e13", "start=nowhere.csv"), "start: there is no file")  # checked after the memory
