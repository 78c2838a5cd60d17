"""Batches for training and validation, read and drawn in the background by Grain."""

import functools
import math
import multiprocessing
import os
import signal
import sys
import threading
from typing import NamedTuple

import grain
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from gsjax.data import examples
from gsjax.data.images import ImageSource, UnreadableImage
from gsjax.data.masks import check_curriculum, check_kinds, check_ratio
from gsjax.data.sources import open_source, require_readable
from gsjax.errors import UserError, at


class Sources(NamedTuple):
    """The images of a run; each is opened only once, since that lists all files of a bucket."""

    training: ImageSource
    validation: ImageSource


def training_batches(
    config: ConfigDict,
    process_index: int = 0,
    process_count: int = 1,
    first_step: int = 0,
    source: ImageSource | None = None,
    first_example: int = 0,
) -> grain.DatasetIterator:
    """Returns an endless iterator over this process's part of the training batches.

    The config and the step alone determine the batch, for any number of workers and processes. So
    resuming needs no saved state. Every image is seen once before any is seen again. The batch is
    the concatenation of the parts of all processes. Call `close()` on the iterator to end its
    workers.

    Args:
      config: of the run, or of a stage.
      process_index: which part is returned.
      process_count: number of parts of every batch.
      first_step: number of steps of the run or stage that are done.
      source: `config.data.train`, if it is already open.
      first_example: number of training examples that earlier stages have used.

    Returns:
      Dicts of numpy arrays, b = batch_size / process_count: `image` uint8 [b, H, W, 3]; `known`
      bool [b, H, W, 1], False in the hole; `unreadable` int64 [b], the index in the source of an
      image that could not be read and was replaced by the next one, or -1 (see
      `warn_unreadable`).

    Raises:
      UserError: the data is missing, or the batch size is not a multiple of the number of
        processes.
    """
    with at("train.batch_size"):
        share = _share(config.train.batch_size, process_count)
    source = source or open_training_source(config)
    recipe = examples.training_recipe(config, first_example)
    start = first_example + first_step * recipe.batch_size + process_index * share
    batches = (
        grain.MapDataset.range(sys.maxsize)
        .map(functools.partial(_place, start=start, share=share, batch_size=recipe.batch_size))
        .map(functools.partial(examples.training_example, source=source, recipe=recipe))
        # Batching comes before the work is divided over workers, so that the result does not
        # depend on their number, and whole batches cross the process boundary.
        .batch(share, drop_remainder=True)
    )
    workers, prefetch = config.data.workers, config.data.prefetch
    if workers == 0:
        # Half of the cores: the other half feeds the devices.
        threads = min(max((os.cpu_count() or 2) // 2, 1), 16)
        return iter(batches.to_iter_dataset(grain.ReadOptions(threads, prefetch)))
    if not flags.FLAGS.is_parsed():  # in notebooks and tests; Grain reads its own flags
        flags.FLAGS.mark_as_parsed()
    options = grain.multiprocessing.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=math.ceil(prefetch / workers)
    )
    dataset = grain.experimental.WithOptionsIterDataset(
        batches.to_iter_dataset(grain.ReadOptions(0, 0)),
        # Batches go through pipes instead of shared memory. Containers have 64 MB of that by
        # default; a worker that runs out of it dies, and it is not freed on exit.
        grain.experimental.DatasetOptions(min_shm_size=2**62),
    )
    return iter(dataset.mp_prefetch(options, worker_init_fn=_start_worker))


def validation_batches(
    config: ConfigDict,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    source: ImageSource | None = None,
) -> list[dict[str, np.ndarray]]:
    """Returns this process's part of the fixed validation batches.

    Example i has image i modulo the number of images. Examples cycle through bands and kinds,
    shifted by one in each pass over the images, so that each image occurs in each band. An example
    depends only on i and the seed. Every process gets the same number of batches of the same
    shape; the last batch is padded with examples of weight 0.

    Args:
      config: `validate.images` is the number of examples over all processes.
      batch_size: examples per batch, over all processes.
      process_index: which part is returned.
      process_count: number of parts of every batch.
      source: `config.data.validation`, if it is already open.

    Returns:
      As `training_batches`, and `weight` float32 [b], and `band` int32 [b], the index in
      `examples.bands`.

    Raises:
      UserError: as for `training_batches`.
    """
    with at("the validation batch size"):
        share = _share(batch_size, process_count)
    source = source or open_validation_source(config)
    recipe = examples.validation_recipe(config)
    batches = []
    for first in range(0, config.validate.images, batch_size):
        indices = [first + process_index * share + k for k in range(share)]
        made = [examples.make_example(i, i % len(source), source, recipe) for i in indices]
        batch = {key: np.stack([example[key] for example in made]) for key in made[0]}
        batch["weight"] = np.array(indices) < config.validate.images
        batch["weight"] = batch["weight"].astype(np.float32)
        batches.append(batch)
    return batches


def open_training_source(config: ConfigDict) -> ImageSource:
    """Opens `config.data.train`.

    Raises:
      UserError: it is missing, or none of its images can be read.
    """
    source = open_source(config.data.train, "train", "data.train", config.data.help)
    with at("data.train"):
        require_readable(source)
    return source


def open_validation_source(config: ConfigDict) -> ImageSource:
    """Opens `config.data.validation`; raises as `open_training_source`."""
    field = "data.validation"
    source = open_source(config.data.validation, "validation", field, config.data.help)
    with at(field):
        require_readable(source)
    return source


def warn_unreadable(batch: dict[str, np.ndarray], source: ImageSource, seen: set[int]) -> int:
    """Logs a warning for each unreadable image of a batch that is not yet in `seen`.

    Adds them to `seen`, and returns their number. Workers cannot do this: they are separate
    processes, and do not know which images the others have read.
    """
    new = {int(index) for index in batch["unreadable"] if index >= 0} - seen
    for index in sorted(new):
        reason = "it could not be read"
        try:
            source[index]
        except UnreadableImage as e:
            reason = e.reason
        logging.warning("Skipping image %s: %s", source.name(index), reason)
    seen |= new
    return len(new)


def check_data(config: ConfigDict) -> None:
    """Checks the fields of data, masks and validation together; `check_values` checks each alone.

    Raises:
      UserError: naming the config field that is wrong and what would be right.
    """
    low, high = config.data.crop_scale
    if low > high or high == 0:
        raise UserError("data.crop_scale", f"{(low, high)} is not (low, high) with low ≤ high > 0")
    with at("masks.kinds"):
        check_kinds(config.masks.kinds)
    with at("masks.curriculum"):
        check_curriculum(config.masks.curriculum)
    with at("validate.kinds"):
        check_kinds(config.validate.kinds)
    with at("validate.bands"):
        for band in config.validate.bands:
            check_ratio(band)
    if not config.validate.bands and not config.validate.center:
        raise UserError(
            "validate.bands",
            "it is empty",
            "name a band, as in ((0.2, 0.4),), or set validate.center",
        )
    names = [band.name for band in examples.bands(config.validate)]
    if len(set(names)) < len(names):
        raise UserError(
            "validate.bands", f"two of {', '.join(names)} are the same when rounded to percent"
        )


def _share(batch_size: int, process_count: int) -> int:
    if batch_size % process_count:
        raise UserError(
            "", f"{batch_size} is not a multiple of {process_count}, the number of processes"
        )
    return batch_size // process_count


def _place(index: int, start: int, share: int, batch_size: int) -> int:
    """Returns the number of example `index` of a process among the examples of all processes."""
    step, place = divmod(int(index), share)
    return start + step * batch_size + place


def _start_worker(index: int, count: int) -> None:
    """Keeps a worker process off accelerators and on one core, and ends it with its run."""
    import cv2
    import jax  # Grain has imported it already

    def end_with_run():
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
        os._exit(1)

    del index, count
    # Ctrl-C reaches workers too, but the run still needs them for its current step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A run that is killed cannot end its workers, and they would wait for it forever.
    threading.Thread(target=end_with_run, daemon=True).start()
    jax.config.update("jax_platforms", "cpu")
    cv2.setNumThreads(0)
