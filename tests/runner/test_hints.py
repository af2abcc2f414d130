"""Hints of refused lines: the first `key=value` that a hint advises, typed with the rest of the line, makes the line valid."""

import re

import numpy as np
import pytest
from lines import last_of_each_key

from ebm_cli.config import compose
from ebm_cli.errors import InputError
from ebm_cli.runner.experiment import Experiment
from ebm_cli.training.trial_step import trial_step

ADVICE = re.compile(r"(?<![\w.])[a-z_./]+=(?:\[(?:[^\[\]]|\[[^\]]*\])*\]|'[^']*'|[^\s,;)`]+)")
SMALL = ("energy=mlp", "energy.hidden=[4]", "trainer.batch_size=8")
FILE = "dataset=table dataset.path={}"
CASES = [  # a line, without the words of SMALL that it replaces
    "objective=dsm_multi energy=mlp",
    "objective=nce energy=score_mlp",
    "objective=dsm energy=noise_mlp",
    "objective=pcd sampler=annealed",
    "objective=cd sampler=mh energy=score_mlp",
    "objective=exact dataset=funnel dataset.dim=5",
    "objective=ksd trainer.batch_size=1",
    "objective=pcd objective.n_chains=2 trainer.batch_size=8",
    "objective=dsm_multi energy=noise_mlp objective.sigma_min=4",
    "energy=noise_mlp objective=dsm_multi reference=uniform",
    "energy=score_mlp objective=dsm reference=uniform",
    "sampler=hmc sampler.mass=[1,2,3] objective=mle",
    "dataset=gaussian_mixture dataset.centres=[]",
    "trainer.patience=3",
    "trainer.refit=true",
    "trainer.select=loss objective=pcd",
    "trainer.select=nll objective=dsm energy=score_mlp",
    "trainer.select=auto trainer.refit=true",
    "device=cuda:7",
    f"{FILE.format('constant.csv')} objective=nce",
    f"{FILE.format('constant.npy')} objective=nce",
    f"{FILE.format('twice.csv')} objective=nce",
    f"{FILE.format('word.csv')} objective=nce",
    f"{FILE.format('table.csv')} objective=nce dataset.n_components=9",
    f"{FILE.format('images.npy')} objective=nce dataset.n_components=2",
]


@pytest.fixture(autouse=True)
def files(tmp_path):
    """Tables in the working directory, most of which cannot be used as they are."""
    draw = np.random.default_rng(0).normal
    table = draw(size=(60, 3))
    for name, columns in {"table": table, "constant": np.insert(table, 1, 2.0, 1), "twice": np.insert(table, 1, table[:, 0], 1)}.items():
        names = ",".join("aébc"[: columns.shape[1]]) if name == "constant" else ",".join("abcd"[: columns.shape[1]])
        np.savetxt(f"{name}.csv", columns, delimiter=",", header=names, comments="")
        np.save(f"{name}.npy", columns)
    np.save("images.npy", draw(size=(60, 1, 3, 3)))
    with open("table.csv") as file:
        first, *rows = file.read().splitlines()
    with open("word.csv", "w") as file:
        file.write("\n".join([f"word,{first}", *(f"w{i % 3},{row}" for i, row in enumerate(rows))]) + "\n")


def problems(words):
    """The problems of a line, up to its trial step."""
    try:
        trial_step(Experiment.of(compose.compose(last_of_each_key([*SMALL, *words]))).trainer())
    except InputError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("line", CASES)
def test_the_advice_of_a_hint_works_when_it_is_typed(line):
    words = line.split()
    found = problems(words)
    assert found, "this line is not refused any more"
    while found:  # one problem after the other
        advised = [(problem, word) for problem in found for word in ADVICE.findall(problem.hint)]
        assert advised, found
        problem, word = advised[0]
        words.append(word.strip("'"))
        found = problems(words)
        assert problem.message not in [problem.message for problem in found], (problem, words)
