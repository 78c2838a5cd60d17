"""Compiles the programs of a config for a TPU slice, from shapes only."""

import re
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.stages import Compiled, Lowered
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.kernels import mosaic
from gsjax.models import losses
from gsjax.models.build import Networks
from gsjax.models.inpainter import Inpainting, composite
from gsjax.models.lpips import BACKBONES, Lpips
from gsjax.models.semantic import make_tokens
from gsjax.trained.dino import describe_networks
from gsjax.trained.lpips import load_lpips
from gsjax.training.batch import unpack
from gsjax.training.compiled_steps import abstract_batch, jitted_step
from gsjax.training.stages import plan
from gsjax.training.state import abstract_state, inference_variables

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Program(NamedTuple):
    """A lowered program and its arguments.

    Attributes:
      lowered: the program.
      state: shapes and shardings of the training state or, for inference, of the generator.
      frozen: shapes and shardings of dino and lpips.
    """

    lowered: Lowered
    state: PyTree
    frozen: PyTree


class Outcome(NamedTuple):
    """The result of compiling a program.

    Attributes:
      compiled: the compiled program; None if it needs more memory than a chip has.
      needed: in that case, the bytes it needs, in addition to its arguments if `beside`.
      beside: see `needed`.
      seconds: compile time.
    """

    compiled: Compiled | None
    needed: int
    beside: bool
    seconds: float


def lower(config: ConfigDict, mesh: Mesh, inference: bool = False) -> Program:
    """Lowers the train step of a config, or inference on a batch of images.

    This is the function that training compiles, with the discriminator if the loss needs it,
    traced with the TPU kernels. No weights are read, except from folders, which determine the
    architecture.
    """
    networks = _networks(config)
    shapes = _frozen_shapes(config, networks)
    frozen = {name: _placed(tree, sharding.of_frozen(tree, mesh)) for name, tree in shapes.items()}
    state = abstract_state(config, networks, mesh)
    batch, over = abstract_batch(config, mesh), sharding.over_batch(mesh)
    with mosaic.compiled():
        if inference:
            state, frozen = inference_variables(state), {"dino": frozen["dino"]}
            fill = sharding.on_mesh(make_fill(config, networks), mesh)
            lowered = jax.jit(fill, out_shardings=over).lower(state, frozen, batch)
        else:
            (stage,) = plan(config)
            step = jitted_step(stage, networks, state, mesh)
            lowered = step.lower(
                state, frozen, batch, adversarial=losses.is_adversarial(config.loss)
            )
    return Program(lowered, state, frozen)


def make_fill(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `fill(generator_variables, frozen, batch)`: filled images, f32[B, H, W, 3]."""
    tokens = make_tokens(config.dino, networks.branch_dino)

    def fill(variables: PyTree, frozen: PyTree, batch: dict[str, jax.Array]) -> jax.Array:
        images, known = unpack(batch)
        token, _ = tokens(frozen["dino"], images * known, known)
        out = cast(Inpainting, networks.generator.apply(variables, images * known, token, known))
        return composite(images, out.image, known)

    return fill


def compile_program(lowered: Lowered) -> Outcome:
    """Compiles, or parses the required memory from the compiler's error."""
    start = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = memory_needed(str(error))
        if needed is None:
            raise
        return Outcome(None, *needed, time.monotonic() - start)
    return Outcome(compiled, 0, False, time.monotonic() - start)


def memory_needed(message: str) -> tuple[int, bool] | None:
    """Returns the bytes that a program needs according to an out-of-memory error, else None.

    The second value says whether the program's arguments come on top.
    """
    number = r"([\d.]+)([KMGT]?)"
    if match := re.search(rf"HLO temporaries \({number}B?\) exceeds", message):
        return int(float(match[1]) * _UNITS[match[2]]), True
    if match := re.search(rf"Used {number}B? of {number}B? hbm", message):
        return int(float(match[1]) * _UNITS[match[2]]), False
    return None


def _networks(config: ConfigDict) -> Networks:
    """Returns the networks of a run; reads weights only from folders."""
    lpips = None
    weights = config.lpips.weights
    if weights in BACKBONES:
        lpips = Lpips(weights, normalize=config.lpips.normalize)
    elif weights:
        lpips = load_lpips(config.lpips)[0]
    return describe_networks(config, lpips)


def _frozen_shapes(config: ConfigDict, networks: Networks) -> dict[str, PyTree]:
    def shapes(module, *images: tuple[int, int]) -> PyTree:
        if module is None:
            return {}
        arrays = [jax.ShapeDtypeStruct((1, *size, 3), jnp.float32) for size in images]
        return jax.eval_shape(module.init, jax.random.key(0), *arrays)

    side, size = config.dino.image_size, config.data.image_size
    return {
        "dino": shapes(networks.dino, (side, side)),
        "lpips": shapes(networks.lpips, size, size),
    }


def _placed(tree: PyTree, shardings: PyTree) -> PyTree:
    return jax.tree.map(lambda a, where: _array(a.shape, a.dtype, where), tree, shardings)


def _array(shape: tuple[int, ...], dtype, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=where)
