"""What the kernels for TPUs share."""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# The tile that a vector register holds, in float32.
SUBLANES, LANES = 8, 128
# What a kernel may use of the 128 MiB that v5e and v6e have.
VMEM_BYTES = 32 * 2**20


_compiled = contextvars.ContextVar("compiled", default=False)


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Lets kernels that are traced within be compiled for a TPU, also where there is none."""
    token = _compiled.set(True)
    try:
        yield
    finally:
        _compiled.reset(token)


def call(kernel, inputs, outputs, grid, *, blocks, scratch=(), sums=0, cost, interpret=None):
    """Runs a kernel on blocks of its inputs.

    Args:
      kernel: takes the blocks of the inputs, of the outputs and the scratch. Its outermost
        loops must have bounds that depend on the block: within `jax.shard_map` others
        cannot be simulated, as their types do not say how they vary over the mesh.
      inputs: arrays that vary alike; see `backends.vary_alike`.
      outputs: their shapes; all float32.
      grid: how many blocks there are along each dimension.
      blocks: shape and index map of a block, for each input and output.
      scratch: shapes of float32 that a kernel writes to.
      sums: the last so many dimensions of the grid add to the same output.
      cost: what one block costs, as (flops, transcendentals).
      interpret: False compiles for a TPU, True simulates one with plain JAX, and None
        simulates wherever there is no TPU, but within `compiled`.

    Returns:
      The outputs.
    """
    if interpret is None:
        interpret = jax.default_backend() != "tpu" and not _compiled.get()
    steps = math.prod(grid)
    axes = jax.typeof(inputs[0]).mat
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32, manual_axis_type=axes) for shape in outputs]
    specs = [pl.BlockSpec(shape, index) for shape, index in blocks]
    flops, transcendentals = (steps * count for count in cost)
    return pl.pallas_call(
        kernel,
        out_shape=shapes,
        grid=grid,
        in_specs=specs[: len(inputs)],
        out_specs=specs[len(inputs) :],
        scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel",) * (len(grid) - sums) + ("arbitrary",) * sums,
            vmem_limit_bytes=VMEM_BYTES,
        ),
        cost_estimate=pl.CostEstimate(
            flops=flops,
            transcendentals=transcendentals,
            bytes_accessed=sum(4 * array.size for array in (*inputs, *shapes)),
        ),
        interpret=interpret,
    )(*inputs)
