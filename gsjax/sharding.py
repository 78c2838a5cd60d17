"""Shardings: one mesh, the batch over both of its axes, the state over `fsdp`."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from gsjax.errors import UserError


def make_mesh(data: int, fsdp: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of all devices with axes `data` and `fsdp`; −1 means the remaining devices."""
    devices = jax.devices() if devices is None else devices
    shape = {"mesh.data": data, "mesh.fsdp": fsdp}
    if any(size == 0 or size < -1 for size in shape.values()) or data == fsdp == -1:
        raise UserError(
            f"mesh.data={data}, mesh.fsdp={fsdp}",
            "each must be a number of devices, and one of them may be -1 for the remaining devices",
        )
    data, fsdp = (len(devices) // -(data * fsdp) if n == -1 else n for n in (data, fsdp))
    if data * fsdp != len(devices):
        fitting = [str(n) for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise UserError(
            f"mesh.data={shape['mesh.data']}, mesh.fsdp={shape['mesh.fsdp']}",
            f"their product is not {len(devices)}, the number of devices",
            f"set mesh.data=-1 and mesh.fsdp to one of {', '.join(fitting)}",
        )
    return Mesh(np.array(devices).reshape(data, fsdp), ("data", "fsdp"))


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
    """Wraps a function so that kernels in it divide their work over the mesh."""

    @functools.wraps(function)
    def traced(*args, **kwargs):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **kwargs)

    return traced


def over_batch(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding of a batch: its first dimension over all devices."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def over_fsdp(tree, mesh: Mesh | AbstractMesh):
    """Returns a sharding for each array, along its largest dimension that `fsdp` divides.

    Small arrays (under 2¹² numbers) are replicated: they are not worth a collective.
    """
    parts = mesh.shape["fsdp"]

    def rule(array) -> NamedSharding:
        fitting = [size if size % parts == 0 else 0 for size in array.shape]
        if parts == 1 or array.size < 2**12 or not any(fitting):
            return replicated(mesh)
        axes: list[str | None] = [None] * array.ndim
        axes[int(np.argmax(fitting))] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(rule, tree)


def of_frozen(network, mesh: Mesh | AbstractMesh):
    """Returns a sharding for each array of a frozen network.

    A network of up to 2²⁵ numbers (128 MiB in float32) is replicated. A larger one is sharded
    like the state, which costs one collective per array at each use.
    """
    if sum(array.size for array in jax.tree.leaves(network)) > 2**25:
        return over_fsdp(network, mesh)
    return jax.tree.map(lambda _: replicated(mesh), network)


def put(tree, shardings):
    """Returns global arrays, given arrays that every process holds in full.

    `jax.device_put` would first send all of them between processes to compare them.
    """

    def put_array(array, where: NamedSharding) -> jax.Array:
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, where, lambda index: array[index])

    return jax.tree.map(put_array, tree, shardings)


def of(tree):
    """Returns the shardings of a tree's arrays.

    A step whose output has these shardings is compiled once. If XLA may choose, it also
    shards some of the small arrays, and the next step is compiled again.
    """
    return jax.tree.map(lambda array: array.sharding, tree)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Returns global arrays, given this process's part of the batch."""
    sharding = over_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
