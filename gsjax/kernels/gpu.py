"""What calling a Triton kernel from JAX takes: the check that it can be, and its launch."""

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
      kernel: name of the kernel in its module.
      arrays: its inputs, contiguous.
      writes: shapes of the float32 arrays that it writes, in full.
      programs: how many there are along each axis of its grid.
      warps: of 32 threads, a program.
      constants: its tl.constexpr arguments by name.
    """

    kernel: str
    arrays: tuple[jax.Array, ...]
    writes: tuple[tuple[int, ...], ...]
    programs: tuple[int, ...]
    warps: int
    constants: Mapping[str, int | float]


def require_triton() -> None:
    """Raises an ImportError that says what to install where kernels cannot be called.

    Without importing jax_triton: where its import fails, Triton itself stays broken
    for the rest of the process.
    """
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(map(importlib.util.find_spec, plugins)):
        raise ImportError(f"Triton kernels need a GPU build of JAX: {INSTALL}")
    missing = [name for name in ("jax_triton", "triton") if not importlib.util.find_spec(name)]
    if missing:
        raise ImportError(f"Triton kernels need {' and '.join(missing)}: {INSTALL}")


def load(kernel: str, module: str):
    """Returns a Triton kernel, to be compiled to what JAX can assemble.

    JAX assembles with the ptxas of CUDA 12 if that is what it is installed for. For the
    newest chips (for Hopper too since Triton 3.9) Triton writes for a ptxas of its own of
    CUDA 13, which the older one refuses; it carries one of CUDA 12 too, which knows them.
    """
    import triton

    os.environ.setdefault("TRITON_PTXAS_BLACKWELL_PATH", triton.knobs.nvidia.ptxas.path)
    return getattr(importlib.import_module(module), kernel)


def run(launch: Launch, module: str) -> list[jax.Array]:
    """Returns what a kernel of a module writes.

    Under `jax.shard_map` that differs from device to device as soon as one of its
    inputs does, which jax_triton does not say.
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
    """Lets `jax.vmap` pass its dimension to a function that takes any leading dimensions.

    Kernels have no batching rule of their own.
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
