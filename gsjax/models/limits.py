"""What the fields of the networks must be to each other, and the sizes of images they take."""

import math

from gsjax.errors import UserError
from gsjax.models.discriminator import Discriminator, min_side
from gsjax.models.inpainter import GaussianInpainter


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
                f"{getattr(module, field)} is more than half of model.patch_size, "
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
            f"{module.fold} does not divide model.patch_size, {module.patch_size}",
            "0 is the published encoder",
        )
    for field in ("width", "max_width"):
        check_width(f"model.{field}", getattr(module, field), module.make_encoder().width_multiple)


def check_discriminator(module: Discriminator) -> None:
    """Raises UserError, naming the field, unless the channels of every layer can be normalized."""
    check_width("discriminator.width", module.width, module.width_multiple)


def check_width(field: str, width: int, multiple: int) -> None:
    """Raises UserError unless a field's channels are a multiple of what the layers need."""
    if width < multiple or width % multiple:
        raise UserError(field, f"{width} is not a multiple of {multiple}")


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
            f"{tuple(size)} must be multiples of {stride}, the stride of "
            f"model.patch_size={generator.patch_size}{fold} and model.downs={generator.downs}",
            f"the nearest is {near}",
        )
    least = max(generator.make_encoder().min_side(), min_side(discriminator.layers))
    if min(size) < least:
        raise UserError(
            "data.image_size",
            f"{tuple(size)} is too small",
            f"the encoder and the discriminator need at least {least} pixels a side",
        )
