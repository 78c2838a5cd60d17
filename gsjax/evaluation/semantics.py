"""Whether a fill means the same as the original: distances of DINO tokens.

Stein et al. (2023) show that Fréchet distances on DINOv2 features agree with human judgment where
those on Inception features do not.
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, UInt8

from gsjax.errors import UserError
from gsjax.evaluation.fid import extract_all
from gsjax.fetch import REMOTE
from gsjax.models.dino import DinoOutput, DinoViT, preprocess, size_of
from gsjax.models.semantic import LEAST_HOLE, cosine
from gsjax.trained.dino import read_dino

_SIDE = 224  # images are resized to at most this many pixels per side, as in training


class Semantics(NamedTuple):
    """A DINO and the means of its tokens over the original photographs.

    Tokens share a large common part, which would make all of them look alike; so the mean is
    subtracted.

    Attributes:
      module: the DINO.
      variables: its parameters.
      originals: class tokens of the photographs.
      mean_class: mean of the class tokens.
      mean_patch: mean of all patch tokens.
    """

    module: DinoViT
    variables: PyTree
    originals: Float[np.ndarray, "n d"]
    mean_class: Float[np.ndarray, " d"]
    mean_patch: Float[np.ndarray, " d"]


class Distances(NamedTuple):
    """Distances of the fills of an image.

    Attributes:
      class_token: 1 − cosine to the original's class token.
      patch_tokens: 1 − cosine to the original's patch tokens, averaged over the patches that are
        more than half hole; NaN without such patches.
      features: the fills' class tokens, for a Fréchet distance.
    """

    class_token: Float[Array, " b"]
    patch_tokens: Float[Array, " b"]
    features: Float[Array, "b d"]


def load_dino(weights: str) -> tuple[DinoViT, PyTree]:
    """Returns the DINO that a flag names: a published name, a folder or a file.

    Raises:
      UserError: it is unavailable.
    """
    published = [name for name in REMOTE if name.startswith("dino")]
    if weights not in published and not Path(weights).exists():
        raise UserError(
            "",
            f"{weights!r} is none of {', '.join(published)}, which are downloaded, nor a folder "
            "that `python -m gsjax.convert dino` has written, nor a file of weights, nor none",
        )
    return read_dino(weights)


def describe(module: DinoViT) -> str:
    """Returns a short description of a DINO, to print with its distances."""
    kind = "DINOv2" if module.layer_scale else "DINO"
    size = size_of(module) or f"{module.width} channels"
    return f"{kind} {size}/{module.patch_size}, {module.depth} blocks"


def embed_originals(
    module: DinoViT, variables: PyTree, images: Iterable[UInt8[np.ndarray, "s s 3"]]
) -> Semantics:
    """Embeds all original photographs, to compare fills with them."""

    @jax.jit
    def tokens(variables, images):
        out = _apply(module, variables, images)
        return jnp.concatenate([out.cls_token, out.patch_tokens.mean(1)], -1)

    embedded = extract_all(functools.partial(tokens, variables), images)
    originals, patches = np.split(embedded, 2, axis=-1)
    return Semantics(module, variables, originals, originals.mean(0), patches.mean(0))


def compare(
    semantics: Semantics,
    filled: UInt8[np.ndarray, "b s s 3"],
    original: UInt8[np.ndarray, "s s 3"],
    holes: Bool[np.ndarray, "b s s"],
) -> Distances:
    """Returns the distances between the fills of an image and the original."""
    side = _SIDE // semantics.module.patch_size
    shares = [
        cv2.resize(hole.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        for hole in holes
    ]
    counts = np.stack(shares).reshape(len(holes), -1) > LEAST_HOLE
    means = semantics.mean_class, semantics.mean_patch
    together = np.concatenate([original[None], filled])
    return jax.device_get(_compare(semantics.module)(semantics.variables, means, together, counts))


@functools.cache
def _compare(module: DinoViT) -> Callable:
    @jax.jit
    def compare(variables, means, images, counts) -> Distances:
        out = _apply(module, variables, images)
        cls_tokens, patch_tokens = out.cls_token - means[0], out.patch_tokens - means[1]
        one = 1 - cosine(cls_tokens[1:], cls_tokens[:1])
        each = 1 - cosine(patch_tokens[1:], patch_tokens[:1])
        patches = jnp.sum(each * counts, 1) / jnp.sum(counts, 1)  # 0 / 0 is NaN
        return Distances(one, patches, out.cls_token[1:])

    return compare


def _apply(module: DinoViT, variables: PyTree, images: UInt8[Array, "b s s 3"]) -> DinoOutput:
    side = _SIDE // module.patch_size * module.patch_size  # whole patches
    return cast(DinoOutput, module.apply(variables, preprocess(images / 255.0, side)))
