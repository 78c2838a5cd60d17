"""The published recipe on ImageNet-100 at 256×256.

python -m gsjax.main --config=configs/imagenet100.py
With the hyperparameters of the paper, where they differ from those of its code:
python -m gsjax.main --config=configs/imagenet100.py:paper
With images and DINO's weights in other places:
python -m gsjax.main --config=configs/imagenet100.py --config.data.train=folder:DIR \
    --config.data.validation=folder:DIR --config.dino.weights=FILE
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config

IMAGES = 126_689
HELP = """\
This config trains on ImageNet-100: 100 classes of ImageNet-1k (ILSVRC2012, free for research after
signing up at https://www.image-net.org/download.php), listed in
https://github.com/HobbitLong/CMC/blob/master/imagenet100.txt
Unpack or link the folders of these classes to datasets/imagenet100/train and
datasets/imagenet100/validation; folders may be nested to any depth."""


def get_config(source: str = "code") -> ConfigDict:
    """Returns the config: 100 epochs, which show as many images as 400 epochs of CelebA-HQ.

    Args:
      source: "code", or "paper" for the 100,000 steps (50 epochs) of its ablations. The paper
        gives no loss weights or curriculum for them; these are those for Places2, with the
        curriculum stretched to the same fraction of the run.
    """
    if gsjax_config.of_paper(source):
        config = gsjax_config.paper(images=IMAGES, steps=100_000, rise=7, lpips=3.0, gan=0.3)
    else:
        config = gsjax_config.published(images=IMAGES, epochs=100, batch_size=64)
    config.data.train = "folder:datasets/imagenet100/train"
    config.data.validation = "folder:datasets/imagenet100/validation"
    config.data.help = HELP
    return config
