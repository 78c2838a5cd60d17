"""Implements `python -m gsjax.convert`: turns a file of weights into a folder and a description."""

import shlex
from pathlib import Path
from typing import Any

import jax

from gsjax import config as configs
from gsjax import convert
from gsjax.convert.perceptual import backbone_of, has_heads
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import at
from gsjax.fetch import fetch
from gsjax.models.build import set_architecture
from gsjax.models.dino import DinoViT, size_of
from gsjax.models.inpainter import GaussianInpainter
from gsjax.trained import converted

_DINO_PREFIX = "dino_model."  # of the frozen DINO in the published inpainter


def convert_dino(source: str | Path, output: str | Path, **options: Any) -> str:
    """Converts a DINO; returns a message for the user.

    Args:
      source: the file.
      output: the folder.
      options: of `gsjax.convert.dino`.

    Raises:
      UserError: the file is not a known DINO, or the folder cannot be written.
    """
    with at("--input"):
        state_dict = read_state_dict(source)
        with at(source):
            module, variables = convert.dino(state_dict, **options)
    converted.write(output, {"dino": variables}, dino=module)
    use = f"--config.dino.weights={_path(output)}"
    return f"{_describe_dino(module, variables)}\nwrote {output}: use it with {use}"


def convert_reference(source: str | Path, output: str | Path, overlap: int = 1) -> str:
    """Converts an inpainter and the DINO in the file, if any; returns a message for the user.

    Raises:
      UserError: the file is not a known inpainter, or the folder cannot be written.
    """
    with at("--input"):
        state_dict = read_state_dict(source)
        with at(source):
            module, variables = convert.reference(state_dict, overlap=overlap)
    lines, networks = [_describe_inpainter(module, variables)], {"generator": variables}
    inside = {
        key.removeprefix(_DINO_PREFIX): array
        for key, array in state_dict.items()
        if key.startswith(_DINO_PREFIX)
    }
    dino = None
    if inside:
        with at(f"--input: {source}, {_DINO_PREFIX}*"):
            dino, networks["dino"] = convert.dino(inside)
        lines.append(f"with {_describe_dino(dino, networks['dino'])}")
    config, default = configs.default(), configs.default()
    config.dino.normalize = config.lpips.normalize = False
    config.model.update({name: getattr(module, name) for name in config.model})
    if dino is not None:
        config.dino.weights = str(Path(output).absolute())
        set_architecture(config.dino, dino)
    converted.write(output, networks, config, dino)
    use = [
        "python -m gsjax.main --config=published",
        f"--config.initial={_path(output)}",
    ]
    use += [f"--config.dino.weights={_path(output)}"] if inside else []
    use += [
        f"--config.model.{name}={value}"
        for name, value in config.model.items()
        if value != default.model[name]
    ]
    return "\n".join([*lines, f"wrote {output}: train on from it with", " \\\n    ".join(use)])


def convert_lpips(source: str | Path, output: str | Path, linear: str | None = None) -> str:
    """Converts LPIPS; returns a message for the user.

    Heads are downloaded if they are neither in the file nor in a file of their own.

    Raises:
      UserError: a file has the wrong contents, or the folder cannot be written.
    """
    with at("--input"):
        backbone = read_state_dict(source)
        with at(source):
            kind = backbone_of(backbone)
    heads, named = None, source
    if linear or not has_heads(backbone):
        with at("--linear"):
            file = linear or fetch(f"lpips_{kind}")
            heads, named = read_state_dict(file), f"{source} with {file}"
    with at(f"--input: {named}"):
        _, variables = convert.lpips(backbone, heads=heads)
    converted.write(output, {"lpips": variables})
    use = f"--config.lpips.weights={_path(output)}"
    return f"LPIPS on {kind}, {_millions(variables)} parameters\nwrote {output}: use it with {use}"


def convert_inception(source: str | Path, output: str | Path) -> str:
    """Converts FID's Inception; returns a message for the user.

    Raises:
      UserError: the file is not this network, or the folder cannot be written.
    """
    with at("--input"):
        state_dict = read_state_dict(source)
        with at(source):
            _, variables = convert.inception(state_dict)
    converted.write(output, {"inception": variables})
    use = f"python -m gsjax.evaluate --fid={_path(output)}"
    return f"FID's Inception, {_millions(variables)} parameters\nwrote {output}: use it with {use}"


def _path(output: str | Path) -> str:
    """Returns the absolute path, quoted for a shell."""
    return shlex.quote(str(Path(output).absolute()))


def _describe_inpainter(module: GaussianInpainter, variables) -> str:
    size = module.patch_size
    token = variables["params"]["alignment"]["Dense_0"]["kernel"].shape[0] if module.semantic else 0
    parts = [
        f"inpainter, {_millions(variables)} parameters",
        f"patches of {size}×{size} pixels with {module.gaussians} Gaussians of {module.features} "
        f"features, overlap {module.overlap}",
        f"encoder of width {module.width}, {module.downs} halvings, {module.blocks} blocks, "
        f"{'with' if module.skips else 'without'} skips",
        f"semantic branch of {token} channels" if token else "no semantic branch",
        f"images: any multiple of {module.stride()} pixels",
    ]
    return "; ".join(parts)


def _describe_dino(module: DinoViT, variables) -> str:
    kind = "DINOv2" if module.layer_scale else "DINO"
    size = size_of(module)
    rows, columns = (side * module.patch_size for side in module.grid)
    parts = [
        f"{kind} ViT-{size}/{module.patch_size}"
        if size
        else f"{kind} ViT of {module.width} channels, {module.depth} blocks, patches of "
        f"{module.patch_size} pixels",
        f"{_millions(variables)} parameters",
        f"positions learned at {rows}×{columns} pixels",
        f"{module.heads} heads",
        f"{module.registers} registers" if module.registers else "no registers",
        "SwiGLU" if module.swiglu else "MLP",
    ]
    return ", ".join(parts)


def _millions(variables) -> str:
    return f"{sum(array.size for array in jax.tree.leaves(variables)) / 1e6:.1f} M"
