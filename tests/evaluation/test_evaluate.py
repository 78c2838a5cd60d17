"""The evaluation as a whole: what it writes against numbers computed otherwise, and mistakes."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gsjax.convert import lpips
from gsjax.errors import UserError
from gsjax.evaluation import measure, methods
from gsjax.evaluation.measure import Settings, evaluate
from gsjax.inpainting.painter import Inpainter
from gsjax.models.dino import DinoViT
from gsjax.trained import converted
from tests.models.test_lpips import published, weights
from tests.weights import random_variables

ROOT = Path(__file__).parents[2]
SIZE = 32
OURS = ["gsjax", "gsjax+exemplar"]
WAYS = [*OURS, "telea", "navier_stokes", "biharmonic", "patchmatch", "mean"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four pictures of soft waves and one that is none."""
    path = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[:60, :80]
    for i in range(4):
        waves = [127 + 100 * np.sin(x / (5 + i + c) + y / (7 + c) + i) for c in range(3)]
        Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path / f"{i}.png")
    (path / "2b.png").write_bytes(b"no picture")
    return path


@pytest.fixture(scope="module")
def lpips_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "alex"
    converted.write(path, {"lpips": lpips(*weights("alex"))[1]})
    return path


@pytest.fixture(scope="module")
def dino_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("dino") / "tiny"
    module = DinoViT(width=32, depth=1, heads=2, mlp_width=32, grid=(2, 2))
    variables = random_variables(module.init, np.zeros((1, 28, 28, 3), np.float32))
    converted.write(path, {"dino": variables}, dino=module)
    return path


@pytest.fixture(scope="module")
def settings(pictures, lpips_weights, dino_weights, checkpoint, tmp_path_factory):
    return Settings(
        data=f"folder:{pictures}",
        checkpoint=str(checkpoint),
        output=str(tmp_path_factory.mktemp("out") / "new"),
        bands=("20-40", "center"),
        size=SIZE,
        lpips=str(lpips_weights),
        fid="none",
        dino=str(dino_weights),
    )


@pytest.fixture(scope="module")
def outcome(settings, load):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inpainter, "load", load)  # compiles once for all tests
        return evaluate(settings)


@pytest.fixture(scope="module")
def rows(settings, outcome):
    with open(Path(settings.output) / "per_image.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def summary(settings, outcome):
    return json.loads((Path(settings.output) / "summary.json").read_text())


def test_every_image_band_and_method_has_a_row(rows):
    cases = [(row["image"], row["band"], row["method"]) for row in rows]
    names = ("0.png", "1.png", "2.png", "3.png")
    assert cases == [(n, b, w) for n in names for b in ("20-40", "center") for w in WAYS]


def test_values_are_those_of_scikit_image_and_of_the_published_lpips(settings, rows, painter):
    plan = measure._make_protocol(settings)
    backbone, heads = weights("alex")
    for index, image in plan.crops():
        for band in plan.bands:
            hole = plan.hole(index, band)
            masked = np.where(hole[..., None], 0, image).astype(np.uint8)
            for way in WAYS:
                own = [r for r in rows if r["image"] == plan.source.short_name(index)]
                row = next(r for r in own if (r["band"], r["method"]) == (band.name, way))
                if way in OURS:  # no hole of so small an image is deep
                    filled = painter(image, hole).image
                else:
                    filled = methods.BASELINES[way](masked, hole)
                filled = np.where(hole[..., None], filled, image)
                error = np.float64(filled) - np.float64(image)
                expected = {
                    "hole": hole.mean(),
                    "psnr": peak_signal_noise_ratio(image, filled, data_range=255),
                    "psnr_hole": -10 * np.log10(np.mean(np.square(error[hole] / 255))),
                    "l1": np.abs(error).mean() / 255,
                    "l1_hole": np.abs(error[hole]).mean() / 255,
                    "ssim": structural_similarity(
                        image, filled, gaussian_weights=True, sigma=1.5,
                        use_sample_covariance=False, channel_axis=-1,
                    ),
                }  # fmt: skip
                for name, value in expected.items():
                    assert float(row[name]) == pytest.approx(value, rel=1e-4, abs=1e-5), (way, name)
                pair = [np.float32(p[None]) / 127.5 - 1 for p in (filled, image)]
                distance = published("alex", backbone, heads, *pair)[0]
                assert float(row["lpips_alex"]) == pytest.approx(distance, rel=1e-3)
                assert float(row["seconds"]) > 0


def test_the_summary_has_the_means_of_the_rows(rows, summary):
    for band in ("20-40", "center"):
        for way in WAYS:
            own = [row for row in rows if (row["band"], row["method"]) == (band, way)]
            values = dict(summary["results"][band][way])
            assert values.pop("images") == 4
            assert values.pop("seconds") == np.median([float(row["seconds"]) for row in own])
            assert values.pop("fd_dino") >= 0
            assert values.keys() == rows[0].keys() - {"image", "band", "method", "seconds"}
            for name, value in values.items():
                assert value == pytest.approx(np.nanmean([float(row[name]) for row in own]))


def test_the_table_shows_the_summary(settings, summary):
    table = (Path(settings.output) / "table.md").read_text()
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 2 * len(WAYS)
    center = summary["results"]["center"]["telea"]
    row = next(line for line in lines if line[0].startswith("| center") and line[1] == "telea")
    assert row[0] == "| center (mean 25 %)"
    assert row[2] == f"{center['psnr']:.2f}"
    assert row[3] == f"{center['ssim']:.3f}"
    assert row[4] == f"{100 * center['l1']:.2f}"
    assert row[5] == f"{center['lpips_alex']:.3f}"
    assert row[6] == f"{center['dino_class']:.3f}"
    assert row[7] == f"{center['dino_patches']:.3f}"
    assert row[8] == f"{center['fd_dino']:.2f}"
    assert row[11] == f"{100 * center['l1_hole']:.2f}"
    assert "Fréchet distance on DINO over 4 images, fewer than its 32 features" in table
    assert "1 of 5 images cannot be read" in table
    assert f"center squares at {SIZE}×{SIZE}; holes: seed 0" in table


def test_the_picture_shows_the_worst_two_of_each_band(settings, rows, outcome):
    for band in ("20-40", "center"):
        own = [r for r in rows if (r["band"], r["method"]) == (band, "gsjax")]
        own.sort(key=lambda row: float(row["psnr_hole"]))
        shown = [one for one in outcome.worst if one.caption.startswith(f"{band}:")]
        assert [one.caption.split(" · ")[-1] for one in shown] == [r["image"] for r in own[:2]]
    with Image.open(Path(settings.output) / "worst.png") as picture:
        assert picture.width > (len(WAYS) + 2) * 128


def test_holes_are_the_same_whichever_methods_run(settings, rows, tmp_path):
    alone = Settings(
        data=settings.data, size=SIZE, bands=["center", "20-40"], baselines=["telea"],
        images=1, lpips="none", fid="none", dino="none",
    )  # fmt: skip
    for row in evaluate(alone).rows:
        same = next(r for r in rows if all(r[k] == row[k] for k in ("image", "band", "method")))
        assert float(same["hole"]) == row["hole"]
        assert float(same["psnr_hole"]) == pytest.approx(row["psnr_hole"], rel=1e-5)


def test_a_method_never_sees_what_it_has_to_fill():
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[8:20, 8:20] = True

    def peek(shown, given):
        assert not shown[given].any()
        return np.full_like(shown, 9)

    filled = methods.Method("peek", peek)(image, hole)
    assert (filled[hole] == 9).all()
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_without_pypatchmatch_what_needs_it_is_left_out_or_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "patchmatch", None)  # as if it were not installed
    notes = []
    every = list(methods.BASELINES)
    assert "patchmatch" not in methods.choose(None, every, notes)
    assert methods.choose(None, list(methods.OURS), notes) == ["network"]
    assert [note.split(":")[0] for note in notes] == ["no patchmatch", "no exemplar"]
    with pytest.raises(UserError, match=r"^patchmatch: pypatchmatch is not installed"):
        methods.choose(["patchmatch"], every, notes)


def commands(listed, tmp_path, **environment):
    """Runs commands in one process of their own; returns exit code, stdout, stderr of each."""
    file = tmp_path / "commands.json"
    file.write_text(json.dumps(listed))
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run(
        [sys.executable, "-m", "tests.inpainting.commands", str(file), "evaluate"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_mistakes_end_with_code_2_and_one_message_before_any_work(pictures, tmp_path):
    (tmp_path / "file").touch()
    data = f"--data=folder:{pictures}"
    table = {
        "--data is missing": [],
        "'photoss' is not a source of images; did you mean photos?": ["--data=photoss"],
        "--data: the folder '/nowhere' does not exist": ["--data=folder:/nowhere"],
        "'tela' is not one of telea, navier_stokes, biharmonic, patchmatch, mean; did you mean": [
            data, "--baselines=tela,mean",
        ],
        "--baselines: mean is given twice": [data, "--baselines=mean,mean"],
        "neither baselines nor a --checkpoint are named": [data, "--baselines="],
        "did you mean center?": [data, "--bands=5-20,centre"],
        "--bands: --masks already sets the holes": [data, "--bands=5-20", f"--masks={pictures}"],
        "--masks: the folder /nowhere does not exist": [data, "--masks=/nowhere"],
        f"--output: {tmp_path}/file is a file": [data, f"--output={tmp_path}/file"],
        "--images: 9 is more than": [data, "--images=9"],
        "--checkpoint: there is no folder": [data, "--checkpoint=/nowhere"],
        "--lpips: 'resnet' is none of alex, vgg, squeeze": [data, "--lpips=resnet"],
        "--lpips: alexnet: it is not in the cache": [data, "--lpips=alex"],
        "--fid: 'torchvision' is neither inception": [data, "--fid=torchvision", "--lpips=none"],
        "--dino: '/nowhere' is none of dinov2_vits14": [
            data, "--dino=/nowhere", "--lpips=none", "--fid=none",
        ],
        "--deep: 'exemplars' is not one of network, exemplar; did you mean exemplar?": [
            data, "--deep=exemplars",
        ],
        "--deep: it needs a --checkpoint": [data, "--deep=network"],
        "did you mean --baselines?": [data, "--baseline=mean"],
        "--size": [data, "--size=8"],
    }  # fmt: skip
    # An address where nothing listens stands in for a machine without network.
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "GSJAX_CACHE": str(tmp_path / "cache")}
    results = commands(list(table.values()), tmp_path, **offline)
    for (message, arguments), (code, out, err) in zip(table.items(), results, strict=True):
        assert code == 2, (arguments, code, err)
        assert out == ""
        last = err[err.index("error: ") :]
        assert message in last, (message, err)
        assert "Traceback" not in err


@pytest.mark.slow
def test_a_command_measures_everything_with_converted_weights(pictures, checkpoint, tmp_path):
    from gsjax.convert import command
    from tests.models.test_inception import Published, published_weights

    _, inception = published_weights()
    save_file(inception, tmp_path / "inception.safetensors")
    said = command.convert_inception(
        str(tmp_path / "inception.safetensors"), str(tmp_path / "inception")
    )
    assert f"--fid={tmp_path / 'inception'}" in said
    arguments = [
        f"--data=folder:{pictures}", f"--checkpoint={checkpoint}", "--baselines=telea,mean",
        "--deep=network",
        "--bands=center", f"--size={SIZE}", f"--fid={tmp_path / 'inception'}",
        f"--output={tmp_path / 'out'}",
    ]  # fmt: skip
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "GSJAX_CACHE": str(tmp_path / "cache")}
    first, again = commands([arguments, arguments], tmp_path, **offline)
    assert first[0] == again[0] == 0, first[2]
    assert "no LPIPS: alexnet: it is not in the cache" in first[1]
    assert "no distances on DINO: dinov2_vits14: it is not in the cache" in first[1]
    assert "gsjax+exemplar" not in first[1]
    assert "FID over 4 images, fewer than its 2048 features" in first[1]
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1

    # FID of the rows of the mean color, by PyTorch and the textbook.
    compute = Published()
    compute.weights = inception
    settings = Settings(data=f"folder:{pictures}", size=SIZE, bands=["center"])
    plan = measure._make_protocol(settings)
    hole, way = plan.hole(0, plan.bands[0]), methods.Method("mean", methods.mean)
    images = np.stack([image for _, image in plan.crops()])
    filled = np.stack([way(image, hole) for image in images])
    one, other = (np.float64(compute(np.float32(p) / 255, 299)) for p in (filled, images))
    centered = [(f - f.mean(0)) / np.sqrt(3) for f in (one, other)]
    shared = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()
    spread = sum(np.square(f).sum() for f in centered)
    expected = np.square(one.mean(0) - other.mean(0)).sum() + spread - 2 * shared
    results = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]["center"]
    assert results["mean"]["fid"] == pytest.approx(expected, rel=1e-3)
    shown = re.search(r"\| mean \|.*", first[1])[0]
    assert f"{results['mean']['fid']:.2f}" in shown
