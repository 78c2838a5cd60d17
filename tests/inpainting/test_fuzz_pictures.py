"""Damaged files: each is filled, or refused in one line, in little time and memory."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gsjax.errors import UserError
from gsjax.inpainting import batch
from gsjax.inpainting.encode import encode
from gsjax.inpainting.pairing import Job
from gsjax.inpainting.pictures import read_picture

ROOT = Path(__file__).parents[2]
SIZE = (40, 52)
SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp")
HOLE = np.zeros(SIZE, bool)
HOLE[15:25, 20:30] = True
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]
FLAT = np.stack([5 * X, 6 * Y, 255 - 3 * X - 2 * Y, 255 - 4 * X], -1).astype(np.uint8)


def seeds():
    """Valid files by suffix: of several depths, channels and compressions, with metadata."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 1, "Maker"
    tags.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    images = [Image.fromarray(FLAT[..., :3]), Image.fromarray(FLAT), Image.fromarray(FLAT[..., 0])]
    images.append(images[0].quantize(16))
    found = {suffix: [] for suffix in SUFFIXES}

    def add(suffix, image, **options):
        content = io.BytesIO()
        kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        image.save(content, kind, **options)
        found[suffix].append(content.getvalue())

    for image in images:
        add(".png", image, exif=tags)
    add(".png", Image.fromarray(FLAT[..., 0].astype(np.uint16) * 257))
    for mode in ("RGB", "L", "CMYK"):
        add(".jpg", images[0].convert(mode), exif=tags)
    add(".jpg", images[0], progressive=True)
    for options in ({"lossless": True}, {"quality": 50}):
        add(".webp", images[1], exif=tags, **options)
    for compression in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate"):
        add(".tif", images[0], compression=compression)
    add(".tif", images[2].convert("1"), compression="group4")
    for options in ({"planarconfig": "separate"}, {"compression": "zlib", "tile": (16, 16)}):
        content, deep = io.BytesIO(), FLAT[..., :3].astype(np.uint16) * 257
        planar = "planarconfig" in options
        array = np.moveaxis(deep, -1, 0) if planar else deep
        tifffile.imwrite(content, array, photometric="rgb", byteorder=">", **options)
        found[".tif"].append(content.getvalue())
    for image in (images[0], images[2], images[3], images[2].convert("1")):
        add(".bmp", image)
    return found


def damaged(rng, data):
    """Flips bytes, mostly near the start, where the structure is, cuts, or moves parts about."""
    data = bytearray(data)
    way = rng.integers(6)
    if way <= 2:
        reach = len(data) if way == 2 else min(len(data), 400)
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(reach)] = rng.integers(256)
    elif way == 3:
        data = data[: rng.integers(1, len(data))]
    else:
        start, middle, end = sorted(rng.integers(0, len(data) + 1, 3))
        if way == 4:  # in another order
            data = data[:start] + data[middle:end] + data[start:middle] + data[end:]
        else:  # left out, or twice
            data = data[:middle] + data[start if rng.integers(2) else end :]
    return bytes(data)


def files(rng, count):
    """Yields suffixes and damaged contents."""
    valid = seeds()
    for number in range(count):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        chosen = valid[suffix][rng.integers(len(valid[suffix]))]
        yield suffix, damaged(rng, chosen)


def fill(painter, folder, number, suffix, data):
    """Fills a file and returns what was said, None if it was filled."""
    image, output = folder / f"{number}{suffix}", folder / "out" / f"{number}.png"
    image.write_bytes(data)
    start = time.monotonic()
    said = None
    try:
        batch.fill_file(lambda: painter, Job(image, folder / "mask.png", output), batch.Options())
    except UserError as error:
        said = str(error)
    else:
        with Image.open(output) as written:
            written.load()
    assert said is None or ("\n" not in said and not output.exists())
    assert not list(output.parent.glob(".*"))
    assert time.monotonic() - start < 20
    image.unlink()
    return said


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(HOLE * np.uint8(255)).save(tmp_path / "mask.png")
    (tmp_path / "out").mkdir()
    return tmp_path


def test_damaged_files_are_read_and_written_again_or_refused_in_a_line(tmp_path):
    refused = []
    for _, data in files(np.random.default_rng(0), 100):
        (tmp_path / "x").write_bytes(data)
        try:
            picture = read_picture(tmp_path / "x")
        except UserError as error:
            refused.append(str(error))
            continue
        for target in (".png", ".tif"):
            encode(picture, picture.pixels, picture.alpha, target)
    assert 10 < len(refused) < 90
    assert not [text for text in refused if "\n" in text]


_WITHIN_A_GIGABYTE = """
import pathlib, resource, sys
import numpy as np
from gsjax.inpainting.painter import Inpainter
from tests.inpainting import test_fuzz_pictures
checkpoint, folder = sys.argv[1], pathlib.Path(sys.argv[2])
painter, said = Inpainter.load(checkpoint, deep="network"), []
painter(np.zeros((*test_fuzz_pictures.SIZE, 3), np.uint8), test_fuzz_pictures.HOLE)  # compiles
for number, (suffix, data) in enumerate(test_fuzz_pictures.files(np.random.default_rng(1), 2000)):
    print(number, suffix, file=sys.stderr, flush=True)
    said.append(test_fuzz_pictures.fill(painter, folder, number, suffix, data))
print(said.count(None), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_two_thousand_damaged_files_are_filled_or_refused_within_a_gigabyte(folder, checkpoint):
    command = [sys.executable, "-c", _WITHIN_A_GIGABYTE, str(checkpoint), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    filled, kilobytes = map(int, done.stdout.split()[-2:])
    print(f"{filled} filled, {2000 - filled} refused, {kilobytes / 1e6:.2f} GB")
    assert 200 < filled < 1800
    assert kilobytes < 1e6


@pytest.mark.slow
def test_damaged_files_end_the_command_with_2_and_one_line(folder, checkpoint):
    listed, names = [], []
    for number, (suffix, data) in enumerate(files(np.random.default_rng(2), 100)):
        image, output = folder / f"{number}{suffix}", folder / "out" / f"{number}.png"
        image.write_bytes(data)
        names.append(output)
        options = {"checkpoint": checkpoint, "image": image, "output": output}
        options["mask"] = folder / "mask.png"
        listed.append([f"--{name}={value}" for name, value in options.items()])
    (folder / "commands.json").write_text(json.dumps(listed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.inpainting.commands", str(folder / "commands.json")],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stray = [line for line in done.stderr.splitlines() if not line.startswith("WARNING:absl:")]
    assert stray == []  # decoders are silent too
    for (code, _, stderr), output in zip(json.loads(done.stdout), names, strict=True):
        assert code in (0, 2), stderr
        assert output.exists() == (code == 0)
        assert "Traceback" not in stderr
        errors = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
        assert [line.startswith("error: ") for line in errors] == [True] * (code == 2)
