"""On from a checkpoint of the published PyTorch code, with the inputs that it was trained on.

python -m gsjax.convert reference --input=last.pth --output=weights/published
python -m gsjax.main --config=configs/published.py

The published code gives DINO pixels in [0, 1] without ImageNet's mean and deviation, and LPIPS
pixels in [0, 1] where it expects [−1, 1]; so does this config, and no other.
"""

from ml_collections import ConfigDict

from configs import celeba


def get_config() -> ConfigDict:
    """Returns the recipe of `celeba`, from the converted checkpoint on."""
    config = celeba.get_config()
    config.initial = "weights/published"
    config.dino.normalize = False
    config.lpips.normalize = False
    return config
