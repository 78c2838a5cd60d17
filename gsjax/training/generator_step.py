"""The generator's part of a step: its gradients, its update, and its moving average."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.models import losses
from gsjax.training.batch import Batch
from gsjax.training.forward import Context, Drawn, Metrics, draw, loss_inputs
from gsjax.training.optimizer import update
from gsjax.training.state import TrainState


class GeneratorPass(NamedTuple):
    """A forward pass of the generator.

    Attributes:
      drawn: its output.
      pull_back: maps the gradient with respect to `drawn` to that of the variables, in a tuple.
    """

    drawn: Drawn
    pull_back: Callable[[Drawn], tuple[PyTree]]


def generator_pass(
    context: Context, generator: PyTree, batch: Batch, key: jax.Array
) -> GeneratorPass:
    """Runs `forward.draw`, and keeps what the backward pass needs."""
    return GeneratorPass(
        *jax.vjp(lambda variables: draw(context, variables, batch, key), generator)
    )


def generator_gradients(
    context: Context,
    forward: GeneratorPass,
    discriminator: PyTree,
    batch: Batch,
    adversarial: bool,
) -> tuple[PyTree, Metrics]:
    """Returns the gradients of the generator's loss, and the terms by name."""

    def loss(drawn: Drawn):
        seen = loss_inputs(context, drawn, discriminator, batch)
        return losses.total(seen, adversarial)

    slopes, terms = jax.grad(loss, has_aux=True)(forward.drawn)
    return forward.pull_back(slopes)[0], terms


def update_generator(config: ConfigDict, state: TrainState, gradients: PyTree) -> TrainState:
    """Returns the state with the generator and its average updated."""
    generator, optimizer_state = update(
        config, gradients, state.generator_optimizer, state.generator, state.step
    )
    return dataclasses.replace(
        state,
        generator=generator,
        generator_optimizer=optimizer_state,
        average=_averaged(state.average, generator, state.step, config.train.ema),
    )


def _averaged(average: PyTree | None, variables: PyTree, step: jax.Array, decay: float):
    """Updates the moving average, faster in the first steps."""
    if average is None:
        return None
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: new + kept * (old - new), average, variables)
