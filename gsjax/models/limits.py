"""What the fields of the networks must be to each other, and the sizes of images they take."""

import math

from gsjax.errors import UserError
from gsjax.models.build import Networks
from gsjax.models.dino import DinoViT
from gsjax.models.discriminator import Discriminator, min_side
from gsjax.models.inpainter import GaussianInpainter

_MOST_DINO_PATCHES = 128  # a side


def check_networks(networks: Networks, image_size: tuple[int, int], dino_size: int) -> None:
    """Raises UserError, naming the field, unless the networks of a run take its images.

    Args:
      networks: from `gsjax.models.build.build_networks`.
      image_size: `data.image_size`.
      dino_size: `dino.image_size`; not looked at without a DINO.
    """
    check_generator(networks.generator)
    check_discriminator(networks.discriminator)
    check_image_size(image_size, networks.generator, networks.discriminator)
    if networks.dino:
        check_dino_size(dino_size, networks.dino)


def check_generator(module: GaussianInpainter) -> None:
    """Raises UserError, naming the field of `config.model`, unless the fields fit together."""
    if math.isqrt(module.gaussians) ** 2 != module.gaussians:
        near = round(module.gaussians**0.5) ** 2
        raise UserError(
            "model.gaussians",
            f"{module.gaussians} is not a square number",
            f"the nearest is {near}",
        )
    for field in ("overlap", "crossfade"):
        if 2 * getattr(module, field) > module.patch_size:
            raise UserError(
                f"model.{field}",
                f"{getattr(module, field)} must be at most half of model.patch_size, "
                f"{module.patch_size}",
            )
    for field in ("normalize_images", "borrow"):
        if getattr(module, field) and not module.residual_colors:
            raise UserError(f"model.{field}", "needs model.residual_colors")
    cell = max(module.fold, 1)
    if module.borrow and module.patch_size % (2 * cell):
        raise UserError(
            "model.borrow",
            f"needs a model.patch_size that is a multiple of {2 * cell} pixels, two cells of the "
            f"encoder; it is {module.patch_size}",
        )
    if module.patch_size % cell:
        raise UserError(
            "model.fold",
            f"{module.fold} must divide model.patch_size, {module.patch_size}",
            "0 is the published encoder",
        )
    for field in ("width", "max_width"):
        _check_width(
            f"model.{field}", getattr(module, field), *module.make_encoder().width_multiple
        )


def check_discriminator(module: Discriminator) -> None:
    """Raises UserError, naming the field, unless every layer takes its width."""
    _check_width("discriminator.width", module.width, *module.width_multiple)


def check_dino_size(side: int, module: DinoViT) -> None:
    """Raises UserError unless whole patches, and not too many, make up `dino.image_size`."""
    patch_size = module.patch_size
    if side > _MOST_DINO_PATCHES * patch_size:
        raise UserError(
            "dino.image_size",
            f"{side} is more than {_MOST_DINO_PATCHES} patches of {patch_size} pixels",
        )
    if side % patch_size:
        raise UserError(
            "dino.image_size", f"{side} is not a multiple of dino.patch_size, {patch_size}"
        )


def check_image_size(
    size: tuple[int, int], generator: GaussianInpainter, discriminator: Discriminator
) -> None:
    """Raises UserError unless the networks take images of this height and width."""
    stride = generator.stride()
    if any(side % stride for side in size):
        near = tuple(max(round(side / stride), 2) * stride for side in size)
        fold = f", model.fold={generator.fold}" if generator.fold else ""
        raise UserError(
            "data.image_size",
            f"{tuple(size)} must be multiples of {stride}, which follows from "
            f"model.patch_size={generator.patch_size}{fold} and model.downs={generator.downs}",
            f"the nearest is {near}",
        )
    least = max(generator.make_encoder().min_side(), min_side(discriminator.layers))
    if min(size) < least:
        raise UserError(
            "data.image_size",
            f"{tuple(size)} is too small: the encoder and the discriminator need at least {least} "
            "pixels a side",
        )


def _check_width(field: str, width: int, multiple: int, reason: str) -> None:
    if width < multiple or width % multiple:
        raise UserError(field, f"{width} must be a multiple of {multiple}, for the {reason}")
