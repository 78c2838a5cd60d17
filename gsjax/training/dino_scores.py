"""What DINO says of fills at a validation: whether they mean the same as the photographs."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from gsjax.models.build import Networks
from gsjax.models.dino import DinoOutput, preprocess
from gsjax.models.semantic import LEAST_HOLE, cosine, known_shares
from gsjax.training.batch import Batch, unpack


class TokenMeans(NamedTuple):
    """Means of DINO's tokens over the photographs; without them, all tokens look alike.

    Attributes:
      class_token: of the class tokens.
      patch_token: of all patch tokens.
    """

    class_token: Float[Array, " d"]
    patch_token: Float[Array, " d"]


def make_dino_scores(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `scores(frozen, images, known, filled, token, mapped)`, which gives a dict of f32[B].

    `dino_class` and `dino_patches` are those of an evaluation of the same fills (1 − cosine after
    the means are taken off, patches that are more than half hole), where DINO is shown as many
    pixels; without such a patch, `dino_patches` is 0, like other metrics without hole. With a
    semantic branch, `token_raw` and `token_mapped` are the cosines of the masked image's class
    token and of the mapped one to the photograph's. `frozen["dino_means"]` are `TokenMeans`.
    """
    options, module = config.dino, networks.dino
    assert module is not None  # validate.dino loads one

    def scores(frozen: PyTree, images, known, filled, token, mapped) -> dict[str, jax.Array]:
        both = jnp.stack([images, filled], axis=1).reshape(-1, *images.shape[1:])
        cls_tokens, patches = _tokens(config, networks, frozen, both)
        means: TokenMeans = frozen["dino_means"]
        centered_cls, centered = cls_tokens - means.class_token, patches - means.patch_token
        each = 1 - cosine(centered[::2], centered[1::2])
        hole = 1 - known_shares(known, options.image_size, module.patch_size) > LEAST_HOLE + 1e-4
        values = {
            "dino_class": 1 - cosine(centered_cls[::2], centered_cls[1::2]),
            "dino_patches": jnp.sum(each * hole, 1) / jnp.maximum(jnp.sum(hole, 1), 1),
        }
        if token is not None:
            values["token_raw"] = cosine(token, cls_tokens[::2])
            values["token_mapped"] = cosine(mapped, cls_tokens[::2])
        return values

    return scores


def make_token_means(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `sums(frozen, batch)`: `TokenMeans` and a weight, of a batch and to be added up."""

    def sums(frozen: PyTree, batch: Batch) -> tuple[TokenMeans, jax.Array]:
        cls_tokens, patches = _tokens(config, networks, frozen, unpack(batch)[0])
        tokens, weight = TokenMeans(cls_tokens, patches.mean(1)), batch["weight"]
        return jax.tree.map(lambda each: weight @ each, tokens), weight.sum()

    return sums


def token_means(sums: Callable, frozen: PyTree, batches: Iterable[Batch]) -> TokenMeans:
    """Returns the means over batches; `sums` is from `make_token_means`, jitted."""
    parts = (sums(frozen, batch) for batch in batches)
    total, weight = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)
    return jax.tree.map(lambda each: each / weight, total)


def _tokens(config, networks, frozen, images):
    options = config.dino
    inputs = preprocess(images, options.image_size, options.normalize)
    out: DinoOutput = networks.dino.apply(frozen["dino"], inputs)
    return out.cls_token.astype(jnp.float32), out.patch_tokens.astype(jnp.float32)
