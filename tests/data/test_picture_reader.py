"""The reader of pictures against what other programs write and read."""

import io
import itertools
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from gsjax.data.containers import Refused, join_png, png_chunks
from gsjax.data.reader import read

HEIGHT, WIDTH = 21, 34
DEEP = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)
DEEP[:6] = 777  # something to compress
FLAT = (DEEP >> 8).astype(np.uint8)


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def check(data, pixels, alpha=None):
    raster = read(data)
    assert raster.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(raster.pixels, pixels)
    np.testing.assert_equal(raster.alpha, alpha)


LAYOUTS = list(
    itertools.product(
        (FLAT, DEEP), (1, 2, 3, 4), ("contig", "separate"), "<>", (None, (16, 32)),
        (None, "zlib", "lzma"), (False, True), (False, True), ("minisblack", "miniswhite"),
    )
)  # fmt: skip
LAYOUTS = [LAYOUTS[i] for i in np.random.default_rng(1).permutation(len(LAYOUTS))[:160]]


@pytest.mark.parametrize("part", range(4))
def test_tiffs_of_all_layouts_are_read_to_the_bit(part):
    for layout in LAYOUTS[part::4]:
        values, channels, planes, order, tile, compression, predictor, big, photometric = layout
        if predictor and compression is None:
            continue
        array = values[..., :channels]
        content = io.BytesIO()
        tifffile.imwrite(
            content,
            np.moveaxis(array, -1, 0) if planes == "separate" and channels > 1 else array.squeeze(),
            byteorder=order, bigtiff=big, tile=tile, compression=compression, predictor=predictor,
            photometric=photometric if channels < 3 else "rgb", metadata=None,
            planarconfig=planes if channels > 1 else None, rowsperstrip=None if tile else 5,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )  # fmt: skip
        colors = array[..., :3] if channels > 2 else array[..., 0]
        if photometric == "miniswhite" and channels < 3:
            colors = np.iinfo(array.dtype).max - colors
        check(content.getvalue(), colors, array[..., -1] if channels in (2, 4) else None)


@pytest.mark.parametrize(
    "compression",
    ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "tiff_ccitt", "zstd"],
)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_tiffs_of_pillow_look_as_pillow_shows_them(capfd, mode, compression):
    gray = Image.fromarray(FLAT[..., 0])
    image = (gray if mode in ("1", "LA") else Image.fromarray(FLAT[..., :3])).convert(
        mode if mode != "I;16" else "RGB"
    )
    if mode == "I;16":
        image = Image.fromarray(DEEP[..., 0])
    try:
        data = encoded(image, "TIFF", compression=compression)
    except OSError:
        pytest.skip(f"libtiff writes no {mode} with {compression}")
    with Image.open(io.BytesIO(data)) as shown:
        if mode == "I;16":
            check(data, np.asarray(shown))
        elif mode in ("LA", "RGBA"):
            values = np.asarray(shown.convert(mode))
            check(data, values[..., :-1].squeeze(), values[..., -1])
        else:
            check(data, np.asarray(shown.convert("L" if mode in ("1", "L") else "RGB")))


def test_premultiplied_alpha_is_read_as_pillow_reads_it():
    flat = io.BytesIO()
    stored = np.dstack([np.minimum(FLAT[..., :3], FLAT[..., 3:]), FLAT[..., 3]])
    tifffile.imwrite(flat, stored, photometric="rgb", extrasamples=["assocalpha"])
    data = flat.getvalue()
    with Image.open(io.BytesIO(data)) as shown:
        values = np.asarray(shown.convert("RGBA"))
    check(data, values[..., :3], values[..., 3])
    deep = io.BytesIO()
    premultiplied = DEEP.copy()
    premultiplied[..., :3] = DEEP[..., :3].astype(np.uint64) * DEEP[..., 3:] // 65535
    tifffile.imwrite(deep, premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    raster = read(deep.getvalue())
    visible = DEEP[..., 3] > 4096
    error = raster.pixels[visible].astype(int) - DEEP[..., :3][visible]
    assert abs(error).max() <= 16  # what 16 bits leave of a sixteenth
    assert any("premultiplied" in note for note in raster.notes)


@pytest.mark.skipif(not shutil.which("tiffcp"), reason="libtiff's tools are not installed")
@pytest.mark.parametrize("values", [FLAT, DEEP], ids=["8", "16"])
def test_tiffs_of_libtiffs_tools_are_read_to_the_bit(tmp_path, values):
    for channels in (1, 3, 4):
        array = values[..., :channels]
        extra = ["unassalpha"] if channels == 4 else None
        kind = "rgb" if channels > 1 else "minisblack"
        tifffile.imwrite(tmp_path / "a.tif", array.squeeze(), photometric=kind, extrasamples=extra)
        for options in (
            "-c lzw", "-c lzw:2 -B", "-c zip:2", "-t -w 16 -l 32 -c lzw", "-f lsb2msb -c lzw",
            "-f lsb2msb", "-c zstd", "-c lzma", "-p separate -t -w 16 -l 16 -B -c zip",
        ):  # fmt: skip
            command = ["tiffcp", *options.split(), str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
            if subprocess.run(command, capture_output=True).returncode == 0:
                alpha = array[..., 3] if channels == 4 else None
                colors = array[..., 0] if channels == 1 else array[..., :3]
                check((tmp_path / "b.tif").read_bytes(), colors, alpha)


def png(values, depth, color, *extra):
    """A PNG of [h, w, c] values by the book: no filter, one chunk of pixels."""
    height, width = values.shape[:2]
    bits = np.unpackbits(values.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=-1)
    rows = np.packbits(bits[..., 16 - depth :].reshape(height, -1), axis=1)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = (b"IDAT", zlib.compress(rows.tobytes()))
    return join_png([(b"IHDR", head), *extra, pixels, (b"IEND", b"")])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_pngs_of_all_depths_are_read_to_the_bit_with_their_transparent_color(depth):
    values = DEEP[..., :3] >> (16 - depth)
    scale = 255 // (2**depth - 1) if depth < 8 else 1
    dtype = np.uint16 if depth == 16 else np.uint8
    full = np.iinfo(dtype).max
    gray = values[..., :1]
    shown = (gray[..., 0] * scale).astype(dtype)
    check(png(gray, depth, 0), shown)
    key = gray[9, 9, 0]
    alpha = np.where(gray[..., 0] == key, 0, full).astype(dtype)
    check(png(gray, depth, 0, (b"tRNS", struct.pack(">H", key))), shown, alpha)
    if depth <= 8:
        palette = FLAT.reshape(-1, 4)[-256:][: 2**depth]
        parts = (b"PLTE", palette[:, :3].tobytes()), (b"tRNS", palette[:2, 3].tobytes())
        alphas = np.append(palette[:2, 3], np.full(254, 255, np.uint8))
        check(png(gray, depth, 3, *parts), palette[gray[..., 0], :3], alphas[gray[..., 0]])
    if depth >= 8:
        colors = values.astype(dtype)
        key = colors[9, 9]
        alpha = np.where((colors == key).all(-1), 0, full).astype(dtype)
        check(png(values, depth, 2, (b"tRNS", key.astype(">u2").tobytes())), colors, alpha)
        four = DEEP >> (16 - depth)
        check(png(four, depth, 6), colors, four[..., 3].astype(dtype))
        check(png(four[..., 1:3], depth, 4), *np.moveaxis(four[..., 1:3].astype(dtype), -1, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_turns_pixels_as_pillow_does(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    for kind in ("PNG", "JPEG", "WEBP"):
        data = encoded(Image.fromarray(FLAT[..., :3]), kind, exif=tags)
        with Image.open(io.BytesIO(data)) as shown:
            check(data, np.asarray(ImageOps.exif_transpose(shown)))
    content = io.BytesIO()
    options = {"photometric": "rgb", "extratags": [(274, "H", 1, orientation, True)]}
    tifffile.imwrite(content, DEEP[..., :3], **options)
    flat = encoded(Image.fromarray(FLAT[..., :3]), "PNG", exif=tags)
    check(content.getvalue(), read(content.getvalue()).pixels)
    np.testing.assert_array_equal(read(content.getvalue()).pixels >> 8, read(flat).pixels)


def test_what_is_cut_off_is_refused_and_never_filled_with_other_memory():
    deep_tiff, deep_png = io.BytesIO(), png(DEEP[..., :3], 16, 2)
    tifffile.imwrite(deep_tiff, np.moveaxis(DEEP[..., :3], -1, 0), photometric="rgb", metadata=None)
    lzw = encoded(Image.fromarray(FLAT[..., :3]), "TIFF", compression="tiff_lzw")
    jpeg = encoded(Image.fromarray(FLAT[..., :3]), "JPEG")
    for data in (deep_tiff.getvalue(), deep_png, lzw, jpeg):
        for end in range(20, len(data) - 20, len(data) // 23):
            with pytest.raises(Refused):
                read(data[:end])


def test_a_damaged_fax_is_refused_and_nothing_is_printed(capfd):
    data = encoded(Image.fromarray(FLAT[..., 0] > 99), "TIFF", compression="group4")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages[0].dataoffsets[0]
    refused = 0
    for place in range(start, start + 40):
        wrong = bytearray(data)
        wrong[place] ^= 0x5A
        try:
            read(bytes(wrong))
        except Refused:
            refused += 1
    assert refused > 20
    assert capfd.readouterr() == ("", "")


def test_a_chunk_of_pixels_with_a_wrong_checksum_is_refused():
    data = bytearray(png(DEEP[..., :3], 16, 2))
    data[data.index(b"IDAT") + 100] ^= 1
    with pytest.raises(Refused, match="checksum"):
        read(bytes(data))


def test_more_pixels_than_are_allowed_are_refused_before_they_are_decoded():
    head, *rest = png_chunks(encoded(Image.new("1", (20, 20)), "PNG"))
    claimed = struct.pack(">II", 20_000, 20_000) + bytes(head[1])[8:]
    data = join_png([(b"IHDR", claimed), *rest])
    with pytest.raises(Refused, match=r"20000×20000 .* --max_pixels"):
        read(data)
    small = encoded(Image.new("L", (40, 40)), "TIFF")
    assert read(small, max_pixels=1600).pixels.shape == (40, 40)
    with pytest.raises(Refused, match="1,599"):
        read(small, max_pixels=1599)


@pytest.mark.slow
def test_a_picture_may_be_one_large_strip():
    wide = np.zeros((9_000, 10_000, 3), np.uint8)
    wide[::1000, ::999] = 7
    content = io.BytesIO()
    tifffile.imwrite(content, wide, photometric="rgb", rowsperstrip=9_000, metadata=None)
    check(content.getvalue(), wide)


def test_kinds_that_cannot_be_shown_rightly_are_refused():
    for values, options in (
        (FLAT[..., 0].astype(np.int16), {}),
        (DEEP[..., 0].astype(np.uint32), {}),
        (DEEP[..., :3], {"photometric": "cielab"}),
        (FLAT[..., 0], {"photometric": "cfa"}),
    ):
        content = io.BytesIO()
        tifffile.imwrite(content, values, **options)
        with pytest.raises(Refused):
            read(content.getvalue())
