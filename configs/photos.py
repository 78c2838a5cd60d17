"""A small model on the photographs in scikit-image; trains in minutes on two CPU cores.

python -m gsjax.main --config=configs/photos.py
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config


def get_config() -> ConfigDict:
    """Returns the config, which downloads nothing."""
    config = gsjax_config.default()
    config.data.train = "photos"
    config.data.validation = "photos"
    config.data.image_size = (64, 64)
    config.data.crop = "random"
    config.data.crop_scale = (0.3, 1.0)
    config.data.flip = True
    config.data.workers = 0  # threads are enough for 12 small images

    config.masks.kinds = ("irregular", "free_form", "rectangles")
    config.masks.curriculum = ((0, 0.1, 0.3), (50, 0.1, 0.5))

    config.model.patch_size = 8
    config.model.gaussians = 64
    config.model.width = 16
    config.model.blocks = 2
    config.model.mask_channel = True
    config.model.residual_colors = True
    config.model.normalize_splats = True

    config.dino.size = "ti"
    config.dino.weights = "random"
    config.dino.image_size = 56

    config.lpips.weights = ""
    config.loss.lpips = 0.0

    config.discriminator.width = 16
    config.loss.gan = 0.001  # from the first step: a later start would compile a second program
    config.loss.semantic = 0.1

    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 10

    config.train.steps = 120
    config.train.batch_size = 8

    config.log.every = 10
    config.checkpoint.every = 30
    config.validate.every = 60
    config.validate.images = 48
    config.validate.kinds = ("irregular", "free_form", "rectangles")
    config.validate.center = False
    return config
