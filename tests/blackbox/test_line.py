"""The words of a line: what cannot be read, what is given twice, and hints that can be typed as they are."""

import shlex

import pytest
from command import LINE, refused

# (the word typed, the word that the hint advises)
MENDED = [
    ("--optimizer.lr=0.1", "optimizer.lr=0.1"),
    ("-optimizer.lr=0.1", "optimizer.lr=0.1"),
    ("--seed=1", "seed=1"),
    ("optimizer.lr =0.1", "optimizer.lr=0.1"),
    (" optimizer.lr = 0.1 ", "optimizer.lr=0.1"),
    ("optimizer.lr:0.1", "optimizer.lr=0.1"),
    ("optimizer.lr==0.1", "optimizer.lr=0.1"),
    ("objective ssm", "objective=ssm"),
    ("energy.hidden=[8,8", "energy.hidden=[8,8]"),
    ("name=é", 'name="é"'),
    ("name=it's", 'name="it\'s"'),
    ("name=a=b", 'name="a=b"'),
    ("name=a(b", 'name="a(b"'),
    ('name=say "hi', 'name="say \\"hi"'),
    ("name=a,b", 'name="a,b"'),
    ("logger=[tensorboard,wandb]", "logger=tensorboard"),
    ("objective=[nce,ssm]", "objective=nce"),
    ("++seed=1", "seed=1"),
    ("--multi-run", "--multirun"),
]


@pytest.mark.parametrize(("typed", "advised"), MENDED)
def test_a_hint_advises_a_word_that_works(ebm, typed, advised):
    ended = ebm("train", "energy=mlp", typed, "--cfg", "job")
    refused(ended, "hint: ")
    hint = ended.err.partition("hint: ")[2]
    assert advised in shlex.split(hint.strip().removesuffix("?").replace(";", "")), hint
    again = ebm("train", "energy=mlp", advised, "--cfg", "job")
    assert again.code == 0, again


@pytest.mark.parametrize(
    "words",
    [
        ("seed=1", "seed=2"),
        ("seed=1", "seed=1"),
        ("objective=ssm", "objective=nce"),
        ("optimizer.lr=0.1", "optimizer.lr=0.2"),
        ("-m", "seed=1,2", "seed=3"),
        ("-m", "seed=1,2", "hydra.launcher.n_jobs=1", "hydra.launcher.n_jobs=2"),
        ("resume=last", "resume=0123456789"),
        ("resume=last", "trainer.n_steps=20", "trainer.n_steps=30"),
    ],
)
def test_a_key_that_is_set_twice_is_refused(ebm, run, words):
    ended = ebm("train", *words, as_typed=True)
    refused(ended, "set the same key")
    assert f"{words[-2]} and {words[-1]}" in ended.err
    assert len([*run.parent.iterdir()]) == 1


@pytest.mark.parametrize("words", [("n_samples=5", "n_samples=6"), ("sampler=mala", "sampler=hmc")])
@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_a_key_that_is_set_twice_is_refused_by_verbs_that_take_a_run(ebm, run, verb, words):
    refused(ebm(verb, run, *words, as_typed=True), f"{words[0]} and {words[1]} set the same key")


@pytest.mark.parametrize(
    "line", ["runs --sort kl --sort nll", "runs --group a --group b", "compare a b --budget=seconds=1 --budget=seconds=2"]
)
def test_a_flag_that_is_given_twice_is_refused(ebm, line):
    refused(ebm(*line.split()), "can be given once")


@pytest.mark.parametrize("verb", ["sample", "evaluate", "score", "plot"])
def test_no_verb_but_train_is_advised_to_sweep(ebm, run, verb):
    for word in ("n_samples=1,2", "model=0,1", "sampler=[mala,hmc]", "hydra.launcher.n_jobs=2"):
        hints = [line for line in ebm(verb, run, word).err.splitlines() if line.startswith("hint")]
        assert not [hint for hint in hints if "-m" in hint and "ebm train -m" not in hint], hints


def test_the_flags_of_a_command_are_named(ebm):
    refused(ebm("rm", "last", "--seed=1"), "hint: available: --help, --yes")
    refused(ebm("list", "--seed=1"), "hint: available: --config-dir, --help")
    refused(ebm("sample", "last", "--confi-dir=x"), "hint: did you mean --config-dir?")


def test_a_key_with_dashes_is_recognized(ebm, run):
    refused(ebm("train", *LINE, "--seed=1"), "keys are written without dashes: seed=1")
    refused(ebm("train", *LINE, "--seed", "1"), "keys are written without dashes: seed=1")
