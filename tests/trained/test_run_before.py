"""A run of version 0.1.0, before rooms and typed config: its checkpoint is restored and resumed.

The fixture is what two steps of `python -m gsjax.main --config=configs/photos.py` left of a tiny
model, and, in filled.npz, what its average drew and filled with that version.
"""

import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest

import gsjax
from gsjax import sharding
from gsjax.config import saved
from gsjax.models.build import build_networks
from gsjax.trained import checkpoints, restore
from gsjax.training.state import abstract_state
from gsjax.training.train import train
from tests.quick import jit

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_before.tar.xz"


def recorded(run):
    with np.load(run / "filled.npz") as file:
        return dict(file)


@pytest.fixture
def run(tmp_path):
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_its_whole_state_is_restored(run):
    config = saved.read_config(run)
    mesh = sharding.make_mesh(-1, 1)
    wanted = abstract_state(config, build_networks(config), mesh)
    manager = checkpoints.open_manager(run / "checkpoints", keep=1)
    state, step = checkpoints.restore_latest(manager, wanted)
    checkpoints.close(manager)
    assert step == state.step == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.generator_optimizer))
    for name in ("generator", "average", "discriminator"):
        read = restore.restore_params(run, name)
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), read)


def test_its_average_draws_as_it_did(run):
    config = saved.read_config(run)
    image, known, before = (recorded(run)[name] for name in ("image", "hole", "drawn"))
    size = before.shape[:2]
    image, known = np.float32(image[: size[0], : size[1]]) / 255, ~known[: size[0], : size[1], None]
    draw = jit(build_networks(config).generator.apply)
    variables = restore.restore_params(run, restore.generator_in(run))
    drawn = draw(variables, (image * known)[None], None, np.float32(known)[None]).image[0]
    np.testing.assert_allclose(drawn, before, atol=1e-5)


@pytest.mark.slow
def test_it_fills_as_it_did(run):
    before = recorded(run)
    painter = gsjax.Inpainter.load(run, deep="network")
    filled = painter(before["image"], before["hole"]).image
    assert np.abs(filled.astype(int) - before["filled"]).max() <= 1


@pytest.mark.slow
def test_it_resumes(run):
    config = saved.read_config(run)
    config.train.steps = 3
    train(config, run)
    assert checkpoints.latest_step(run / "checkpoints") == 3
    assert restore.restore_params(run, "step") == 3
