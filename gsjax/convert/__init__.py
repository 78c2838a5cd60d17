"""Converts published PyTorch weights to our modules, and back.

`dino`, `discriminator`, `reference` (the inpainter) and `inception` (of FID) take a state dict,
`{key: array}` with the published keys, infer the architecture from keys and shapes, and return
`(module, variables)`. `lpips` takes two state dicts, of a classifier and of its heads.
`state_dicts.read_state_dict` reads a state dict from disk.
"""

import importlib

# Public name: location. Imported on first access, so that `--help` needs no JAX.
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
