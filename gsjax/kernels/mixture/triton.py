"""Mixtures of atoms on NVIDIA GPUs: `triton_kernels` called from JAX.

As in flash attention, weights are never written: the backward pass computes them again
from the logarithm of their sum.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gsjax.kernels import gpu
from gsjax.kernels.backends import vary_alike

KERNELS = "gsjax.kernels.mixture.triton_kernels"
# Weights are powers of two, which is what the hardware computes.
LOG2_E = math.log2(math.e)
# Lanes that share a row, and atoms between two looks at the row's peak.
SPLIT, STEP = 8, 4
# Sums over the rows are made in so many parts at most, each of so many rows at least.
PARTS, ROWS_A_PART = 256, 64


def mix(
    queries: Float[Array, "*p n d"], keys: Float[Array, "a d"], atoms: Float[Array, "a l"]
) -> Float[Array, "*p n l"]:
    """Returns softmax(queries · keysᵀ) · atoms, in float32; holds little beside them.

    Raises:
      ImportError: without a GPU build of JAX, jax_triton or triton.
      TypeError: for anything but float32.
    """
    arrays = (queries, keys, atoms)
    if any(array.dtype != jnp.float32 for array in arrays):
        raise TypeError(f"this backend mixes in float32; got {[str(a.dtype) for a in arrays]}")
    queries, keys, atoms = vary_alike(arrays, arrays)
    shape = (*queries.shape[:-1], atoms.shape[-1])
    if math.prod(shape) == 0:
        return jnp.zeros(shape, jnp.float32)
    return _mix(queries.reshape(-1, queries.shape[-1]), keys, atoms).reshape(shape)


@jax.custom_vjp
def _mix(queries, keys, atoms):
    return _forward(queries, keys, atoms)[0]


def _forward(queries, keys, atoms):
    @gpu.mappable
    def call(queries, table):
        launch = mixing(_batched(queries, 2), _batched(table, 2), atoms.shape[-1])
        return _unbatched(gpu.run(launch, KERNELS), queries.shape[:-2])

    mixed, lse = call(queries, make_table(keys, atoms, SPLIT * STEP))
    return mixed, (queries, keys, atoms, mixed, lse)


def _backward(saved, error):
    queries, keys, atoms, mixed, lse = saved
    sizes = keys.shape[-1], atoms.shape[-1]

    @gpu.mappable
    def call(rows, table):
        lead = rows.shape[:-2]
        rows, table = _batched(rows, 2), _batched(table, 2)
        (d_queries,) = gpu.run(pulling_queries(rows, table, *sizes), KERNELS)
        (parts,) = gpu.run(pulling_keys(rows, table, *sizes), KERNELS)
        return _unbatched([d_queries, parts.sum(1)], lead)

    rows = make_rows(queries, error, mixed, lse)
    d_queries, d_table = call(rows, make_table(keys, atoms, SPLIT))
    d_table = jnp.swapaxes(d_table, -1, -2)[..., : len(keys), :]
    d_keys, d_atoms = jnp.split(d_table, [keys.shape[-1]], axis=-1)
    return d_queries[: len(queries)] / LOG2_E, d_keys, d_atoms


_mix.defvjp(_forward, _backward)


def _batched(array, dimensions):
    """Merges all leading dimensions, those of `jax.vmap`, into one."""
    return array.reshape(-1, *array.shape[-dimensions:])


def _unbatched(arrays, lead):
    return tuple(array.reshape(*lead, *array.shape[1:]) for array in arrays)


def make_table(
    keys: Float[Array, "a d"], atoms: Float[Array, "a l"], share: int
) -> Float[Array, "padded_a w"]:
    """Returns what the kernels read of each atom, padded to a multiple of `share` atoms."""
    missing = -len(keys) % share
    keys = LOG2_E * jnp.concatenate([keys, jnp.broadcast_to(keys[:1], (missing, keys.shape[1]))])
    atoms = jnp.pad(jnp.pad(atoms, ((0, 0), (0, 1)), constant_values=1.0), ((0, missing), (0, 0)))
    return _in_fours(jnp.concatenate([keys, atoms], axis=-1))


def make_rows(
    queries: Float[Array, "m d"],
    error: Float[Array, "m l"],
    mixed: Float[Array, "m l"],
    lse: Float[Array, " m"],
) -> Float[Array, "padded_m w"]:
    """Returns what the backward kernels read of each row, padded to a multiple of the parts."""
    common = -(error * mixed).sum(-1)
    rows = jnp.concatenate([queries, error, common[:, None], lse[:, None]], axis=-1)
    return _in_fours(jnp.pad(rows, ((0, -len(rows) % parts_of(len(rows))), (0, 0))))


def parts_of(rows: int) -> int:
    """Returns in how many parts a sum over so many rows is made."""
    return min(PARTS, -(-rows // ROWS_A_PART))


def _in_fours(array):
    return jnp.pad(array, ((0, 0), (0, -array.shape[-1] % 4)))


def mixing(queries: Float[Array, "b m d"], table: Float[Array, "b a w"], size: int) -> gpu.Launch:
    """Plans the forward pass, which returns the mixtures of `size` numbers and their lse."""
    batch, m, d = queries.shape
    constants = {
        "M": m,
        "A": table.shape[1],
        "D": d,
        "L": size,
        "WIDTH": table.shape[2],
        "GROUP": _group(3, d),
        "SPLIT": SPLIT,
        "STEP": STEP,
        "LANES": 8,
    }
    writes = ((batch, m, size), (batch, m))
    programs = (_programs(m, constants), batch)
    return gpu.Launch("mix_kernel", (queries, table), writes, programs, 2, constants)


def pulling_queries(
    rows: Float[Array, "b m v"], table: Float[Array, "b a w"], d: int, size: int
) -> gpu.Launch:
    """Plans the gradient to the queries, but for a factor of log2(e)."""
    batch, m, row_width = rows.shape
    constants = {
        "M": m,
        "A": table.shape[1],
        "D": d,
        "L": size,
        "WIDTH": table.shape[2],
        "ROW_WIDTH": row_width,
        "GROUP": _group(2, d),
        "SPLIT": SPLIT,
        "LANES": 8,
    }
    programs = (_programs(m, constants), batch)
    return gpu.Launch("queries_kernel", (rows, table), ((batch, m, d),), programs, 2, constants)


def pulling_keys(
    rows: Float[Array, "b m v"], table: Float[Array, "b a w"], d: int, size: int
) -> gpu.Launch:
    """Plans the gradients to keys and atoms, in parts that are yet to be summed."""
    batch, m, row_width = rows.shape
    a = table.shape[1]
    constants = {
        "M": m,
        "A": a,
        "D": d,
        "L": size,
        "WIDTH": table.shape[2],
        "ROW_WIDTH": row_width,
        "GROUP": _group(2, d),
        "PARTS": parts_of(m),
        "LANES": 32,
        "UNROLL": 4,
    }
    writes = ((batch, parts_of(m), d + size, a),)
    programs = (_programs(a, constants), parts_of(m), batch)
    return gpu.Launch("keys_kernel", (rows, table), writes, programs, 1, constants)


def _group(most, d):
    """Returns how many vectors of d numbers a lane can hold without spilling registers."""
    return max(1, min(most, 12 * most // d))


def _programs(count, constants):
    lanes = -(-count // constants["GROUP"])
    return -(-lanes // constants["LANES"])
