"""The networks of a run, built from its config."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.config.fields import check_type, check_value
from gsjax.config.groups import FIELDS
from gsjax.errors import UserError
from gsjax.models.dino import SIZES, DinoViT, dino, size_of
from gsjax.models.discriminator import Discriminator
from gsjax.models.inpainter import GaussianInpainter, init_variables
from gsjax.models.lpips import Lpips

# For programs that run once: without LLVM's optimizations, a CPU compiles three times as fast.
RUN_ONCE = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a run, without their parameters."""

    generator: GaussianInpainter
    discriminator: Discriminator
    dino: DinoViT | None  # None: no semantic branch, and neither loss nor metric
    lpips: Lpips | None = None  # None: LPIPS is neither a loss nor a metric

    @property
    def branch_dino(self) -> DinoViT | None:
        """The DINO of the semantic branch; None without a branch."""
        return self.dino if self.generator.semantic else None


def build_networks(
    config: ConfigDict, dino: DinoViT | None = None, lpips: Lpips | None = None
) -> Networks:
    """Returns the networks that `config` describes.

    Args:
      config: the config of a run.
      dino: the module of the run, or None to build that of the semantic branch from
        `config.dino`, if any.
      lpips: the module for the loss and the metric, if any.
    """
    if config.model.semantic:
        dino = dino or build_dino(config.dino)
    dtype = jnp.dtype(config.train.precision)
    remat = config.train.recompute
    return Networks(
        GaussianInpainter(**config.model, recompute=remat, dtype=dtype),
        Discriminator(
            config.discriminator.width,
            jnp.dtype(config.discriminator.precision or config.train.precision),
            config.discriminator.layers,
        ),
        dino and dino.clone(dtype=dtype),
        lpips and lpips.clone(dtype=dtype),
    )


def init_networks(
    networks: Networks, image_size: tuple[int, int], keys: tuple[jax.Array, jax.Array]
) -> tuple[PyTree, PyTree]:
    """Returns the initial variables of generator and discriminator, one key for each."""
    token_size = networks.branch_dino.width if networks.branch_dino else 0
    generator = init_variables(networks.generator, keys[0], token_size)
    discriminator = networks.discriminator.init(keys[1], jnp.zeros((1, *image_size, 3)))
    return generator, discriminator


def build_dino(options: ConfigDict) -> DinoViT:
    """Returns the module that `config.dino` describes.

    Raises:
      UserError: the description is invalid.
    """
    if not options.size:
        raise UserError(
            "dino.weights",
            f"there is no folder {options.weights!r}, and without one dino.size must be one "
            f"of {', '.join(SIZES)}",
        )
    for name in ("patch_size", "registers"):
        check_type(FIELDS[f"dino.{name}"], options[name])
        check_value(FIELDS[f"dino.{name}"], options[name])
    return dino(options.size, options.patch_size, options.registers)


def set_architecture(options: ConfigDict, module: DinoViT) -> None:
    """Writes a module's architecture to `config.dino`; `size` is "" if `SIZES` does not have it."""
    options.size = size_of(module)
    options.patch_size, options.registers = module.patch_size, module.registers
