"""One step of training: both networks, one compiled function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax import losses
from gsjax.optimizer import adamw, learning_rate
from gsjax.semantic import make_tokens
from gsjax.state import Networks, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def unpack(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns a batch's images in [0, 1] and its known pixels as 0 or 1, both float32."""
    return batch["image"].astype(jnp.float32) / 255.0, batch["known"].astype(jnp.float32)


def make_train_step(config: ConfigDict, networks: Networks) -> Callable:
    """Returns `step(state, frozen, batch, adversarial) -> (state, metrics)`.

    To be jitted, with `adversarial` static: whether the discriminator takes part yet.
    It learns first, from the generator's picture of this step; the generator's
    adversarial term then asks the discriminator that has learned. (Two programs rather
    than a condition in one: XLA runs convolutions inside conditions 25 times slower on CPU.)

    `frozen` has the variables of dino and lpips. Where the loss or a gradient is no finite
    number, everything stays as it was but for the counts of steps and of `skipped`.
    """
    optimizer, rate = adamw(config), learning_rate(config)
    tokens = make_tokens(config, networks.dino)
    parts = config.train.accumulate

    def judge(variables, images):
        return networks.discriminator.apply(variables, images).astype(jnp.float32)

    def update(gradients, optimizer_state, variables, step):
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, variables)
        updates = jax.tree.map(lambda update: -rate(step) * update, updates)
        return optax.apply_updates(variables, updates), optimizer_state

    def draw(variables, frozen, batch, key):
        """Returns the picture in [0, 1], the mapped token and the clean image's."""
        images, known = unpack(batch)
        masked = images * known
        clean_token, token = tokens(frozen["dino"], images, masked)
        out = networks.generator.apply(variables, masked, token, known, rngs={"noise": key})
        return jnp.clip(out.image, 0.0, 1.0), out.token, clean_token

    def terms_of(drawn, frozen, discriminator, batch, adversarial):
        images, known = unpack(batch)
        fake, token, clean_token = drawn
        terms = {"l1": losses.l1(fake, images)}
        if config.loss.hole > 0:
            terms["hole"] = losses.hole_mse(fake, images, known)
        if networks.dino is not None:
            terms["semantic"] = losses.semantic(token, clean_token)
        if config.loss.lpips > 0:
            terms["lpips"] = networks.lpips.apply(frozen["lpips"], fake, images).mean()
        if adversarial:
            terms["gan"] = losses.hinge_generator(judge(discriminator, fake))
        total = sum(config.loss[name] * term for name, term in terms.items())
        return total, terms | {"total": total}

    def discriminator_gradients(variables, fake, batch):
        images, _ = unpack(batch)

        def loss(variables):
            return losses.hinge_discriminator(judge(variables, images), judge(variables, fake))

        return jax.value_and_grad(loss)(variables)

    def train_discriminator(state, loss_and_gradients):
        loss, gradients = loss_and_gradients
        variables, optimizer_state = update(
            gradients, state.discriminator_optimizer, state.discriminator, state.step
        )
        state = state.replace(discriminator=variables, discriminator_optimizer=optimizer_state)
        return state, loss

    def step(
        state: TrainState, frozen: PyTree, batch: Batch, adversarial: bool
    ) -> tuple[TrainState, Metrics]:
        before = state
        key = jax.random.fold_in(state.key, state.step)  # for layers that draw noise

        def drawn_with_pull(part):
            return jax.vjp(lambda variables: draw(variables, frozen, part, key), before.generator)

        def generator_gradients(drawn, pull, part, discriminator):
            slopes, terms = jax.grad(terms_of, has_aux=True)(
                drawn, frozen, discriminator, part, adversarial
            )
            return pull(slopes)[0], terms

        discriminator_loss = jnp.zeros(())
        if parts == 1:
            drawn, pull = drawn_with_pull(batch)
            if adversarial:
                slopes = discriminator_gradients(before.discriminator, drawn[0], batch)
                state, discriminator_loss = train_discriminator(state, slopes)
            gradients, terms = generator_gradients(drawn, pull, batch, state.discriminator)
        else:
            # The whole batch's pictures are never there at once, so those that the
            # discriminator learns from are drawn twice.
            if adversarial:
                slopes = _mean_over_parts(
                    lambda part: discriminator_gradients(
                        before.discriminator, draw(before.generator, frozen, part, key)[0], part
                    ),
                    batch,
                    parts,
                )
                state, discriminator_loss = train_discriminator(state, slopes)
            gradients, terms = _mean_over_parts(
                lambda part: generator_gradients(*drawn_with_pull(part), part, state.discriminator),
                batch,
                parts,
            )

        generator, optimizer_state = update(
            gradients, state.generator_optimizer, state.generator, state.step
        )
        state = state.replace(
            generator=generator,
            generator_optimizer=optimizer_state,
            average=_averaged(state.average, generator, state.step, config.train.ema),
        )
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(terms["total"] + norm + discriminator_loss)
        state = jax.tree.map(
            lambda new, old: new if new is old else jnp.where(finite, new, old), state, before
        )
        state = state.replace(
            step=before.step + 1, skipped=before.skipped + jnp.where(finite, 0, 1)
        )
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics |= {
            "loss/discriminator": discriminator_loss,
            "gradient_norm": norm,
            "learning_rate": rate(before.step),
            "skipped": state.skipped,
        }
        return state, metrics

    return step


def _mean_over_parts(function: Callable, batch: Batch, parts: int):
    """Returns the mean of `function(part)` over equal parts of the batch, one at a time."""
    # Part k takes every parts-th example, so that no example changes its device.
    split = jax.tree.map(
        lambda array: jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0), batch
    )

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda array: array[0], split))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda leaf: leaf / parts, total)


def _averaged(average: PyTree | None, variables: PyTree, step: jax.Array, decay: float):
    """Moves the average towards the variables, faster in the first steps."""
    if average is None:
        return None
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda old, new: new + decay * (old - new), average, variables)
