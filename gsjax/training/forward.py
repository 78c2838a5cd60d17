"""The forward pass of a train step: the generator's drawing, and the inputs of the losses."""

import dataclasses
import functools
from typing import NamedTuple, cast

import jax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from gsjax.models import losses
from gsjax.models.build import Networks
from gsjax.models.discriminator import DiscriminatorOutput, touches_hole
from gsjax.models.inpainter import Inpainting
from gsjax.models.semantic import make_patch_tokens, make_tokens
from gsjax.training.batch import Batch, unpack

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Context:
    """What a step uses but does not train.

    Attributes:
      config: of the stage.
      networks: the modules, with the precision of the stage.
      frozen: the variables of dino and lpips.
    """

    config: ConfigDict
    networks: Networks
    frozen: PyTree


class Drawn(NamedTuple):
    """The generator's output for a batch.

    Attributes:
      image: the drawing, not clamped.
      token: the mapped token of the masked images; None without a semantic branch.
      clean_token: DINO's token of the clean images; None without a semantic branch.
    """

    image: Float[Array, "b h w 3"]
    token: Float[Array, "b d"] | None
    clean_token: Float[Array, "b d"] | None


def draw(context: Context, generator: PyTree, batch: Batch, key: jax.Array) -> Drawn:
    """Runs the generator on the masked images of a batch.

    `key` is for layers that draw noise.
    """
    tokens = make_tokens(context.config.dino, context.networks.branch_dino)
    images, known = unpack(batch)
    masked = images * known
    token, clean_token = tokens(context.frozen["dino"], masked, known, images)
    apply = context.networks.generator.apply
    out = cast(Inpainting, apply(generator, masked, token, known, rngs={"noise": key}))
    return Drawn(out.image, out.token, clean_token)


def judge(
    context: Context, discriminator: PyTree, images: Float[Array, "b h w 3"]
) -> DiscriminatorOutput:
    """Applies the discriminator to images."""
    output = context.networks.discriminator.apply(discriminator, images, method="judge")
    return cast(DiscriminatorOutput, output)


def loss_inputs(context: Context, drawn: Drawn, discriminator: PyTree, batch: Batch) -> losses.Seen:
    """Returns the inputs of the losses of both networks."""
    config, lpips, dino = context.config, context.networks.lpips, context.networks.dino
    images, known = unpack(batch)
    labels = config.loss.patch_labels
    return losses.Seen(
        config.loss,
        images,
        known,
        *drawn,
        judge=lambda images: judge(context, discriminator, images),
        distance=lpips and functools.partial(lpips.apply, context.frozen["lpips"]),
        patch_tokens=None
        if dino is None
        else functools.partial(make_patch_tokens(config.dino, dino), context.frozen["dino"]),
        touches_hole=touches_hole(1.0 - known, config.discriminator.layers) if labels else None,
    )
