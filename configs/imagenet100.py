"""The published recipe on ImageNet-100 at 256×256.

python -m gsjax.main --config=configs/imagenet100.py
With what the paper says, where that differs from its code:
python -m gsjax.main --config=configs/imagenet100.py:paper
With the pictures and DINO's weights elsewhere:
python -m gsjax.main --config=configs/imagenet100.py --config.data.train=folder:DIR \
    --config.data.validation=folder:DIR --config.dino.weights=FILE
"""

from ml_collections import ConfigDict

from gsjax import config as gsjax_config

IMAGES = 126_689
HELP = """\
This config trains on ImageNet-100: 100 classes of ImageNet-1k (ILSVRC2012, free for research after
signing up at https://www.image-net.org/download.php); their list is
https://github.com/HobbitLong/CMC/blob/master/imagenet100.txt
Unpack or link the folders of these classes to datasets/imagenet100/train and
datasets/imagenet100/validation; any depth of folders is fine."""


def get_config(source: str = "code") -> ConfigDict:
    """Returns the config: 100 epochs, which show as many pictures as 400 of CelebA-HQ do.

    Args:
      source: code, or paper: the 100,000 steps, 50 epochs, of its ablations. It names neither
        weights nor curriculum for them; these are those of Places2, stretched to as long a part
        of the run.
    """
    if gsjax_config.of_paper(source):
        config = gsjax_config.paper(images=IMAGES, steps=100_000, rise=7, lpips=3.0, gan=0.3)
    else:
        config = gsjax_config.published(images=IMAGES, epochs=100, batch_size=64)
    config.data.train = "folder:datasets/imagenet100/train"
    config.data.validation = "folder:datasets/imagenet100/validation"
    config.data.help = HELP
    return config
