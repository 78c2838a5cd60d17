"""What training changes, and its beginning."""

import dataclasses
from collections.abc import Callable, Mapping

import flax.struct
import jax
import jax.numpy as jnp
import optax
from absl import logging
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.errors import UserError
from gsjax.models.dino import DinoViT
from gsjax.models.discriminator import Discriminator
from gsjax.models.inpainter import GaussianInpainter, init_variables
from gsjax.models.lpips import Lpips
from gsjax.models.semantic import RUN_ONCE, build_dino
from gsjax.trained import checkpoints, packed, restore
from gsjax.training import record
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


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a run: structure without parameters."""

    generator: GaussianInpainter
    discriminator: Discriminator
    dino: DinoViT | None  # None: without semantic branch
    lpips: Lpips | None = None  # None: neither loss nor metric


def build_networks(
    config: ConfigDict, dino: DinoViT | None = None, lpips: Lpips | None = None
) -> Networks:
    """Returns the networks that `config` describes, with this DINO if there is one already."""
    if config.model.semantic:
        dino = dino or build_dino(config)
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


def pictured(state: TrainState) -> PyTree:
    """Returns the generator that fills best: the average, if there is one."""
    return state.generator if state.average is None else state.average


def _warn_of_differences(config: ConfigDict) -> None:
    """Names what shapes do not show: fields that the checkpoint was trained with otherwise."""
    folder = packed.find(config.initial)
    if not packed.is_packed(folder):
        folder = checkpoints.workdir_of(config.initial)
    if not (folder / record.CONFIG).exists():
        return
    before = record.read_config(str(folder))
    for group, names in (("model", list(config.model)), ("dino", ["normalize"])):
        for name in names:
            there, here = before[group][name], config[group][name]
            if name != "backend" and here != there:
                logging.warning(
                    "initial: %s was trained with %s.%s=%s; here it is %s",
                    config.initial, group, name, there, here,
                )  # fmt: skip


def init_state(
    config: ConfigDict, networks: Networks, mesh: Mesh, initial: Mapping[str, PyTree] | None = None
) -> TrainState:
    """Returns the state at step 0, drawn from `config.seed`, already sharded over `mesh`.

    Networks in `initial`, from `load_initial`, take the place of those drawn.
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
    optimizer = adamw(config)

    def begin(state: TrainState) -> TrainState:
        generator = pictured(state)
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


def check_initial(config: ConfigDict) -> None:
    """Raises UserError if `config.initial` names no checkpoint; reads none."""
    if config.initial and not packed.is_packed(packed.find(config.initial)):
        try:
            checkpoints.find_checkpoint(config.initial)
        except UserError as error:
            raise UserError(
                f"initial: {error}. python -m gsjax.convert makes one of PyTorch weights; or give "
                f"{packed.bundled_hint(config.initial)}"
            ) from None


def load_initial(config: ConfigDict, networks: Networks) -> dict[str, PyTree]:
    """Returns the networks in the checkpoint that `config.initial` names, none if it is empty.

    A converted or packed checkpoint has the generator; a run's has the discriminator too, and
    maybe an average of the generator, which is taken in its place.

    Raises:
      UserError: there is no checkpoint, or one of another architecture.
    """
    if not config.initial:
        return {}
    check_initial(config)
    wanted = jax.eval_shape(_starter(config, networks))
    try:
        loaded = _read_initial(config.initial)
        for name in loaded:
            checkpoints.check_same_shapes(
                config.initial,
                {name: loaded[name]},
                {name: getattr(wanted, name)},
                "Set model, discriminator and dino to what they are in its config.json",
            )
        _warn_of_differences(config)
    except UserError as error:
        raise UserError(f"initial: {error}") from None
    logging.info("%s taken from %s", " and ".join(loaded), config.initial)
    return loaded


def _read_initial(path: str) -> dict[str, PyTree]:
    folder = packed.find(path)
    if packed.is_packed(folder):
        return {"generator": packed.read_packed(folder)}
    found = restore.names_in(path)
    branches = {"generator": restore.generator_in(path), "discriminator": "discriminator"}
    return {
        name: restore.restore_params(path, branch)
        for name, branch in branches.items()
        if name in found
    }


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
    height, width = config.data.image_size
    optimizer = adamw(config)

    def start() -> TrainState:
        key, generator_key, discriminator_key = jax.random.split(jax.random.key(config.seed), 3)
        token_size = networks.dino.width if networks.dino else 0
        generator = init_variables(networks.generator, generator_key, token_size)
        image = jnp.zeros((1, height, width, 3))
        discriminator = networks.discriminator.init(discriminator_key, image)
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
