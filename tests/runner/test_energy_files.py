"""Runs and samples of couplings from a file: identity, the copy in the folder of the run, and what is said."""

from pathlib import Path

import pytest
import torch

from ebm_cli.runner.trained_model import TrainedModel
from ebm_cli.runs import catalog

RING = "0 1 0.5\n1 2 -0.4\n2 3 0.3\n3 0 0.6\n0 0 0.1\n"
TRAIN = ("dataset=ising", "dataset.sides=[2,2]", "energy=ising", "objective=pseudo_likelihood", "trainer.n_steps=3", "figure=[]")
SMALL = (*TRAIN, "metric=[]", "draws.n_samples=20", "draws.n_steps=2", "trainer.batch_size=16", "device=cpu")


@pytest.fixture
def run(ebm):
    """A run that starts from the couplings of a file."""
    Path("ring.coo").write_text(RING)
    code, _, err = ebm("train", *SMALL, "energy.couplings=ring.coo")
    assert code == 0, err
    assert "note: ring.coo: 4 couplings and 1 fields of 4 sites, read as ising" in err
    return catalog.find("last")


def test_a_run_is_loaded_from_its_own_copy_wherever_the_file_is(run, ebm):
    Path("ring.coo").unlink()
    copy = run.path / "files" / "couplings.coo"
    assert copy.read_text() == RING
    trained = TrainedModel.load(run, torch.device("cpu"))
    assert trained.params["coupling"].tolist() != [0.5, 0.6, -0.4, 0.3]
    assert trained.params["coupling"].sub(torch.tensor([0.5, 0.6, -0.4, 0.3])).abs().max() < 0.1
    code, _, err = ebm("sample", "last", "n_samples=20", "n_steps=2")
    assert code == 0, err
    copy.write_text(RING.replace("0.5", "0.7"))
    code, _, err = ebm("sample", "last", "n_samples=20", "n_steps=2")
    assert code == 2
    assert "couplings.coo is not the file that the run was trained with" in err


def test_the_content_of_the_file_is_part_of_the_identity(run, ebm):
    first, (other, moved) = Path("ring.coo"), (Path("other.coo"), Path("moved.coo"))
    other.write_text(RING.replace("0.5", "0.7"))
    first.rename(moved)
    for path, n_runs in ((moved, 1), (other, 2)):
        code, _, err = ebm("train", *SMALL, f"energy.couplings={path}")
        assert code == 0, err
        assert len(catalog.every()) == n_runs
    code, _, err = ebm("evaluate", run.id, "metric=[enumeration]")
    assert code == 0, err
    code, _, err = ebm("train", *SMALL, "energy.couplings=absent.coo")
    assert code == 2
    assert "energy.couplings: there is no file 'absent.coo'" in err
    assert len(catalog.every()) == 2


def test_the_copy_is_removed_with_the_run(run, ebm):
    assert ebm("rm", run.id, "--yes")[0] == 0
    assert not run.path.exists()


def test_a_compiled_step_reads_the_graph(ebm):
    Path("ring.coo").write_text("0 1\n1 2\n2 3\n")
    from ebm_cli.config import compose
    from ebm_cli.runner.experiment import Experiment

    for objective in ("pseudo_likelihood", "pcd"):
        trainer = Experiment.of(compose.compose([*SMALL, f"objective={objective}", "energy.couplings=ring.coo"])).trainer()
        step = torch.compile(lambda params, x, model=trainer.model: model.energy(params, x), fullgraph=True, backend="eager")
        x = trainer.dataset.split("train", 8, trainer.rng).x
        torch.testing.assert_close(step(trainer.params, x), trainer.model.energy(trainer.params, x))
    sweep = torch.compile(trainer.model.sweep, fullgraph=True, backend="eager")
    u = torch.rand(8, 4)
    assert torch.equal(sweep(trainer.params, x, u), trainer.model.sweep(trainer.params, x, u))


def test_the_samples_of_a_file_have_a_folder_for_each_content(ebm, tmp_path):
    folders = tmp_path / "outputs" / "samples"
    for value, n in (("0.5", 1), ("0.5", 1), ("0.6", 2)):
        Path("ring.coo").write_text(f"0 1 {value}\n1 2 -1\n")
        code, _, err = ebm("sample", "energy=ising", "energy.couplings=ring.coo", "n_samples=20", "n_steps=2", "figure=[]")
        assert code == 0, err
        assert len([*folders.iterdir()]) == n
    assert "note: ring.coo: 2 couplings" in err


def test_a_file_of_fields_only_is_sampled(ebm):
    """A tensor without elements is a parameter, too."""
    Path("fields.coo").write_text("0 0 1\n1 1 -1\n")
    code, _, err = ebm("sample", "energy=ising", "energy.couplings=fields.coo", "n_samples=20", "n_steps=2")
    assert code == 0, err
