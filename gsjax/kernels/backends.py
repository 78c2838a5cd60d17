"""The table of backends: an op runs as plain JAX, as a TPU kernel or as a GPU kernel."""

import functools
import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import AxisType, PartitionSpec
from jax.typing import DTypeLike

from gsjax.errors import UserError, first_line


class Backend(NamedTuple):
    """An entry of `BACKENDS`: the modules that implement both ops.

    A module is imported on first use, because importing Pallas takes time.

    Attributes:
      rasterize: the module of `rasterize(means, cholesky, colors, patch_shape)`.
      mix: the module of `mix(queries, keys, atoms)`.
      platform: JAX's name of the platform where this is the fastest backend, if any.
      plain: whether it is plain JAX, which supports float64 and is partitioned by the compiler.
    """

    rasterize: str
    mix: str
    platform: str | None = None
    plain: bool = False


# Each must pass tests/kernels/*_conformance.py.
BACKENDS: Mapping[str, Backend] = {
    "xla": Backend("gsjax.kernels.rasterizer.xla", "gsjax.kernels.mixture.xla", plain=True),
    "pallas": Backend("gsjax.kernels.rasterizer.pallas", "gsjax.kernels.mixture.pallas", "tpu"),
    "triton": Backend("gsjax.kernels.rasterizer.triton", "gsjax.kernels.mixture.triton", "gpu"),
}


def choose(backend: str, dtype: DTypeLike) -> str:
    """Returns the backend to run, one of `BACKENDS`.

    Args:
      backend: one of them, or "auto": the kernels for JAX's default platform, or else xla.
      dtype: the dtype to compute in; the kernels support only float32.

    Raises:
      ValueError: the backend does not exist or does not support the dtype.
    """
    if backend not in ("auto", *BACKENDS):
        raise ValueError(f"backend {backend!r} is unknown; there are auto, {', '.join(BACKENDS)}")
    if backend == "auto":
        return _kernels(jax.default_backend()) if dtype == jnp.float32 else "xla"
    if not BACKENDS[backend].plain and dtype != jnp.float32:
        raise ValueError(f"backend {backend!r} computes in float32; {dtype} needs xla")
    return backend


def implementation(op: Literal["rasterize", "mix"], backend: str) -> Callable:
    """Returns a backend's implementation of an op."""
    return getattr(importlib.import_module(getattr(BACKENDS[backend], op)), op)


def check_platform() -> None:
    """Starts JAX's backend; raises UserError if it cannot be started."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX raises either, with or without a text
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]
        named = f"JAX_PLATFORMS={asked}" if asked else "the accelerator"
        extra = {"cuda": "cuda12", "gpu": "cuda12", "tpu": "tpu"}.get((asked or "").split(",")[0])
        how = f'pip install "jax[{extra}]", or unset it' if extra else "unset it, or name cpu"
        reason = f" ({first_line(error).partition(' (set ')[0]})" if str(error).strip() else ""
        raise UserError(named, f"this JAX cannot start it{reason}", how) from error


def over_devices(
    kernels: Callable, batched: Sequence[jax.Array], shared: Sequence[jax.Array] = ()
) -> jax.Array:
    """Returns `kernels(*batched, *shared)`, with the batch divided over the devices.

    The compiler cannot partition a kernel: without this, every device would compute the whole
    batch. The mesh is that of `jax.sharding.use_abstract_mesh` or `jax.set_mesh`.

    Args:
      kernels: a function that treats all indices of the first dimension of `batched` alike.
      batched: arrays to divide over all axes of the mesh, if their first dimension allows it.
      shared: arrays that are replicated on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    # Within shard_map the axes are manual, and the arrays already divided.
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    axes = tuple(name for name, kind in kinds if kind == AxisType.Auto)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or len(batched[0]) % parts:
        return kernels(*batched, *shared)
    over = PartitionSpec(axes)
    specs = (over,) * len(batched) + (PartitionSpec(),) * len(shared)
    return jax.shard_map(kernels, in_specs=specs, out_specs=over)(*batched, *shared)


def vary_alike(like: Sequence[jax.Array], arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns arrays that vary over every mesh axis over which any of `like` varies.

    This has an effect only inside `jax.shard_map`. The gradient of an array that was the same
    on all devices is then summed over the devices.
    """
    axes = frozenset().union(*(jax.typeof(array).mat.varying for array in like))

    def vary(array):
        missing = tuple(sorted(axes - jax.typeof(array).mat.varying))
        return jax.lax.pcast(array, missing, to="varying") if missing else array

    return [vary(array) for array in arrays]


@functools.cache
def _kernels(platform: str) -> str:
    """Returns the fastest backend of a platform; warns once if it is not installed."""
    backend = next((name for name, b in BACKENDS.items() if b.platform == platform), "xla")
    cuda = any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin")))
    if backend == "triton" and not cuda:  # another maker's GPU
        return "xla"
    missing = [
        name
        for name in ("triton", "jax_triton")
        if backend == "triton" and not importlib.util.find_spec(name)
    ]
    if missing:
        logging.warning(
            "the GPU kernels are not used, only plain JAX, several times as slow: pip install %s",
            " ".join(name.replace("_", "-") for name in missing),
        )
        return "xla"
    return backend
