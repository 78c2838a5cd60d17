"""The notebooks run from top to bottom, on settings small enough for tests."""

import json
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests import quick

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run(name, parameters):
    """Returns a notebook's outputs after a run with some of its parameters replaced."""
    notebook = read(name)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for parameter in parameters:
        assert f"\n{parameter} = " in f"\n{cell.source}"
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.execute()
    return pictures(notebook)


def pictures(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("XLA_FLAGS", quick.FLAGS)
        yield tmp_path_factory.mktemp("notebooks") / "run"


@pytest.fixture(scope="module")
def trained(workdir):
    """How many pictures the notebook shows that trains; its run is in `workdir`."""
    return run("train", {"WORKDIR": str(workdir), "STEPS": 2, "SIZE": (32, 32)})


def test_a_folder_is_trained_on(trained, workdir):
    assert trained == 2
    assert (workdir / "checkpoints" / "2").is_dir()


@pytest.mark.parametrize(("name", "shown"), [("inpaint", 1), ("field", 4)])
def test_its_run_is_looked_into(trained, workdir, name, shown, tmp_path, monkeypatch):
    assert run(name, {"CHECKPOINT": str(workdir)}) == shown


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_has_pictures_and_no_errors(name):
    notebook = read(name)
    assert pictures(notebook)
    assert '"output_type": "error"' not in json.dumps(notebook)
    assert str(Path.home()) not in json.dumps(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_installs(name):
    first = next(cell for cell in read(name).cells if cell.cell_type == "code")
    assert "%pip install" in first.source
