"""Calls Pallas kernels for TPUs."""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# The float32 tile of a vector register.
SUBLANES, LANES = 8, 128
# The limit for a kernel; v5e and v6e have 128 MiB.
VMEM_BYTES = 32 * 2**20


_compiled = contextvars.ContextVar("compiled", default=False)


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Compiles kernels traced in the block for a TPU, even if there is none."""
    token = _compiled.set(True)
    try:
        yield
    finally:
        _compiled.reset(token)


def call(kernel, inputs, outputs, grid, *, blocks, scratch=(), sums=0, cost, interpret=None):
    """Runs a kernel on blocks of its inputs.

    Args:
      kernel: a function of the blocks of the inputs, the blocks of the outputs and the scratch.
        The bounds of its outermost loops must depend on the block: within `jax.shard_map`,
        other loops cannot be simulated, as their types do not say how they vary over the mesh.
      inputs: arrays that vary over the same mesh axes; see `backends.vary_alike`.
      outputs: the shapes of the outputs, all float32.
      grid: the number of blocks along each dimension.
      blocks: the shape and index map of a block, for each input and output.
      scratch: the shapes of float32 scratch arrays.
      sums: the number of trailing grid dimensions that accumulate into the same output.
      cost: the (flops, transcendentals) of one block.
      interpret: False compiles for a TPU, True simulates one in plain JAX. None simulates if
        there is no TPU, except within `compiled`.

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
