"""Makes one example: an image, cropped and resized, and a hole to fill.

All randomness comes from a generator seeded by (seed, stream, index), so an example does not
depend on the process or thread that makes it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from gsjax.data.images import ImageSource, UnreadableImage
from gsjax.data.masks import draw_hole, ratio_at
from gsjax.errors import UserError

TRAINING, VALIDATION, ORDER = 0, 1, 2  # streams of random numbers


@dataclasses.dataclass(frozen=True)
class Band:
    """A group of validation holes: their kinds, and the range of the image fraction they cover."""

    name: str
    kinds: Sequence[str]
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings for making examples from a source; see `config.data` and `config.masks`."""

    seed: int
    stream: int
    image_size: tuple[int, int]  # H, W
    crop: str
    crop_scale: tuple[float, float]
    crop_distribution: str
    flip: bool
    kinds: Sequence[str]
    curriculum: Sequence[tuple[int, float, float]]
    batch_size: int  # over all processes
    first: int = 0  # first example of the stage: example i is in step (i - first) // batch_size
    bands: Sequence[Band] = ()  # for validation


def bands(options: ConfigDict) -> list[Band]:
    """Returns the bands of `config.validate`; examples cycle through them."""
    kinds = tuple(options.kinds)
    made = [
        Band(f"{round(100 * low)}-{round(100 * high)}", kinds, low, high)
        for low, high in options.bands
    ]
    return made + ([Band("center", ("center",), 0.25, 0.25)] if options.center else [])


def training_recipe(config: ConfigDict, first: int = 0) -> Recipe:
    """Returns the recipe of the training examples, starting at example `first`."""
    return Recipe(
        seed=config.seed,
        stream=TRAINING,
        image_size=tuple(config.data.image_size),
        crop=config.data.crop,
        crop_scale=tuple(config.data.crop_scale),
        crop_distribution=config.data.crop_distribution,
        flip=config.data.flip,
        kinds=tuple(config.masks.kinds),
        curriculum=tuple(map(tuple, config.masks.curriculum)),
        batch_size=config.train.batch_size,
        first=first,
    )


def validation_recipe(config: ConfigDict) -> Recipe:
    """Returns the recipe of the validation examples: not flipped, in bands."""
    return dataclasses.replace(
        training_recipe(config),
        stream=VALIDATION,
        flip=False,
        bands=bands(config.validate),
    )


def training_example(index: int, source: ImageSource, recipe: Recipe) -> dict[str, np.ndarray]:
    """Makes training example `index` (see make_example)."""
    epoch, position = divmod(index, len(source))
    order = image_order(recipe.seed, epoch, len(source))
    return make_example(index, int(order[position]), source, recipe)


# Grain's shuffle iterates a 16-bit cipher until it hits the range: 4 ms per element for a source of
# 12 images, more than everything else together.
@functools.lru_cache(maxsize=2)
def image_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """Returns the order of the images in an epoch: a permutation, [length]."""
    return np.random.default_rng((seed, ORDER, epoch)).permutation(length)


def make_example(
    index: int, image_index: int, source: ImageSource, recipe: Recipe
) -> dict[str, np.ndarray]:
    """Makes example `index` of a stream from image `image_index` of the source.

    Returns:
      image: uint8 [H, W, 3]; known: bool [H, W, 1], False in the hole; unreadable: int64,
      `image_index` if it could not be read and was replaced by the next one, or -1. For
      validation also band: int32, the index of its band.
    """
    rng = np.random.default_rng((recipe.seed, recipe.stream, index))
    image, replaced = _read(source, image_index)
    height, width = recipe.image_size
    image = _resize(image, _crop_box(rng, image.shape, recipe), width, height)
    if recipe.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    unreadable = np.int64(image_index if replaced else -1)
    example: dict[str, Any] = {"image": image, "unreadable": unreadable}
    if recipe.stream == VALIDATION:  # cycle, so that a few examples have every kind
        # Shift by one in every round; otherwise some images would always be in the same band.
        rounds, place = divmod(index, len(source))
        turn = rounds // len(recipe.bands) + place // len(recipe.bands)
        place = (rounds + place) % len(recipe.bands)
        example["band"] = np.int32(place)
        band = recipe.bands[place]
        kind, ratio = band.kinds[turn % len(band.kinds)], rng.uniform(band.low, band.high)
    else:
        kind = recipe.kinds[int(rng.integers(len(recipe.kinds)))]
        ratio = rng.uniform(
            *ratio_at(recipe.curriculum, (index - recipe.first) // recipe.batch_size)
        )
    hole = draw_hole(rng, kind, (height, width), ratio)
    return example | {"known": ~hole[..., None]}


def _read(source: ImageSource, index: int) -> tuple[np.ndarray, bool]:
    """Returns image `index`, or the next readable one, and whether it was replaced."""
    for offset in range(len(source)):
        try:
            return source[(index + offset) % len(source)], offset > 0
        except UnreadableImage:
            continue
    raise UserError("data", f"none of the {len(source)} images can be read any more")


def _crop_box(
    rng: np.random.Generator, shape: tuple[int, ...], recipe: Recipe
) -> tuple[int, int, int, int] | None:
    """Returns the (top, left, height, width) of the crop, or None for the whole image."""
    if recipe.crop == "resize":
        return None
    height, width = recipe.image_size
    # The largest box with the right aspect ratio that fits, scaled.
    largest, (low, high) = min(shape[0] / height, shape[1] / width), recipe.crop_scale
    low = low or min(1 / largest, high)
    if recipe.crop_distribution == "log":
        scale = largest * low * (high / low) ** rng.random()
    else:
        scale = largest * rng.uniform(low, high)
    h = min(max(round(scale * height), 1), shape[0])
    w = min(max(round(scale * width), 1), shape[1])
    return int(rng.integers(shape[0] - h + 1)), int(rng.integers(shape[1] - w + 1)), h, w


def _resize(
    image: np.ndarray, box: tuple[int, int, int, int] | None, width: int, height: int
) -> np.ndarray:
    """Crops to the box and resizes with a Lanczos filter: uint8 [height, width, 3]."""
    if box is None:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
    top, left, h, w = box
    image = image[top : top + h, left : left + w]
    # Averaging down to two to three times the size first is several times as fast, and hardly
    # visible. It is not done for whole images, since published numbers were measured without it.
    factor = int(min(h / height, w / width) / 2)
    if factor > 1:
        h, w = h // factor, w // factor
        image = image[: h * factor, : w * factor]
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
    part = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(part.resize((width, height), Image.Resampling.LANCZOS))
