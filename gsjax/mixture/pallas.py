"""Mixing on TPUs: the atoms are sublanes, the queries lanes.

A query's softmax is then a sum over registers, and queries and mixtures are read and
written as rows of [numbers, n, patches], the layout that XLA gives [patches, n, few].
All keys and atoms stay in VMEM; the logits never leave it, and are computed again for
the gradient from the one number saved for each query, the logarithm of its sum.

Products of matrices are those of float32. The matrix unit multiplies bfloat16, so each
number is the sum of three; and as queries are much shorter than the unit is wide, the
six products of such parts that matter are one product of longer vectors.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from gsjax import mosaic
from gsjax.mosaic import LANES, SUBLANES

# Weights are exp2 of logits in this unit.
LOG2_E = math.log2(math.e)
# So many atoms at once: enough to fill the matrix unit, and what fits in registers.
ATOMS, FEW_ATOMS = 128, 64
# Of queries, in the rows of a block that are looked up at once; each is of LANES.
ROWS = 2
WIDTH = ROWS * LANES
# Of VMEM, for a block of queries.
BLOCK_BYTES = 2**19
# The logit of what is no atom.
NEVER = -1e30
# The parts of (key, query) whose products add up to that of float32: 0 is the largest.
PRODUCTS = ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1))


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
    return _mix(*mosaic.alike(queries, keys, atoms), interpret)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _mix(queries, keys, atoms, interpret):
    return _forward(queries, keys, atoms, interpret)[0]


def _forward(queries, keys, atoms, interpret):
    rows = _rows(queries)
    width, *extent = rows.shape
    inputs = [rows, _keys(keys), _padded(atoms)]
    grid, block, whole = _blocks(extent, width)
    mixtures, sums = mosaic.call(
        functools.partial(_mix_block, extent),
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
            (_parts_rows(width), WIDTH),
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
    inputs = mosaic.alike(rows, errors, sums, _keys(keys), _keys_across(keys), _padded(atoms))
    grid, block, whole = _blocks(extent, width)
    lines = len(inputs[-1])
    sized = [block(len(array)) for array in inputs[:3]]
    d_rows, d_keys = mosaic.call(
        functools.partial(_query_gradients, extent),
        inputs,
        [rows.shape, (lines, 3 * _parts_rows(width))],
        grid,
        blocks=[
            *sized,
            *(whole(array.shape) for array in inputs[3:]),
            block(width),
            whole((lines, 3 * _parts_rows(width))),
        ],
        scratch=[
            (atoms.shape[1], lines, LANES),
            (_parts_rows(width), WIDTH),
            (lines, WIDTH),
            (lines, WIDTH),
        ],
        sums=len(grid),
        cost=_cost(inputs[:1] + inputs[3:], grid, extent, products=3),
        interpret=interpret,
    )
    # A kernel of its own: where nobody asks for the gradient of the atoms, it is not run.
    (d_atoms,) = mosaic.call(
        functools.partial(_atom_gradients, extent),
        inputs[:4],
        [(lines, 3 * _parts_rows(atoms.shape[1]))],
        grid,
        blocks=[
            *sized,
            whole(inputs[3].shape),
            whole((lines, 3 * _parts_rows(atoms.shape[1]))),
        ],
        scratch=[(_parts_rows(width), WIDTH), (_parts_rows(atoms.shape[1]), WIDTH)],
        sums=len(grid),
        cost=_cost(inputs[:1] + inputs[3:], grid, extent, products=2),
        interpret=interpret,
    )
    return (
        _unrows(d_rows, queries.shape),
        _sum_parts(d_keys.T)[:width, : len(keys)].T,
        _sum_parts(d_atoms.T)[: atoms.shape[1], : len(atoms)].T,
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


def _parts_rows(width):
    """Returns the rows of a query and a one, filled up to what a register of bfloat16 holds."""
    return 2 * SUBLANES * pl.cdiv(width + 1, 2 * SUBLANES)


def _split(array):
    """Returns three arrays of bfloat16 whose sum is the array."""
    parts = []
    for _ in range(2):
        # By bits: rounding to bfloat16 and back is what XLA takes for nothing at all.
        bits = jax.lax.bitcast_convert_type(array, jnp.uint32) & jnp.uint32(0xFFFF0000)
        part = jax.lax.bitcast_convert_type(bits, jnp.float32)
        parts.append(part.astype(jnp.bfloat16))
        array = array - part
    return [*parts, array.astype(jnp.bfloat16)]


def _sum_parts(parts):
    return parts.reshape(3, -1, *parts.shape[1:]).sum(0)


def _padded(array):
    """Adds rows of zeros up to a multiple of ATOMS."""
    return jnp.pad(array, ((0, -len(array) % ATOMS), (0, 0)))


def _keys(keys: Float[Array, "a d"]) -> Float[Array, "b k"]:
    """Returns the parts of the keys that meet those of `_read` in PRODUCTS.

    After a key comes the logit that an atom has of itself: 0, or NEVER for padding.
    """
    bias = jnp.where(jnp.arange(len(keys) + -len(keys) % ATOMS) < len(keys), 0.0, NEVER)
    keys = jnp.concatenate([_padded(LOG2_E * keys), bias[:, None]], axis=1)
    keys = jnp.pad(keys, ((0, 0), (0, _parts_rows(keys.shape[1] - 1) - keys.shape[1])))
    parts = _split(keys)
    return jnp.concatenate([parts[key] for key, _ in PRODUCTS], axis=1)


def _keys_across(keys: Float[Array, "a d"]) -> Float[Array, "b k c"]:
    """Returns the three parts of the keys, one below the other, for each ATOMS of them."""
    keys = _padded(keys)
    keys = jnp.pad(keys, ((0, 0), (0, _parts_rows(keys.shape[1]) - keys.shape[1])))
    parts = jnp.concatenate(_split(keys), axis=1)
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


def _each_pair(extent, block, step):
    """Calls step with the first of ROWS rows of a block, and which lanes of them are queries."""
    row, lane = pl.program_id(0) * block.shape[1], pl.program_id(1) * LANES
    rows = jnp.minimum(block.shape[1], extent[0] - row)
    lanes = jax.lax.broadcasted_iota(jnp.int32, (1, WIDTH), 1)
    # Not // and %, which would ask what TPU this is even where one is only compiled for.
    below, lanes = (f(lanes, jnp.int32(LANES)) for f in (jax.lax.div, jax.lax.rem))

    @pl.loop(0, jax.lax.div(rows + ROWS - 1, jnp.int32(ROWS)))
    def _(index):
        first = index * ROWS
        step(first, (lanes < extent[1] - lane) & (below < rows - first))


def _read(block, first, present, scratch):
    """Reads the numbers of ROWS rows, and a one after them, for all of WIDTH queries."""
    count = block.shape[0]
    scratch[pl.ds(count, scratch.shape[0] - count), :] = jnp.zeros(
        (scratch.shape[0] - count, WIDTH), jnp.float32
    )
    scratch[pl.ds(count, 1), :] = jnp.ones((1, WIDTH), jnp.float32)
    for row in range(ROWS):
        for k in range(count):
            scratch[pl.ds(k, 1), pl.ds(row * LANES, LANES)] = block[k, pl.ds(first + row, 1), :]
    return jnp.where(present, scratch[...], 0.0)


def _write(block, first, numbers):
    for row in range(ROWS):
        for k in range(block.shape[0]):
            block[k, pl.ds(first + row, 1), :] = numbers[k : k + 1, row * LANES :][:, :LANES]


def _dot(left, right, across=False):
    """Returns left · right, or left · rightᵀ."""
    contracted = (((1,), (1 if across else 0,)), ((), ()))
    return jax.lax.dot_general(left, right, contracted, preferred_element_type=jnp.float32)


def _queries(numbers):
    """Returns what `_keys` are multiplied by."""
    parts = _split(numbers)
    return jnp.concatenate([parts[query] for _, query in PRODUCTS], axis=0)


def _some(index, count=ATOMS):
    return pl.ds(pl.multiple_of(index * count, count), count)


def _down(array, reduce):
    """Reduces the rows of an array to SUBLANES."""
    return reduce(array.reshape(-1, SUBLANES, array.shape[-1]), axis=0)


def _spread(atoms, scratch):
    """Writes each of the atoms' numbers to a whole row, for the first block."""

    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
        @pl.loop(0, atoms.shape[0] // ATOMS)
        def _(index):
            numbers = atoms[_some(index), :]
            for k in range(scratch.shape[0]):
                scratch[k, _some(index), :] = jnp.broadcast_to(
                    numbers[:, k : k + 1], (ATOMS, LANES)
                )


def _atoms(spread, some):
    """Reads some of what `_spread` wrote, for WIDTH queries."""
    return [jnp.concatenate([spread[k, some, :]] * ROWS, axis=1) for k in range(spread.shape[0])]


def _mix_block(extent, queries, keys, atoms, mixtures, sums, spread, scratch, logits):
    """Mixes for a block of queries; saves the logarithm of the sum of their weights."""
    _spread(atoms, spread)
    chunks = keys.shape[0] // ATOMS
    none = jnp.zeros((SUBLANES, WIDTH), jnp.float32)

    def mix_rows(first, present):
        query = _queries(_read(queries, first, present, scratch))

        def look(index, peak):
            logit = _dot(keys[_some(index), :], query)
            logits[_some(index), :] = logit
            return jnp.maximum(peak, _down(logit, jnp.max))

        peak = jax.lax.fori_loop(0, chunks, look, none + NEVER).max(0, keepdims=True)

        def add(index, totals):
            few = _some(index, FEW_ATOMS)
            weight = jnp.exp2(logits[few, :] - peak)
            terms = [weight, *(weight * atom for atom in _atoms(spread, few))]
            return [old + _down(new, jnp.sum) for old, new in zip(totals, terms, strict=True)]

        count = logits.shape[0] // FEW_ATOMS
        totals = jax.lax.fori_loop(0, count, add, [none] * (1 + spread.shape[0]))
        total, *mixed = (x.sum(0, keepdims=True) for x in totals)
        _write(mixtures, first, jnp.concatenate(mixed) / total)
        _write(sums, first, peak + jnp.log2(total))

    _each_pair(extent, queries, mix_rows)


def _query_gradients(extent, queries, errors, sums, keys, across, atoms, *outputs_and_scratch):
    """Computes the gradient of a block of queries and adds to that of the keys.

    With g = atoms · error, that of a logit is its weight times g − Σ weight · g.
    """
    d_queries, d_keys, spread, scratch, weights, slopes = outputs_and_scratch
    _spread(atoms, spread)
    _start(d_keys)
    chunks = keys.shape[0] // ATOMS

    def add_rows(first, present):
        numbers = _read(queries, first, present, scratch)
        query = _queries(numbers)
        error = _read(errors, first, present, scratch)
        error = [error[k : k + 1] for k in range(errors.shape[0])]
        log_sum = _read(sums, first, present, scratch)[:1]

        def look(index, mean):
            weight = jnp.exp2(_dot(keys[_some(index), :], query) - log_sum)
            pairs = zip(_atoms(spread, _some(index)), error, strict=True)
            slope = sum(atom * e for atom, e in pairs)
            weights[_some(index), :] = weight
            slopes[_some(index), :] = slope
            return mean + _down(weight * slope, jnp.sum)

        none = jnp.zeros((SUBLANES, WIDTH), jnp.float32)
        mean = jax.lax.fori_loop(0, chunks, look, none).sum(0, keepdims=True)
        parts = jnp.concatenate(_split(numbers))

        def add(index, d_query):
            share = _split(weights[_some(index), :] * (slopes[_some(index), :] - mean))
            d_keys[_some(index), :] += sum(_dot(part, parts, across=True) for part in share)
            return d_query + sum(_dot(across[index], part) for part in share)

        d_query = jnp.zeros((across.shape[1], WIDTH), jnp.float32)
        d_query = jax.lax.fori_loop(0, chunks, add, d_query)
        _write(d_queries, first, _sum_parts(d_query))

    _each_pair(extent, queries, add_rows)


def _atom_gradients(extent, queries, errors, sums, keys, d_atoms, scratch, error_scratch):
    """Adds a block of queries to the gradient of the atoms."""
    _start(d_atoms)

    def add_rows(first, present):
        query = _queries(_read(queries, first, present, scratch))
        log_sum = _read(sums, first, present, scratch)[:1]
        error = jnp.concatenate(_split(_read(errors, first, present, error_scratch)))

        @pl.loop(0, keys.shape[0] // ATOMS)
        def _(index):
            weight = _split(jnp.exp2(_dot(keys[_some(index), :], query) - log_sum))
            d_atoms[_some(index), :] += sum(_dot(part, error, across=True) for part in weight)

    _each_pair(extent, queries, add_rows)


def _start(output):
    """Sets an output to zero before the first block adds to it."""

    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
        output[...] = jnp.zeros_like(output)
