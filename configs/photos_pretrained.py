"""The model that comes with gsjax: small enough to be trained on two CPU cores in hours.

python -m gsjax.data.prepare --source=folder:PHOTOS --size=288 --output=data/photos/train
python -m gsjax.data.prepare --source=folder:OTHERS --size=288 --output=data/photos/validation
python -m gsjax.main --config=configs/photos_pretrained.py:64 --workdir=runs/pretrained_64
python -m gsjax.main --config=configs/photos_pretrained.py:128 --workdir=runs/pretrained

First on crops of 64 pixels, where a step is cheap, then on those of 128 that pictures are filled
in, there with normalized images and patches that fade into each other.
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config


def get_config(size: str = "64") -> ConfigDict:
    """Returns the config, for photographs of any kind with a short side of 288 pixels.

    Args:
      size: pixels a side, behind the file's name: 64, or 128, which goes on from there.
    """
    if size not in ("64", "128"):
        raise ValueError(f"configs/photos_pretrained.py:{size}: there are :64 and :128")
    larger = size == "128"
    config = gsjax_config.default()
    config.initial = "runs/pretrained_64" if larger else ""
    config.data.train = "array_record:data/photos/train"
    config.data.validation = "array_record:data/photos/validation"
    config.data.help = (
        "Make it of a folder of photographs, and the other of others, with\n"
        "python -m gsjax.data.prepare --source=folder:PHOTOS --size=288 "
        "--output=data/photos/train\n"
        "python -m gsjax.data.prepare --source=folder:OTHERS --size=288 "
        "--output=data/photos/validation"
    )
    config.data.image_size = (int(size), int(size))
    config.data.crop = "random"
    # From the photograph's own pixels to all of it.
    config.data.crop_scale = (0.44, 1.0) if larger else (0.22, 1.0)
    config.data.flip = True
    config.data.workers = 0

    config.masks.kinds = ("irregular", "free_form", "rectangles", "center")
    config.masks.curriculum = ((0, 0.04, 0.62),)

    config.model.patch_size = 8
    config.model.gaussians = 16
    config.model.fold = 4
    config.model.width = 64
    config.model.max_width = 192
    config.model.downs = 2
    config.model.blocks = 4
    config.model.semantic = False
    config.model.mask_channel = True
    config.model.residual_colors = True
    config.model.normalize_splats = True
    if larger:  # the first part was run without; the network takes to them at once
        config.model.normalize_images = True
        config.model.crossfade = 2

    config.lpips.weights = ""
    config.loss.l1 = 0.0
    config.loss.lpips = 0.0
    config.loss.gan = 0.0
    config.loss.semantic = 0.0
    config.loss.hole = 10.0

    config.optimizer.learning_rate = 6e-4 if larger else 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50 if larger else 200
    config.optimizer.weight_decay = 1e-2

    config.train.steps = 6_500 if larger else 9_000
    config.train.batch_size = 8 if larger else 32

    # 0.1 dB better than 1: it goes on best with what it sees much of.
    config.fill.rim = 0.3

    config.log.every = 50
    config.checkpoint.every = 250
    config.validate.every = 1_000
    config.validate.images = 120
    config.validate.bands = ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6))
    return config
