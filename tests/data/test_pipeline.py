import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import logging
from PIL import Image

from gsjax import config as configs
from gsjax.config.values import check_types, check_values
from gsjax.data import examples, pipeline
from gsjax.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    for i in range(5):
        # The color says which image it is, wherever it is cut.
        Image.new("RGB", (40, 30), (i * 40, 100, 200)).save(tmp_path / f"{i}.png")
    return tmp_path


def config_for(spec, **fields):
    config = configs.default()
    config.data.train = config.data.validation = str(spec)
    config.data.image_size = (32, 32)
    config.data.workers = 0
    config.train.batch_size = 4
    config.validate.images = 6
    for key, value in fields.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def take(iterator, count):
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def which(batch):
    return [round(float(image[..., 0].mean()) / 40) for image in batch["image"]]


def test_batches_hold_images_and_known_pixels():
    config = config_for("photos", data__crop="random", data__image_size=(32, 48))
    (batch,) = take(pipeline.training_batches(config), 1)
    assert batch["image"].shape == (4, 32, 48, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["known"].shape == (4, 32, 48, 1)
    assert batch["known"].dtype == bool
    assert batch["unreadable"].tolist() == [-1] * 4
    np.testing.assert_allclose(1 - batch["known"].mean((1, 2, 3)), 0.2, atol=0.014)


def test_every_image_is_seen_once_an_epoch_in_a_new_order(folder):
    seen = [
        w
        for b in take(pipeline.training_batches(config_for(f"folder:{folder}")), 10)
        for w in which(b)
    ]
    epochs = [tuple(seen[i : i + 5]) for i in range(0, 40, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_source_may_be_smaller_than_a_batch(folder):
    config = config_for(f"folder:{folder}", train__batch_size=16)
    (batch,) = take(pipeline.training_batches(config), 1)
    assert len(set(which(batch))) == 5


def test_the_curriculum_follows_the_step(folder):
    config = config_for(f"folder:{folder}", data__image_size=(64, 64))
    config.masks.curriculum = ((0, 0.1, 0.1), (2, 0.5, 0.5))
    holes = [1 - b["known"].mean((1, 2, 3)) for b in take(pipeline.training_batches(config), 4)]
    np.testing.assert_allclose(holes, [[0.1] * 4] * 2 + [[0.5] * 4] * 2, atol=0.01)


def test_a_stage_continues_the_examples_and_begins_the_curriculum(folder):
    config = config_for(f"folder:{folder}", data__image_size=(64, 64))
    whole = take(pipeline.training_batches(config), 6)
    config.masks.curriculum = ((0, 0.1, 0.1), (2, 0.5, 0.5))
    config.train.batch_size = 2
    stage = take(pipeline.training_batches(config, first_example=12), 4)
    images = np.concatenate([batch["image"] for batch in whole])
    np.testing.assert_array_equal(
        np.concatenate([batch["image"] for batch in stage]), images[12:20]
    )
    holes = [1 - batch["known"].mean((1, 2, 3)) for batch in stage]
    np.testing.assert_allclose(holes, [[0.1] * 2] * 2 + [[0.5] * 2] * 2, atol=0.01)
    resumed = pipeline.training_batches(config, first_step=1, first_example=12)
    assert_same(stage[1:], take(resumed, 3))


def test_processes_share_out_what_one_process_sees(folder):
    config = config_for(f"folder:{folder}", data__crop="random", data__flip=True)
    whole = take(pipeline.training_batches(config), 3)
    parts = [take(pipeline.training_batches(config, p, 2), 3) for p in range(2)]
    for step, batch in enumerate(whole):
        for p in range(2):
            part = {key: value[2 * p : 2 * p + 2] for key, value in batch.items()}
            assert_same([part], [parts[p][step]])
    with pytest.raises(UserError, match=r"train\.batch_size: 4 .* 3, the number of processes"):
        pipeline.training_batches(config, 0, 3)


def test_resuming_repeats_nothing_and_skips_nothing(folder):
    config = config_for(f"folder:{folder}", data__crop="random", data__flip=True)
    whole = take(pipeline.training_batches(config), 6)
    assert_same(whole[4:], take(pipeline.training_batches(config, first_step=4), 2))
    iterator = pipeline.training_batches(config)
    assert_same(whole[:3], list(itertools.islice(iterator, 3)))
    state = json.loads(json.dumps(iterator.get_state()))
    iterator.close()
    resumed = pipeline.training_batches(config)
    resumed.set_state(state)
    assert_same(whole[3:], take(resumed, 3))


def test_worker_processes_change_nothing_and_resume_exactly(folder):
    config = config_for(f"folder:{folder}", data__crop="random", data__flip=True)
    whole = take(pipeline.training_batches(config), 6)
    config.data.workers = 2
    assert_same(whole[:3], take(pipeline.training_batches(config), 3))
    assert_same(whole[3:], take(pipeline.training_batches(config, first_step=3), 3))


def test_worker_processes_end_with_a_run_that_is_killed(folder):
    program = """if True:
        import multiprocessing, sys, time
        from gsjax.data import examples, pipeline
        from tests.data.test_pipeline import config_for
        if __name__ == "__main__":
            config = config_for(f"folder:{sys.argv[1]}", data__workers=1)
            batches = pipeline.training_batches(config)
            next(batches)
            (worker,) = multiprocessing.active_children()
            print(worker.pid, flush=True)
            time.sleep(300)
    """
    arguments = [sys.executable, "-c", program, str(folder)]
    run = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    worker = int(run.stdout.readline())
    os.kill(worker, 0)
    run.kill()
    # The pipe is shared with the worker: at its end no process is left.
    assert run.communicate(timeout=60) == ("", None)


def test_other_seeds_give_other_batches():
    config = config_for("photos", data__crop="random")
    first = take(pipeline.training_batches(config), 1)[0]
    config.seed = 1
    assert (first["image"] != take(pipeline.training_batches(config), 1)[0]["image"]).any()


def test_unreadable_images_are_replaced_warned_of_once_and_counted(folder, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: warnings.append(text % values))
    (folder / "1.png").write_text("no image")
    data = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(data[: len(data) - 40])
    config = config_for(f"folder:{folder}")
    source, seen = pipeline.open_training_source(config), set()
    batches = take(pipeline.training_batches(config), 10)
    counts = [pipeline.warn_unreadable(batch, source, seen) for batch in batches]
    assert sum(counts) == 2
    assert seen == {1, 2}
    assert len(warnings) == 2
    assert any("1.png: not an image" in warning for warning in warnings)
    shown = [w for batch in batches for w in which(batch)]
    assert set(shown) == {0, 3, 4}
    replaced = np.concatenate([batch["unreadable"] for batch in batches])
    assert {w for w, index in zip(shown, replaced, strict=True) if index in (1, 2)} == {3}


def test_validation_is_fixed_and_padded_with_weight_zero():
    config = config_for("photos", data__crop="random", data__flip=True)
    config.validate.kinds = ("center", "irregular")
    batches = pipeline.validation_batches(config, 4)
    assert [batch["weight"].tolist() for batch in batches] == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert [len(batch["image"]) for batch in batches] == [4, 4]
    assert batches[1]["weight"].dtype == np.float32
    holes = ~batches[0]["known"][..., 0]  # the bands take turns, and in each its kinds
    assert batches[0]["band"].tolist() == [0, 1, 2, 1]  # one further after all three images
    for hole, (low, high) in zip(holes[:3], ((0.2, 0.4), (0.4, 0.6), (0.25, 0.25)), strict=True):
        assert low - 0.02 <= hole.mean() <= high + 0.02
        assert hole.sum() == hole.any(0).sum() * hole.any(1).sum()  # a rectangle in the center
    config.masks.kinds = ("rectangles",)
    config.train.batch_size = 2
    assert_same(batches, pipeline.validation_batches(config, 4))
    for p in range(2):
        part = pipeline.validation_batches(config, 4, p, 2)
        half = slice(2 * p, 2 * p + 2)
        assert_same([{k: v[half] for k, v in batch.items()} for batch in batches], part)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
def test_every_image_is_validated_in_every_band(folder, bands):
    config = config_for(f"folder:{folder}")
    images = len(pipeline.open_validation_source(config))
    config.validate.bands = tuple((0.1 + i / 10, 0.2 + i / 10) for i in range(bands - 1))
    config.validate.images = images * bands  # the center is the last band
    (batch,) = pipeline.validation_batches(config, images * bands)
    assert len(set(zip(which(batch), batch["band"].tolist(), strict=True))) == images * bands


def test_whole_images_are_resized_with_lanczos(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "0.png")
    batch = pipeline.validation_batches(config_for(f"folder:{folder}"), 1)[0]
    expected = Image.fromarray(pixels).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(batch["image"][0], np.asarray(expected))


def sides(count, image_size, shape, **fields):
    """Heights of boxes that are cut out at random."""
    config = config_for("photos", data__crop="random", data__image_size=image_size, **fields)
    recipe, rng = examples.training_recipe(config), np.random.default_rng(0)
    return np.array([examples._crop_box(rng, shape, recipe)[2] for _ in range(count)])


def test_scales_of_crops_are_uniform_or_log_uniform():
    shape, scale = (1600, 2000, 3), {"data__crop_scale": (0.1, 1.0)}
    uniform = sides(2000, (32, 32), shape, **scale)
    log = sides(2000, (32, 32), shape, **scale, data__crop_distribution="log")
    for heights in (uniform, log):
        assert 160 <= heights.min() < 180
        assert 1500 < heights.max() <= 1600
    assert np.median(uniform) == pytest.approx(880, rel=0.1)
    assert np.median(log) == pytest.approx(1600 * 0.1**0.5, rel=0.1)


def test_a_scale_from_zero_on_begins_at_the_images_own_pixels():
    fields = {"data__crop_scale": (0.0, 1.0), "data__crop_distribution": "log"}
    heights = sides(400, (32, 48), (64, 144, 3), **fields)
    assert (heights.min(), heights.max()) == (32, 64)
    assert set(sides(9, (32, 48), (20, 30, 3), **fields)) == {20}  # too small: all of it
    assert 20 < sides(400, (32, 32), (160, 160, 3), data__crop_scale=(0.0, 0.5)).min() <= 34


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data__train", "foto", r"data\.train: 'foto'"),
        ("data__validation", "", r"data\.validation: no data"),
        ("data__crop", "centre", r"data\.crop: 'centre'"),
        ("data__crop_scale", (0.5, 1.5), r"data\.crop_scale"),
        ("data__crop_scale", (0.0, 0.0), r"data\.crop_scale"),
        ("data__crop_distribution", "square", r"data\.crop_distribution: 'square'"),
        ("data__workers", -1, r"data\.workers: -1"),
        ("data__prefetch", 0, r"data\.prefetch: 0"),
        ("masks__kinds", ("lines",), r"masks\.kinds: 'lines'"),
        ("masks__curriculum", ((1, 0.1, 0.1),), r"masks\.curriculum"),
        ("masks__curriculum", ((0.5, 0.1, 0.1),), r"masks\.curriculum"),
        ("validate__kinds", ("lines",), r"validate\.kinds: 'lines'"),
        ("validate__bands", ((0.6, 0.2),), r"validate\.bands"),
        ("validate__images", 0, r"validate\.images: 0"),
    ],
)
def test_mistakes_are_found_before_training(key, value, message):
    def check():
        check_types(config.to_dict())
        check_values(config)
        pipeline.open_training_source(config)
        pipeline.open_validation_source(config)
        pipeline.check_data(config)

    config = config_for("photos")
    check()
    section, name = key.split("__")
    with config.ignore_type():
        config[section][name] = value
    with pytest.raises(UserError, match=message):
        check()
