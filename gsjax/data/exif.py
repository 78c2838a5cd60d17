"""Reads and writes EXIF tags, which have the structure of TIFF, byte for byte.

Values are never decoded, so texts in any encoding and makers' private tags are preserved.
"""

import struct
from typing import Literal, NamedTuple

_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
    17: 8, 18: 8,
}  # fmt: skip
ORIENTATION, EXIF, GPS, INTEROPERABILITY = 0x0112, 0x8769, 0x8825, 0xA005
_SUB = (EXIF, GPS, INTEROPERABILITY)
_MOST = 4096  # maximum number of tags in a directory; more is damage

ByteOrder = Literal["<", ">"]


class Tag(NamedTuple):
    """A tag's type and number of items, as in TIFF, and its value in the file's byte order."""

    kind: int
    items: int
    value: bytes


class Exif(NamedTuple):
    """Directories of tags.

    Attributes:
      order: byte order of all values, `<` or `>`.
      tags: tags of the first directory.
      below: tags of the directories EXIF, GPS and INTEROPERABILITY.
    """

    order: ByteOrder
    tags: dict[int, Tag]
    below: dict[int, dict[int, Tag]]

    def number(self, tag: int) -> int | None:
        """Returns an integer tag of the first directory, or None."""
        entry = self.tags.get(tag)
        if entry is None or entry.kind not in (3, 4) or not entry.value:
            return None
        code = {3: "H", 4: "I"}[entry.kind]
        return struct.unpack_from(self.order + code, entry.value)[0]

    def rational(self, tag: int) -> float | None:
        """Returns a rational tag of the first directory, or None."""
        entry = self.tags.get(tag)
        if entry is None or entry.kind != 5 or len(entry.value) < 8:
            return None
        numerator, denominator = struct.unpack_from(self.order + "II", entry.value)
        return numerator / denominator if denominator else None


def parse(data: bytes) -> Exif | None:
    """Reads the first directory of a TIFF structure and its sub-directories; None if invalid.

    The second directory, which has the thumbnail of EXIF, is not read; neither are tags with values
    outside of the data.
    """
    orders: dict[bytes, ByteOrder] = {b"II": "<", b"MM": ">"}
    order = orders.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return None
    (version,) = struct.unpack_from(order + "H", data, 2)
    big = version == 43
    if big and len(data) < 16:
        return None
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    tags = _directory(data, order, start, big)
    below: dict[int, dict[int, Tag]] = {}
    for name in _SUB:
        holder = below.get(EXIF, {}) if name == INTEROPERABILITY else tags
        pointer = holder.pop(name, None)
        if pointer is not None and len(pointer.value) in (4, 8):
            code = order + ("I" if len(pointer.value) == 4 else "Q")
            (start,) = struct.unpack(code, pointer.value)
            below[name] = _directory(data, order, start, big)
    return Exif(order, tags, below)


def serialize(exif: Exif) -> bytes:
    """Returns a TIFF structure; the inverse of `parse`."""
    head = (b"II*\0" if exif.order == "<" else b"MM\0*") + struct.pack(exif.order + "I", 8)
    return head + directories(exif, 8)


def directories(exif: Exif, start: int) -> bytes:
    """Returns the first directory, placed at `start` (even), and its sub-directories."""
    tags, content = dict(exif.tags), b""
    place = start + _length(tags | {name: None for name in (EXIF, GPS) if exif.below.get(name)})
    for name in (EXIF, GPS):
        if exif.below.get(name):
            tags[name] = Tag(4, 1, struct.pack(exif.order + "I", place + len(content)))
            content += below(exif, name, place + len(content))
    return _written(tags, exif.order, start, place + len(content), content)


def below(exif: Exif, name: int, start: int) -> bytes:
    """Returns the EXIF or GPS directory, placed at `start`, and its sub-directories."""
    tags, content = dict(exif.below[name]), b""
    place = start + _length(tags)
    if name == EXIF and exif.below.get(INTEROPERABILITY):
        place += 12
        tags[INTEROPERABILITY] = Tag(4, 1, struct.pack(exif.order + "I", place))
        content = _written(exif.below[INTEROPERABILITY], exif.order, place)
    return _written(tags, exif.order, start, place + len(content), content)


def _directory(data: bytes, order: str, start: int, big: bool) -> dict[int, Tag]:
    tags: dict[int, Tag] = {}
    try:
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        start += 8 if big else 2
        if count > _MOST:
            return {}
        for entry in range(start, start + count * (20 if big else 12), 20 if big else 12):
            name, kind = struct.unpack_from(order + "HH", data, entry)
            (items,) = struct.unpack_from(order + ("Q" if big else "I"), data, entry + 4)
            size = items * _SIZES.get(kind, 0)
            place = entry + (12 if big else 8)
            if size > (8 if big else 4):
                (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
            value = bytes(data[place : place + size])
            if size and len(value) == size:
                tags.setdefault(name, Tag(kind, items, value))
    except struct.error:  # truncated; what was read so far is valid
        pass
    return tags


def _length(tags: dict) -> int:
    return 2 + 12 * len(tags) + 4


def _written(
    tags: dict[int, Tag], order: str, start: int, free: int | None = None, after: bytes = b""
) -> bytes:
    """Returns a directory placed at `start`, then `after`, then its values, placed at `free`."""
    free = start + _length(tags) if free is None else free
    entries, values = struct.pack(order + "H", len(tags)), b""
    for name in sorted(tags):
        kind, items, value = tags[name]
        if len(value) <= 4:
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack(order + "I", free + len(values))
            values += value + b"\0" * (len(value) % 2)
        entries += struct.pack(order + "HHI", name, kind, items) + field
    return entries + b"\0\0\0\0" + after + values
