import os
import pickle

import numpy as np
import pytest
from PIL import Image

from gsjax.data.sources import (
    PHOTOS,
    FileSource,
    UnreadableImage,
    open_source,
    require_readable,
    unlisted_files,
)
from gsjax.errors import UserError


def save(path, size=(20, 16), color=(200, 100, 50), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def read_image(path):
    return FileSource([str(path)])[0]


def error(spec, help=""):
    with pytest.raises(UserError) as caught:
        open_source(spec, "train", "data.train", help)
    return str(caught.value)


def test_photos_are_readable_and_no_picture_is_in_both_splits():
    assert not set(PHOTOS["train"]) & set(PHOTOS["validation"])
    for split in ("train", "validation"):
        source = open_source("photos", split, "data.train")
        assert len(source) == len(PHOTOS[split])
        assert source[0].dtype == np.uint8
        assert source[0].shape[2] == 3
        assert source[0] is source[0]  # decoded once


def test_a_folder_is_recursive_sorted_and_without_hidden_files(tmp_path):
    for name in ("b.PNG", "a/z.jpeg", "a/c.tif", ".hidden.png", ".git/d.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    source = open_source(f"folder:{tmp_path}", "train", "data.train")
    names = [os.path.relpath(source.name(i), tmp_path) for i in range(len(source))]
    assert names == ["a/c.tif", "a/z.jpeg", "b.PNG"]


def test_list_paths_are_relative_to_the_list(tmp_path):
    save(tmp_path / "deep" / "one.png")
    other = save(tmp_path / "other.png")
    file = tmp_path / "deep" / "train.txt"
    file.write_text(f"# mine\n\n one.png \n{other}\n")
    source = open_source(f"list:{file}", "train", "data.train")
    assert [source[i].shape for i in range(len(source))] == [(16, 20, 3)] * 2


def test_a_source_survives_pickling(tmp_path):
    save(tmp_path / "a.png")
    source = pickle.loads(pickle.dumps(open_source(f"folder:{tmp_path}", "train", "x")))
    np.testing.assert_array_equal(source[0][0, 0], (200, 100, 50))


def test_errors_name_the_field_and_help(tmp_path):
    message = error("folder:/nowhere/at/all", "Get it from the moon.")
    assert message.startswith("data.train: the folder '/nowhere/at/all' does not exist\n")
    assert "\nGet it from the moon.\n" in message
    assert "--config.data.train=folder:DIR" in message
    assert "holds no images" in error(f"folder:{tmp_path}")
    assert "did you mean photos" in error("photo")
    assert "list:FILE" in error("tfd:celeb_a")
    assert f"did you mean folder:{tmp_path}" in error(str(tmp_path))
    assert "no data is named" in error("")
    assert "does not exist" in error(f"list:{tmp_path}/none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    assert "names no image" in error(f"list:{tmp_path}/empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\x89PNG\0\xff")
    assert "not a text file" in error(f"list:{tmp_path}/binary.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in error(f"list:{tmp_path}/pipe.txt")


def test_unreadable_files_say_why(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no image")
    save(tmp_path / "tiny.png", size=(1, 1))
    os.mkfifo(tmp_path / "pipe.png")  # which nobody writes to
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    reasons = {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "text.png": "not an image",
        "tiny.png": "1x1 pixels",
        "missing.png": "does not exist",
        "pipe.png": "not a regular file",
        "zero.png": "not a regular file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImage) as caught:
            read_image(tmp_path / name)
        assert caught.value.name == str(tmp_path / name)
        assert reason in caught.value.reason
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_one_readable_image_is_required(tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    source = open_source(f"folder:{tmp_path}", "train", "data.train")
    with pytest.raises(UserError, match=r"(?s)^none of its 1 .*broken\.png: not"):
        require_readable(source)
    save(tmp_path / "good.png")
    require_readable(open_source(f"folder:{tmp_path}", "train", "data.train"))


def test_exif_orientation_turns_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn a quarter clockwise
    image = Image.new("RGB", (20, 16), "black")
    image.paste("white", (0, 0, 10, 16))  # the left half becomes the upper half
    image.save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.shape == (20, 16, 3)
    assert upright[:10].min() == 255
    assert upright[10:].max() == 0


def test_every_pixel_format_becomes_rgb(tmp_path):
    plain = Image.new("RGB", (16, 16), (200, 100, 50))
    half = Image.fromarray(np.full((16, 16), 128 * 257, np.uint16))
    see_through = Image.new("RGBA", (16, 16), (200, 100, 50, 0))
    cases = {
        "gray.png": (Image.new("L", (16, 16), 77), (77, 77, 77)),
        "bits.png": (Image.new("1", (16, 16), 1), (255, 255, 255)),
        "deep.png": (half, (128, 128, 128)),
        "deep.tif": (half, (128, 128, 128)),
        "float.tif": (Image.fromarray(np.full((16, 16), 0.5, np.float32)), (128, 128, 128)),
        "palette.png": (plain.quantize(4), (200, 100, 50)),
        "alpha.png": (see_through, (255, 255, 255)),
        "cmyk.tif": (plain.convert("CMYK"), (200, 100, 50)),
    }
    for name, (image, color) in cases.items():
        image.save(tmp_path / name)
        pixels = read_image(tmp_path / name)
        assert pixels.shape == (16, 16, 3)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - color).max() <= 2, name


def test_files_that_are_not_read_are_counted_and_the_first_picture_is_named(tmp_path):
    save(tmp_path / "a.png")
    assert unlisted_files(tmp_path) is None
    (tmp_path / "a.txt").write_text("no picture")
    (tmp_path / "b.heic").write_bytes(b"")
    text = unlisted_files(tmp_path)
    if text.startswith("2 files are none of"):  # without pillow-heif
        assert text.endswith("b.heic: it is HEIC; to read it: pip install pillow-heif")
    else:
        assert text.startswith("1 file is none of")
        assert text.endswith("a.txt")
