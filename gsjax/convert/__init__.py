"""Published PyTorch weights to our modules and back.

`dino`, `discriminator` and `reference` (the inpainter) take a state dict, `{key: array}`
with the published keys, read the architecture off keys and shapes, and return
`(module, variables)`. `files.read_state_dict` reads a state dict from disk.
"""

from gsjax.convert.inpainter import from_state_dict as reference
from gsjax.convert.inpainter import to_state_dict as reference_state_dict
from gsjax.convert.patchgan import from_state_dict as discriminator
from gsjax.convert.patchgan import to_state_dict as discriminator_state_dict
from gsjax.convert.vit import from_state_dict as dino
from gsjax.convert.vit import to_state_dict as dino_state_dict

__all__ = [
    "dino",
    "dino_state_dict",
    "discriminator",
    "discriminator_state_dict",
    "reference",
    "reference_state_dict",
]
