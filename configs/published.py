"""Continues training from a checkpoint of the published PyTorch code, with that code's inputs.

python -m gsjax.convert reference --input=last.pth --output=weights/published
python -m gsjax.main --config=configs/published.py

The published code gives DINO pixels in [0, 1], without ImageNet's mean and standard deviation, and
gives LPIPS pixels in [0, 1] where it expects [−1, 1]. Only this config does the same.
"""

from ml_collections import ConfigDict

from gsjax.config.recipes import recipe


def get_config() -> ConfigDict:
    """Returns the recipe of `celeba`, starting from the converted checkpoint."""
    config = recipe("celeba")
    config.initial = "weights/published"
    config.dino.normalize = False
    config.lpips.normalize = False
    return config
