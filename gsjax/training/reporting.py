"""Reports progress on stderr and records metrics during training."""

import sys
from pathlib import Path

import jax
import tqdm
from absl import logging
from ml_collections import ConfigDict

from gsjax.training.feed import Feed
from gsjax.training.forward import Metrics
from gsjax.training.record import Record
from gsjax.training.stages import Stage, plan
from gsjax.training.state import TrainState


def announce(config: ConfigDict, workdir: Path, state: TrainState, done: int) -> None:
    """Prints what is about to run to stderr, on one process."""
    if jax.process_index() != 0:
        return
    sizes = [
        sum(array.size for array in jax.tree.leaves(network)) / 1e6
        for network in (state.generator, state.discriminator)
    ]
    device = jax.devices()[0]
    of = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    resuming = f", resuming after step {done}" if done else ""
    parts = [
        f"{stage.config.train.steps} steps of {stage.config.train.batch_size} images"
        + (f" of {_size(stage)} ({stage.name})" if stage.name else "")
        for stage in plan(config)
    ]
    print(
        f"{workdir}: generator {sizes[0]:.1f} M parameters, discriminator {sizes[1]:.1f} M; "
        f"{jax.device_count()} {device.device_kind} device(s){of}, {', '.join(parts)}{resuming}",
        file=sys.stderr,
    )


def announce_stage(stage: Stage, stages: int, bar: tqdm.tqdm) -> None:
    """Logs which stage is about to run, and shows it in the progress bar."""
    bar.set_description_str(f"training, stage {stage.name}", refresh=False)
    if jax.process_index() == 0:
        logging.info(
            "stage %s, %d of %d: up to step %d, %d images of %s a step",
            *(stage.name, stage.index + 1, stages, stage.last),
            *(stage.config.train.batch_size, _size(stage)),
        )


def log_step(
    log: Record, bar: tqdm.tqdm, step: int, stage: Stage, metrics: Metrics, feed: Feed
) -> None:
    """Waits for a step, records its metrics and the speed, and shows them in the progress bar."""
    scalars = {name: float(value) for name, value in metrics.items()} | feed.rates()
    if stage.name:
        scalars["stage"] = stage.index + 1
    log.scalars(step, scalars)
    loss, rate = scalars["loss/total"], scalars["images_per_second"]
    bar.set_postfix_str(f"loss {loss:.3f} · {rate:.0f} images/s", refresh=False)


def _size(stage: Stage) -> str:
    return "×".join(map(str, stage.config.data.image_size))
