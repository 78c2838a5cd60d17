"""Image inpainting with 2D Gaussian splatting and semantic alignment, in JAX.

gsjax.Inpainter.load(path)                    fills holes of pictures with a trained model
gsjax.rasterize(means, cholesky, colors)      draws Gaussians, patch by patch
gsjax.convert.reference(state_dict)           the published model from its PyTorch weights
gsjax.convert.dino(state_dict)                DINO v1 and v2 from theirs
gsjax.convert.discriminator(state_dict)       the PatchGAN discriminator from its own
"""

import importlib

# Public name: the module it is found in, imported when first asked for.
_PUBLIC = {
    "Inpainter": "gsjax.inpainting.painter",
    "convert": "gsjax.convert",
    "rasterize": "gsjax.kernels.rasterizer",
}
__all__ = ["Inpainter", "convert", "rasterize"]
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gsjax' has no attribute {name!r}")
    module = importlib.import_module(_PUBLIC[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
