"""The training state, and its initialization."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.models.build import RUN_ONCE, Networks, init_networks
from gsjax.training.optimizer import adamw


@no_type_check  # JAX builds it from anything: shapes, shardings, axes
@flax.struct.dataclass
class TrainState:
    """Everything that training changes, except the position in the data."""

    step: jax.Array  # number of steps done
    key: jax.Array  # random key of the run; each step folds its number in
    generator: PyTree
    generator_optimizer: optax.OptState
    discriminator: PyTree
    discriminator_optimizer: optax.OptState
    average: PyTree | None  # moving average of the generator, or None
    skipped: jax.Array  # number of steps skipped because of a NaN or infinite loss or gradient


def inference_variables(state: TrainState) -> PyTree:
    """Returns the variables to validate and fill with: the moving average, else the generator."""
    return state.generator if state.average is None else state.average


def init_state(
    config: ConfigDict, networks: Networks, mesh: Mesh, initial: Mapping[str, PyTree] | None = None
) -> TrainState:
    """Returns the state at step 0, initialized from `config.seed` and sharded over `mesh`.

    Networks in `initial`, from `trained.initial.load_initial`, replace the random ones.
    """
    start = _starter(config, networks)
    shardings = sharding.over_fsdp(jax.eval_shape(start), mesh)
    state = jax.jit(start, out_shardings=shardings, compiler_options=RUN_ONCE)()
    initial = initial or {}
    state = state.replace(
        **{name: sharding.put(initial[name], getattr(shardings, name)) for name in initial}
    )
    if state.average is not None and "generator" in initial:
        # Copied, because the step donates its state, and an array cannot be donated twice.
        state = state.replace(average=jax.tree.map(jnp.copy, state.generator))
    return state


def begin_stage(config: ConfigDict, state: TrainState) -> TrainState:
    """Returns the state at the beginning of a stage; donates the final state of the previous one.

    The generator continues from its moving average, and the discriminator as it is. Both optimizers
    are reinitialized.
    """
    optimizer = adamw(config.optimizer)

    def begin(state: TrainState) -> TrainState:
        generator = inference_variables(state)
        return dataclasses.replace(
            state,
            generator=generator,
            generator_optimizer=optimizer.init(generator),
            discriminator_optimizer=optimizer.init(state.discriminator),
            average=None if state.average is None else jax.tree.map(jnp.copy, generator),
        )

    compiled = jax.jit(
        begin, donate_argnums=0, out_shardings=sharding.of(state), compiler_options=RUN_ONCE
    )
    return compiled(state)


def abstract_state(config: ConfigDict, networks: Networks, mesh: Mesh | AbstractMesh) -> TrainState:
    """Returns the shapes and shardings of the state without computing anything."""
    state = jax.eval_shape(_starter(config, networks))
    return jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        state,
        sharding.over_fsdp(state, mesh),
    )


def _starter(config: ConfigDict, networks: Networks) -> Callable[[], TrainState]:
    """Returns a function that initializes the state."""
    optimizer = adamw(config.optimizer)

    def start() -> TrainState:
        key, generator_key, discriminator_key = jax.random.split(jax.random.key(config.seed), 3)
        keys = generator_key, discriminator_key
        generator, discriminator = init_networks(networks, config.data.image_size, keys)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            generator=generator,
            generator_optimizer=optimizer.init(generator),
            discriminator=discriminator,
            discriminator_optimizer=optimizer.init(discriminator),
            average=jax.tree.map(jnp.copy, generator) if config.train.ema > 0 else None,
            skipped=jnp.zeros((), jnp.int32),
        )

    return start
