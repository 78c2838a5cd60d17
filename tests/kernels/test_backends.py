"""The choice of a backend, and kernels that divide their work over a mesh."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from gsjax.kernels.backends import choose

ROOT = Path(__file__).parents[2]


def test_plain_jax_is_chosen_on_cpu_and_for_float64():
    assert choose("auto", jnp.float32) == "xla"
    assert choose("auto", jnp.float64) == "xla"
    assert choose("xla", jnp.float64) == "xla"


def test_a_kernel_is_chosen_by_name():
    assert choose("pallas", jnp.float32) == "pallas"
    with pytest.raises(ValueError, match="computes in float32"):
        choose("triton", jnp.float64)


def test_kernels_compute_a_part_of_the_batch_on_each_device():
    program = """if True:
        import jax
        jax.config.update("jax_num_cpu_devices", 4)
        import jax.numpy as jnp
        import numpy as np
        from jax.sharding import NamedSharding, PartitionSpec
        from gsjax.kernels import mixture, rasterizer
        from gsjax import sharding
        from tests.quick import jit

        mesh = sharding.make_mesh(2, 2)
        rng = np.random.default_rng(0)
        sizes = ((4, 2, 3, 2), (4, 2, 3, 3), (4, 2, 3, 1))
        arrays = [rng.uniform(0.5, 2, size).astype(np.float32) for size in sizes]
        rows = [
            rng.normal(size=size).astype(np.float32) for size in ((4, 2, 3, 2), (9, 2), (9, 3))
        ]

        def both(backend):
            def total(arrays, rows):
                image = rasterizer.rasterize(*arrays, (3, 2), backend)
                return jnp.square(image).sum() + jnp.sin(mixture.mix(*rows, backend)).sum()
            return jax.value_and_grad(total, (0, 1))

        split, whole = sharding.over_batch(mesh), sharding.replicated(mesh)
        placed = [jax.device_put(a, split) for a in arrays]
        placed_rows = [jax.device_put(a, s) for a, s in zip(rows, (split, whole, whole))]
        program = jit(sharding.on_mesh(both("pallas"), mesh)).lower(placed, placed_rows).compile()
        # Nothing but sums of gradients crosses devices.
        assert "all-gather" not in program.as_text()
        assert "all-reduce" in program.as_text()
        ours = program(placed, placed_rows)
        expected = jit(both("xla"))(arrays, rows)
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    """
    command = [sys.executable, "-c", program]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_backend_that_cannot_start_ends_a_command_in_one_line():
    command = [sys.executable, "-m", "gsjax.evaluate", "--data=photos"]
    environment = os.environ | {"JAX_PLATFORMS": "nowhere"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: JAX_PLATFORMS=nowhere: this JAX cannot start it")
