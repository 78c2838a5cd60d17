"""Fills with texture, for photographs of any kind: the recipe of the bundled weights.

python -m gsjax.data.prepare --source=folder:PHOTOS --size=288 --reencode --output=data/photos/train
python -m gsjax.data.prepare --source=folder:OTHERS --size=288 --output=data/photos/validation
python -m gsjax.main --config=configs/photos_texture.py

Without shards, use --config.data.train=folder:PHOTOS --config.data.validation=folder:OTHERS with
photographs that are not much larger than 288 pixels.

For one GPU or TPU. Three stages: the squared error on crops of 128 pixels, then texture on crops of
128 and of 256. A trial of the recipe outside of this trainer, with all data on the GPU, took 75,
110 and 110 seconds on an H200, without compilation, at 3,168, 2,198 and 602 images per second. To
feed the first two stages, 14 cores must each make 157 to 226 images per second (see
benchmarks/RESULTS.md; the metric `data/wait_fraction` shows whether they keep up).
"""

import os

from ml_collections import ConfigDict

from gsjax import config as gsjax_config

# For the highest PSNR: `photos-smooth`.
SMOOTH = {
    "loss.hole": 10.0,
    "loss.known_l1": 1.0,
    "optimizer.learning_rate": 2e-3,
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 120,
    "optimizer.betas": (0.9, 0.99),
    "optimizer.weight_decay": 1e-2,
    "optimizer.clip_norm": 1.0,
}
# Mostly as in LaMa (Suvorov et al. 2022), with LPIPS in place of its segmentation network.
TEXTURE = {
    "loss.hole_l1": 2.0,
    "loss.known_l1": 1.0,
    "loss.lpips": 5.0,
    "loss.gan": 0.5,
    "loss.features": 10.0,
    "loss.composite": True,
    "loss.adversarial": "logistic",
    "loss.patch_labels": True,
    "loss.r1": 1e-3,
    "optimizer.learning_rate": 3e-4,
    "optimizer.discriminator_rate": 2.0,
    "optimizer.schedule": "linear",
    "optimizer.warmup_steps": 50,
    "optimizer.betas": (0.5, 0.99),
    "optimizer.weight_decay": 0.0,
    "optimizer.clip_norm": 5.0,
    "train.ema": 0.998,
}


def get_config() -> ConfigDict:
    """Returns the config, for photographs with a short side of 288 pixels."""
    config = gsjax_config.default()
    config.data.train = "array_record:data/photos/train"
    config.data.validation = "array_record:data/photos/validation"
    config.data.help = (
        "Make the shards from two folders of photographs, for training and validation:\n"
        "python -m gsjax.data.prepare --source=folder:PHOTOS --size=288 --reencode "
        "--output=data/photos/train\n"
        "python -m gsjax.data.prepare --source=folder:OTHERS --size=288 "
        "--output=data/photos/validation"
    )
    config.data.crop = "random"
    config.data.crop_scale = (0.0, 1.0)  # from native pixels to the whole photograph
    config.data.crop_distribution = "log"
    config.data.flip = True
    config.data.workers = max((os.cpu_count() or 4) - 2, 1)  # 200 to 300 images/s each at 128²

    # Two thirds are strokes.
    config.masks.kinds = ("irregular", "free_form") * 2 + ("rectangles", "center")
    config.masks.curriculum = ((0, 0.04, 0.55),)

    config.model.patch_size = 8
    config.model.gaussians = 64
    config.model.features = 24
    config.model.fold = 4
    config.model.width = 64
    config.model.max_width = 256
    config.model.downs = 2
    config.model.blocks = 4
    config.model.semantic = False
    config.model.mask_channel = True
    config.model.residual_colors = True
    config.model.normalize_splats = True
    config.model.normalize_images = True
    config.model.crossfade = 2

    config.lpips.weights = "squeeze"
    config.discriminator.precision = "float32"
    config.loss.update({"l1": 0.0, "lpips": 0.0, "gan": 0.0, "semantic": 0.0})
    config.train.precision = "bfloat16"
    config.train.batch_size = 32

    small = {"data.image_size": (128, 128), "train.batch_size": 64}
    gsjax_config.add_stage(config, "smooth", 3_720, small | SMOOTH)
    gsjax_config.add_stage(config, "texture", 3_780, small | TEXTURE)
    gsjax_config.add_stage(config, "large", 2_080, TEXTURE)

    config.fill.rim = 0.3

    config.log.every = 50
    config.checkpoint.every = 500
    config.checkpoint.best = "lpips"
    config.validate.every = 1_000
    config.validate.images = 96
    config.validate.bands = ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6))
    return config
