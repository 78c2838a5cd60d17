"""Calls Triton kernels from JAX."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsjax.kernels.backends import vary_alike

INSTALL = 'pip install "jax[cuda12]" jax-triton triton'


class Launch(NamedTuple):
    """One call of a kernel, which writes one or more arrays.

    Attributes:
      kernel: the name of the kernel in its module.
      arrays: the inputs, contiguous.
      writes: the shapes of the outputs: float32 arrays of which the kernel writes every element.
      programs: the grid, the number of programs along each axis.
      warps: the number of warps (of 32 threads) per program.
      constants: the tl.constexpr arguments by name.
    """

    kernel: str
    arrays: tuple[jax.Array, ...]
    writes: tuple[tuple[int, ...], ...]
    programs: tuple[int, ...]
    warps: int
    constants: Mapping[str, int | float]


def require_triton() -> None:
    """Raises an ImportError that says what to install if kernels cannot be called.

    This does not import jax_triton: if that import fails, Triton itself stays broken for the
    rest of the process.
    """
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(map(importlib.util.find_spec, plugins)):
        raise ImportError(f"Triton kernels need a GPU build of JAX: {INSTALL}")
    missing = [name for name in ("jax_triton", "triton") if not importlib.util.find_spec(name)]
    if missing:
        raise ImportError(f"Triton kernels need {' and '.join(missing)}: {INSTALL}")


def load(kernel: str, module: str):
    """Returns a Triton kernel, and makes Triton emit PTX that JAX can assemble.

    A JAX for CUDA 12 assembles with the ptxas of CUDA 12. For the newest chips (since Triton
    3.9 also for Hopper), Triton emits PTX for its bundled ptxas of CUDA 13, which the older
    one refuses. Triton also bundles a ptxas of CUDA 12 that knows these chips; this selects it.
    """
    import triton

    os.environ.setdefault("TRITON_PTXAS_BLACKWELL_PATH", triton.knobs.nvidia.ptxas.path)
    return getattr(importlib.import_module(module), kernel)


def run(launch: Launch, module: str) -> list[jax.Array]:
    """Runs a kernel of a module and returns its outputs.

    Under `jax.shard_map` they vary over the mesh if any of the inputs does; jax_triton does
    not declare this.
    """
    require_triton()
    import jax_triton

    written = jax_triton.triton_call(
        *launch.arrays,
        kernel=load(launch.kernel, module),
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in launch.writes],
        grid=launch.programs,
        num_warps=launch.warps,
        **launch.constants,
    )
    return vary_alike(launch.arrays, written)


def mappable(function: Callable) -> Callable:
    """Makes `jax.vmap` add a leading dimension to the arguments of a function that allows any.

    Kernels have no batching rule.
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def _rule(size, are_mapped, *arrays):
        spread = [
            array if is_mapped else jnp.broadcast_to(array, (size, *array.shape))
            for array, is_mapped in zip(arrays, are_mapped, strict=True)
        ]
        results = mapped(*spread)
        return results, jax.tree.map(lambda _: True, results)

    return mapped
