"""The functions that config files call.

A config file in `configs/` starts from `default()`, the recipe of the published model at 256×256,
and sets the fields that differ. All schedules count steps.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gsjax.config.groups import FIELDS
from gsjax.errors import UserError


def default() -> ConfigDict:
    """Returns the published recipe with our corrections, and without data.

    docs/configuration.md lists the fields; `gsjax.config.groups` declares them.
    """
    config = ConfigDict()
    for name, field in FIELDS.items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            if part not in group:
                group[part] = ConfigDict()
            group = group[part]
        group[last] = field.default
    config.stages = ConfigDict()  # for each name, `steps` and the fields that the stage sets
    return config


def add_stage(config: ConfigDict, name: str, steps: int, fields: Mapping[str, Any]) -> None:
    """Adds a stage to the end of a run; its schedules count from its own first step.

    Args:
      config: the config of the run. A stage inherits the fields that it does not set, with the
        values that they have when `get_config` returns. Validation uses the run's own
        `data.image_size` and `train.batch_size`.
      name: a Python identifier; the command line sets its fields as --config.stages.NAME.steps.
      steps: number of steps of the stage.
      fields: the fields that differ in the stage, by dotted name, like
        {"data.image_size": (128, 128)}; docs/configuration.md marks those that a stage may set.

    Raises:
      KeyError, TypeError: there is no such field, or the value has another type.
    """
    scratch = config.copy_and_resolve_references().lock()
    stage = ConfigDict({"steps": steps})
    for field, value in fields.items():
        scratch.update_from_flattened_dict({field: value})
        group, value, *names, last = stage, scratch, *field.split(".")
        for part in names:
            if part not in group:
                group[part] = ConfigDict()
            group, value = group[part], value[part]
        group[last] = value[last]
    config.stages[name] = stage
    config.train.stages = (*config.train.stages, name)
    config.train.steps = 0


def published(images: int, epochs: int, batch_size: int) -> ConfigDict:
    """Returns `default()` with the schedules of the published code, converted to steps.

    The published run has 400 epochs. It multiplies the learning rate by 0.2 after epochs 350 and
    380, starts the adversarial terms 500 steps after the first epoch, and raises the hole ratio
    from 0.2 to 0.6, by 0.1 every 20 epochs. For another number of epochs, the learning rate and
    the hole ratio are scaled in proportion.

    Args:
      images: number of images in an epoch.
      epochs: number of epochs of the run.
      batch_size: over all devices; the published code has 8 per device.
    """
    config = default()
    epoch = images // batch_size
    stretch = epochs / 400 * epoch
    config.train.batch_size = batch_size
    config.train.steps = epochs * epoch
    config.optimizer.decay_at = (round(350 * stretch), round(380 * stretch))
    config.loss.gan_start = epoch + 500
    config.masks.curriculum = tuple(
        (round(20 * stretch * i), ratio, ratio) for i, ratio in enumerate((0.2, 0.3, 0.4, 0.5, 0.6))
    )
    config.dino.weights = "dinov2_vitb14"
    return config


def paper(images: int, steps: int, rise: int, lpips: float, gan: float) -> ConfigDict:
    """Returns the recipe of the paper, which differs from that of its code (`published`).

    The batch size is 64. The hole ratio rises from 0.2 to 0.6, by 0.1 every `rise` epochs; from
    then on it is drawn at random from that range. Where the paper gives no value, that of the code
    is used; the learning rate drops after the same fractions of the run.

    Args:
      images: number of images in an epoch.
      steps: number of steps of the run.
      rise: number of epochs at each hole ratio.
      lpips: weight of LPIPS.
      gan: weight of the adversarial term.
    """
    config = published(images, epochs=1, batch_size=64)
    config.train.steps = steps
    config.optimizer.decay_at = (round(steps * 350 / 400), round(steps * 380 / 400))
    epoch, ratios = images // 64, (0.2, 0.3, 0.4, 0.5, 0.6)
    rising = tuple((rise * epoch * i, ratio, ratio) for i, ratio in enumerate(ratios))
    config.masks.curriculum = (*rising, (rise * epoch * len(ratios), ratios[0], ratios[-1]))
    config.loss.update({"lpips": lpips, "gan": gan})
    return config


def of_paper(source: str) -> bool:
    """Returns whether `FILE:paper` was given, which asks for the recipe of the paper.

    Raises:
      UserError: it is neither "code" nor "paper".
    """
    if source not in ("code", "paper"):
        raise UserError(
            "--config", f"this file has no recipe {source!r}", "there are code and paper"
        )
    return source == "paper"
