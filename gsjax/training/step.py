"""One step of training: both networks, one compiled function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gsjax.models import losses
from gsjax.models.discriminator import touches_hole
from gsjax.models.semantic import make_tokens
from gsjax.training.optimizer import adamw, learning_rate
from gsjax.training.state import Networks, TrainState

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

    R1 is lazy (Karras et al. 2020) over the batch instead of over time: each step computes it for
    one image in `loss.r1_every`. That costs as much as all images every `r1_every` steps, weighted
    by as much, and has the same expected gradient; but it needs no second program, which would
    take as long to compile as the first, and its gradients do not come in bursts.

    `frozen` has the variables of dino and lpips. Where the loss or a gradient is no finite
    number, everything stays as it was but for the counts of steps and of `skipped`.
    """
    optimizer, rate = adamw(config), learning_rate(config)
    tokens = make_tokens(config, networks.dino)
    parts, options = config.train.accumulate, config.loss

    def update(gradients, optimizer_state, variables, step, factor=1.0):
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, variables)
        updates = jax.tree.map(lambda update: -rate(step) * factor * update, updates)
        return optax.apply_updates(variables, updates), optimizer_state

    def draw(variables, frozen, batch, key):
        """Returns the picture, not clamped, the mapped token and the clean image's."""
        images, known = unpack(batch)
        masked = images * known
        clean_token, token = tokens(frozen["dino"], images, masked)
        out = networks.generator.apply(variables, masked, token, known, rngs={"noise": key})
        return out.image, out.token, clean_token

    def judge(variables, images):
        return networks.discriminator.apply(variables, images, method="judge")

    def see(drawn, frozen, discriminator, batch):
        images, known = unpack(batch)
        return losses.Seen(
            options,
            images,
            known,
            *drawn,
            judge=lambda images: judge(discriminator, images),
            distance=lambda *images: networks.lpips.apply(frozen["lpips"], *images),
            touches_hole=touches_hole(1.0 - known, config.discriminator.layers)
            if options.patch_labels
            else None,
        )

    def discriminator_gradients(variables, drawn, frozen, batch):
        def loss(variables):
            return losses.discriminator_loss(see(drawn, frozen, variables, batch))

        (loss, right), gradients = jax.value_and_grad(loss, has_aux=True)(variables)
        return gradients, {"loss/discriminator": loss} | right

    def train_discriminator(state, batch, gradients, metrics):
        if options.r1 > 0:
            some = {name: array[:: options.r1_every] for name, array in batch.items()}

            def penalty(variables):
                return losses.r1(lambda images: judge(variables, images), unpack(some)[0])

            metrics["loss/r1"], slopes = jax.value_and_grad(penalty)(state.discriminator)
            gradients = jax.tree.map(
                lambda gradient, slope: gradient + options.r1 * slope, gradients, slopes
            )
        variables, optimizer_state = update(
            gradients,
            state.discriminator_optimizer,
            state.discriminator,
            state.step,
            config.optimizer.discriminator_rate,
        )
        state = state.replace(discriminator=variables, discriminator_optimizer=optimizer_state)
        return state, metrics

    def step(
        state: TrainState, frozen: PyTree, batch: Batch, adversarial: bool
    ) -> tuple[TrainState, Metrics]:
        before = state
        key = jax.random.fold_in(state.key, state.step)  # for layers that draw noise

        def drawn_with_pull(part):
            return jax.vjp(lambda variables: draw(variables, frozen, part, key), before.generator)

        def generator_gradients(drawn, pull, part, discriminator):
            def loss(drawn):
                return losses.total(config, see(drawn, frozen, discriminator, part), adversarial)

            slopes, terms = jax.grad(loss, has_aux=True)(drawn)
            return pull(slopes)[0], terms

        judged = {"loss/discriminator": jnp.zeros(())}
        if parts == 1:
            drawn, pull = drawn_with_pull(batch)
            if adversarial:
                learned = discriminator_gradients(before.discriminator, drawn, frozen, batch)
                state, judged = train_discriminator(state, batch, *learned)
            gradients, terms = generator_gradients(drawn, pull, batch, state.discriminator)
        else:
            # The whole batch's pictures are never there at once, so those that the
            # discriminator learns from are drawn twice.
            if adversarial:
                learned = _mean_over_parts(
                    lambda part: discriminator_gradients(
                        before.discriminator,
                        draw(before.generator, frozen, part, key),
                        frozen,
                        part,
                    ),
                    batch,
                    parts,
                )
                state, judged = train_discriminator(state, batch, *learned)
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
        finite = jnp.isfinite(terms["total"] + norm + sum(judged.values()))
        state = jax.tree.map(
            lambda new, old: new if new is old else jnp.where(finite, new, old), state, before
        )
        state = state.replace(
            step=before.step + 1, skipped=before.skipped + jnp.where(finite, 0, 1)
        )
        metrics = {f"loss/{name}": term for name, term in terms.items()} | judged
        metrics |= {
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
