"""What is wrong with a config is named before anything starts."""

import importlib
import math
import pathlib

import pytest

from gsjax import config as configs
from gsjax.errors import UserError
from gsjax.training.checks import check_config, check_without_inputs

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem != "__init__")


def config_of(name, *source):
    return importlib.import_module(f"configs.{name}").get_config(*source)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_that_comes_with_gsjax_can_be_run(name):
    check_without_inputs(config_of(name), devices=1)


@pytest.mark.parametrize(
    ("name", "steps", "epoch", "rise", "weights"),
    [
        ("celeba", 60_000, 437, 20, (2.0, 0.2)),
        ("places2", 200_000, 28_179, 1, (3.0, 0.3)),
        ("imagenet100", 100_000, 1_979, 7, (3.0, 0.3)),
    ],
)
def test_the_papers_recipes_are_beside_the_codes(name, steps, epoch, rise, weights):
    config = config_of(name, "paper")
    check_without_inputs(config, devices=1)
    assert (config.train.steps, config.train.batch_size) == (steps, 64)
    assert (config.loss.lpips, config.loss.gan) == weights
    ratios = [(0.2, 0.2), (0.3, 0.3), (0.4, 0.4), (0.5, 0.5), (0.6, 0.6), (0.2, 0.6)]
    rises = tuple((i * rise * epoch, *ratio) for i, ratio in enumerate(ratios))
    assert config.masks.curriculum == rises
    assert rises[-1][0] < steps
    assert config.optimizer.decay_at == (steps * 7 // 8, steps * 19 // 20)


def test_there_is_no_third_recipe():
    with pytest.raises(UserError, match=r"^--config: .*no recipe 'papr'.*; there are code"):
        config_of("celeba", "papr")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.gaussians": 10}, "model.gaussians: 10 is not a square number; the nearest is 9"),
        ({"model.fold": 3}, "model.fold: 3 must divide model.patch_size, 16"),
        ({"model.fold": -1}, "model.fold: -1 is not a whole number of at least 0"),
        (
            {"model.fold": 4, "model.width": 48},
            "model.width: 48 must be a multiple of 32, for the heads",
        ),
        ({"model.width": 40}, "model.width: 40 must be a multiple of 16, for the groups"),
        (
            {"model.fold": 8, "model.downs": 3, "data.image_size": (96, 128)},
            "must be multiples of 64, which follows from model.patch_size=16, model.fold=8 and "
            "model.downs=3",
        ),
        ({"data.image_size": (0, 64)}, "data.image_size: (0, 64) is not two whole numbers"),
        ({"data.image_size": (64.0, 64.0)}, "data.image_size: (64.0, 64.0) is not two whole"),
        ({"data.image_size": (256,)}, "data.image_size: (256,) is not two whole numbers from"),
        ({"train.batch_size": 0}, "train.batch_size: 0 is not a whole number from 1 to"),
        ({"dino.patch_size": 0}, "dino.patch_size: 0 is not a whole number from 1 to 64"),
        ({"dino.registers": -1}, "dino.registers: -1 is not a whole number from 0"),
        ({"model.crossfade": 9}, "model.crossfade: 9 must be at most half of model.patch_size, 16"),
        ({"model.normalize_images": True}, "model.normalize_images: needs model.residual_colors"),
        ({"fill.rim": 0.0}, "fill.rim: 0.0 is not a number in (0, 1], such as 1.0"),
        ({"seed": 2**32}, "seed: 4294967296 is not a whole number from 0 to 4,294,967,295"),
        ({"seed": -1}, "seed: -1 is not a whole number from 0 to"),
        ({"train.steps": 0}, "train.steps: 0 is for a run with stages, which have their own"),
        ({"train.steps": 10**30}, "train.steps: 1000000000000"),
        ({"train.steps": 2**31}, "train.steps: 2147483648 is not a whole number from 0 to 2,147"),
        ({"train.batch_size": 2**40}, "train.batch_size: 1099511627776 is not a whole"),
        ({"data.workers": 10**6}, "data.workers: 1000000 is not a whole number from 0 to 1,024"),
        ({"data.image_size": (16, 2**20)}, "data.image_size: (16, 1048576) is not two"),
        ({"discriminator.layers": 10**9}, "discriminator.layers: 1000000000 is not a whole"),
        ({"fill.rim": 1.5}, "fill.rim: 1.5 is not a number in"),
        ({"loss.features": -1.0}, "loss.features: -1.0 is not a number of at least 0"),
        ({"loss.r1": math.nan}, "loss.r1: nan is not a number of at least 0"),
        ({"loss.r1_every": 0}, "loss.r1_every: 0 is not a whole number from 1 to"),
        ({"loss.adversarial": "wgan"}, "loss.adversarial: 'wgan' is not one of hinge, logistic"),
        ({"loss.patch_labels": True}, "loss.patch_labels: needs loss.composite"),
        (
            {f"loss.{name}": 0.0 for name in ("l1", "lpips", "gan", "semantic")},
            "loss: every weight is 0, so nothing is learned; set one of l1, hole",
        ),
        ({"discriminator.layers": 0}, "discriminator.layers: 0 is not a whole number from 1 to"),
        (
            {"discriminator.layers": 5, "data.image_size": (64, 64)},
            "data.image_size: (64, 64) is too small: the encoder and the discriminator need at "
            "least 96 pixels a side",
        ),
        (
            {"discriminator.precision": "float16"},
            "discriminator.precision: 'float16' is not one of \"\", float32, bfloat16",
        ),
        (
            {"optimizer.schedule": "constant"},
            "optimizer.schedule: 'constant' is not one of steps, cosine, linear",
        ),
        ({"optimizer.hold": 1.0}, "optimizer.hold: 1.0 is not a number in [0, 1), such as 0.6"),
        ({"optimizer.betas": (0.9, 1.0)}, "optimizer.betas: (0.9, 1.0) is not two numbers in"),
        ({"optimizer.betas": (0.9,)}, "optimizer.betas: (0.9,) is not two numbers in [0, 1)"),
        (
            {"optimizer.discriminator_rate": -1.0},
            "optimizer.discriminator_rate: -1.0 is not a number of at least 0",
        ),
        (
            {"optimizer.schedule": "linear", "optimizer.decay_at": (10,)},
            "optimizer.decay_at: needs optimizer.schedule=steps, not linear",
        ),
        ({"loss.hole": -1.0}, "loss.hole: -1.0 is not a number of at least 0"),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_what_would_be_right(fields, message):
    config = configs.default()
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError) as raised:
        check_without_inputs(config, devices=1)
    assert message in str(raised.value)


def test_each_stage_is_checked_and_named():
    config = configs.default()
    configs.add_stage(config, "small", 10, {"data.image_size": (128, 128)})
    configs.add_stage(config, "odd", 10, {"data.image_size": (100, 128)})
    with pytest.raises(UserError, match=r"^stage odd: data\.image_size: \(100, 128\) must be mult"):
        check_without_inputs(config, devices=1)
    config.stages.odd.data.image_size = (128, 128)
    check_without_inputs(config, devices=1)


def test_what_validation_uses_is_checked_beside_the_stages():
    config = configs.default()
    configs.add_stage(config, "only", 10, {"data.image_size": (128, 128), "loss.l1": 2.0})
    config.loss.l1 = -1.0  # which no stage has
    check_without_inputs(config, devices=1)
    config.data.image_size = (250, 256)
    with pytest.raises(UserError, match=r"^data\.image_size: \(250, 256\) must be multiples"):
        check_without_inputs(config, devices=1)


def test_all_that_is_missing_is_named_at_once_each_with_its_remedy_on_lines_of_its_own():
    config = configs.default()
    config.data.train = "list:/nowhere"
    config.dino.weights = "/nowhere.pth"
    with pytest.raises(
        UserError, match=r"(?s)^data\.train: .*\n\ndino\.weights: .*'\.\nDownload the"
    ):
        check_config(config)
