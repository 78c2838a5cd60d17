"""The published recipe on CelebA-HQ at 256×256.

python -m gsjax.main --config=configs/celeba.py
With the hyperparameters of the paper, where they differ from those of its code:
python -m gsjax.main --config=configs/celeba.py:paper
With images and DINO's weights in other places:
python -m gsjax.main --config=configs/celeba.py --config.data.train=folder:DIR \
    --config.data.validation=folder:DIR --config.dino.weights=FILE
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config

IMAGES = 28_000  # of 30,000; the other 2,000 are for evaluation
HELP = """\
This config trains on CelebA-HQ: 30,000 aligned faces, from
https://github.com/tkarras/progressive_growing_of_gans or, ready-made at 256 pixels, from Kaggle
("CelebA-HQ 256"). Put 28,000 of the images in datasets/celeba_hq/train and the other 2,000 in
datasets/celeba_hq/validation."""


def get_config(source: str = "code") -> ConfigDict:
    """Returns the config: 400 epochs of 28,000 images, with a batch of 64 (8 devices × 8).

    Args:
      source: "code", or "paper" for 60,000 steps (137 epochs) with smaller loss weights.
    """
    if gsjax_config.of_paper(source):
        config = gsjax_config.paper(images=IMAGES, steps=60_000, rise=20, lpips=2.0, gan=0.2)
    else:
        config = gsjax_config.published(images=IMAGES, epochs=400, batch_size=64)
    config.data.train = "folder:datasets/celeba_hq/train"
    config.data.validation = "folder:datasets/celeba_hq/validation"
    config.data.help = HELP
    return config
