"""Which metadata a filled picture keeps: rules for each kind of metadata, for all formats.

Orientation is removed, since the pixels are upright. Anything with an embedded picture is removed,
since it would still show what was filled. Everything else is kept if the format can store it;
warnings name the rest.
"""

import copy
import dataclasses
import re
import struct

from gsjax.data.blocks import Blocks
from gsjax.data.exif import EXIF, Exif, Tag, parse, serialize

SEGMENT = 65_500  # bytes that fit into a JPEG segment beside its header
IPTC = 0x0404  # number of the Photoshop resource
# Resources that are thumbnails, or copies of resolution, profile, EXIF and XMP.
_UNWANTED = (0x0409, 0x040C, 0x03ED, 0x040F, 0x0422, 0x0423, 0x0424)
# Tags for the layout of a TIFF's pixels, and those handled separately: resolution, orientation,
# profile, XMP, IPTC, Photoshop's resources and layers, thumbnails.
_OF_PIXELS = {
    *range(254, 259), *range(262, 267), 273, 274, *range(277, 285), *range(288, 294), 296, 297,
    301, *range(317, 331), *range(332, 348), *range(512, 522), *range(529, 533), 559, 700, 33421,
    33422, 33723, 34377, 34675, 37724, *range(50706, 51200),
}  # fmt: skip
_PADDING, _MAKER_NOTE = 0xEA1C, 0x927C
_WIDTH, _HEIGHT = 0xA002, 0xA003
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"WEBPVP8")  # signatures
_PICTURES_AS_TEXT = (b"/9j/", b"iVBORw0KGgo")  # the same in Base64
# XMP with the orientation, or with pictures or pointers to them: thumbnails, depth and gain maps,
# video.
_XMP_NAMES = (
    rb"(?:\w+:Orientation|xmp:Thumbnails|xmpGImg:\w+|GImage:\w+|GDepth:\w+|GAudio:\w+|hdrgm:\w+"
    rb"|HDRGainMap:\w+|Container:Directory|GContainer:\w+|GCamera:(?:MicroVideo|MotionPhoto)\w*"
    rb"|xmpNote:HasExtendedXMP)"
)
_XMP_ATTRIBUTE = re.compile(rb"""\s+""" + _XMP_NAMES + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""")
_XMP_ELEMENT = re.compile(
    rb"<(" + _XMP_NAMES + rb")(?:\s[^<>]*)?(?:/>|(?<!/)>.*?</\1\s*>)\s*", re.DOTALL
)


@dataclasses.dataclass
class Metadata:
    """The metadata to keep; the fields are those of `Blocks`.

    `photoshop` maps numbers to names and values of resources, among them the IPTC records.
    """

    exif: Exif | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: dict[int, tuple[bytes, bytes]] = dataclasses.field(default_factory=dict)
    comment: str | None = None
    texts: dict[str, tuple[bytes, bytes, bytes]] = dataclasses.field(default_factory=dict)
    color: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    resolution: tuple[float, float, int] | None = None

    def exif_block(self, resolution: bool = False) -> bytes | None:
        """Returns the EXIF as a TIFF structure, optionally with the resolution; None if empty."""
        exif = self.exif or Exif(">", {}, {})
        if resolution:
            exif = exif._replace(tags=exif.tags | self.resolution_tags(exif.order))
        return serialize(exif) if exif.tags or exif.below else None

    def small_exif_block(self) -> bytes | None:
        """Returns the EXIF without its largest tags, so that it fits into a JPEG segment."""
        small = copy.deepcopy(self)
        while small.exif and _longer(small.exif_block()):
            held = [small.exif.tags, *small.exif.below.values()]
            _, tags, name = max(
                (len(tag.value), place, name)
                for place, tags in enumerate(held)
                for name, tag in tags.items()
            )
            del held[tags][name]
        return small.exif_block() if small.exif else None

    def resolution_tags(self, order: str) -> dict[int, Tag]:
        """Returns the resolution as TIFF or EXIF tags; none if it is unknown."""
        if self.resolution is None:
            return {}
        across, down, unit = self.resolution
        tags = {
            name: Tag(5, 1, struct.pack(order + "II", round(100 * value), 100))
            for name, value in ((282, across), (283, down))
        }
        return tags | {296: Tag(3, 1, struct.pack(order + "H", unit))}

    def lost(self, kind: str) -> list[str]:
        """Returns the names of the metadata that a format cannot store."""
        texts = "texts " + ", ".join(self.texts) if len(self.texts) < 4 else "texts"
        gamma = {name for name, _ in self.color} & {b"gAMA", b"cHRM", b"cICP"}
        srgb = self.icc or any(name == b"sRGB" for name, _ in self.color)
        only_png = [(self.texts, texts), (gamma and not srgb, "gamma and primaries")]
        bmp = [(self.exif, "EXIF"), (self.xmp, "XMP"), (self.icc, "color profile")]
        iptc = (self.photoshop, "IPTC" if IPTC in self.photoshop else "Photoshop's resources")
        unitless = self.resolution and self.resolution[2] == 1
        large = [
            (_longer(self.exif_block()), "the largest tags of EXIF over 64 KB"),
            (_longer(self.xmp), "XMP over 64 KB"),
            (_longer(self.photoshop_block()), "IPTC over 64 KB"),
        ]
        comment = (self.comment, "comment")
        lacks: dict[str, list[tuple[object, str]]] = {
            "PNG": [],
            "JPEG": [*only_png, *large],
            "WEBP": [*only_png, iptc, comment],
            "TIFF": [*only_png, comment],
            "BMP": [*bmp, *only_png, iptc, comment, (unitless, "the pixels' aspect")],
        }
        return [name for present, name in lacks[kind] if present]

    def photoshop_block(self, iptc: bool = True) -> bytes:
        """Returns the resources as JPEG and TIFF store them, with or without IPTC."""
        content = b""
        for number, (name, value) in sorted(self.photoshop.items()):
            if number == IPTC and not iptc:
                continue
            content += b"8BIM" + struct.pack(">H", number) + name
            content += struct.pack(">I", len(value)) + value + b"\0" * (len(value) % 2)
        return content


def clean(
    blocks: Blocks, size: tuple[int, int], channels: int, converted: bool
) -> tuple[Metadata, list[str]]:
    """Returns the metadata to keep, and warnings about what is dropped.

    Args:
      blocks: as stored.
      size: (width, height) of the upright picture.
      channels: 1 for gray, 3 for RGB.
      converted: the colors no longer match the file's color profile.
    """
    kept = Metadata(comment=blocks.comment, color=blocks.color, resolution=blocks.resolution)
    warnings = [f"{what} in the file is not kept" for what in blocks.pictures]
    warnings += [f"its {what} cannot be kept" for what in blocks.other]
    kept.texts = {
        name: text
        for name, text in blocks.texts.items()
        if not name.lower().endswith("orientation") and not _holds_picture(text[2])
    }
    if blocks.exif and (exif := parse(blocks.exif)):
        kept.exif, dropped = _clean_exif(exif, size)
        warnings += [f"its {what}, which holds a picture, is not kept" for what in dropped]
        if kept.resolution is None:
            kept.resolution = _exif_resolution(exif)
    if blocks.xmp:
        kept.xmp = _clean_xmp(blocks.xmp)
        if kept.xmp is None:
            warnings.append("its XMP, which holds a picture or is damaged, is not kept")
    if blocks.icc and not converted and _fits(blocks.icc, channels):
        kept.icc = blocks.icc
    kept.photoshop = _resources(blocks.photoshop or b"")
    if blocks.iptc and not _holds_picture(blocks.iptc):
        kept.photoshop.setdefault(IPTC, (b"\0\0", blocks.iptc))
    elif IPTC not in kept.photoshop and (blocks.iptc or b"8BIM\4\4" in (blocks.photoshop or b"")):
        warnings.append("its IPTC, which holds a picture or is damaged, is not kept")
    return kept, warnings


def with_size(metadata: Metadata, size: tuple[int, int]) -> Metadata:
    """Returns the metadata for a picture of another (width, height)."""
    if metadata.exif is None:
        return metadata
    below = {name: dict(held) for name, held in metadata.exif.below.items()}
    _set_size(metadata.exif.order, below, size)
    return dataclasses.replace(metadata, exif=metadata.exif._replace(below=below))


def _holds_picture(value: bytes) -> bool:
    return any(mark in value for mark in (*_PICTURES, *_PICTURES_AS_TEXT))


def _clean_exif(exif: Exif, size: tuple[int, int]) -> tuple[Exif | None, list[str]]:
    """Removes orientation, resolution, layout and pictures from EXIF.

    Returns:
      The remaining EXIF, or None, and the names of the tags that contained pictures.
    """
    dropped = []

    def clean(tags: dict[int, Tag], unwanted: set[int]) -> dict[int, Tag]:
        kept = {}
        for name, tag in tags.items():
            if name in unwanted or name == _PADDING or tag.kind > 13:  # BigTIFF types
                continue
            if _holds_picture(tag.value):
                dropped.append("maker's note" if name == _MAKER_NOTE else f"tag {name}")
                continue
            kept[name] = tag
        return kept

    tags = clean(exif.tags, _OF_PIXELS)
    below = {name: clean(held, set()) for name, held in exif.below.items()}
    _set_size(exif.order, below, size)
    below = {name: held for name, held in below.items() if held}
    return (Exif(exif.order, tags, below) if tags or below else None), dropped


def _set_size(order: str, below: dict[int, dict[int, Tag]], size: tuple[int, int]) -> None:
    for name, length in zip((_WIDTH, _HEIGHT), size, strict=True):
        if name in below.get(EXIF, {}):
            below[EXIF][name] = Tag(4, 1, struct.pack(order + "I", length))


def _exif_resolution(exif: Exif) -> tuple[float, float, int] | None:
    across, down = exif.rational(282), exif.rational(283)
    if not across or not down:
        return None
    unit = exif.number(296) or 2
    if unit == 1:
        return None if across == down else (across, down, 1)
    scale = 2.54 if unit == 3 else 1.0
    return round(across * scale, 2), round(down * scale, 2), 2


def _clean_xmp(xmp: bytes) -> bytes | None:
    """Returns XMP without orientation and pictures, or None if it cannot be cleaned."""
    if xmp.startswith((b"\xff\xfe", b"\xfe\xff")):
        xmp = xmp.decode("utf-16", "replace").encode()
    xmp = xmp.strip(b"\0")
    if b"\0" in xmp:  # UTF-16 or UTF-32 without a byte order mark
        return None
    xmp = _XMP_ATTRIBUTE.sub(b"", _XMP_ELEMENT.sub(b"", xmp))
    return None if _holds_picture(xmp) or b":Orientation" in xmp else xmp


def _longer(block: bytes | None) -> bool:
    """Returns whether a block does not fit into a segment of a JPEG."""
    return block is not None and len(block) > SEGMENT


def _fits(profile: bytes, channels: int) -> bool:
    """Returns whether a color profile fits the number of channels; gray may have an RGB profile."""
    return profile[16:20] == b"RGB " or (profile[16:20] == b"GRAY" and channels == 1)


def _resources(data: bytes) -> dict[int, tuple[bytes, bytes]]:
    """Returns names and values of Photoshop's resources by number, without thumbnails."""
    resources: dict[int, tuple[bytes, bytes]] = {}
    position = 0
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, position + 4)
        start = position + 6
        length = data[start] + 1
        length += length % 2
        name = data[start : start + length]
        start += length
        if start + 4 > len(data):
            break
        (size,) = struct.unpack_from(">I", data, start)
        value = data[start + 4 : start + 4 + size]
        if number not in _UNWANTED and not _holds_picture(value) and len(value) == size:
            resources.setdefault(number, (b"\0\0" if number == IPTC else name, value))
        position = start + 4 + size + size % 2
    return resources
