"""A config of three small stages: squared error, adversarial, adversarial on larger crops."""

from configs import photos
from gsjax import config as gsjax_config


def get_config():
    """Returns it, without the networks that make no difference to stages."""
    config = photos.get_config()
    config.data.image_size = (48, 48)
    config.model.semantic = False
    sizes = {"patch_size": 8, "gaussians": 16, "features": 4, "width": 16, "downs": 1, "blocks": 0}
    options = {"mask_channel": False, "residual_colors": False, "normalize_splats": False}
    config.model.update(sizes | options)
    config.discriminator.width = 8
    config.loss.gan = 0.3
    config.train.batch_size = 2
    config.optimizer.warmup_steps = 0
    config.log.every = 1
    config.checkpoint.every = 2
    config.validate.update(every=4, images=4, samples=2)
    small = {"data.image_size": (32, 32), "train.batch_size": 4}
    smooth = {"loss.gan": 0.0, "loss.l1": 0.0, "loss.hole": 10.0, "optimizer.learning_rate": 2e-3}
    gsjax_config.add_stage(config, "smooth", 3, small | smooth)
    gsjax_config.add_stage(config, "texture", 3, small | {"masks.curriculum": ((0, 0.3, 0.5),)})
    gsjax_config.add_stage(config, "large", 3, {"data.crop_scale": (0.5, 1.0)})
    return config
