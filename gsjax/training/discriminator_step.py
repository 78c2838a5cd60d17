"""The discriminator's part of a step: learning to tell fills from photographs."""

import dataclasses

import jax
from jaxtyping import PyTree

from gsjax.models import losses
from gsjax.training.batch import Batch, unpack
from gsjax.training.forward import Context, Drawn, Metrics, judge, loss_inputs
from gsjax.training.optimizer import update
from gsjax.training.state import TrainState


def discriminator_gradients(
    context: Context, discriminator: PyTree, drawn: Drawn, batch: Batch
) -> tuple[PyTree, Metrics]:
    """Returns the gradients of the discriminator's loss, and its metrics."""

    def loss(variables: PyTree):
        return losses.discriminator_loss(loss_inputs(context, drawn, variables, batch))

    (loss, right), gradients = jax.value_and_grad(loss, has_aux=True)(discriminator)
    return gradients, {"loss/discriminator": loss} | right


def update_discriminator(
    context: Context, state: TrainState, gradients: PyTree, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Returns the state with the discriminator updated, and the metrics of the R1 penalty.

    R1 is lazy (Karras et al. 2020) over the batch instead of over time: every step computes it for
    one in `loss.r1_every` images. That costs as much as all images every `r1_every` steps, with
    r1_every times the weight, and has the same expected gradient. But it needs no second program,
    which would take as long to compile as the first, and gradients do not come in bursts.
    """
    config, metrics = context.config, {}
    options = config.loss
    if options.r1 > 0:
        some = {name: array[:: options.r1_every] for name, array in batch.items()}

        def penalty(variables: PyTree):
            return losses.r1(lambda images: judge(context, variables, images), unpack(some)[0])

        metrics["loss/r1"], slopes = jax.value_and_grad(penalty)(state.discriminator)
        gradients = jax.tree.map(
            lambda gradient, slope: gradient + options.r1 * slope, gradients, slopes
        )
    variables, optimizer_state = update(
        config,
        gradients,
        state.discriminator_optimizer,
        state.discriminator,
        state.step,
        config.optimizer.discriminator_rate,
    )
    state = dataclasses.replace(
        state, discriminator=variables, discriminator_optimizer=optimizer_state
    )
    return state, metrics
