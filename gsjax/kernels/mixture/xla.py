"""The mixture in plain JAX, for any platform, a block of queries at a time."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The most queries in a block, chosen by measurement on CPU. XLA fuses all of a block's
# forward pass, the backward's logits should fit in the cache.
FORWARD_ROWS = 4096
BACKWARD_ROWS = 1024

_dot = functools.partial(jnp.einsum, precision="highest")


@jax.custom_vjp
def mix(
    queries: Float[Array, "*p n d"], keys: Float[Array, "a d"], atoms: Float[Array, "a c"]
) -> Float[Array, "*p n c"]:
    """Mixes as `reference.mix` does."""
    mixed, _ = _forward(queries, keys, atoms)
    return mixed


def _forward(queries, keys, atoms):
    # A column of ones sums the weights: the mixture is divided, not the weights.
    atoms_and_one = jnp.concatenate([atoms, jnp.ones_like(atoms[:, :1])], axis=-1)

    def block(rows):
        logits = _dot("rd,ad->ra", rows, keys)
        peak = logits.max(axis=-1, keepdims=True)
        mixed = _dot("ra,ac->rc", jnp.exp(logits - peak), atoms_and_one)
        total = mixed[:, -1:]
        return mixed[:, :-1] / total, peak + jnp.log(total)

    mixed, scale = jax.lax.map(block, _blocks(queries, FORWARD_ROWS))
    mixed = _unblock(mixed, queries.shape[:-1])
    scale = _unblock(scale, queries.shape[:-1])
    return mixed, (queries, keys, atoms, mixed, scale)


def _backward(saved, cotangent):
    """Computes the weights again, from the logarithm of their sum."""
    queries, keys, atoms, mixed, scale = saved
    shift = jnp.sum(cotangent * mixed, axis=-1, keepdims=True)

    def block(carry, rows):
        query, error, scale, shift = rows
        weights = jnp.exp(_dot("rd,ad->ra", query, keys) - scale)
        slopes = weights * (_dot("rc,ac->ra", error, atoms) - shift)
        d_keys, d_atoms = carry
        d_keys += _dot("ra,rd->ad", slopes, query)
        d_atoms += _dot("ra,rc->ac", weights, error)
        return (d_keys, d_atoms), _dot("ra,ad->rd", slopes, keys)

    rows = [_blocks(array, BACKWARD_ROWS) for array in (queries, cotangent, scale, shift)]
    start = jnp.zeros_like(keys), jnp.zeros_like(atoms)
    (d_keys, d_atoms), d_queries = jax.lax.scan(block, start, rows)
    return _unblock(d_queries, queries.shape[:-1]), d_keys, d_atoms


def _blocks(array, most):
    """Flattens to [blocks, rows, channels] of equal rows, filled up with zeros at the end."""
    rows = array.reshape(-1, array.shape[-1])
    blocks = max(1, -(-len(rows) // most))
    rows = jnp.pad(rows, ((0, -len(rows) % blocks), (0, 0)))
    return rows.reshape(blocks, -1, rows.shape[-1])


def _unblock(blocks, lead):
    rows = blocks.reshape(-1, blocks.shape[-1])
    return rows[: math.prod(lead)].reshape(*lead, rows.shape[-1])


mix.defvjp(_forward, _backward)
