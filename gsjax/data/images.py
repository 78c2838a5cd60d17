"""Decodes image files, and defines the interface of all image sources."""

import abc

import numpy as np
from jaxtyping import UInt8

from gsjax.data.containers import Refused
from gsjax.data.raster import to_rgb8
from gsjax.data.reader import read

MIN_SIDE = 8  # pixels; smaller images are tracking pixels and icons, not pictures


class UnreadableImage(Exception):
    """An image that cannot be used; has its `name` and the `reason`."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


class MissingData(Exception):
    """The data that a spec names is missing; the message does not name the config field."""


class ImageSource(abc.ABC):
    """Images as a Grain random-access source: `source[i]` is uint8 [h, w, 3], RGB.

    Raises UnreadableImage if image i cannot be used. A source can be pickled for worker processes,
    which open the files themselves, and is safe to read from several threads.
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def name(self, index: int) -> str:
        """Returns the name of image `index` in messages, such as its path."""

    def short_name(self, index: int) -> str:
        """Returns a name that does not depend on the location, such as the path in the folder."""
        return self.name(index)

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns the content of the image file `index`, which may be damaged.

        Raises:
          UnreadableImage: the content cannot be read.
        """

    @abc.abstractmethod
    def identity(self) -> str:
        """Returns a text that changes with the images in the source and their order."""

    def __getitem__(self, index) -> np.ndarray:
        return decode_image(self.encoded(index), lambda: self.name(index))

    def __repr__(self):
        return f"{type(self).__name__}({len(self)} images)"


def decode_image(data: bytes, name, side: int = 0) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes the content of an image file to 8-bit RGB, upright; see `reader.read`.

    Transparent pixels are composited over white, 16-bit values are scaled to 8 bits, and only the
    first frame of an animation is used.

    Args:
      data: the content of the file.
      name: the image's name in errors, or a function that returns it.
      side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is faster, as long as no
        side gets shorter than this; 0 for full size.

    Raises:
      UnreadableImage: not an image, truncated, or smaller than MIN_SIDE.
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
