"""Decompresses TIFF strips and tiles with Pillow's libtiff, whose errors become exceptions."""

import contextlib
import io
import os
import re
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator

from PIL import TiffImagePlugin

from gsjax.data.containers import Refused

RAW, DEFLATE = 1, (8, 32946)
_PRINTING = threading.Lock()
_CODECS = "TIFF|O?JPEG|Fax|LZW|ZIP|LZMA|ZSTD|PackBits|WEBP|Dump|Predictor"
_ERROR = re.compile(rf"(tempfile\.tif|_?({_CODECS})\w*): (?!Warning)")


def decompressed(packed: bytes, compression: int, wanted: int) -> bytes:
    """Returns the first `wanted` bytes of a strip or tile.

    Args:
      packed: the compressed bytes.
      compression: the TIFF number of the compression.
      wanted: maximum number of bytes to return.

    Raises:
      Refused: the data is damaged.
      OSError: the same, from libtiff; see `raising_libtiff_errors`.
    """
    if compression == RAW:
        return packed
    if compression in DEFLATE:
        try:
            return zlib.decompressobj().decompress(packed, wanted)
        except zlib.error as error:
            raise Refused(f"the file is damaged: {error}") from error
    # Wrap the bytes as a one-row picture, which libtiff decompresses whatever they mean.
    tags = (
        (256, 4, wanted), (257, 4, 1), (258, 3, 8), (259, 3, compression), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 4, 1), (279, 4, len(packed)),
    )  # fmt: skip
    packed += b"\0" * (len(packed) % 2)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(head + packed + directory))
    return image.tobytes()


@contextlib.contextmanager
def raising_libtiff_errors() -> Iterator[None]:
    """Raises Refused if libtiff fails, or prints an error and continues with partial data."""
    try:
        kept = os.dup(2)
    except OSError:  # no stderr
        yield
        return
    failure = None
    with _PRINTING, tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield
        except OSError as error:
            failure = error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if _ERROR.match(line)]
    for line in lines:
        if line not in errors and "Warning" not in line:  # from another thread
            print(line, file=sys.stderr)
    if errors:
        raise Refused(f"its pixels cannot be decoded: {errors[0][:100]}") from failure
    if failure is not None:
        raise Refused("the file is damaged: not all of its pixels are there") from failure
