"""The published recipe on Places2 at 256×256.

python -m gsjax.main --config=configs/places2.py
With the hyperparameters of the paper, where they differ from those of its code:
python -m gsjax.main --config=configs/places2.py:paper
With images and DINO's weights in other places:
python -m gsjax.main --config=configs/places2.py --config.data.train=folder:DIR \
    --config.data.validation=folder:DIR --config.dino.weights=FILE
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config

IMAGES = 1_803_460
HELP = """\
This config trains on Places2 (Places365-Standard, http://places2.csail.mit.edu/download.html): get
"Small images (256 * 256)", train_256_places365standard.tar (24 GB) and val_256.tar (0.5 GB; 36,500
images), and unpack them to datasets/places2/train and datasets/places2/validation."""


def get_config(source: str = "code") -> ConfigDict:
    """Returns the config: 10 epochs, which show more images than 400 epochs of CelebA-HQ.

    Args:
      source: "code", or "paper" for 200,000 steps (7 epochs).
    """
    if gsjax_config.of_paper(source):
        config = gsjax_config.paper(images=IMAGES, steps=200_000, rise=1, lpips=3.0, gan=0.3)
    else:
        config = gsjax_config.published(images=IMAGES, epochs=10, batch_size=64)
    config.data.train = "folder:datasets/places2/train"
    config.data.validation = "folder:datasets/places2/validation"
    config.data.help = HELP
    return config
