"""What can be wrong with a config, found out before any work starts."""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
from ml_collections import ConfigDict

from gsjax.config.fields import check_types
from gsjax.errors import UserError, check_whole
from gsjax.kernels.backends import BACKENDS
from gsjax.models import losses
from gsjax.models.discriminator import min_side
from gsjax.models.encoder import GROUPS
from gsjax.models.folded import HEAD_CHANNELS
from gsjax.models.metrics import BEST
from gsjax.trained.dino import check_dino, find_module
from gsjax.trained.initial import check_initial
from gsjax.trained.lpips import check_lpips
from gsjax.training.optimizer import SCHEDULES
from gsjax.training.stages import plan

if TYPE_CHECKING:
    from gsjax.data.pipeline import Sources

_LARGEST_SEED = 2**32 - 1  # JAX takes no more bits of a seed
_STEPS = 2**31 - 1  # the state counts them in 32 bits
# By the last part of the fields' names. Far above what has been trained, below what never ends.
_MOST = {
    "blocks": 256,
    "downs": 16,
    "layers": 16,
    "gaussians": 2**16,
    "features": 2**12,
    "width": 2**16,
    "max_width": 2**16,
    "gan_start": _STEPS,
    "warmup_steps": _STEPS,
    "steps": _STEPS,
    "every": _STEPS,
    "keep": _STEPS,
    "max_skipped": _STEPS,
    "r1_every": _STEPS,
    "accumulate": 2**20,
    "batch_size": 2**20,
    "samples": 2**20,
    "images": 2**20,
    "workers": 2**10,
    "prefetch": 2**10,
}
_MOST_PIXELS = 2**13  # a side
_MOST_DINO = {"patch_size": 64, "registers": 64}
_MOST_DINO_PATCHES = 128  # a side


def check_config(config: ConfigDict, resumes: bool = False) -> "Sources":
    """Checks that `config` can be run; returns the images, which are opened for that.

    Missing data comes first: it takes the longest to mend. A run that `resumes` does not
    need what it started from any more.

    Raises:
      UserError: it cannot; names the field, and what would be right.
    """
    from gsjax.data.pipeline import check_data  # with Grain, which reading a run does not need

    check_types(config.to_dict())
    plan(config)
    sources = _open_inputs(config, resumes)
    _in_each_stage(check_data, config)
    check_program(config, jax.device_count())
    return sources


def check_program(config: ConfigDict, devices: int) -> None:
    """Raises UserError for what needs neither data nor weights to be found wrong."""
    check_types(config.to_dict())

    def check(config: ConfigDict) -> None:
        check_image_size(config.data.image_size)
        check_whole(config.train.batch_size, 1, "train.batch_size")
        check_whole(config.discriminator.layers, 1, "discriminator.layers")
        _check_numbers(config)
        _check_losses(config.loss)
        _check_sizes(config, devices)
        _check_optimizer(config)

    _in_each_stage(check, config)


def _in_each_stage(check: Callable[[ConfigDict], None], config: ConfigDict) -> None:
    """Calls a check with the config of each stage, and with that of validation beside stages."""
    stages = plan(config)
    if not stages[0].name:
        return check(config)
    for stage in stages:
        try:
            check(stage.config)
        except UserError as error:
            raise UserError(f"stage {stage.name}: {error}") from None
    validation = stages[-1].config.copy_and_resolve_references()
    validation.data = config.data
    validation.train.update(batch_size=config.train.batch_size, accumulate=1)
    check(validation)


def _open_inputs(config: ConfigDict, resumes: bool) -> "Sources":
    """Opens the images and checks the weights; one error names all that is missing.

    Images and weights take long to get.
    """
    from gsjax.data import pipeline

    results, problems = [], []
    check_lpips_of_stages = functools.partial(_in_each_stage, check_lpips)
    inputs = [
        *(pipeline.open_training_source, pipeline.open_validation_source),
        *(check_dino, check_lpips_of_stages),
    ]
    for open_or_check in inputs if resumes else [*inputs, check_initial]:
        try:
            results.append(open_or_check(config))
        except UserError as error:
            text = str(error)
            # How to get the data set is said once.
            problems.append(text.replace(f"\n{config.data.help}", "") if problems else text)
    if problems:
        raise UserError("\n\n".join(problems))
    return pipeline.Sources(*results[:2])


def _check_numbers(config: ConfigDict) -> None:
    least = {
        "model.patch_size": 1,
        "model.overlap": 0,
        "model.crossfade": 0,
        "model.gaussians": 1,
        "model.features": 2,
        "model.fold": 0,
        "model.downs": 1,
        "model.blocks": 0,
        "discriminator.layers": 1,
        **{f"loss.{name}": 0 for name in losses.TERMS},
        "loss.r1": 0,
        "loss.r1_every": 1,
        "loss.gan_start": 0,
        "optimizer.learning_rate": 0,
        "optimizer.discriminator_rate": 0,
        "optimizer.warmup_steps": 0,
        "optimizer.weight_decay": 0,
        "train.steps": 1,
        "train.batch_size": 1,
        "train.accumulate": 1,
        "train.ema": 0,
        "train.max_skipped": 1,
        "log.every": 1,
        "checkpoint.every": 1,
        "checkpoint.keep": 1,
        "validate.every": 1,
        "validate.samples": 1,
        "validate.images": 1,
        "data.workers": 0,
        "data.prefetch": 1,
    }
    for field, bound in least.items():
        group, name = field.split(".")
        value, most = config[group][name], _MOST.get(name, math.inf)
        if not bound <= value < math.inf:
            raise UserError(f"{field}: {value} must be a number of at least {bound}")
        if value > most:
            raise UserError(f"{field}: {value} must be at most {most}")
    if not 0 <= config.seed <= _LARGEST_SEED:
        raise UserError(f"seed: {config.seed} must be from 0 to {_LARGEST_SEED}")
    if config.train.ema >= 1:
        raise UserError(f"train.ema: {config.train.ema} must be less than 1, like 0.999")
    if config.checkpoint.best and config.checkpoint.best not in BEST:
        raise UserError(
            f"checkpoint.best: {config.checkpoint.best!r} is no metric of the validation; there "
            f"are {', '.join(BEST)}"
        )
    if config.checkpoint.best == "lpips" and not config.lpips.weights:
        raise UserError("checkpoint.best: lpips needs lpips.weights")
    for group in ("train", "discriminator"):
        precision = config[group].precision
        if precision not in ("float32", "bfloat16") and (precision or group == "train"):
            raise UserError(f"{group}.precision: {precision!r} is neither float32 nor bfloat16")
    if not 0 < config.fill.rim <= 1:
        raise UserError(f"fill.rim: {config.fill.rim} is not in (0, 1]")
    if not config.optimizer.clip_norm > 0:
        raise UserError(f"optimizer.clip_norm: {config.optimizer.clip_norm} must be positive")


def _check_losses(options: ConfigDict) -> None:
    check_whole(options.r1_every, 1, "loss.r1_every")
    if options.adversarial not in losses.ADVERSARIAL:
        raise UserError(
            f"loss.adversarial: {options.adversarial!r} is neither "
            f"{' nor '.join(losses.ADVERSARIAL)}"
        )
    if options.patch_labels and not options.composite:
        raise UserError(
            "loss.patch_labels needs loss.composite: without it the generator also draws the "
            "known pixels, which are not real then"
        )
    if not any(options[name] > 0 for name in losses.TERMS):
        raise UserError(
            f"loss: every weight is 0, so nothing is learned; set one of {', '.join(losses.TERMS)}"
        )


def check_image_size(size: object) -> None:
    """Raises UserError unless `data.image_size` is two whole numbers from 1 to 8192."""
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise UserError(f"data.image_size: {size!r} is not (height, width), such as (256, 256)")
    for side in size:
        check_whole(side, 1, "data.image_size")
        if side > _MOST_PIXELS:
            raise UserError(f"data.image_size: {side} is more than {_MOST_PIXELS} pixels")


def _check_sizes(config: ConfigDict, devices: int) -> None:
    model, size = config.model, config.data.image_size
    if math.isqrt(model.gaussians) ** 2 != model.gaussians:
        near = round(model.gaussians**0.5) ** 2
        raise UserError(
            f"model.gaussians: {model.gaussians} is not a square number; the nearest is {near}"
        )
    if model.backend not in ("auto", *BACKENDS):
        raise UserError(
            f"model.backend: {model.backend!r} must be one of auto, {', '.join(BACKENDS)}"
        )
    for field in ("overlap", "crossfade"):
        if 2 * model[field] > model.patch_size:
            raise UserError(
                f"model.{field}: {model[field]} must be at most half of model.patch_size, "
                f"{model.patch_size}"
            )
    if model.normalize_images and not model.residual_colors:
        raise UserError("model.normalize_images needs model.residual_colors")
    if model.borrow and not model.residual_colors:
        raise UserError("model.borrow needs model.residual_colors")
    if model.borrow and model.patch_size % (2 * max(model.fold, 1)):
        raise UserError(
            f"model.borrow: half of model.patch_size, {model.patch_size}, must be a multiple of "
            f"{max(model.fold, 1)} px, a cell of the encoder"
        )
    if model.fold and model.patch_size % model.fold:
        raise UserError(
            f"model.fold: {model.fold} must divide model.patch_size, {model.patch_size}; 0 is the "
            "published encoder"
        )
    _check_widths(config)
    step = math.lcm(model.patch_size, max(model.fold, 1) * 2**model.downs)
    if any(side % step for side in size):
        near = tuple(max(round(side / step), 2) * step for side in size)
        fold = f", model.fold={model.fold}" if model.fold else ""
        raise UserError(
            f"data.image_size: {tuple(size)} must be multiples of {step}, which "
            f"model.patch_size={model.patch_size}{fold} and model.downs={model.downs} divide; "
            f"the nearest is {near}"
        )
    least = max(min_side(config.discriminator.layers), 2 ** (model.downs + 1))
    if min(size) < least:
        raise UserError(
            f"data.image_size: {tuple(size)} is too small: the encoder and the discriminator "
            f"need at least {least} pixels a side"
        )
    if model.semantic:
        for field, most in _MOST_DINO.items():
            if config.dino[field] > most:
                raise UserError(f"dino.{field}: {config.dino[field]} must be at most {most}")
        patch_size = find_module(config).patch_size
        check_whole(config.dino.image_size, 1, "dino.image_size")
        if config.dino.image_size > _MOST_DINO_PATCHES * patch_size:
            raise UserError(
                f"dino.image_size: {config.dino.image_size} is more than {_MOST_DINO_PATCHES} "
                f"patches of {patch_size} pixels"
            )
        if config.dino.image_size % patch_size:
            raise UserError(
                f"dino.image_size: {config.dino.image_size} is not a multiple of "
                f"dino.patch_size, {patch_size}"
            )
    parts = config.train.accumulate * devices
    if config.train.batch_size % parts:
        of = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        raise UserError(
            f"train.batch_size: {config.train.batch_size} does not divide by {parts}, for "
            f"train.accumulate={config.train.accumulate} on {devices} devices{of}"
        )


def _check_widths(config: ConfigDict) -> None:
    model = config.model
    groups, reason = (
        (HEAD_CHANNELS, "heads of attention") if model.fold else (GROUPS, "normalized groups")
    )
    for field, width, multiple, why in (
        ("model.width", model.width, groups, reason),
        ("model.max_width", model.max_width, groups, reason),
        ("discriminator.width", config.discriminator.width, GROUPS // 2, "normalized groups"),
    ):
        if width < multiple or width % multiple:
            raise UserError(f"{field} must be a multiple of {multiple}, for the {why}")


def _check_optimizer(config: ConfigDict) -> None:
    options = config.optimizer
    if options.schedule not in SCHEDULES:
        raise UserError(
            f"optimizer.schedule: {options.schedule!r} is not one of {', '.join(SCHEDULES)}"
        )
    if not 0 <= options.hold < 1:
        raise UserError(f"optimizer.hold: {options.hold} is not in [0, 1)")
    if len(options.betas) != 2 or not all(0 <= beta < 1 for beta in options.betas):
        raise UserError(
            f"optimizer.betas: {options.betas} must be two numbers in [0, 1), like (0.9, 0.999)"
        )
    if not 0 < options.decay_factor <= 1:
        raise UserError(f"optimizer.decay_factor: {options.decay_factor} is not in (0, 1]")
    at = options.decay_at
    if not all(isinstance(step, int) and step > 0 for step in at) or list(at) != sorted(set(at)):
        raise UserError(
            f"optimizer.decay_at: {at} must be steps in ascending order, like (1000, 2000)"
        )
    if at and options.schedule != "steps":
        raise UserError(
            f"optimizer.decay_at is for optimizer.schedule=steps, not {options.schedule}"
        )
