"""Image files to arrays, and the contract that all sources of images keep."""

import abc

import numpy as np
from jaxtyping import UInt8

from gsjax.data.containers import Refused
from gsjax.data.raster import to_rgb8
from gsjax.data.reader import read

MIN_SIDE = 8  # pixels; smaller files are tracking pixels and icons, not pictures


class UnreadableImage(Exception):
    """An image that cannot be used: `name` says which, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


class MissingData(Exception):
    """The data that a spec names is not there; the text says what is wrong, without the field."""


class ImageSource(abc.ABC):
    """Images as a Grain random-access source: `source[i]` is uint8 [h, w, 3], RGB.

    Raises UnreadableImage where image i cannot be used. A source can be pickled for
    worker processes, which open files of their own, and read by several threads at once.
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Returns what image `index` is called in messages, such as its path."""

    def short_name(self, index: int) -> str:
        """Returns what the image is called wherever it lies, such as its path in its folder."""
        return self.name(index)

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns image `index` as the content of an image file, which may be damaged.

        Raises:
          UnreadableImage: not even that can be read.
        """

    @abc.abstractmethod
    def identity(self) -> str:
        """Returns a text that changes when the source has other images or another order."""

    def __getitem__(self, index) -> np.ndarray:
        return decode_image(self.encoded(index), lambda: self.name(index))

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} images)"


def decode_image(data: bytes, name, side: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Turns the content of an image file into 8 bits a channel, upright; see `reader.read`.

    Transparent pixels are composited over white, 16-bit values are scaled to
    8 bits, the first frame of an animation counts.

    Args:
      data: as the file holds it.
      name: what the image is called in errors, or a function that returns it.
      side: a JPEG may come at 1/2, 1/4 or 1/8 of its size, which is decoded faster, as long
        as no side gets shorter than this; 0: at its full size.

    Raises:
      UnreadableImage: no image, truncated, or smaller than MIN_SIDE.
    """
    try:
        image = to_rgb8(read(data, side=side))
    except Refused as error:
        raise UnreadableImage(name() if callable(name) else name, str(error)) from error
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        reason = f"{width}x{height} pixels, fewer than {MIN_SIDE} a side"
        raise UnreadableImage(name() if callable(name) else name, reason)
    return image
