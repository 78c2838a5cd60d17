"""AdamW with clipping and a learning-rate schedule in steps, one for each network."""

import jax
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Returns the learning rate as a function of the step, from `config.optimizer`."""
    options = config.optimizer
    steps = config.train.steps - options.warmup_steps
    if options.schedule == "cosine":
        rate = optax.cosine_decay_schedule(options.learning_rate, max(steps, 1))
    elif options.schedule == "linear":
        held = round(options.hold * config.train.steps) - options.warmup_steps
        rate = optax.linear_schedule(options.learning_rate, 0.0, max(steps - held, 1), held)
    else:
        at = {step - options.warmup_steps: options.decay_factor for step in options.decay_at}
        rate = optax.piecewise_constant_schedule(options.learning_rate, at)
    warmup = optax.linear_schedule(0.0, options.learning_rate, options.warmup_steps)
    return optax.join_schedules([warmup, rate], [options.warmup_steps])


def adamw(options: ConfigDict) -> optax.GradientTransformation:
    """Returns AdamW on gradients clipped to `clip_norm`, from `config.optimizer`.

    Its updates must be multiplied by −`learning_rate(config)(step)`: the step of the run is the
    only clock, even for a discriminator that starts late.
    """
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm),
        optax.scale_by_adam(*options.betas),
        optax.add_decayed_weights(options.weight_decay),
    )


def update(
    config: ConfigDict,
    gradients: PyTree,
    state: optax.OptState,
    variables: PyTree,
    step: jax.Array,
    factor: float = 1.0,
) -> tuple[PyTree, optax.OptState]:
    """Returns a network's variables and its optimizer's state after an update.

    Args:
      config: of the stage.
      gradients: of the variables.
      state: of `adamw(config.optimizer)`.
      variables: before the update.
      step: number of steps of the stage that are done.
      factor: multiplies the learning rate.
    """
    updates, state = adamw(config.optimizer).update(gradients, state, variables)
    rate = learning_rate(config)
    updates = jax.tree.map(lambda update: -rate(step) * factor * update, updates)
    return optax.apply_updates(variables, updates), state
