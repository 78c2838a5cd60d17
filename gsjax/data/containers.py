"""Splits PNG, JPEG and WebP files into their parts without decoding pixels."""

import struct
import zlib
from collections.abc import Iterator, Sequence

PNG = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # chunks that affect the pixels


class Refused(Exception):
    """A picture that cannot be read, or not rightly; the text says why, without the file."""


class TooLarge(Refused):
    """A picture of more pixels than are allowed."""


def png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Returns the names and contents of a PNG's chunks.

    Metadata chunks with a wrong checksum are left out.

    Raises:
      Refused: the file is truncated, or damaged where pixels are affected.
    """
    view, position, chunks = memoryview(data), len(PNG), []
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise Refused("the file is cut off")
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[position + 4 : end]) == checksum:
            chunks.append((name, view[position + 8 : end]))
        elif name in _NEEDED or not name[0] & 0x20:
            raise Refused(f"the file is damaged: chunk {name!r} has a wrong checksum")
        position = end + 4
        if name == b"IEND":
            break
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise Refused("the file is damaged: a PNG begins with IHDR")
    return chunks


def join_png(chunks: Sequence[tuple[bytes, bytes | memoryview]]) -> bytes:
    """Returns the PNG with these chunks."""
    parts = [PNG]
    for name, content in chunks:
        content = bytes(content)
        parts += [struct.pack(">I", len(content)), name, content]
        parts.append(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))
    return b"".join(parts)


def jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Returns (marker, content) of a JPEG's segments before its pixels, and where they end."""
    segments, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in (0xDA, 0xD9) or length < 2:
            break
        segments.append((marker, data[position + 4 : position + 2 + length]))
        position += 2 + length
    return segments, position


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the names and contents of a WebP's chunks."""
    view, position = memoryview(data), 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, view[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
