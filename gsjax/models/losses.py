"""What training minimizes: a registry of terms for the generator, and the discriminator's loss.

A term is a function of what a step has, `Seen`, registered with `term` under its own name. Its
weight is the field of that name in `config.loss`; a term of weight 0 is not computed. So a
further term is one function here and one line in `config.default`.

Every term is a mean over the batch of a number per image, so that a batch in parts, or on several
devices, has the same loss and gradients.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from gsjax.models.discriminator import DiscriminatorOutput
from gsjax.models.inpainter import composite


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the losses of one step are computed from. What no term asks for is not computed.

    Attributes:
      options: `config.loss`.
      images: the photographs, in [0, 1].
      known: 1 where a pixel is known, 0 in the hole.
      drawn: the generator's picture, not clamped.
      token: its mapped token; None without semantic branch.
      clean_token: DINO's own of the photographs; None without semantic branch.
      judge: the discriminator, for images.
      distance: LPIPS of two batches of images, one number a pair.
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
    touches_hole: Bool[Array, "b oh ow 1"] | None = None

    @functools.cached_property
    def prediction(self) -> Float[Array, "b h w 3"]:
        """The generator's picture in [0, 1]."""
        return jnp.clip(self.drawn, 0.0, 1.0)

    @functools.cached_property
    def fill(self) -> Float[Array, "b h w 3"]:
        """What LPIPS and the discriminator see: the prediction or, by option, the composite."""
        if self.options.composite:
            return composite(self.images, self.drawn, self.known)
        return self.prediction

    @functools.cached_property
    def real(self) -> DiscriminatorOutput:
        """The discriminator's judgement of the photographs."""
        return self.judge(self.images)

    @functools.cached_property
    def fake(self) -> DiscriminatorOutput:
        """The discriminator's judgement of the fills."""
        return self.judge(self.fill)


class Term(NamedTuple):
    """A term of the generator's loss.

    Attributes:
      function: `Seen` to a scalar.
      needs: without which it does not count: discriminator | tokens | "".
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


def is_adversarial(config: ConfigDict, step: float = math.inf) -> bool:
    """Returns whether the discriminator takes part in a step, counted from 1; by default ever."""
    asked = any(config.loss[name] > 0 for name in TERMS if TERMS[name].needs == "discriminator")
    return asked and step > config.loss.gan_start


def total(config: ConfigDict, seen: Seen, adversarial: bool) -> tuple[jax.Array, dict]:
    """Returns the weighted sum of the terms that count, and all of them by name, with `total`."""
    there = {"": True, "tokens": seen.token is not None, "discriminator": adversarial}
    terms = {
        name: function(seen)
        for name, (function, needs) in TERMS.items()
        if config.loss[name] > 0 and there[needs]
    }
    weighted = sum((config.loss[name] * value for name, value in terms.items()), jnp.zeros(()))
    return weighted, terms | {"total": weighted}


@term
def l1(seen: Seen) -> Float[Array, ""]:
    """Mean absolute difference over the whole image, known pixels included."""
    return jnp.abs(seen.prediction - seen.images).mean()


# The three below are of what is drawn before it is clamped: a pixel outside [0, 1] has a gradient.
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
    """−cos between the mapped token of the masked image and the clean image's own."""

    def normalized(x):
        # Inside the root, so that a token of zeros has a gradient.
        return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-16))

    return -jnp.sum(normalized(seen.token) * normalized(seen.clean_token), axis=-1).mean()


@term
def lpips(seen: Seen) -> Float[Array, ""]:
    """LPIPS between fill and photograph (Zhang et al. 2018)."""
    return seen.distance(seen.fill, seen.images).mean()


@term(needs="discriminator")
def gan(seen: Seen) -> Float[Array, ""]:
    """What the generator minimizes to have its fills taken for photographs.

    With `patch_labels`, of each image's patches those count that touch the hole.
    """
    loss = ADVERSARIAL[seen.options.adversarial].fool(seen.fake.logits)
    return loss.mean() if seen.touches_hole is None else _mean_where(seen.touches_hole, loss)


@term(needs="discriminator")
def features(seen: Seen) -> Float[Array, ""]:
    """Feature matching: L1 between the discriminator's maps of fill and photograph.

    The mean over its layers of the mean over each (Wang et al. 2018, pix2pixHD).
    """
    pairs = zip(seen.fake.maps, seen.real.maps, strict=True)
    return sum(jnp.abs(fake - real).mean() for fake, real in pairs) / len(seen.real.maps)


class Adversarial(NamedTuple):
    """A kind of adversarial loss, of one logit.

    Attributes:
      real: what the discriminator minimizes for what is real.
      fake: what it minimizes for what the generator made.
      fool: what the generator minimizes.
      scale: of the discriminator's sum of both.
    """

    real: Callable
    fake: Callable
    fool: Callable
    scale: float


ADVERSARIAL = {
    # Lim & Ye 2017, "Geometric GAN"; halved as in the published inpainter.
    "hinge": Adversarial(lambda x: nn.relu(1 - x), lambda x: nn.relu(1 + x), lambda x: -x, 0.5),
    # Goodfellow et al. 2014, section 3: the non-saturating one.
    "logistic": Adversarial(lambda x: nn.softplus(-x), nn.softplus, lambda x: nn.softplus(-x), 1.0),
}


def discriminator_loss(seen: Seen) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the discriminator's loss, and which part of the patches it judges right.

    With `patch_labels`, a fill's patch that does not touch the hole is to be judged real, as it
    is (Suvorov et al. 2022, LaMa, section 2.2.2).
    """
    kind = ADVERSARIAL[seen.options.adversarial]
    real, fake = seen.real.logits, seen.fake.logits
    if seen.touches_hole is None:
        loss, found = kind.fake(fake), (fake < 0).mean()
    else:
        loss = jnp.where(seen.touches_hole, kind.fake(fake), kind.real(fake))
        found = _mean_where(seen.touches_hole, fake < 0)
    right = {
        "discriminator/accuracy_real": (real > 0).mean(),
        "discriminator/accuracy_fake": found,
    }
    return kind.scale * (kind.real(real).mean() + loss.mean()), right


def r1(judge: Callable, images: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """½ |∇ Σ logits|² by an image's pixels, the mean of all images (Mescheder et al. 2018).

    Of photographs alone: it keeps the discriminator from being steep around what is real.
    """
    slopes = jax.grad(lambda pixels: judge(pixels).logits.sum())(images)
    return 0.5 * jnp.square(slopes).sum((1, 2, 3)).mean()


def _mean_where(
    counted: Float[Array, "b h w 1"] | Bool[Array, "b h w 1"], values: Float[Array, "b h w c"]
) -> Float[Array, ""]:
    """Returns the mean over what counts of each image, the mean of all images; 0 for nothing."""
    number = counted.sum((1, 2, 3)) * values.shape[-1]
    return ((values * counted).sum((1, 2, 3)) / jnp.maximum(number, 1)).mean()
