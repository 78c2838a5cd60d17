"""What happens in VMEM: softmax by columns, in float32 made of bfloat16.

Products of matrices are those of float32. The matrix unit multiplies bfloat16, so each
number is the sum of three; and as queries are much shorter than the unit is wide, the
six products of such parts that matter are one product of longer vectors.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from gsjax.kernels.mosaic import LANES, SUBLANES

# So many atoms at once: enough to fill the matrix unit, and what fits in registers.
ATOMS, FEW_ATOMS = 128, 64
# Of queries, in the rows of a block that are looked up at once; each is of LANES.
ROWS = 2
WIDTH = ROWS * LANES
# The logit of what is no atom.
NEVER = -1e30
# The parts of (key, query) whose products add up to that of float32: 0 is the largest.
PRODUCTS = ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1))


def parts_rows(width):
    """Returns the rows of a query and a one, filled up to what a register of bfloat16 holds."""
    return 2 * SUBLANES * pl.cdiv(width + 1, 2 * SUBLANES)


def split(array):
    """Returns three arrays of bfloat16 whose sum is the array."""
    parts = []
    for _ in range(2):
        # By bits: rounding to bfloat16 and back is what XLA takes for nothing at all.
        bits = jax.lax.bitcast_convert_type(array, jnp.uint32) & jnp.uint32(0xFFFF0000)
        part = jax.lax.bitcast_convert_type(bits, jnp.float32)
        parts.append(part.astype(jnp.bfloat16))
        array = array - part
    return [*parts, array.astype(jnp.bfloat16)]


def sum_parts(parts):
    """Adds up three parts that are one below the other."""
    return parts.reshape(3, -1, *parts.shape[1:]).sum(0)


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
    parts = split(numbers)
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


def mix_block(extent, queries, keys, atoms, mixtures, sums, spread, scratch, logits):
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


def query_gradients(extent, queries, errors, sums, keys, across, atoms, *outputs_and_scratch):
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
        parts = jnp.concatenate(split(numbers))

        def add(index, d_query):
            share = split(weights[_some(index), :] * (slopes[_some(index), :] - mean))
            d_keys[_some(index), :] += sum(_dot(part, parts, across=True) for part in share)
            return d_query + sum(_dot(across[index], part) for part in share)

        d_query = jnp.zeros((across.shape[1], WIDTH), jnp.float32)
        d_query = jax.lax.fori_loop(0, chunks, add, d_query)
        _write(d_queries, first, sum_parts(d_query))

    _each_pair(extent, queries, add_rows)


def atom_gradients(extent, queries, errors, sums, keys, d_atoms, scratch, error_scratch):
    """Adds a block of queries to the gradient of the atoms."""
    _start(d_atoms)

    def add_rows(first, present):
        query = _queries(_read(queries, first, present, scratch))
        log_sum = _read(sums, first, present, scratch)[:1]
        error = jnp.concatenate(split(_read(errors, first, present, error_scratch)))

        @pl.loop(0, keys.shape[0] // ATOMS)
        def _(index):
            weight = split(jnp.exp2(_dot(keys[_some(index), :], query) - log_sum))
            d_atoms[_some(index), :] += sum(_dot(part, error, across=True) for part in weight)

    _each_pair(extent, queries, add_rows)


def _start(output):
    """Sets an output to zero before the first block adds to it."""

    @pl.when((pl.program_id(0) == 0) & (pl.program_id(1) == 0))
    def _():
        output[...] = jnp.zeros_like(output)
