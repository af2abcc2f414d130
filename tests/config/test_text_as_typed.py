"""Text that looks like a number, in the lines of the jobs of a sweep."""

import pytest

from ebm_cli.config.text_values import with_quotes


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("name=1e5", "name='1e5'"),
        ("name=1e5,2e5", "name='1e5','2e5'"),
        ("name=1e5,null", "name='1e5',null"),
        ("group=true,True", "group='true','True'"),
        ("tags=[1e5,a]", "tags=['1e5','a']"),
        *((word, word) for word in ("name=007,null", "name='1e5',b", "name=", "resume=null", "seed=0,1", "dataset=moons,rings")),
        *((word, word) for word in ("optimizer.lr=1e-3,1e-4", "optimizer.lr=interval(1,2)", "energy.hidden=[1e1,16]", "name={")),
    ],
)
def test_only_text_that_hydra_would_rewrite_gets_quotes(typed, quoted):
    assert with_quotes([typed]) == [quoted]


def test_a_key_of_a_component():
    assert with_quotes(["energy=compose", "energy.runs=[170e085322]"])[1] == "energy.runs=['170e085322']"
