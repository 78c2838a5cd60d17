"""What the command gives for bad and odd inputs, case by case."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gsjax.inpainting.exemplar import copy_deep
from gsjax.inpainting.pictures import read_picture
from tests import quick

ROOT = Path(__file__).parents[2]
OK, SOME_FAILED, MISTAKE = 0, 1, 2

# Name: arguments (without --checkpoint, if it is the good one), exit code, what is said.
# {d} is the folder of inputs, {o} one for outputs, of the case's own.
IMAGE, MASK, OUT = "--image={d}/x.png", "--mask={d}/mask.png", "--output={o}/y.png"
CASES = {
    # Flags.
    "nothing is given": ([], MISTAKE, ["--image is missing"]),
    "no image": ([MASK, OUT], MISTAKE, ["--image is missing"]),
    "no output": ([IMAGE, MASK], MISTAKE, ["--output is missing"]),
    "an empty image": (["--image=", MASK, OUT], MISTAKE, ["--image: it is empty"]),
    "an empty mask": ([IMAGE, "--mask=", OUT], MISTAKE, ["--mask: it is empty"]),
    "an empty output": ([IMAGE, MASK, "--output="], MISTAKE, ["--output: it is empty"]),
    "a mistyped flag": ([IMAGE, MASK, OUT, "--treshold=3"], MISTAKE, ["mean --threshold?"]),
    "an argument without dashes": ([IMAGE, MASK, OUT, "x"], MISTAKE, ["argument 'x'"]),
    "threshold 255": ([IMAGE, MASK, OUT, "--threshold=255"], MISTAKE, ["from 0 to 254"]),
    "threshold -1": ([IMAGE, MASK, OUT, "--threshold=-1"], MISTAKE, ["from 0 to 254"]),
    "threshold half": ([IMAGE, MASK, OUT, "--threshold=half"], MISTAKE, ["--threshold=half"]),
    "quality 0": ([IMAGE, MASK, OUT, "--quality=0"], MISTAKE, ["from 1 to 100"]),
    "batch size 0": ([IMAGE, MASK, OUT, "--batch_size=0"], MISTAKE, ["from 1 to 4096"]),
    "deep both": ([IMAGE, MASK, OUT, "--deep=both"], MISTAKE, ["exemplar|network"]),
    "an empty avoid": ([IMAGE, MASK, OUT, "--avoid="], MISTAKE, ["--avoid: it is empty"]),
    "no avoid there": ([IMAGE, MASK, OUT, "--avoid={d}/no.png"], MISTAKE, ["does not exist"]),
    "an avoid of another size": (
        [IMAGE, MASK, OUT, "--avoid={d}/1x90.png"], MISTAKE, ["1x90.png: the mask is 90×1 pixels"]
    ),
    "a deep hole": (["--image={d}/wide.png", "--mask={d}/wide_mask.png", OUT], OK, []),
    "a deep hole and all to be avoided": (
        ["--image={d}/wide.png", "--mask={d}/wide_mask.png", OUT, "--avoid={d}/wide_all.png"],
        OK,
        [],
    ),
    "format gif": ([IMAGE, MASK, OUT, "--format=gif"], MISTAKE, ["not one of png, jpg, webp, tif"]),
    "format against output": ([IMAGE, MASK, OUT, "--format=jpg"], MISTAKE, ["does not fit"]),
    "shard 2/2": (
        ["--image={d}/good", "--mask={d}/masks", "--output={o}", "--shard=2/2"],
        MISTAKE,
        ["I from 0 to N-1"],
    ),
    "shard of words": (
        ["--image={d}/good", "--mask={d}/masks", "--output={o}", "--shard=first"],
        MISTAKE,
        ["'first' is not I/N"],
    ),
    "shard of one image": ([IMAGE, MASK, OUT, "--shard=0/2"], MISTAKE, ["--shard: one image"]),
    # Checkpoints.
    "no checkpoint there": (
        ["--checkpoint={d}/nowhere", IMAGE, MASK, OUT], MISTAKE, ["there is no folder", "workdir"]
    ),
    "the name of no weights": (
        ["--checkpoint=phtos", IMAGE, MASK, OUT],
        MISTAKE,
        ["no folder 'phtos'", "did you mean photos?"],
    ),
    "an empty checkpoint": (["--checkpoint=", IMAGE, MASK, OUT], MISTAKE, ["it is empty"]),
    "a file as checkpoint": (
        ["--checkpoint={d}/x.png", IMAGE, MASK, OUT], MISTAKE, ["is a file; give a run's workdir"]
    ),
    "a folder without checkpoint": (
        ["--checkpoint={d}/good", IMAGE, MASK, OUT], MISTAKE, ["holds no finished checkpoint"]
    ),
    "a checkpoint without config": (
        ["--checkpoint={d}/no_config", IMAGE, MASK, OUT], MISTAKE, ["config.json"]
    ),
    "a config that is broken": (
        ["--checkpoint={d}/bad_config", IMAGE, MASK, OUT], MISTAKE, ["is not a run's config"]
    ),
    "a config of another model": (
        ["--checkpoint={d}/other_config", IMAGE, MASK, OUT], MISTAKE, ["another architecture"]
    ),
    "a config without a model": (
        ["--checkpoint={d}/empty_config", IMAGE, MASK, OUT], MISTAKE, ["does not describe"]
    ),
    # Images.
    "no image there": (["--image={d}/no.png", MASK, OUT], MISTAKE, ["no.png: it does not exist"]),
    "a text": (["--image={d}/text.png", MASK, OUT], MISTAKE, ["text.png: it is not a PNG, JPEG"]),
    "an empty file": (["--image={d}/empty.png", MASK, OUT], MISTAKE, ["the file is empty"]),
    "a cut JPEG": (["--image={d}/cut.jpg", MASK, OUT], MISTAKE, ["cut.jpg: ", "truncated"]),
    "a cut PNG": (["--image={d}/cut.png", MASK, OUT], MISTAKE, ["cut.png: "]),
    "a cut TIFF of 16 bits": (["--image={d}/cut.tif", MASK, OUT], MISTAKE, ["cut.tif: "]),
    "a PNM": (["--image={d}/x.ppm", MASK, OUT], MISTAKE, ["x.ppm: it is not a PNG, JPEG, WebP"]),
    "a GIF": (["--image={d}/x.gif", MASK, OUT], OK, ["first of its 2 frames"]),
    "an AVIF": (["--image={d}/x.avif", MASK, OUT], OK, []),
    "a HEIC without its decoder": (
        ["--image={d}/x.heic", MASK, OUT], MISTAKE, ["pip install pillow-heif"]
    ),
    "more pixels than are allowed": (
        [IMAGE, MASK, OUT, "--max_pixels=1000"], MISTAKE, ["40×30", "--max_pixels"]
    ),
    "a PNG named JPEG": (["--image={d}/png.jpg", MASK, OUT], OK, []),
    "floating-point pixels": (["--image={d}/float.tif", MASK, OUT], MISTAKE, ["floating-point"]),
    "32-bit pixels": (["--image={d}/i32.tif", MASK, OUT], MISTAKE, ["32-bit pixels"]),
    "CMYK": (["--image={d}/cmyk.jpg", MASK, OUT], OK, ["it is CMYK and becomes RGB"]),
    "several frames": (["--image={d}/frames.tif", MASK, OUT], OK, ["first of its 3 frames"]),
    "gray": (["--image={d}/gray.png", MASK, OUT], OK, []),
    "one bit": (["--image={d}/bits.png", MASK, OUT], OK, []),
    "a palette": (["--image={d}/palette.png", MASK, OUT], OK, []),
    "16 bits": (["--image={d}/deep.png", MASK, OUT], OK, []),
    "16 bits to WebP": (
        ["--image={d}/deep.png", MASK, "--output={o}/y.webp"], OK, ["8 bits a channel"]
    ),
    "alpha": (["--image={d}/alpha.png", MASK, OUT], OK, []),
    "alpha to JPEG": (
        ["--image={d}/alpha.png", MASK, "--output={o}/y.jpg"], MISTAKE, ["JPEG has no alpha"]
    ),
    "turned by EXIF": (["--image={d}/turned.jpg", "--mask={d}/tall.png", OUT], OK, []),
    "turned, mask is not": (
        ["--image={d}/turned.jpg", MASK, OUT], MISTAKE, ["turned by 90°"]
    ),
    "one pixel": (["--image={d}/1x1.png", "--mask={d}/1x1.png", OUT], OK, ["whole image"]),
    "a line of pixels": (["--image={d}/1x90.png", "--mask={d}/1x90_mask.png", OUT], OK, []),
    "to JPEG": ([IMAGE, MASK, "--output={o}/y.jpg"], OK, ["JPEG is lossy"]),
    "JPEG at quality 30": ([IMAGE, MASK, "--output={o}/y.jpg", "--quality=30"], OK, []),
    "a name in Unicode": (["--image={d}/ünï 画.png", MASK, "--output={o}/ö.png"], OK, ["ö.png"]),
    # Masks.
    "no mask there": ([IMAGE, "--mask={d}/no.png", OUT], MISTAKE, ["no.png: it does not exist"]),
    "a mask that is text": ([IMAGE, "--mask={d}/text.png", OUT], MISTAKE, ["text.png: it is not"]),
    "a mask of another size": (
        [IMAGE, "--mask={d}/1x90.png", OUT], MISTAKE, ["the mask is 90×1 pixels and"]
    ),
    "a mask that is turned": ([IMAGE, "--mask={d}/tall.png", OUT], MISTAKE, ["turned by 90°"]),
    "a black mask": ([IMAGE, "--mask={d}/black.png", OUT], OK, ["the mask is empty"]),
    "a white mask": (
        [IMAGE, "--mask={d}/white.png", OUT],
        OK,
        ["covers the whole image", "raise --threshold"],
    ),
    "an inverted mask": ([IMAGE, "--mask={d}/inverted.png", OUT], OK, ["95.0 %", "inverted?"]),
    "a mask of 0 and 1": ([IMAGE, "--mask={d}/ones.png", OUT], OK, []),
    "a colored mask": ([IMAGE, "--mask={d}/red.png", OUT], OK, []),
    "a transparent mask": ([IMAGE, "--mask={d}/painted.png", OUT], OK, []),
    "a mask that is JPEG": ([IMAGE, "--mask={d}/mask.jpg", OUT], OK, []),
    "an inverted mask, told": ([IMAGE, "--mask={d}/inverted.png", "--invert", OUT], OK, []),
    "a mask that is JPEG in TIFF": ([IMAGE, "--mask={d}/mask_jpeg.tif", OUT], OK, []),
    "a hole that grows": ([IMAGE, MASK, "--grow=2", OUT], OK, []),
    "a hole that is feathered": ([IMAGE, MASK, "--grow=1", "--feather=3", OUT], OK, []),
    "grow -1": ([IMAGE, MASK, "--grow=-1", OUT], MISTAKE, ["from 0 to 1000"]),
    "a soft mask with a threshold": (
        [IMAGE, "--mask={d}/soft.png", OUT, "--threshold=250"], OK, ["the mask is empty"]
    ),
    "a folder as mask of a file": ([IMAGE, "--mask={d}/masks", OUT], MISTAKE, ["this is a folder"]),
    "alpha as mask": (["--image={d}/alpha.png", OUT], OK, []),
    "alpha as mask, to JPEG": (["--image={d}/alpha.png", "--output={o}/y.jpg"], OK, ["lossy"]),
    "neither mask nor alpha": ([IMAGE, OUT], MISTAKE, ["no alpha channel to be its mask"]),
    "alpha that leaves nothing out": (["--image={d}/opaque.png", OUT], OK, ["mask is empty"]),
    "a mask and pixels that cannot be seen": (["--image={d}/sprite.png", MASK, OUT], OK, []),
    # Outputs.
    "an output without suffix": ([IMAGE, MASK, "--output={o}/y"], MISTAKE, ["name it .png"]),
    "an output named GIF": ([IMAGE, MASK, "--output={o}/y.gif"], MISTAKE, ["name it .png"]),
    "the image as output": ([IMAGE, MASK, "--output={d}/x.png"], MISTAKE, ["is an input"]),
    "the mask as output": ([IMAGE, MASK, "--output={d}/mask.png"], MISTAKE, ["is an input"]),
    "an output that exists": ([IMAGE, MASK, "--output={d}/there.png"], MISTAKE, ["--overwrite"]),
    "an output below a file": (
        [IMAGE, MASK, "--output={d}/x.png/y.png"], MISTAKE, ["which is a file"]
    ),
    "an output in a new folder": ([IMAGE, MASK, "--output={o}/a/b/y.png"], OK, ["wrote"]),
    "a folder as output of a file": ([IMAGE, MASK, "--output={o}"], OK, ["x.png"]),
    # Folders.
    "a folder": (["--image={d}/good", "--mask={d}/masks", "--output={o}"], OK, ["5 written"]),
    "a folder with one mask": (
        ["--image={d}/good", MASK, "--output={o}", "--format=webp"], OK, ["5 written"]
    ),
    "masks beside images": (
        ["--image={d}/beside", "--mask={d}/beside", "--output={o}"], OK, ["2 written"]
    ),
    "names in capitals": (
        ["--image={d}/capitals", "--mask={d}/capital_masks", "--output={o}"], OK, ["1 written"]
    ),
    "a folder with other files": (
        ["--image={d}/others", MASK, "--output={o}"],
        OK,
        ["2 files are none of", "left out, the first", "b.heic: it is HEIC", "2 written"],
    ),
    "images with alpha": (["--image={d}/alphas", "--output={o}"], OK, ["1 written"]),
    "a folder with bad files": (
        ["--image={d}/mixed", "--mask={d}/mixed_masks", "--output={o}", "--format=png"],
        SOME_FAILED,
        [
            "1 written, 6 failed", "cut.jpg: ", "has 2 masks", "there is no c.png, c_mask.png",
            "its output would be that of", "the mask is 90×1 pixels", "1 masks are no image's",
        ],
    ),
    "images all without masks": (
        ["--image={d}/good", "--mask={d}/alphas", "--output={o}"], MISTAKE, ["no image has a mask"]
    ),
    "a folder without images": (
        ["--image={d}/nothing", MASK, "--output={o}"], MISTAKE, ["holds no PNG, JPEG"]
    ),
    "a folder and an output file": (
        ["--image={d}/good", "--mask={d}/masks", "--output={d}/x.png"], MISTAKE, ["is a file; for"]
    ),
    "the folder of images as output": (
        ["--image={d}/good", "--mask={d}/masks", "--output={d}/good"], MISTAKE, ["of --image"]
    ),
    "an output inside the masks": (
        ["--image={d}/good", "--mask={d}/masks", "--output={d}/masks/new"], MISTAKE, ["of --mask"]
    ),
    "a folder and no mask there": (
        ["--image={d}/good", "--mask={d}/no", "--output={o}"], MISTAKE, ["--mask: ", "not exist"]
    ),
}  # fmt: skip

Y, X = np.mgrid[:30, :40]
RGB = np.stack([5 * X, 8 * Y, 255 - 3 * X - 4 * Y], -1).astype(np.uint8)
HOLE = (abs(Y - 15) < 5) & (abs(X - 20) < 7)
WIDE = np.random.default_rng(0).integers(60, 200, (40, 64, 3), dtype=np.uint8)
WIDE_HOLE = np.zeros((40, 64), bool)
WIDE_HOLE[:23, 10:54] = True  # deep by a few pixels


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("inputs")
    white = HOLE * np.uint8(255)
    alpha = np.dstack([RGB, 255 - white])
    deep = RGB.astype(np.uint16) * 257
    turned = Image.Exif()
    turned[0x0112] = 6
    save(d / "x.png", RGB)
    save(d / "there.png", RGB)
    save(d / "ünï 画.png", RGB)
    save(d / "mask.png", white)
    save(d / "mask.jpg", white)
    save(d / "tall.png", np.ascontiguousarray(white.T))
    save(d / "black.png", 0 * white)
    save(d / "white.png", 0 * white + 255)
    inverted = np.ones(1200, np.uint8)
    inverted[:60] = 0
    save(d / "inverted.png", inverted.reshape(30, 40))
    save(d / "ones.png", HOLE.astype(np.uint8))
    save(d / "red.png", white[..., None] * np.array([1, 0, 0], np.uint8))
    save(d / "painted.png", np.dstack([RGB * 0 + 255, white]))
    save(d / "soft.png", white // 2)
    (d / "text.png").write_text("not a picture")
    (d / "empty.png").write_bytes(b"")
    save(d / "whole.jpg", np.tile(RGB, (9, 9, 1)))
    (d / "cut.jpg").write_bytes((d / "whole.jpg").read_bytes()[:4000])
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    save(d / "whole.png", noise)
    (d / "cut.png").write_bytes((d / "whole.png").read_bytes()[:9000])
    tifffile.imwrite(d / "whole.tif", np.tile(deep, (9, 9, 1)), photometric="rgb")
    (d / "cut.tif").write_bytes((d / "whole.tif").read_bytes()[:9000])
    Image.fromarray(RGB).save(
        d / "x.gif", save_all=True, append_images=[Image.fromarray(255 - RGB)]
    )
    save(d / "x.ppm", RGB)
    save(d / "x.avif", RGB)
    (d / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    save(d / "mask_jpeg.tif", white, compression="jpeg", quality=60)
    save(d / "sprite.png", np.dstack([RGB, np.where(X > 20, 0, 255).astype(np.uint8)]))
    save(d / "capitals" / "IMG_1.PNG", RGB)
    save(d / "capital_masks" / "IMG_1_MASK.PNG", white)
    for name in ("a.png", "c.gif"):
        save(d / "others" / name, RGB)
    (d / "others" / "b.heic").write_bytes((d / "x.heic").read_bytes())
    (d / "others" / "notes.txt").write_text("not a picture")
    Image.fromarray(RGB).save(d / "png.jpg", format="PNG")
    save(d / "float.tif", RGB[..., 0] / np.float32(255))
    save(d / "i32.tif", RGB[..., 0].astype(np.int32) * 70000)
    Image.fromarray(RGB).convert("CMYK").save(d / "cmyk.jpg")
    frames = [Image.fromarray(RGB) for _ in range(3)]
    frames[0].save(d / "frames.tif", save_all=True, append_images=frames[1:])
    save(d / "gray.png", RGB[..., 0].copy())
    save(d / "bits.png", RGB[..., 0] > 99)
    Image.fromarray(RGB).quantize(16).save(d / "palette.png")
    save(d / "deep.png", deep[..., 0].copy())
    save(d / "alpha.png", alpha)
    save(d / "opaque.png", np.dstack([RGB, white * 0 + 255]))
    save(d / "turned.jpg", RGB, exif=turned)
    save(d / "wide.png", WIDE)
    save(d / "wide_mask.png", WIDE_HOLE)
    save(d / "wide_all.png", np.ones_like(WIDE_HOLE))
    save(d / "1x1.png", np.ones((1, 1), np.uint8))
    save(d / "1x90.png", np.tile(np.arange(90, dtype=np.uint8), (1, 1)))
    save(d / "1x90_mask.png", np.repeat(np.arange(90) == 50, 1)[None])
    for name in ("a.png", "b.jpg", "c.tif", "below/d.webp", "below/e.png"):
        save(d / "good" / name, RGB)
    for name in ("a.png", "b_mask.png", "c_mask001.png", "below/d.png", "below/e_mask7.tif"):
        save(d / "masks" / name, white)
    for name in ("a", "b"):
        save(d / "beside" / f"{name}.png", RGB)
        save(d / "beside" / f"{name}_mask001.png", white)
    save(d / "alphas" / "alone.png", alpha)
    (d / "nothing").mkdir()
    for name in ("a.png", "b.png", "c.png", "same.jpg", "same.png", "size.png"):
        save(d / "mixed" / name, RGB)
    (d / "mixed" / "cut.jpg").write_bytes((d / "cut.jpg").read_bytes())
    for name in ("a.png", "b.png", "b_mask.png", "cut.png", "stray.png"):
        save(d / "mixed_masks" / name, white)
    save(d / "mixed_masks" / "size.png", np.ones((1, 90), np.uint8))
    return d


@pytest.fixture(scope="module")
def bad_checkpoints(folder, checkpoint):
    """Copies of the checkpoint, by links, with wrong configs."""
    good = json.loads((checkpoint / "config.json").read_text())
    other = json.loads(json.dumps(good))
    other["model"]["features"] = 12
    configs = {
        "no": None, "bad": "{", "other": json.dumps(other), "empty": json.dumps({"model": {}}),
    }  # fmt: skip
    for name, text in configs.items():
        path = folder / f"{name}_config"
        path.mkdir()
        for part in ("checkpoints", "dino.json"):
            (path / part).symlink_to(checkpoint / part)
        if text is not None:
            (path / "config.json").write_text(text)


def outputs(folder, name):
    return folder.parent / "outputs" / str(list(CASES).index(name))


@pytest.fixture(scope="module")
def results(folder, checkpoint, bad_checkpoints, tmp_path_factory):
    """Exit code, stdout and stderr of every case."""
    listed = []
    for name, (arguments, _, _) in CASES.items():
        given = [a.format(d=folder, o=outputs(folder, name)) for a in arguments]
        outputs(folder, name).mkdir(parents=True)
        if arguments and not arguments[0].startswith("--checkpoint"):
            given = [f"--checkpoint={checkpoint}", *given]
        listed.append(given)
    file = tmp_path_factory.mktemp("commands") / "commands.json"
    file.write_text(json.dumps(listed))
    level = {"XLA_FLAGS": quick.FLAGS}
    done = subprocess.run(
        [sys.executable, "-m", "tests.inpainting.commands", str(file)],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"} | level, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_every_input_gives_what_the_table_says(results, folder, name):
    _, expected, parts = CASES[name]
    code, stdout, stderr = results[name]
    assert code == expected, stderr
    assert "Traceback" not in stderr
    said = stdout + stderr
    for part in parts:
        assert part in said
    left = [path for path in outputs(folder, name).rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.startswith(".")]
    if expected == MISTAKE:
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert not left
    if expected == OK:
        assert left


@pytest.mark.parametrize(
    ("name", "image", "hole"),
    [
        ("gray", "gray.png", HOLE),
        ("a palette", "palette.png", HOLE),
        ("16 bits", "deep.png", HOLE),
        ("alpha", "alpha.png", HOLE),
        ("a PNG named JPEG", "png.jpg", HOLE),
        ("several frames", "frames.tif", HOLE),
        ("turned by EXIF", "turned.jpg", HOLE.T),
        ("a mask of 0 and 1", "x.png", HOLE),
        ("a colored mask", "x.png", HOLE),
        ("a transparent mask", "x.png", HOLE),
        ("a mask that is JPEG", "x.png", HOLE),
        ("a black mask", "x.png", HOLE & False),
        ("a mask that is JPEG in TIFF", "x.png", HOLE),
        ("a mask and pixels that cannot be seen", "sprite.png", HOLE),
    ],
)
def test_known_pixels_and_size_are_those_of_the_input(results, folder, name, image, hole):
    assert results[name][0] == OK
    before = read_picture(folder / image)
    after = read_picture(outputs(folder, name) / "y.png")
    assert after.pixels.dtype == before.pixels.dtype
    assert after.gray == before.gray
    np.testing.assert_array_equal(after.pixels[~hole], before.pixels[~hole])
    np.testing.assert_equal(after.alpha, before.alpha)
    if hole.any():
        assert (after.pixels[hole] != before.pixels[hole]).any()


def test_the_command_copies_into_deep_holes_what_python_does(results, folder):
    filled = WIDE.copy()
    copied = copy_deep(filled, WIDE_HOLE)
    assert copied.any()
    written = read_picture(outputs(folder, "a deep hole") / "y.png").pixels
    np.testing.assert_array_equal(written[copied | ~WIDE_HOLE], filled[copied | ~WIDE_HOLE])
    avoided = read_picture(outputs(folder, "a deep hole and all to be avoided") / "y.png").pixels
    np.testing.assert_array_equal(avoided[~WIDE_HOLE], WIDE[~WIDE_HOLE])
    assert (avoided[copied] != written[copied]).any()


def test_where_alpha_was_the_mask_the_result_is_opaque(results, folder):
    assert results["alpha as mask"][0] == OK
    with Image.open(outputs(folder, "alpha as mask") / "y.png") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image)[~HOLE], RGB[~HOLE])


def test_an_empty_mask_gives_the_file_as_it_is(results, folder):
    assert results["a black mask"][0] == OK
    copied = outputs(folder, "a black mask") / "y.png"
    assert copied.read_bytes() == (folder / "x.png").read_bytes()


def test_a_folder_has_its_outputs_in_the_same_places(results, folder):
    made = outputs(folder, "a folder")
    names = {path.relative_to(made).as_posix() for path in made.rglob("*.*")}
    assert names == {"a.png", "b.jpg", "c.tif", "below/d.webp", "below/e.png"}
    made = outputs(folder, "a folder with one mask")
    assert {path.suffix for path in made.rglob("*.*")} == {".webp"}
