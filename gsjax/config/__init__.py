"""The config: where config files start.

A config file in `configs/` starts from `default()`, the recipe of the published
model at 256×256, and changes what differs. All schedules count steps.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gsjax.config.groups import FIELDS
from gsjax.errors import UserError


def default() -> ConfigDict:
    """Returns the published recipe with our corrections; no data is named.

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
    config.stages = ConfigDict()  # by name: `steps`, and the fields that differ in it
    return config


def add_stage(config: ConfigDict, name: str, steps: int, fields: Mapping[str, Any]) -> None:
    """Adds a stage to the end of a run; its schedules count from its own first step.

    Args:
      config: of the run. Fields that a stage does not set are those that it has in the end;
        `data.image_size` and `train.batch_size` of these are also what validation uses.
      name: a Python name, under which the command line has --config.stages.NAME.steps.
      steps: of the stage.
      fields: what differs in it, by dotted name, like {"data.image_size": (128, 128)};
        docs/configuration.md says which may.

    Raises:
      KeyError, TypeError: there is no such field, or it has another type.
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
    """Returns `default()` with the published schedules, whose epochs become steps.

    The published run of 400 epochs multiplies the rate by 0.2 after 350 and 380 of
    them, starts the adversarial terms after the first epoch and 500 steps more, and
    raises the hole ratio from 0.2 by 0.1 every 20 epochs up to 0.6. A run of other
    length has the same schedule, stretched.

    Args:
      images: how many an epoch has.
      epochs: how long the run is.
      batch_size: over all devices; the published one was 8 a device.
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
    """Returns what the paper says of its runs, where that differs from its code (`published`).

    The batch is 64. The hole ratio rises from 0.2 by 0.1 every `rise` epochs up to 0.6; then it
    is random over that range. What the paper does not say is that of the code: the rate drops
    after the same parts of the run.

    Args:
      images: how many an epoch has.
      steps: of the run.
      rise: epochs of one hole ratio.
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
    """Returns whether a config file is asked for the paper's recipe, behind its name.

    Raises:
      UserError: for anything but code and paper.
    """
    if source not in ("code", "paper"):
        raise UserError(
            "--config", f"this file has no recipe {source!r}", "there are code and paper"
        )
    return source == "paper"
