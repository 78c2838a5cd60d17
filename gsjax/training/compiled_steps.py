"""The compiled train steps of a run; on accelerators, each is compiled before it is needed."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh
from jax.stages import Compiled, Wrapped
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import sharding
from gsjax.errors import first_line
from gsjax.models.build import Networks, build_networks
from gsjax.training.batch import Batch
from gsjax.training.forward import Metrics
from gsjax.training.stages import Stage, stage_of
from gsjax.training.state import TrainState, begin_stage
from gsjax.training.step import make_train_step

# Identifies a compiled step: the index of its stage, and whether the discriminator takes part.
_Key = tuple[int, bool]
_THREAD = "compiles"


class TrainSteps:
    """Runs train steps with the compiled programs of their stages.

    If programs are compiled ahead, a thread compiles the next one while the current one runs. If
    that fails, for example for lack of memory, the program is compiled when it is needed.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        networks: Networks,
        state: TrainState,
        frozen: PyTree,
        mesh: Mesh,
        ahead: bool,
    ):
        """Compiles nothing yet.

        Args:
          stages: of the run.
          networks: of the run; stages may change their precision.
          state: arrays or shapes, with shardings.
          frozen: the variables of dino and lpips.
          mesh: of all devices.
          ahead: whether programs are compiled before they are needed.
        """
        self._stages, self._networks, self._mesh = stages, networks, mesh
        self._state, self._frozen = _abstract(state), frozen
        # In the order of use. A stage has two programs if the discriminator joins in between.
        self._keys = list(
            dict.fromkeys(
                (stage.index, stage.adversarial(step))
                for stage in stages
                for step in (stage.first + 1, stage.last)
            )
        )
        self._compiled: tuple[_Key, Compiled] | None = None
        self._next: tuple[_Key, Future[Compiled]] | None = None
        self._thread = ThreadPoolExecutor(1, _THREAD) if ahead else None

    def __call__(self, step: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Runs step number `step` and returns the new state; donates `state`."""
        stage = stage_of(self._stages, step)
        if stage.index and step == stage.first + 1:
            state = begin_stage(stage.config, state)
        key = stage.index, stage.adversarial(step)
        if self._compiled is None or self._compiled[0] != key:
            self._compiled = None  # free the memory of the old program first
            self._compiled = key, self._take(key)
        result = self._compiled[1](state, self._frozen, batch)
        self._start_next(key)
        return result

    def close(self) -> None:
        """Cancels compilations that have not begun; Python waits for others at its exit."""
        if self._thread:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self, key: _Key) -> Compiled:
        """Returns a program, compiled now or ahead."""
        ahead, self._next = self._next, None
        if ahead is not None and ahead[0] == key:
            try:
                return ahead[1].result()
            except Exception as error:
                logging.warning(
                    "the program of the next steps could not be compiled ahead (%s); it is "
                    "compiled now",
                    first_line(error),
                )
        return self._compile(key)

    def _start_next(self, key: _Key) -> None:
        following = self._keys[self._keys.index(key) + 1 :]
        if self._thread and following and self._next is None:
            self._next = following[0], self._thread.submit(self._compile, following[0])

    def _compile(self, key: _Key) -> Compiled:
        index, adversarial = key
        stage = self._stages[index]
        networks = build_networks(stage.config, self._networks.dino, self._networks.lpips)
        step = jitted_step(stage, networks, self._state, self._mesh)
        batch = abstract_batch(stage.config, self._mesh)
        return step.lower(self._state, self._frozen, batch, adversarial=adversarial).compile()


def exit_if_compiling() -> None:
    """Exits with 0 at once if Python would otherwise wait for a compilation, possibly minutes."""
    if any(thread.name.startswith(_THREAD) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        if jax.process_count() > 1:
            jax.distributed.shutdown()  # waits for the others, which stop as well
        os._exit(0)


def jitted_step(stage: Stage, networks: Networks, state: TrainState, mesh: Mesh) -> Wrapped:
    """Returns the jitted train step of a stage, which donates its state; not yet compiled.

    Args:
      stage: the stage; its schedules count from its own beginning.
      networks: with the precision of the stage.
      state: arrays or shapes, with shardings.
      mesh: of all devices.
    """
    step = _since_begin(make_train_step(stage.config, networks), stage)
    return jax.jit(
        sharding.on_mesh(step, mesh),
        static_argnames="adversarial",
        donate_argnums=0,
        out_shardings=(sharding.of(state), sharding.replicated(mesh)),
    )


def abstract_batch(config: ConfigDict, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and shardings of a training batch, over all processes."""
    size, over = (config.train.batch_size, *config.data.image_size), sharding.over_batch(mesh)
    return {
        "image": jax.ShapeDtypeStruct((*size, 3), jnp.uint8, sharding=over),
        "known": jax.ShapeDtypeStruct((*size, 1), jnp.bool_, sharding=over),
    }


def _since_begin(step: Callable, stage: Stage) -> Callable:
    """Returns a train step that counts steps from the beginning of a stage, as schedules do.

    Its random numbers differ from those of the same step in another stage.
    """
    if not stage.index:
        return step

    def step_of_stage(state, frozen, batch, adversarial):
        key = jax.random.fold_in(state.key, stage.index)
        of_stage = state.replace(step=state.step - stage.first, key=key)
        after, metrics = step(of_stage, frozen, batch, adversarial)
        return after.replace(step=state.step + 1, key=state.key), metrics

    step_of_stage.__name__ = step.__name__
    return step_of_stage


def _abstract(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding),
        state,
    )
