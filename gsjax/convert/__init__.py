"""Published PyTorch weights to our modules and back.

`dino`, `discriminator` and `reference` (the inpainter) take a state dict, `{key: array}`
with the published keys, read the architecture off keys and shapes, and return
`(module, variables)`; so does `inception`, FID's. `lpips` takes two, of a classifier and of its
heads. `state_dicts.read_state_dict` reads a state dict from disk.
"""

import importlib

# Public name: where it is, imported when first asked for, so that `--help` needs no JAX.
_PUBLIC = {
    "dino": "vit.from_state_dict",
    "dino_state_dict": "vit.to_state_dict",
    "discriminator": "patchgan.from_state_dict",
    "discriminator_state_dict": "patchgan.to_state_dict",
    "inception": "fid.from_state_dict",
    "lpips": "perceptual.from_state_dicts",
    "reference": "inpainter.from_state_dict",
    "reference_state_dict": "inpainter.to_state_dict",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gsjax.convert' has no attribute {name!r}")
    module, function = _PUBLIC[name].split(".")
    return getattr(importlib.import_module(f"gsjax.convert.{module}"), function)
