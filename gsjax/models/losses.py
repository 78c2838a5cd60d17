"""The losses: a registry of terms for the generator, and the discriminator's loss.

A term is a function of `Seen`, registered with `term` under its own name. Its weight is the field
of that name in `config.loss`; a term of weight 0 is not computed. A new term is one function here
and one field in `gsjax.config.networks.Loss`.

Every term is the mean over the batch of one number per image. Splitting a batch into parts, or
over devices, therefore gives the same loss and gradients.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from gsjax.models.discriminator import DiscriminatorOutput
from gsjax.models.inpainter import composite
from gsjax.models.semantic import cosine


@dataclasses.dataclass(frozen=True)
class Seen:
    """The inputs of the losses in one step. Properties are computed only if a term accesses them.

    Attributes:
      options: `config.loss`.
      images: the photographs, in [0, 1].
      known: 1 where a pixel is known, 0 in the hole.
      drawn: the generator's image, not clamped.
      token: the generator's mapped token; None without a semantic branch.
      clean_token: DINO's token of the photographs; None without a semantic branch.
      judge: applies the discriminator to images.
      distance: LPIPS between two batches of images, one number per pair.
      patch_tokens: DINO's patch tokens of images, after several blocks.
      touches_hole: which of the discriminator's patches touch the hole, for `patch_labels`.
    """

    options: ConfigDict
    images: Float[Array, "b h w 3"]
    known: Float[Array, "b h w 1"]
    drawn: Float[Array, "b h w 3"]
    token: Float[Array, "b d"] | None = None
    clean_token: Float[Array, "b d"] | None = None
    judge: Callable[[Float[Array, "b h w 3"]], DiscriminatorOutput] | None = None
    distance: Callable | None = None
    patch_tokens: Callable[[Float[Array, "b h w 3"]], Sequence[Float[Array, "b t d"]]] | None = None
    touches_hole: Bool[Array, "b oh ow 1"] | None = None

    @functools.cached_property
    def prediction(self) -> Float[Array, "b h w 3"]:
        """The generator's image, clamped to [0, 1]."""
        return jnp.clip(self.drawn, 0.0, 1.0)

    @functools.cached_property
    def fill(self) -> Float[Array, "b h w 3"]:
        """The input of LPIPS and the discriminator: the prediction, or the composite by option."""
        if self.options.composite:
            return composite(self.images, self.drawn, self.known)
        return self.prediction

    @functools.cached_property
    def real(self) -> DiscriminatorOutput:
        """The discriminator's output for the photographs."""
        assert self.judge is not None  # a term needs it
        return self.judge(self.images)

    @functools.cached_property
    def fake(self) -> DiscriminatorOutput:
        """The discriminator's output for the fills."""
        assert self.judge is not None  # a term needs it
        return self.judge(self.fill)


class Term(NamedTuple):
    """A term of the generator's loss.

    Attributes:
      function: maps `Seen` to a scalar.
      needs: discriminator, tokens or ""; without what it needs, the term is left out.
    """

    function: Callable[[Seen], Float[Array, ""]]
    needs: str


TERMS: dict[str, Term] = {}


def term(function: Callable | None = None, *, needs: str = "") -> Callable:
    """Registers a term under the function's name; decorates as `@term` or `@term(needs=…)`."""
    if function is None:
        return functools.partial(term, needs=needs)
    TERMS[function.__name__] = Term(function, needs)
    return function


def is_adversarial(options: ConfigDict, step: float = math.inf) -> bool:
    """Returns whether the discriminator takes part in a step (from 1), or by default in any."""
    weights = [options[name] for name in TERMS if TERMS[name].needs == "discriminator"]
    return any(weight > 0 for weight in weights) and step > options.gan_start


def total(seen: Seen, adversarial: bool) -> tuple[jax.Array, dict]:
    """Returns the weighted sum of the active terms, and these by name, with the sum as `total`."""
    available = {"": True, "tokens": seen.token is not None, "discriminator": adversarial}
    terms = {
        name: function(seen)
        for name, (function, needs) in TERMS.items()
        if seen.options[name] > 0 and available[needs]
    }
    weighted = sum((seen.options[name] * value for name, value in terms.items()), jnp.zeros(()))
    return weighted, terms | {"total": weighted}


@term
def l1(seen: Seen) -> Float[Array, ""]:
    """Mean absolute difference over the whole image, known pixels included."""
    return jnp.abs(seen.prediction - seen.images).mean()


# The next three use the unclamped image, so that pixels outside [0, 1] have a gradient.
@term
def hole(seen: Seen) -> Float[Array, ""]:
    """Mean squared difference over each image's hole; 0 without a hole."""
    return _mean_where(1.0 - seen.known, jnp.square(seen.drawn - seen.images))


@term
def hole_l1(seen: Seen) -> Float[Array, ""]:
    """Mean absolute difference over each image's hole; 0 without a hole."""
    return _mean_where(1.0 - seen.known, jnp.abs(seen.drawn - seen.images))


@term
def known_l1(seen: Seen) -> Float[Array, ""]:
    """Mean absolute difference over each image's known pixels; 0 without any."""
    return _mean_where(seen.known, jnp.abs(seen.drawn - seen.images))


@term(needs="tokens")
def semantic(seen: Seen) -> Float[Array, ""]:
    """−cos between the mapped token of the masked image and the clean image's token."""
    assert seen.token is not None  # the term needs tokens
    assert seen.clean_token is not None
    return -cosine(seen.token, seen.clean_token).mean()


@term
def lpips(seen: Seen) -> Float[Array, ""]:
    """LPIPS between fill and photograph (Zhang et al. 2018)."""
    assert seen.distance is not None  # the config has a network
    return seen.distance(seen.fill, seen.images).mean()


@term
def dino(seen: Seen) -> Float[Array, ""]:
    """1 − cos between DINO's patch tokens of fill and photograph, over patches, then over blocks.

    Every token has seen the whole picture, which LPIPS does not. The cosine is what LPIPS would
    make of these features (half the squared distance of unit vectors, Zhang et al. 2018). A squared
    distance would count the few tokens and channels of very large values (Darcet et al. 2024)
    more than all others.
    """
    assert seen.patch_tokens is not None  # the config has a network
    pairs = zip(seen.patch_tokens(seen.fill), seen.patch_tokens(seen.images), strict=True)
    return jnp.stack([1.0 - cosine(*pair).mean() for pair in pairs]).mean()


@term
def spectrum(seen: Seen) -> Float[Array, ""]:
    """Mean squared difference between the Fourier amplitudes of fill and photograph.

    Chessboards and ripples are peaks that the photograph's spectrum lacks (Lu et al. 2022, GLaMa),
    and squares count peaks. Phases are left out: with them, a texture would have to be in its exact
    place, and the difference would be that of the pixels (Parseval).
    """
    return jnp.square(_amplitudes(seen.fill) - _amplitudes(seen.images)).mean()


@term(needs="discriminator")
def gan(seen: Seen) -> Float[Array, ""]:
    """The generator's adversarial loss.

    With `patch_labels`, only patches that touch the hole count.
    """
    loss = ADVERSARIAL[seen.options.adversarial].fool(seen.fake.logits)
    return loss.mean() if seen.touches_hole is None else _mean_where(seen.touches_hole, loss)


@term(needs="discriminator")
def features(seen: Seen) -> Float[Array, ""]:
    """Feature matching: L1 between the discriminator's maps of fill and photograph.

    Averaged over each layer, then over the layers (Wang et al. 2018, pix2pixHD).
    """
    pairs = zip(seen.fake.maps, seen.real.maps, strict=True)
    means = [jnp.abs(fake - real).mean() for fake, real in pairs]
    return functools.reduce(jnp.add, means) / len(means)


class Adversarial(NamedTuple):
    """A kind of adversarial loss, as functions of a logit.

    Attributes:
      real: the discriminator's loss on real patches.
      fake: the discriminator's loss on generated patches.
      fool: the generator's loss.
      scale: factor of the discriminator's total.
    """

    real: Callable
    fake: Callable
    fool: Callable
    scale: float


ADVERSARIAL = {
    # Lim & Ye 2017, "Geometric GAN"; halved as in the published inpainter.
    "hinge": Adversarial(lambda x: nn.relu(1 - x), lambda x: nn.relu(1 + x), lambda x: -x, 0.5),
    # Goodfellow et al. 2014, section 3: the non-saturating loss.
    "logistic": Adversarial(lambda x: nn.softplus(-x), nn.softplus, lambda x: nn.softplus(-x), 1.0),
}


def discriminator_loss(seen: Seen) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the discriminator's loss, and the fractions of patches it classifies correctly.

    With `patch_labels`, patches of a fill that do not touch the hole are labeled real (Suvorov et
    al. 2022, LaMa, section 2.2.2).
    """
    kind = ADVERSARIAL[seen.options.adversarial]
    real, fake = seen.real.logits, seen.fake.logits
    if seen.touches_hole is None:
        loss, accuracy_fake = kind.fake(fake), (fake < 0).mean()
    else:
        loss = jnp.where(seen.touches_hole, kind.fake(fake), kind.real(fake))
        accuracy_fake = _mean_where(seen.touches_hole, fake < 0)
    accuracies = {
        "discriminator/accuracy_real": (real > 0).mean(),
        "discriminator/accuracy_fake": accuracy_fake,
    }
    return kind.scale * (kind.real(real).mean() + loss.mean()), accuracies


def r1(judge: Callable, images: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """R1: ½ |∇ Σ logits|² with respect to an image's pixels, averaged over the images.

    On photographs only; it keeps the discriminator flat around real images (Mescheder et al. 2018).
    """
    slopes = jax.grad(lambda pixels: judge(pixels).logits.sum())(images)
    return 0.5 * jnp.square(slopes).sum((1, 2, 3)).mean()


def _mean_where(
    counted: Float[Array, "b h w 1"] | Bool[Array, "b h w 1"],
    values: Float[Array, "b h w c"] | Bool[Array, "b h w c"],
) -> Float[Array, ""]:
    """Averages over the counted pixels of each image (0 if there are none), then over images."""
    count = counted.sum((1, 2, 3)) * values.shape[-1]
    return ((values * counted).sum((1, 2, 3)) / jnp.maximum(count, 1)).mean()


def _amplitudes(images: Float[Array, "b h w c"]) -> Float[Array, "b h w//2+1 c"]:
    """Returns the amplitudes of the orthonormal Fourier transform, one of each conjugate pair.

    By products of real matrices: XLA divides these over devices, but gathers the batch for an FFT.
    """
    height, width = images.shape[1:3]
    rows, columns = (np.fft.fft(np.eye(side), norm="ortho") for side in (height, width))
    columns = columns[: width // 2 + 1]
    # Real and imaginary parts, as the dimensions j and k of the sums.
    along = np.stack([columns.real, columns.imag]).astype(images.dtype)
    down = np.array([[rows.real, -rows.imag], [rows.imag, rows.real]]).astype(images.dtype)
    half = jnp.einsum("kvw,bhwc->kbhvc", along, images, precision="highest")
    parts = jnp.einsum("jkuh,kbhvc->jbuvc", down, half, precision="highest")
    # The bound is inside the root, so that an amplitude of 0 has a finite gradient.
    return jnp.sqrt(jnp.square(parts).sum(0) + 1e-10)
