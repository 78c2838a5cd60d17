"""Checkpoints that are damaged or hostile end in one line, which names one that can be read."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorstore

from gsjax.errors import UserError
from gsjax.trained import checkpoints, restore
from gsjax.trained.place import locate


def _state(value):
    kernel = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    return {"generator": {"params": {"kernel": kernel + value, "bias": np.full(7, value)}}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with checkpoints of steps 2 and 4."""
    workdir = tmp_path_factory.mktemp("saved") / "run"
    with checkpoints.open_manager(workdir / "checkpoints", keep=2) as manager:
        for step in (2, 4):
            checkpoints.save(manager, step, _state(np.float32(step)))
    return workdir


@pytest.fixture
def run(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def _cut(state):
    for path in state.rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])


def _without_metadata(state):
    for path in (*state.rglob("_METADATA"), *state.rglob("manifest.ocdbt")):
        path.unlink()


def _metadata(text):
    return lambda state: (state / "_METADATA").write_text(text)


def _with_key(name, key_type=2):
    def damage(state):
        path = state / "_METADATA"
        fields = json.loads(path.read_text())
        entry = next(iter(fields["tree_metadata"].values()))
        entry["key_metadata"][-1] = {"key": name, "key_type": key_type}
        path.write_text(json.dumps(fields))

    return damage


def _with_a_fifo(state):
    path = next(state.glob("d/*"))
    path.unlink()
    os.mkfifo(path)


def _huge(state):
    """Its bias becomes an array of 10¹⁰ values, none of which are there."""
    spec = {
        "driver": "zarr",
        "kvstore": {
            "driver": "ocdbt", "base": f"file://{state}/", "path": "generator.params.bias/"
        },
    }  # fmt: skip
    options = {"create": True, "delete_existing": True, "dtype": "float32", "shape": [10**10]}
    tensorstore.open(spec, **options).result()


DAMAGE = {
    "its data is cut": _cut,
    "its metadata is missing": _without_metadata,
    "its metadata is cut": _metadata("{"),
    "its metadata is another file's": _metadata('{"tree_metadata": [1]}'),
    "its metadata is nested": _metadata("[" * 2000 + "]" * 2000),
    "its metadata is nested like JSON bombs": _metadata('{"a":' + "[" * 2_000_000),
    "a key leads out of it": _with_key("../x"),
    "a key is empty": _with_key(""),
    "a list claims to be long": _with_key("9" * 12, key_type=1),
    "it is empty": shutil.rmtree,
    "it holds a FIFO": _with_a_fifo,
    "an array claims to be huge": _huge,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_one_line_that_names_an_older_one(run, damage):
    newest = run / "checkpoints" / "4"
    damage(newest / "state")
    with pytest.raises(UserError) as raised:
        restore.restore_params(run, restore.generator_in(run))
    message = str(raised.value)
    assert message.startswith(f"{newest}: it cannot be read (")
    assert message.endswith(f"); {run}/checkpoints/2 can")
    assert "\n" not in message
    assert len(message) < 400 + len(str(run)) * 2
    assert (newest / "state").exists() == (damage is not shutil.rmtree)  # it stays as it is


def test_only_an_older_checkpoint_that_is_whole_is_named(run):
    for step in (2, 4):
        _cut(run / "checkpoints" / str(step) / "state")
    with pytest.raises(UserError, match=r"checkpoints/4: it cannot be read \(.*\)$"):
        restore.restore_params(run, "generator")


def test_a_run_whose_best_is_damaged_still_has_its_checkpoints(run):
    shutil.copytree(run / "checkpoints" / "2", run / "best" / "2")
    _cut(run / "best" / "2" / "state")
    with pytest.raises(UserError, match=r"best/2: it cannot be read \(.*\); .*/checkpoints/4 can$"):
        restore.restore_params(run / "best", "generator")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, value):
    checkpoints.save_single(tmp_path / "checkpoints", _state(np.float32(value)))
    with pytest.raises(UserError, match=r"generator/params/bias has values that are NaN or inf"):
        restore.restore_params(tmp_path, "generator")


def test_only_folders_named_by_ascii_digits_are_checkpoints(run):
    for name in ("²", "٣", "９", "1_0", "-5", "+7", "007", "9" * 30, "4.5"):
        (run / "checkpoints" / name).mkdir()
    assert checkpoints.latest_step(run / "checkpoints") == 4
    assert restore.names_in(run) == {"generator"}
    with pytest.raises(UserError, match="no finished checkpoint"):
        checkpoints.find_checkpoint(run / "checkpoints" / "²")


def test_a_path_through_a_link_and_back_is_the_folder_that_the_system_finds(run):
    (run / "inner").mkdir()
    link = run.parent / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(run / "inner")
    for path in (link / "..", link / ".." / "checkpoints", link / ".." / "checkpoints" / "4"):
        assert checkpoints.find_checkpoint(path) == run / "checkpoints" / "4"
    with checkpoints.open_manager(link / ".." / "checkpoints", keep=2) as manager:
        checkpoints.save(manager, 6, _state(np.float32(6)))
    assert checkpoints.latest_step(run / "checkpoints") == 6


def test_checkpoints_that_a_link_in_the_workdir_leads_to_belong_to_it(run, tmp_path):
    (run / "checkpoints").rename(tmp_path / "large_disk")
    (run / "checkpoints").symlink_to(tmp_path / "large_disk")
    assert locate(run, "last").workdir == run
