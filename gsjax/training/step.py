"""The train step: both networks in one compiled function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.models.build import Networks
from gsjax.training.batch import Batch, mean_over_parts
from gsjax.training.discriminator_step import discriminator_gradients, update_discriminator
from gsjax.training.forward import Context, Metrics, draw
from gsjax.training.generator_step import generator_gradients, generator_pass, update_generator
from gsjax.training.optimizer import learning_rate
from gsjax.training.state import TrainState


def make_train_step(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `step(state, frozen, batch, adversarial) -> (state, metrics)`.

    To be jitted, with `adversarial` static: whether the discriminator takes part. The
    discriminator is updated first, on the generator's drawing in this step; the generator's
    adversarial term then uses the updated discriminator. (There are two programs instead of a
    conditional, because XLA runs convolutions inside conditionals 25 times slower on CPU.)

    `frozen` has the variables of dino and lpips. If a loss or gradient is NaN or infinite, only
    the counts of steps and of `skipped` change.
    """
    parts = config.train.accumulate

    def step(
        state: TrainState, frozen: PyTree, batch: Batch, adversarial: bool
    ) -> tuple[TrainState, Metrics]:
        before, context = state, Context(config, networks, frozen)
        key = jax.random.fold_in(state.key, state.step)  # for layers that draw noise
        judged = {"loss/discriminator": jnp.zeros(())}
        # Both networks learn from one forward pass. With a split batch, that of the whole batch
        # never exists at once, so the drawings are computed a second time for the discriminator.
        shared = generator_pass(context, before.generator, batch, key) if parts == 1 else None

        def for_discriminator(part: Batch):
            drawn = shared.drawn if shared else draw(context, before.generator, part, key)
            return discriminator_gradients(context, before.discriminator, drawn, part)

        if adversarial:
            gradients, judged = mean_over_parts(for_discriminator, batch, parts)
            state, penalty = update_discriminator(context, state, gradients, batch)
            judged |= penalty

        def for_generator(part: Batch):
            forward = shared or generator_pass(context, before.generator, part, key)
            return generator_gradients(context, forward, state.discriminator, part, adversarial)

        gradients, terms = mean_over_parts(for_generator, batch, parts)
        state = update_generator(config, state, gradients)

        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(terms["total"] + norm + sum(judged.values()))
        state = _where(finite, state, before)
        metrics = {f"loss/{name}": term for name, term in terms.items()} | judged
        metrics |= {
            "gradient_norm": norm,
            "learning_rate": learning_rate(config)(before.step),
            "skipped": state.skipped,
        }
        return state, metrics

    return step


def _where(finite: jax.Array, after: TrainState, before: TrainState) -> TrainState:
    """Returns the state after a step, or the one before it if the step is skipped."""
    state = jax.tree.map(
        lambda new, old: new if new is old else jnp.where(finite, new, old), after, before
    )
    return state.replace(step=before.step + 1, skipped=before.skipped + jnp.where(finite, 0, 1))
