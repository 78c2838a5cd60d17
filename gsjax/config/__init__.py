"""The configuration: every field with its default, and the checks on what users change.

A config file in `configs/` starts from `default()`, the recipe of the published
model at 256×256, and changes what differs. All schedules count steps.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gsjax.errors import UserError


def default() -> ConfigDict:
    """Returns the published recipe with our corrections; no data is named."""
    config = ConfigDict()
    config.seed = 0
    # Whose networks training starts from: a run, a converted or packed checkpoint, photos or
    # photos-smooth.
    config.initial = ""

    config.data = ConfigDict()
    # photos | folder:DIR | list:FILE | array_record:GLOB | tfds:NAME[:SPLIT]
    config.data.train = ""
    config.data.validation = ""  # the same; photos holds some pictures out for this
    config.data.help = ""  # how to get the data, shown when it is missing
    config.data.image_size = (256, 256)  # height, width; the patch size divides both
    config.data.crop = "resize"  # resize: the whole image | random: a part of it
    # The side of a random part over that of the largest that fits: the least and the most. From
    # 0 on: from parts that are not reduced, pixel by pixel.
    config.data.crop_scale = (0.5, 1.0)
    config.data.crop_distribution = "uniform"  # uniform | log: each doubling as likely
    config.data.flip = False  # mirror half of the training images left to right
    config.data.workers = 4  # processes that read images; 0: threads, for small machines and data
    config.data.prefetch = 8  # batches kept ready

    config.masks = ConfigDict()
    # Drawn for training: irregular, free_form, center, rectangles, files:DIR.
    config.masks.kinds = ("irregular", "free_form")
    # From which step on, the smallest and the largest part of the image that is hole.
    config.masks.curriculum = ((0, 0.2, 0.2),)

    config.model = ConfigDict()
    config.model.patch_size = 16
    config.model.overlap = 1  # pixels by which a patch draws over its neighbors
    # Pixels on either side of a seam in which patches fade into each other, instead of the mean
    # of two of them over `overlap`; 0: not. 2 makes seams disappear, at up to half as much
    # splatting again.
    config.model.crossfade = 0
    config.model.gaussians = 324  # a patch; a square number
    config.model.features = 12  # channels a Gaussian is decoded from
    # Pixels a side of the cells that a smaller encoder works on; 0: the published one.
    config.model.fold = 0
    config.model.width = 64  # channels of the encoder's first layer
    config.model.max_width = 1024  # channels never grow past this
    config.model.downs = 3  # halvings of the resolution
    config.model.blocks = 9  # residual blocks at the lowest resolution
    config.model.skips = True  # decoder layers see the encoder's; of the published encoder
    config.model.semantic = True  # a frozen DINO's token modulates the encoder
    config.model.mask_channel = False  # the encoder sees which pixels are known
    config.model.residual_colors = False  # colors are corrections of a coarse fill
    config.model.normalize_images = False  # with them: brightness and contrast change nothing else
    # Patches of the hole copy detail of known ones, by attention; with residual_colors.
    config.model.borrow = False
    config.model.normalize_splats = False  # divide what is drawn by the summed opacity
    config.model.backend = "auto"  # of splatting and mixture: auto | xla | pallas | triton

    config.dino = ConfigDict()
    # ti | S | B | L | g. Of a converted folder, size, patch_size and registers are read from it;
    # size is "" if it is none of these.
    config.dino.size = "B"
    # dinov2_vitb14 and the like, fetched once | a file of weights | a converted checkpoint | random
    config.dino.weights = ""
    config.dino.patch_size = 14
    config.dino.registers = 0
    config.dino.image_size = 224  # the side images are resized to before DINO sees them
    config.dino.normalize = True  # ImageNet mean and deviation; the published code had none

    config.lpips = ConfigDict()
    # alex | vgg | squeeze, fetched once | a converted checkpoint | a file | none: ""
    config.lpips.weights = "alex"
    config.lpips.normalize = True  # pixels to the [-1, 1] it expects; the published code does not

    config.discriminator = ConfigDict()
    config.discriminator.width = 64
    config.discriminator.layers = 3  # halvings of the resolution; a logit sees 34, 70, 142 … pixels
    config.discriminator.precision = ""  # float32 | bfloat16, of it alone; "": train.precision

    # Weights of the terms in gsjax/models/losses.py; a term of weight 0 is not computed.
    config.loss = ConfigDict()
    config.loss.l1 = 1.0  # over the whole image
    config.loss.hole = 0.0  # of the squared error in the hole alone
    config.loss.hole_l1 = 0.0  # of the absolute error in the hole alone
    config.loss.known_l1 = 0.0  # of the absolute error on known pixels alone
    config.loss.semantic = 1.0
    config.loss.lpips = 3.0
    config.loss.gan = 0.3
    config.loss.features = 0.0  # discriminator's maps of fill and photograph (Wang et al. 2018)
    # lpips, gan, features and the discriminator see the photograph with the hole filled, not all
    # that is drawn: known pixels get no gradient from them (Suvorov et al. 2022, LaMa).
    config.loss.composite = False
    # hinge (Lim & Ye 2017) | logistic, the non-saturating one (Goodfellow et al. 2014)
    config.loss.adversarial = "hinge"
    # The discriminator's patches without hole are labeled real, and the generator's term leaves
    # them out (LaMa, section 2.2.2); needs composite.
    config.loss.patch_labels = False
    config.loss.r1 = 0.0  # of ½ |∇D|² on photographs (Mescheder et al. 2018)
    # Each step computes R1 for one photograph in this many: lazy regularization (Karras et al.
    # 2020) over the batch instead of over steps.
    config.loss.r1_every = 8
    config.loss.gan_start = 0  # the step from which the discriminator takes part

    config.optimizer = ConfigDict()  # AdamW, one for each network
    config.optimizer.learning_rate = 2e-4
    config.optimizer.discriminator_rate = 1.0  # times learning_rate, for the discriminator
    config.optimizer.warmup_steps = 0
    config.optimizer.schedule = "steps"  # steps | cosine | linear
    config.optimizer.decay_at = ()  # for "steps": where the rate is multiplied by decay_factor
    config.optimizer.decay_factor = 0.2
    # For "linear": the part of the steps at the full rate, before it falls to 0 at the end.
    config.optimizer.hold = 0.6
    config.optimizer.betas = (0.9, 0.999)
    config.optimizer.weight_decay = 1e-3
    config.optimizer.clip_norm = 1.0

    config.train = ConfigDict()
    config.train.steps = 100_000  # with stages 0: what these have together
    # Stages of the run, by name and in their order; see `add_stage`. None: the run is one.
    config.train.stages = ()
    config.train.batch_size = 8  # over all devices
    config.train.accumulate = 1  # parts that a batch is computed in, one after the other
    config.train.precision = "float32"  # float32 | bfloat16, of all networks; not of splats
    config.train.recompute = False  # less memory, a third more work: blocks are computed twice
    config.train.ema = 0.999  # of the generator that is validated and kept; 0: none
    config.train.max_skipped = 10  # stop after so many steps in a row with a NaN or infinite loss

    config.log = ConfigDict()
    config.log.every = 100

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 5_000
    config.checkpoint.keep = 3
    config.checkpoint.best = "psnr_hole"  # also keep the generator that validates best by this; ""

    config.validate = ConfigDict()
    config.validate.every = 5_000
    config.validate.images = 64
    config.validate.kinds = ("irregular", "free_form")
    config.validate.bands = ((0.2, 0.4), (0.4, 0.6))  # parts of the image that are hole
    config.validate.center = True  # also the central square of half the height and width
    config.validate.samples = 8  # rows of the sample grid

    config.fill = ConfigDict()
    # How deep a crop paints before a coarser one takes over, as a part of half its core.
    config.fill.rim = 1.0

    config.mesh = ConfigDict()
    config.mesh.data = -1  # -1: the devices that the other axis leaves
    config.mesh.fsdp = 1

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
        `gsjax.training.stages.MAY_DIFFER` says which may.

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
        raise UserError(f"there is no recipe {source!r} in this file; there are code and paper")
    return source == "paper"
