"""The metadata of picture files as stored: blocks of bytes, wherever a format keeps them."""

import dataclasses
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from gsjax.data.containers import jpeg_segments, riff_chunks
from gsjax.data.exif import ORIENTATION, parse

XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_PNG_COLOR = (b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"tIME")
_TEXT_LIMIT = 2**26  # bytes of an inflated text; more is an attack
_ORIENTATION = re.compile(rb"""\w+:Orientation(?:\s*=\s*["']|\s*>\s*)([1-8])""")


@dataclasses.dataclass
class Blocks:
    """The contents of a file besides its pixels.

    Attributes:
      exif: a TIFF structure with the tags of EXIF, without the `Exif` mark of JPEG.
      xmp: the XML.
      icc: the color profile.
      photoshop: resource blocks, as in the APP13 segment of a JPEG.
      iptc: IIM records, if a file has them outside of resource blocks.
      comment: a text without a name.
      texts: text chunks of a PNG by keyword: chunk name, content, and the text in it.
      color: PNG chunks about color or date, which no other format has.
      resolution: (across, down, 2) in pixels per inch, or (across, down, 1) without a unit.
      pictures: additional pictures in the file, such as "a second picture".
      other: other content that is dropped, such as "content credentials".
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: bytes | None = None
    iptc: bytes | None = None
    comment: str | None = None
    texts: dict[str, tuple[bytes, bytes, bytes]] = dataclasses.field(default_factory=dict)
    color: list[tuple[bytes, bytes]] = dataclasses.field(default_factory=list)
    resolution: tuple[float, float, int] | None = None
    pictures: list[str] = dataclasses.field(default_factory=list)
    other: list[str] = dataclasses.field(default_factory=list)

    def orientation(self) -> int:
        """Returns the EXIF orientation of the stored pixels, 1 to 8; EXIF overrides XMP."""
        tags = parse(self.exif) if self.exif else None
        stored = tags.number(ORIENTATION) if tags else None
        if stored is None and self.xmp and (match := _ORIENTATION.search(self.xmp)):
            stored = int(match[1])
        return stored if stored and 1 <= stored <= 8 else 1


def png_blocks(chunks: list[tuple[bytes, memoryview]]) -> Blocks:
    """Returns the metadata of a PNG."""
    blocks = Blocks()
    for name, view in chunks:
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            _add_text(blocks, name, bytes(view))
        elif name == b"iCCP":
            rest = bytes(view).partition(b"\0")[2]
            blocks.icc = inflate(rest[1:]) or blocks.icc
        elif name == b"eXIf":
            blocks.exif = bytes(view).removeprefix(b"Exif\0\0")
        elif name == b"pHYs" and len(view) == 9:
            across, down, unit = struct.unpack(">IIB", view)
            blocks.resolution = resolution(across, down, 0.0254 if unit == 1 else None)
        elif name in _PNG_COLOR:
            blocks.color.append((name, bytes(view)))
        elif name == b"caBX":
            blocks.other.append("content credentials")
        elif name == b"acTL" and len(view) == 8:
            (frames,) = struct.unpack(">I", view[:4])
            blocks.pictures += [f"all but the first of its {frames} frames"] * (frames > 1)
    return blocks


def jpeg_blocks(data: bytes) -> Blocks:
    """Returns the metadata of a JPEG."""
    blocks, profile = Blocks(), {}
    segments, position = jpeg_segments(data)
    for marker, content in segments:
        if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            unit, across, down = struct.unpack(">BHH", content[7:12])
            blocks.resolution = resolution(across, down, {1: 1, 2: 2.54}.get(unit))
        elif marker == 0xE1 and content.startswith(b"Exif\0") and blocks.exif is None:
            blocks.exif = content[6:]
        elif marker == 0xE1 and content.startswith(_XMP_JPEG) and blocks.xmp is None:
            blocks.xmp = content[len(_XMP_JPEG) :]
        elif marker == 0xE1 and content.startswith(_XMP_MORE):
            blocks.other += ["extended XMP"] * ("extended XMP" not in blocks.other)
        elif marker == 0xE2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14:
            profile[content[12]] = content[14:]
        elif marker == 0xE2 and content.startswith(b"MPF\0"):
            blocks.pictures = ["a second picture"]
        elif marker == 0xEB and b"jumb" in content[:64]:
            blocks.other += ["content credentials"] * ("content credentials" not in blocks.other)
        elif marker == 0xED and content.startswith(_PHOTOSHOP):
            blocks.photoshop = (blocks.photoshop or b"") + content[len(_PHOTOSHOP) :]
        elif marker == 0xFE and blocks.comment is None:
            blocks.comment = _decoded(content.rstrip(b"\0"))
    blocks.icc = b"".join(profile[part] for part in sorted(profile)) or None
    end = data.find(b"\xff\xd9", position)
    if end >= 0 and not blocks.pictures:
        rest = data[end + 2 :]
        if b"\xff\xd8\xff" in rest:
            blocks.pictures.append("a second picture")
        elif rest[4:8] == b"ftyp":
            blocks.pictures.append("a film")
    return blocks


def webp_blocks(data: bytes) -> Blocks:
    """Returns the metadata of a WebP."""
    blocks = Blocks()
    for name, view in riff_chunks(data):
        if name == b"ICCP":
            blocks.icc = bytes(view)
        elif name == b"EXIF":
            blocks.exif = bytes(view).removeprefix(b"Exif\0\0")
        elif name == b"XMP ":
            blocks.xmp = bytes(view)
    return blocks


def other_blocks(info: Mapping[str | tuple[int, int], Any]) -> Blocks:
    """Returns the metadata that Pillow found in a BMP, GIF, AVIF or HEIC."""
    exif, xmp, comment = info.get("exif"), info.get("xmp"), info.get("comment")
    blocks = Blocks(icc=info.get("icc_profile"))
    blocks.exif = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) and exif else None
    blocks.xmp = xmp.encode() if isinstance(xmp, str) else xmp
    blocks.comment = _decoded(comment) if isinstance(comment, bytes) else comment
    if info.get("dpi"):
        across, down = info["dpi"]
        blocks.resolution = resolution(across, down, 1)
    return blocks


def inflate(data: bytes) -> bytes | None:
    """Returns the contents of a zlib stream, or None if it is damaged or too large for a text."""
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(data, _TEXT_LIMIT)
    except zlib.error:
        return None
    return content if inflater.eof else None


def _add_text(blocks: Blocks, name: bytes, content: bytes) -> None:
    keyword, _, rest = content.partition(b"\0")
    if name == b"zTXt":
        text = inflate(rest[1:])
    elif name == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        text = inflate(rest) if compressed else rest
    else:
        text = rest
    if text is None:
        return
    if keyword == XMP_KEYWORD:
        blocks.xmp = text
    elif keyword.startswith(b"Raw profile type "):
        _add_raw_profile(blocks, keyword[17:].strip().lower(), text)
    elif keyword == b"Comment" and blocks.comment is None:
        blocks.comment = text.decode("utf-8" if name == b"iTXt" else "latin-1", "replace")
    else:
        blocks.texts.setdefault(keyword.decode("latin-1"), (name, content, text))


def _add_raw_profile(blocks: Blocks, kind: bytes, text: bytes) -> None:
    """Adds a profile that ImageMagick wrote as text: a name, a length, hexadecimal bytes."""
    try:
        lines = text.lstrip(b"\n").split(b"\n")
        profile = bytes.fromhex(b"".join(lines[2:]).decode("ascii"))
    except ValueError:
        return
    if kind in (b"exif", b"app1") and profile.startswith((b"Exif\0", b"II", b"MM")):
        blocks.exif = blocks.exif or profile.removeprefix(b"Exif\0\0")
    elif kind in (b"xmp", b"app1"):
        blocks.xmp = blocks.xmp or profile.removeprefix(_XMP_JPEG)
    elif kind in (b"iptc", b"8bim"):
        if profile.removeprefix(_PHOTOSHOP).startswith(b"8BIM"):
            blocks.photoshop = (blocks.photoshop or b"") + profile.removeprefix(_PHOTOSHOP)
        else:
            blocks.iptc = profile
    elif kind in (b"icc", b"icm"):
        blocks.icc = blocks.icc or profile


def resolution(across: float, down: float, unit: float | None) -> tuple[float, float, int] | None:
    """Returns a resolution, or None for a meaningless one; `unit` converts to pixels per inch."""
    if not (across > 0 and down > 0) or (unit is None and across == down):
        return None
    if unit is None:
        return float(across), float(down), 1
    return round(float(across) * unit, 2), round(float(down) * unit, 2), 2


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
