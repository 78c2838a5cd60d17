"""What training changes, and its beginning."""

from collections.abc import Callable, Mapping

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.models.build import RUN_ONCE, Networks, init_networks
from gsjax.training.optimizer import adamw


@flax.struct.dataclass
class TrainState:
    """Everything that a checkpoint must hold, but for the place in the data."""

    step: jax.Array  # steps done
    key: jax.Array  # the run's randomness; a step folds its number in
    generator: PyTree
    generator_optimizer: optax.OptState
    discriminator: PyTree
    discriminator_optimizer: optax.OptState
    average: PyTree | None  # of the generator over the steps; None if not asked for
    skipped: jax.Array  # steps that changed nothing, for a NaN or infinite loss or gradient


def best_variables(state: TrainState) -> PyTree:
    """Returns the generator that fills best: the average, if there is one."""
    return state.generator if state.average is None else state.average


def init_state(
    config: ConfigDict, networks: Networks, mesh: Mesh, initial: Mapping[str, PyTree] | None = None
) -> TrainState:
    """Returns the state at step 0, drawn from `config.seed`, already sharded over `mesh`.

    Networks in `initial`, from `trained.initial.load_initial`, take the place of those drawn.
    """
    start = _starter(config, networks)
    shardings = sharding.over_fsdp(jax.eval_shape(start), mesh)
    state = jax.jit(start, out_shardings=shardings, compiler_options=RUN_ONCE)()
    initial = initial or {}
    state = state.replace(
        **{name: sharding.put(initial[name], getattr(shardings, name)) for name in initial}
    )
    if state.average is not None and "generator" in initial:
        # Copied: the step takes the place of its state, of which no two arrays may be one.
        state = state.replace(average=jax.tree.map(jnp.copy, state.generator))
    return state


def begin_stage(config: ConfigDict, state: TrainState) -> TrainState:
    """Returns the state in which a stage begins, which takes the place of the stage before's.

    The generator continues from its average, the discriminator as it is; both optimizers begin
    anew.
    """
    optimizer = adamw(config.optimizer)

    def begin(state: TrainState) -> TrainState:
        generator = best_variables(state)
        return state.replace(
            generator=generator,
            generator_optimizer=optimizer.init(generator),
            discriminator_optimizer=optimizer.init(state.discriminator),
            average=None if state.average is None else jax.tree.map(jnp.copy, generator),
        )

    compiled = jax.jit(
        begin, donate_argnums=0, out_shardings=sharding.of(state), compiler_options=RUN_ONCE
    )
    return compiled(state)


def abstract_state(config: ConfigDict, networks: Networks, mesh: Mesh) -> TrainState:
    """Returns the shapes and shardings of the state, without computing anything."""
    state = jax.eval_shape(_starter(config, networks))
    return jax.tree.map(
        lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
        state,
        sharding.over_fsdp(state, mesh),
    )


def _starter(config: ConfigDict, networks: Networks) -> Callable[[], TrainState]:
    """Returns the function that draws the state."""
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
