"""Mixing on TPUs: the atoms are sublanes, the queries lanes.

A query's softmax is then a sum over registers, and queries and mixtures are read and
written as rows of [numbers, n, patches], the layout that XLA gives [patches, n, few].
All keys and atoms stay in VMEM; the logits never leave it, and are computed again for
the gradient from the one number saved for each query, the logarithm of its sum.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from gsjax.kernels import mosaic
from gsjax.kernels.backends import vary_alike
from gsjax.kernels.mixture.kernels import (
    ATOMS,
    NEVER,
    PRODUCTS,
    WIDTH,
    atom_gradients,
    mix_block,
    parts_rows,
    query_gradients,
    split,
    sum_parts,
)
from gsjax.kernels.mosaic import LANES, SUBLANES

# Weights are exp2 of logits in this unit.
LOG2_E = math.log2(math.e)
# Of VMEM, for a block of queries.
BLOCK_BYTES = 2**19


def mix(
    queries: Float[Array, "*p n d"],
    keys: Float[Array, "a d"],
    atoms: Float[Array, "a m"],
    interpret: bool | None = None,
) -> Float[Array, "*p n m"]:
    """Returns softmax(queries · keysᵀ) · atoms, in float32; holds little beyond it.

    `interpret` is that of `mosaic.call`.
    """
    if not queries.size:
        return jnp.zeros((*queries.shape[:-1], atoms.shape[-1]), queries.dtype)
    return _mix(*vary_alike((queries, keys, atoms), (queries, keys, atoms)), interpret)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _mix(queries, keys, atoms, interpret):
    return _forward(queries, keys, atoms, interpret)[0]


def _forward(queries, keys, atoms, interpret):
    rows = _rows(queries)
    width, *extent = rows.shape
    inputs = [rows, _keys(keys), _padded(atoms)]
    grid, block, whole = _blocks(extent, width)
    mixtures, sums = mosaic.call(
        functools.partial(mix_block, extent),
        inputs,
        [(atoms.shape[1], *extent), (1, *extent)],
        grid,
        blocks=[
            block(width),
            *(whole(array.shape) for array in inputs[1:]),
            block(atoms.shape[1]),
            block(1),
        ],
        scratch=[
            (atoms.shape[1], len(inputs[2]), LANES),
            (parts_rows(width), WIDTH),
            (len(inputs[2]), WIDTH),
        ],
        sums=len(grid),
        cost=_cost(inputs, grid, extent, products=1),
        interpret=interpret,
    )
    return _unrows(mixtures, queries.shape), (queries, keys, atoms, sums)


def _backward(interpret, residuals, cotangent):
    queries, keys, atoms, sums = residuals
    rows, errors = _rows(queries), _rows(cotangent)
    width, *extent = rows.shape
    inputs = [rows, errors, sums, _keys(keys), _keys_across(keys), _padded(atoms)]
    inputs = vary_alike(inputs, inputs)
    grid, block, whole = _blocks(extent, width)
    lines = len(inputs[-1])
    sized = [block(len(array)) for array in inputs[:3]]
    d_rows, d_keys = mosaic.call(
        functools.partial(query_gradients, extent),
        inputs,
        [rows.shape, (lines, 3 * parts_rows(width))],
        grid,
        blocks=[
            *sized,
            *(whole(array.shape) for array in inputs[3:]),
            block(width),
            whole((lines, 3 * parts_rows(width))),
        ],
        scratch=[
            (atoms.shape[1], lines, LANES),
            (parts_rows(width), WIDTH),
            (lines, WIDTH),
            (lines, WIDTH),
        ],
        sums=len(grid),
        cost=_cost(inputs[:1] + inputs[3:], grid, extent, products=3),
        interpret=interpret,
    )
    # A kernel of its own: where nobody asks for the gradient of the atoms, it is not run.
    (d_atoms,) = mosaic.call(
        functools.partial(atom_gradients, extent),
        inputs[:4],
        [(lines, 3 * parts_rows(atoms.shape[1]))],
        grid,
        blocks=[
            *sized,
            whole(inputs[3].shape),
            whole((lines, 3 * parts_rows(atoms.shape[1]))),
        ],
        scratch=[(parts_rows(width), WIDTH), (parts_rows(atoms.shape[1]), WIDTH)],
        sums=len(grid),
        cost=_cost(inputs[:1] + inputs[3:], grid, extent, products=2),
        interpret=interpret,
    )
    return (
        _unrows(d_rows, queries.shape),
        sum_parts(d_keys.T)[:width, : len(keys)].T,
        sum_parts(d_atoms.T)[: atoms.shape[1], : len(atoms)].T,
    )


_mix.defvjp(_forward, _backward)


def _rows(array: Float[Array, "*p n k"]) -> Float[Array, "k r l"]:
    """Makes lanes of n or of all other dimensions, whichever is larger."""
    array = array.reshape(-1, *array.shape[-2:])
    return array.transpose((2, 1, 0) if len(array) >= array.shape[1] else (2, 0, 1))


def _unrows(rows, shape):
    """Undoes `_rows` of an array [..., n, k] of which the shape is given, but for k."""
    patches = math.prod(shape[:-2])
    array = rows.transpose((2, 1, 0) if patches >= shape[-2] else (1, 2, 0))
    return array.reshape(*shape[:-1], len(rows))


def _padded(array):
    """Adds rows of zeros up to a multiple of ATOMS."""
    return jnp.pad(array, ((0, -len(array) % ATOMS), (0, 0)))


def _keys(keys: Float[Array, "a d"]) -> Float[Array, "b k"]:
    """Returns the parts of the keys that meet those of `_read` in PRODUCTS.

    After a key comes the logit that an atom has of itself: 0, or NEVER for padding.
    """
    bias = jnp.where(jnp.arange(len(keys) + -len(keys) % ATOMS) < len(keys), 0.0, NEVER)
    keys = jnp.concatenate([_padded(LOG2_E * keys), bias[:, None]], axis=1)
    keys = jnp.pad(keys, ((0, 0), (0, parts_rows(keys.shape[1] - 1) - keys.shape[1])))
    parts = split(keys)
    return jnp.concatenate([parts[key] for key, _ in PRODUCTS], axis=1)


def _keys_across(keys: Float[Array, "a d"]) -> Float[Array, "b k c"]:
    """Returns the three parts of the keys, one below the other, for each ATOMS of them."""
    keys = _padded(keys)
    keys = jnp.pad(keys, ((0, 0), (0, parts_rows(keys.shape[1]) - keys.shape[1])))
    parts = jnp.concatenate(split(keys), axis=1)
    return parts.reshape(-1, ATOMS, parts.shape[1]).swapaxes(1, 2)


def _blocks(extent, width):
    """Returns the grid, and what makes blocks of queries' numbers and of whole arrays."""
    rows, lanes = extent
    most = max(1, BLOCK_BYTES // (4 * SUBLANES * LANES * width))
    size = SUBLANES * min(pl.cdiv(rows, SUBLANES), most)
    grid = pl.cdiv(rows, size), pl.cdiv(lanes, LANES)

    def block(numbers):
        return (numbers, size, LANES), lambda i, j: (0, i, j)

    def whole(shape):
        return shape, lambda i, j: (0,) * len(shape)

    return grid, block, whole


def _cost(inputs, grid, extent, products):
    keys, atoms = inputs[1], inputs[-1]
    queries = math.prod(extent) // math.prod(grid)
    weights = queries * len(keys)
    return weights * (2 * keys.shape[1] * products + 2 * atoms.shape[-1]), weights
