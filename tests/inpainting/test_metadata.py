"""What is kept of a picture's metadata, for all pairs of formats."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, IptcImagePlugin, PngImagePlugin, TiffImagePlugin

from gsjax.data.containers import join_png, png_chunks
from gsjax.data.exif import EXIF, GPS
from gsjax.inpainting import encode, pictures

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
THUMBNAIL = io.BytesIO()
Image.new("RGB", (16, 16), "red").save(THUMBNAIL, "JPEG")
THUMBNAIL = THUMBNAIL.getvalue()
DATE, MAKER, ARTIST = "2020:01:02 03:04:05", "Maker", "Jörg Müller".encode()
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description rdf:about="" \
tiff:Orientation="6" dc:format="image/x"><tiff:Orientation>6</tiff:Orientation>
<xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:image="/9j/4AAQ"/></rdf:Alt></xmp:Thumbnails>
<dc:title>A title</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"""
CAPTION = b"\x1c\x02\x78\x00\x09A caption"
RESOURCES = b"".join(
    b"8BIM" + struct.pack(">H", number) + b"\0\0" + struct.pack(">I", len(value)) + value
    for number, value in ((0x0404, CAPTION + b"\0"), (0x040C, THUMBNAIL + b"\0" * 9))
    if len(value) % 2 == 0 or value.endswith(b"\0")
)
WRITTEN = (".png", ".jpg", ".webp", ".tif", ".bmp")


def exif(orientation=6):
    """EXIF as a camera writes it: a turn, a maker, a date, a place, and a thumbnail."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x013B] = orientation, MAKER, "ARTIST_IN_UTF8__"
    tags.get_ifd(EXIF)[0x9003] = DATE
    tags.get_ifd(EXIF)[0x927C] = b"a maker's note"
    tags.get_ifd(EXIF)[0xA002] = 30
    tags.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 14.5)})
    block = (
        tags.tobytes().removeprefix(b"Exif\0\0").replace(b"ARTIST_IN_UTF8__", ARTIST + b"\0" * 3)
    )
    # The second directory, at the end, and in it the place and length of the thumbnail.
    first = struct.unpack_from(">I", block, 4)[0]
    (count,) = struct.unpack_from(">H", block, first)
    link, end = first + 2 + 12 * count, len(block)
    entries = struct.pack(">HHII", 0x0201, 4, 1, end + 30) + struct.pack(
        ">HHII", 0x0202, 4, 1, len(THUMBNAIL)
    )
    block = block[:link] + struct.pack(">I", end) + block[link + 4 :]
    return block + struct.pack(">H", 2) + entries + b"\0\0\0\0" + THUMBNAIL


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def write(path, orientation=6):
    """Writes a picture with all metadata that its format can hold."""
    image = Image.fromarray(RGB)
    options = {"icc_profile": PROFILE, "dpi": (300, 300)}
    if path.suffix == ".jpg":
        image.save(path, quality=90, comment=b"A comment", **options)
        data = path.read_bytes()
        xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        parts = [segment(0xE1, b"Exif\0\0" + exif(orientation)), xmp]
        parts.append(segment(0xED, b"Photoshop 3.0\0" + RESOURCES))
        path.write_bytes(data[:2] + b"".join(parts) + data[2:])
    elif path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        text.add_text("Title", "A title")
        text.add_text("Comment", "A comment")
        text.add_text("exif:Orientation", "6")
        text.add_text(
            "Raw profile type iptc", f"\niptc\n{len(RESOURCES)}\n{RESOURCES.hex()}\n", zip=True
        )
        image.save(path, pnginfo=text, **options)
        head, *rest = png_chunks(path.read_bytes())
        path.write_bytes(join_png([head, (b"eXIf", exif(orientation)), *rest]))
    elif path.suffix == ".webp":
        image.save(path, lossless=True, exif=exif(orientation), xmp=XMP, icc_profile=PROFILE)
    elif path.suffix == ".tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274], tags[271], tags[700] = orientation, MAKER, XMP
        tags[33723], tags[34377] = CAPTION, RESOURCES
        tags[315] = "ARTIST_IN_UTF8__"
        tags[EXIF] = {0x9003: DATE, 0x927C: b"a maker's note"}
        tags[GPS] = {1: "N", 2: (48.0, 8.0, 14.5)}
        image.save(path, tiffinfo=tags, **options)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"ARTIST_IN_UTF8__", ARTIST + b"\0" * 3))
    else:
        image.save(path, dpi=(300, 300))


def make(folder, suffix, target, orientation=6):
    """Reads a picture with metadata and writes it as another format; both, and the content."""
    path, output = folder / f"in{suffix}", folder / f"out{target}"
    write(path, orientation)
    picture = pictures.read_picture(path)
    output.write_bytes(encode.encode(picture, picture.pixels, picture.alpha, target))
    return picture, pictures.read_picture(output), output.read_bytes()


PAIRS = list(itertools.product(WRITTEN, WRITTEN))


@pytest.mark.parametrize(("suffix", "target"), PAIRS)
def test_reading_an_output_again_changes_nothing(tmp_path, suffix, target):
    picture, again, content = make(tmp_path, suffix, target)
    assert picture.turned == (suffix != ".bmp")
    assert not again.turned
    assert again.warnings == []
    assert again.metadata.lost(again.kind) == []
    assert encode.encode(again, again.pixels, None, target) == content or target == ".jpg"
    if target == ".jpg":
        (tmp_path / "third.jpg").write_bytes(encode.encode(again, again.pixels, None, target))
        assert pictures.read_picture(tmp_path / "third.jpg").metadata == again.metadata
    else:
        np.testing.assert_array_equal(again.pixels, picture.pixels)


@pytest.mark.parametrize(("suffix", "target"), PAIRS)
def test_pillow_finds_all_that_both_formats_can_hold_and_no_orientation(tmp_path, suffix, target):
    picture, _, content = make(tmp_path, suffix, target)
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image)
        assert upright.size == image.size == picture.pixels.shape[1::-1]
        assert b"Orientation" not in content
        if ".webp" not in (suffix, target):
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        if ".bmp" in (suffix, target):
            return
        tags = image.getexif()
        assert tags.get(0x0112, 1) == 1
        assert tags[0x010F] == MAKER
        assert tags.get_ifd(EXIF)[0x9003] == DATE
        assert tags.get_ifd(EXIF)[0x927C] == b"a maker's note"
        assert tags.get_ifd(GPS)[2] == (48.0, 8.0, 14.5)
        assert ARTIST in content
        assert image.info["icc_profile"] == PROFILE
        assert b"A title" in content
        if target == ".jpg":
            assert image.info.get("comment") == (
                b"A comment" if suffix in (".jpg", ".png") else None
            )
        if target in (".jpg", ".tif") and suffix != ".webp":
            assert IptcImagePlugin.getiptcinfo(image)[2, 120] == b"A caption"


@pytest.mark.parametrize(("suffix", "target"), PAIRS)
def test_no_output_holds_a_picture_beside_itself(tmp_path, suffix, target):
    _, _, content = make(tmp_path, suffix, target)
    starts = content.count(b"\xff\xd8\xff")
    assert starts == (target == ".jpg")
    assert b"/9j/" not in content
    assert b"Thumbnails" not in content
    if target == ".png":
        for name, part in png_chunks(content):
            if name == b"zTXt":
                assert (
                    THUMBNAIL.hex() not in zlib.decompress(bytes(part).split(b"\0\0")[1]).decode()
                )


@pytest.mark.parametrize(
    ("suffix", "target", "lost"),
    [
        (".png", ".jpg", ["texts Title"]),
        (".png", ".webp", ["texts Title", "IPTC", "comment"]),
        (".jpg", ".tif", ["comment"]),
        (".jpg", ".png", []),
        (".tif", ".webp", ["IPTC"]),
        (".tif", ".bmp", ["EXIF", "XMP", "color profile", "IPTC"]),
    ],
)
def test_what_an_output_cannot_hold_is_named(tmp_path, suffix, target, lost):
    picture, _, _ = make(tmp_path, suffix, target)
    assert picture.metadata.lost(pictures.FORMATS[target]) == lost
    warning = encode.metadata_warning(picture, target)
    assert warning is None if not lost else all(name in warning for name in lost)


def test_only_xmp_saying_that_a_picture_is_turned_turns_it(tmp_path):
    write(tmp_path / "x.png")
    chunks = [c for c in png_chunks((tmp_path / "x.png").read_bytes()) if c[0] != b"eXIf"]
    (tmp_path / "x.png").write_bytes(join_png(chunks))
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = pictures.read_picture(tmp_path / "x.png")
    assert picture.turned
    np.testing.assert_array_equal(picture.pixels, expected)


def test_second_pictures_and_makers_notes_with_previews_are_left_out_with_a_warning(tmp_path):
    first, second = (Image.fromarray(RGB) for _ in range(2))
    first.save(tmp_path / "x.mpo", save_all=True, append_images=[second])
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.mpo").read_bytes())
    picture = pictures.read_picture(tmp_path / "x.jpg")
    assert picture.warnings == ["a second picture in the file is not kept"]
    content = encode.encode(picture, picture.pixels, None, ".jpg")
    assert content.count(b"\xff\xd8\xff") == 1
    tags = Image.Exif()
    tags[0x0112] = 1
    tags.get_ifd(EXIF)[0x927C] = b"OLYMP" + THUMBNAIL
    Image.fromarray(RGB).save(tmp_path / "y.png", exif=tags)
    picture = pictures.read_picture(tmp_path / "y.png")
    assert picture.warnings == ["its maker's note, which holds a picture, is not kept"]
    assert picture.metadata.exif is None


def test_exif_that_is_too_large_for_a_jpeg_loses_its_largest_tags_alone(tmp_path):
    tags = Image.Exif()
    tags[0x010F], tags[0x9C9C] = MAKER, b"x" * 40_000
    tags.get_ifd(EXIF).update({0x9003: DATE, 0x927C: b"y" * 50_000})
    Image.fromarray(RGB).save(tmp_path / "x.png", exif=tags)
    picture = pictures.read_picture(tmp_path / "x.png")
    assert picture.metadata.lost("JPEG") == ["the largest tags of EXIF over 64 KB"]
    with Image.open(io.BytesIO(encode.encode(picture, picture.pixels, None, ".jpg"))) as image:
        assert image.getexif()[0x010F] == MAKER
        assert len(image.getexif()[0x9C9C]) == 40_000
        assert dict(image.getexif().get_ifd(EXIF)) == {0x9003: DATE}


def test_a_text_longer_than_pillow_reads_is_kept(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Workflow", "x" * 3_000_000, zip=True)
    Image.fromarray(RGB).save(tmp_path / "x.png", pnginfo=text)
    picture = pictures.read_picture(tmp_path / "x.png")
    content = encode.encode(picture, picture.pixels, None, ".png")
    written = {name: bytes(part) for name, part in png_chunks(content)}
    assert zlib.decompress(written[b"zTXt"].removeprefix(b"Workflow\0\0")) == b"x" * 3_000_000


def test_a_raw_profile_of_exif_turns_the_picture_and_is_written_as_exif(tmp_path):
    block = b"Exif\0\0" + exif(6)
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type APP1", f"\ngeneric profile\n{len(block)}\n{block.hex()}\n")
    Image.fromarray(RGB).save(tmp_path / "x.png", pnginfo=text)
    picture = pictures.read_picture(tmp_path / "x.png")
    assert picture.pixels.shape == (30, 20, 3)
    content = encode.encode(picture, picture.pixels, None, ".png")
    assert b"Raw profile" not in content
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x010F] == MAKER


def test_a_profile_for_other_colors_than_the_output_has_is_not_kept(tmp_path):
    gray = bytearray(PROFILE)
    gray[16:20] = b"GRAY"
    Image.fromarray(RGB).save(tmp_path / "x.png", icc_profile=bytes(gray))
    assert pictures.read_picture(tmp_path / "x.png").metadata.icc is None
    Image.fromarray(RGB[..., 0]).save(tmp_path / "x.png", icc_profile=bytes(gray))
    assert pictures.read_picture(tmp_path / "x.png").metadata.icc == bytes(gray)
