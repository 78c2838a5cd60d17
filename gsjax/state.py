"""What training changes, and its beginning."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.models.dino import DinoViT
from gsjax.models.discriminator import Discriminator
from gsjax.models.inpainter import GaussianInpainter, init_variables
from gsjax.optimizer import adamw
from gsjax.semantic import RUN_ONCE, build_dino


@flax.struct.dataclass
class TrainState:
    """Everything that a checkpoint must hold, but for the place in the data."""

    step: jax.Array  # steps done
    key: jax.Array  # the run's randomness; a step folds its number in
    generator: PyTree
    generator_optimizer: optax.OptState
    discriminator: PyTree
    discriminator_optimizer: optax.OptState


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a run: structure without parameters."""

    generator: GaussianInpainter
    discriminator: Discriminator
    dino: DinoViT


def build_networks(config: ConfigDict, dino: DinoViT | None = None) -> Networks:
    """Returns the networks that `config` describes, with this DINO if there is one already."""
    return Networks(
        GaussianInpainter(**config.model),
        Discriminator(config.discriminator.width),
        dino or build_dino(config),
    )


def init_state(config: ConfigDict, networks: Networks, mesh: Mesh) -> TrainState:
    """Returns the state at step 0, drawn from `config.seed`, already sharded over `mesh`."""
    start, shardings = _initializer(config, networks, mesh)
    return jax.jit(start, out_shardings=shardings, compiler_options=RUN_ONCE)()


def abstract_state(config: ConfigDict, networks: Networks, mesh: Mesh) -> TrainState:
    """Returns the shapes and shardings of the state, without computing anything."""
    start, shardings = _initializer(config, networks, mesh)
    return jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        jax.eval_shape(start),
        shardings,
    )


def _initializer(config, networks, mesh):
    height, width = config.data.image_size
    optimizer = adamw(config)

    def start() -> TrainState:
        key, generator_key, discriminator_key = jax.random.split(jax.random.key(config.seed), 3)
        generator = init_variables(networks.generator, generator_key, networks.dino.width)
        image = jnp.zeros((1, height, width, 3))
        discriminator = networks.discriminator.init(discriminator_key, image)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            generator=generator,
            generator_optimizer=optimizer.init(generator),
            discriminator=discriminator,
            discriminator_optimizer=optimizer.init(discriminator),
        )

    return start, sharding.over_fsdp(jax.eval_shape(start), mesh)
