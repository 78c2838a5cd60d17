import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from gsjax.data.containers import join_png, png_chunks
from gsjax.errors import UserError
from gsjax.inpainting import encode, pictures

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "Maker"
    tags.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    return tags


def write(path, kind):
    """Writes a file of a kind and returns what its pixels and alpha should be read as."""
    alpha = None
    if kind == "rgb":
        Image.fromarray(RGB).save(path)
    elif kind == "rgba":
        Image.fromarray(np.dstack([RGB, GRAY])).save(path, lossless=True, exact=True)
        return RGB, GRAY
    elif kind == "gray":
        Image.fromarray(GRAY).save(path)
    elif kind == "gray with alpha":
        Image.fromarray(np.dstack([GRAY, GRAY.T.reshape(20, 30)])).save(path)
        alpha = GRAY.T.reshape(20, 30)
    elif kind == "bits":
        Image.fromarray(GRAY > 99).save(path)
        return np.repeat((GRAY > 99)[..., None] * np.uint8(255), 3, -1), None
    elif kind == "palette":
        image = Image.fromarray(RGB).quantize(16)
        image.save(path)
        return np.asarray(image.convert("RGB")), None
    elif kind == "palette with a transparent color":
        image = Image.fromarray(RGB).quantize(16)
        image.save(path, transparency=3)
        return np.asarray(image.convert("RGB")), np.where(np.asarray(image) == 3, 0, 255)
    elif kind == "gray of 16 bits":
        Image.fromarray(DEEP[..., 0]).save(path)
        return np.repeat(DEEP[..., :1], 3, -1), None
    elif kind == "rgb of 16 bits":
        cv2.imwrite(str(path), DEEP[..., ::-1])
        return DEEP, None
    elif kind == "rgba of 16 bits":
        cv2.imwrite(str(path), np.dstack([DEEP[..., ::-1], DEEP[..., 0]]))
        return DEEP, DEEP[..., 0]
    return (RGB if kind == "rgb" else np.repeat(GRAY[..., None], 3, -1)), alpha


CASES = [
    ("rgb", "png"), ("rgb", "tif"), ("rgb", "bmp"), ("rgba", "png"), ("rgba", "webp"),
    ("rgba", "tif"), ("gray", "png"), ("gray", "tif"), ("gray", "bmp"),
    ("gray with alpha", "png"), ("gray with alpha", "tif"), ("bits", "png"), ("palette", "png"),
    ("palette with a transparent color", "png"), ("gray of 16 bits", "png"),
    ("gray of 16 bits", "tif"), ("rgb of 16 bits", "png"), ("rgb of 16 bits", "tif"),
    ("rgba of 16 bits", "png"), ("rgba of 16 bits", "tif"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_every_kind_of_pixels_comes_back_to_the_bit(tmp_path, kind, suffix):
    path = tmp_path / f"in.{suffix}"
    pixels, alpha = write(path, kind)
    read = pictures.read_picture(path)
    np.testing.assert_array_equal(read.pixels, pixels)
    again = tmp_path / f"out.{suffix}"
    again.write_bytes(encode.encode(read, read.pixels, read.alpha, f".{suffix}"))
    back = pictures.read_picture(again)
    assert back.pixels.dtype == read.pixels.dtype
    assert back.gray == read.gray
    np.testing.assert_array_equal(back.pixels, read.pixels)
    for one, other in ((read.alpha, alpha), (back.alpha, alpha)):
        np.testing.assert_equal(one, other)


def independently(path):
    """Reads a file with another program than the one that reads pictures: [h, w, channels]."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            return np.atleast_3d(file.asarray())
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.suffix == ".png" else None
    if values is None or values.dtype == np.uint8:
        with Image.open(path) as image:
            return np.atleast_3d(np.asarray(image))
    return np.atleast_3d(
        values if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]
    )


@pytest.mark.parametrize("target", [".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_known_pixels_are_the_inputs_in_every_lossless_format(tmp_path, kind, suffix, target):
    path, output = tmp_path / f"in.{suffix}", tmp_path / f"out{target}"
    pixels, alpha = write(path, kind)
    if (alpha is not None and target == ".bmp") or (
        pixels.dtype == np.uint16 and target in (".webp", ".bmp")
    ):
        pytest.skip(f"{target} cannot hold it")
    picture, known = pictures.read_picture(path), np.ones(pixels.shape[:2], bool)
    known[5:12, 7:19] = False
    filled = np.where(known[..., None], picture.pixels, 99).astype(pixels.dtype)
    output.write_bytes(encode.encode(picture, filled, picture.alpha, target))
    found = independently(output)
    colors = found[..., :3] if found.shape[2] > 2 else found[..., :1]
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(
        np.broadcast_to(colors, pixels.shape)[known], np.asarray(pixels)[known]
    )
    if alpha is not None:
        np.testing.assert_array_equal(found[..., -1], alpha)


def save_with_metadata(path, orientation=1):
    options = {"icc_profile": PROFILE, "dpi": (300, 300)}
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Title", "a picture")
        text.add_text("Long", "x" * 2000, zip=True)
        options["pnginfo"] = text
    if path.suffix == ".tif":
        tags = {270: "a picture", 33432: "somebody", 274: orientation}
        Image.fromarray(RGB).save(path, tiffinfo=tags, compression="tiff_lzw", **options)
        return
    if path.suffix == ".jpg":
        options |= {"quality": 71, "subsampling": 1, "comment": b"a picture"}
    if path.suffix == ".webp":
        options["lossless"] = True
    Image.fromarray(RGB).save(path, exif=exif(orientation), **options)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_profile_and_metadata_are_kept(tmp_path, suffix):
    path, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    save_with_metadata(path)
    read = pictures.read_picture(path)
    output.write_bytes(encode.encode(read, read.pixels, None, f".{suffix}"))
    with Image.open(path) as before, Image.open(output) as after:
        assert after.info["icc_profile"] == PROFILE
        if suffix != "webp":
            assert after.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        if suffix == "png":
            assert after.text == before.text
        if suffix == "jpg":
            assert after.info["comment"] == b"a picture"
            assert after.quantization == before.quantization
            assert after.layer == before.layer  # subsampling
        if suffix == "tif":
            assert (after.tag_v2[270], after.tag_v2[33432]) == ("a picture", "somebody")
            assert after.info["compression"] == "tiff_adobe_deflate"
        else:
            assert after.getexif()[0x010F] == "Maker"
            assert after.getexif().get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"


def test_metadata_goes_from_format_to_format(tmp_path):
    save_with_metadata(tmp_path / "in.jpg", 6)
    read = pictures.read_picture(tmp_path / "in.jpg")
    for suffix in ("png", "webp"):
        output = tmp_path / f"out.{suffix}"
        output.write_bytes(encode.encode(read, read.pixels, None, f".{suffix}"))
        with Image.open(output) as after:
            assert after.info["icc_profile"] == PROFILE
            assert after.getexif()[0x010F] == "Maker"
            np.testing.assert_array_equal(np.asarray(after), read.pixels)


def test_a_deep_tiff_keeps_its_profile_and_description(tmp_path):
    path, output = tmp_path / "in.tif", tmp_path / "out.tif"
    options = {"iccprofile": PROFILE, "description": "a picture", "resolution": (300, 300)}
    tifffile.imwrite(path, DEEP, photometric="rgb", **options)
    read = pictures.read_picture(path)
    output.write_bytes(encode.encode(read, read.pixels, None, ".tif"))
    with Image.open(output) as after:
        assert after.info["icc_profile"] == PROFILE
        assert after.tag_v2[270] == "a picture"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_are_turned_upright_and_stay_so(tmp_path, suffix, orientation):
    path, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    save_with_metadata(path, orientation)
    turned = orientation > 4
    read = pictures.read_picture(path)
    assert read.pixels.shape == ((30, 20, 3) if turned else (20, 30, 3))
    output.write_bytes(encode.encode(read, read.pixels, None, f".{suffix}"))
    again = pictures.read_picture(output)
    assert not again.turned
    np.testing.assert_array_equal(again.pixels, read.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bits_are_turned_as_8_are(tmp_path, orientation):
    deep = RGB.astype(np.uint16) * 257
    done, content = cv2.imencode(".png", deep[..., ::-1])
    assert done
    chunk = (b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    head, *rest = png_chunks(content.tobytes())
    (tmp_path / "deep.png").write_bytes(join_png([head, chunk, *rest]))
    save_with_metadata(tmp_path / "flat.png", orientation)
    read = [pictures.read_picture(tmp_path / f"{name}.png").pixels for name in ("deep", "flat")]
    np.testing.assert_array_equal(read[0], read[1].astype(np.uint16) * 257)
    assert (read[0].shape == (30, 20, 3)) == (orientation > 4)


def test_a_jpeg_keeps_its_quality_unless_told_another(tmp_path):
    save_with_metadata(tmp_path / "in.jpg")
    read = pictures.read_picture(tmp_path / "in.jpg")
    sizes = [
        len(encode.encode(read, read.pixels, None, ".jpg", quality)) for quality in (None, 5, 99)
    ]
    assert sizes[1] < sizes[0] < sizes[2]


def mask_file(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return pictures.read_mask(path)


def test_a_mask_is_hole_where_it_is_not_black(tmp_path):
    values = np.zeros((20, 30), np.uint8)
    values[3:9, 4:8], values[12, 12] = 255, 1
    expected = values > 0
    colored = np.zeros((20, 30, 3), np.uint8)
    colored[..., 2] = values
    painted = np.zeros((20, 30, 4), np.uint8)
    painted[..., 0], painted[..., 3] = 255, values
    transparent_white = np.full((20, 30, 2), 255, np.uint8)
    transparent_white[..., 1] = values
    for name, array in {
        "gray": values, "bits": expected, "colored": colored, "painted": painted,
        "deep": values.astype(np.uint16), "transparent": transparent_white,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(mask_file(tmp_path / f"{name}.png", array), expected, name)
    palette = Image.fromarray(values, "L").convert("P")
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "palette.png"), expected)


def test_a_lossy_mask_is_hole_where_it_is_brighter_than_half(tmp_path):
    values = np.zeros((40, 40), np.uint8)
    values[11:27, 9:30] = 255
    for name, options in {"x.jpg": {"quality": 60}, "x.webp": {"quality": 40}}.items():
        hole = mask_file(tmp_path / name, np.repeat(values[..., None], 3, -1), **options)
        np.testing.assert_array_equal(hole, values > 0)
        assert (pictures.read_mask(tmp_path / name, threshold=0) != hole).any()
    hole = mask_file(tmp_path / "y.webp", np.repeat(values[..., None] // 255, 3, -1), lossless=True)
    np.testing.assert_array_equal(hole, values > 0)


def test_soft_masks_are_cut_at_the_threshold(tmp_path):
    values = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    assert mask_file(tmp_path / "soft.png", values).sum() == 2 * 255
    assert pictures.read_mask(tmp_path / "soft.png", threshold=127).sum() == 2 * 128
    deep = values.astype(np.uint16) * 257
    mask_file(tmp_path / "deep.png", deep)
    assert pictures.read_mask(tmp_path / "deep.png", threshold=127).sum() == 2 * 128


def test_a_mask_is_turned_by_its_orientation(tmp_path):
    values = np.zeros((20, 30), np.uint8)
    values[:5] = 255
    assert mask_file(tmp_path / "x.png", values, exif=exif(6)).shape == (30, 20)


def test_what_a_file_cannot_hold_is_refused_or_told(tmp_path):
    write(tmp_path / "x.png", "rgba of 16 bits")
    read = pictures.read_picture(tmp_path / "x.png")
    for suffix in (".jpg", ".bmp"):
        with pytest.raises(UserError, match="has no alpha channel; write a"):
            encode.encode(read, read.pixels, read.alpha, suffix)
    assert "8 bits" in encode.lossy_warning(read, ".webp")
    assert "lossy" in encode.lossy_warning(read, ".jpg")
    assert encode.lossy_warning(read, ".tif") is None
    wide = np.zeros((1, 20000, 3), np.uint8)
    with pytest.raises(UserError, match="cannot be written as WEBP"):
        encode.encode(read, wide, None, ".webp")
