import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from gsjax.errors import UserError
from gsjax.trained import checkpoints, restore

ROOT = Path(__file__).parents[2]


@struct.dataclass
class State:
    step: Any
    generator: Any
    discriminator: Any
    optimizer: Any
    key: Any


def make_state(value=0.0, width=4, layers=("encoder", "head")):
    generator = {name: {"kernel": jnp.full((3, width), value)} for name in layers}
    discriminator = {"conv": {"bias": jnp.full(5, value, jnp.bfloat16)}}
    optimizer = optax.adamw(optax.constant_schedule(1e-3))
    return State(
        step=jnp.int32(value),
        generator=generator,
        discriminator=discriminator,
        optimizer=(optimizer.init(generator), optimizer.init(discriminator)),
        key=jax.random.fold_in(jax.random.key(1), int(value)),
    )


def like(state, sharding=None):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), state
    )


def assert_same(a, b):
    def values(x):
        return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(values(x), values(y)), a, b)


def test_a_state_comes_back_as_it_was_saved(tmp_path, recwarn):
    state = make_state(7)
    with checkpoints.open_manager(tmp_path / "run" / "checkpoints", keep=2) as manager:
        assert checkpoints.restore_latest(manager, like(state)) is None
        assert checkpoints.save(manager, 7, state)
    with checkpoints.open_manager(tmp_path / "run" / "checkpoints", keep=2) as manager:
        restored, step = checkpoints.restore_latest(manager, like(make_state()))
        assert not checkpoints.save(manager, 7, state)
    assert step == 7
    assert_same(restored, state)
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]


def test_the_last_n_are_kept_and_buffers_may_be_donated_at_once(tmp_path):
    step_fn = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = step_fn(jnp.zeros(2_000_000))
    with checkpoints.open_manager(tmp_path, keep=2) as manager:
        for step in (1, 2, 3):
            checkpoints.save(manager, step, {"x": x})
            for _ in range(10):
                x = step_fn(x)
        manager.wait_until_finished()
        restored, step = checkpoints.restore_latest(manager, like({"x": x}))
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [2, 3]
    assert step == 3
    np.testing.assert_array_equal(restored["x"], 21)


def test_another_architecture_is_named_with_both_shapes(tmp_path):
    with checkpoints.open_manager(tmp_path, keep=1) as manager:
        checkpoints.save(manager, 1, make_state())
        restore = functools.partial(checkpoints.restore_latest, manager)
        with pytest.raises(UserError, match=r"generator/encoder/kernel is 3×4 there and 3×6 here"):
            restore(like(make_state(width=6)))
        with pytest.raises(UserError, match=r"generator/tail/kernel is missing there and 3×4"):
            restore(like(make_state(layers=("encoder", "tail"))))
        with pytest.raises(UserError, match=r"generator/head/kernel is 3×4 there and missing"):
            restore(like(make_state(layers=("encoder",))))


def test_one_branch_is_read_from_a_workdir_its_checkpoints_or_one_of_them(tmp_path):
    directory = tmp_path / "checkpoints"
    with checkpoints.open_manager(directory, keep=2) as manager:
        for step in (5, 12):
            checkpoints.save(manager, step, make_state(step))
    for path, value in ((tmp_path, 12), (directory, 12), (directory / "5", 5)):
        params = restore.restore_params(path, "generator", "encoder")
        assert isinstance(params["kernel"], np.ndarray)
        np.testing.assert_array_equal(params["kernel"], np.full((3, 4), value))
    assert isinstance(restore.restore_params(tmp_path, "optimizer"), list)
    with pytest.raises(UserError, match="has no generator/decoder"):
        restore.restore_params(tmp_path, "generator", "decoder")
    with pytest.raises(UserError, match="does not exist"):
        restore.restore_params(tmp_path / "nowhere", "generator")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no finished checkpoint"):
        restore.restore_params(tmp_path / "empty", "generator")


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--workdir"):
        checkpoints.open_manager(tmp_path / "file" / "checkpoints", keep=1)


def test_a_restore_lands_on_other_devices_than_were_saved_from(tmp_path):
    with checkpoints.open_manager(tmp_path, keep=1) as manager:
        checkpoints.save(manager, 3, make_state(3))
    program = """if True:
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec
        from gsjax.trained import checkpoints
        from tests.trained.test_checkpoints import assert_same, like, make_state
        mesh = Mesh(jax.devices(), ("data",))
        everywhere = NamedSharding(mesh, PartitionSpec())
        wanted = like(make_state(), everywhere)
        split = NamedSharding(mesh, PartitionSpec(None, "data"))
        kernel = jax.ShapeDtypeStruct((3, 4), float, sharding=split)
        wanted.generator["head"]["kernel"] = kernel
        with checkpoints.open_manager(DIRECTORY, 1) as manager:
            state, step = checkpoints.restore_latest(manager, wanted)
        assert_same(state, make_state(3))
        assert state.generator["head"]["kernel"].sharding == split
        assert state.key.sharding.is_equivalent_to(everywhere, 0)
        print(len(jax.devices()), step)
    """.replace("DIRECTORY", repr(str(tmp_path)))
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.stdout.split() == ["4", "3"], run.stderr


def test_a_run_killed_while_saving_leaves_whole_checkpoints(tmp_path):
    program = """if True:
        import itertools, sys
        import jax, jax.numpy as jnp
        from gsjax.trained import checkpoints
        from tests.trained.test_checkpoints import like
        state = {"a": jnp.zeros((40, 50_000)), "b": jnp.zeros(1_000_000)}
        with checkpoints.open_manager(sys.argv[1], keep=2) as manager:
            _, start = checkpoints.restore_latest(manager, like(state)) or (0, 0)
            for step in range(start + 1, 10_000):
                state = jax.tree.map(lambda x: jnp.full_like(x, step), state)
                checkpoints.save(manager, step, state)
    """
    state = {"a": jnp.zeros((40, 50_000)), "b": jnp.zeros(1_000_000)}
    steps, cut_short = [0], 0
    for _ in range(2):
        command = [sys.executable, "-c", program, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        while (checkpoints.latest_step(tmp_path) or 0) < steps[-1] + 3:
            assert process.poll() is None
            time.sleep(0.02)
        while not any("tmp" in path.name for path in tmp_path.iterdir()):
            assert process.poll() is None  # and is killed where a save has begun
        process.send_signal(signal.SIGKILL)
        process.wait()
        cut_short += any("tmp" in p.name for p in tmp_path.iterdir())

        with checkpoints.open_manager(tmp_path, keep=2) as manager:
            restored, step = checkpoints.restore_latest(manager, like(state))
        jax.tree.map(lambda x, step=step: np.testing.assert_array_equal(x, step), restored)
        assert step >= steps[-1] + 3
        assert all(p.name.isdigit() for p in tmp_path.iterdir())
        steps.append(step)
    assert cut_short, "neither kill hit a save: nothing was tested"


def damaged(tmp_path, steps, how):
    """Saves some steps and damages the newest one."""
    with checkpoints.open_manager(tmp_path, keep=5) as manager:
        for step in steps:
            checkpoints.save(manager, step, make_state(step))
    files = [path for path in (tmp_path / str(steps[-1])).rglob("*") if path.is_file()]
    for path in files:
        if how == "cut short":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif (how == "without its arrays" and "_METADATA" not in path.name) or (
            how == "without its description" and "_METADATA" in path.name
        ):
            path.unlink()


@pytest.mark.parametrize("how", ["cut short", "without its arrays", "without its description"])
def test_a_corrupt_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, how, caplog):
    damaged(tmp_path, (3, 6), how)
    with checkpoints.open_manager(tmp_path, keep=5) as manager:
        state, step = checkpoints.restore_latest(manager, like(make_state()))
        assert step == 3
        assert_same(state, make_state(3))
        assert "cannot be read" in caplog.text
        checkpoints.save(manager, 6, make_state(6))
    assert (tmp_path / "corrupt_6").exists()
    with checkpoints.open_manager(tmp_path, keep=5) as manager:
        assert checkpoints.restore_latest(manager, like(make_state()))[1] == 6


def test_without_any_readable_checkpoint_a_run_does_not_start_over_silently(tmp_path):
    damaged(tmp_path, (3,), "cut short")
    before = sorted(path.name for path in tmp_path.iterdir())
    with (
        checkpoints.open_manager(tmp_path, keep=5) as manager,
        pytest.raises(UserError, match=r"none of the checkpoints can be read"),
    ):
        checkpoints.restore_latest(manager, like(make_state()))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_folder_that_vanished_is_told(tmp_path):
    folder = tmp_path / "checkpoints"
    manager = checkpoints.open_manager(folder, keep=5)
    shutil.rmtree(folder)
    folder.touch()  # nothing can be written below a file

    def save():
        checkpoints.save(manager, 1, make_state(1))
        checkpoints.finish(manager)

    with pytest.raises(UserError, match=r"checkpoints: cannot write a checkpoint: .* are intact"):
        save()


NUMBER, SPEC = """[os_error_code='28']""", """[tensorstore_spec='{"driver":"zarr"}']"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(f"OUT_OF_RANGE: No room: {NUMBER} {SPEC}"), "No space left on device"),
        (ValueError(f"OUT_OF_RANGE: No room: {SPEC} {NUMBER}"), "No space left on device"),
        (ValueError("DATA_LOSS: odd\nmore"), "DATA_LOSS: odd"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_a_write_failed_of_is_told_in_the_systems_words(tmp_path, monkeypatch, error, reason):
    manager = checkpoints.open_manager(tmp_path / "checkpoints", keep=1)

    def fail():
        raise error

    monkeypatch.setattr(manager, "wait_until_finished", fail)
    with pytest.raises(
        UserError, match=rf"/checkpoints: cannot write a checkpoint: {reason}\. Earlier ones"
    ):
        checkpoints.finish(manager)
