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
    """Returns `step(state, dino_variables, batch, adversarial) -> (state, metrics)`.

    To be jitted, with `adversarial` static: whether the discriminator takes part yet.
    It learns first, from the generator's picture of this step; the generator's
    adversarial term then asks the discriminator that has learned. (Two programs rather
    than a condition in one: XLA runs convolutions inside conditions 25 times slower on CPU.)
    """
    optimizer, rate = adamw(config), learning_rate(config)
    tokens = make_tokens(config, networks.dino)
    judge = networks.discriminator.apply

    def update(gradients, optimizer_state, variables, step):
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, variables)
        updates = jax.tree.map(lambda update: -rate(step) * update, updates)
        return optax.apply_updates(variables, updates), optimizer_state

    def train_discriminator(state, real, fake):
        def loss(variables):
            return losses.hinge_discriminator(judge(variables, real), judge(variables, fake))

        value, gradients = jax.value_and_grad(loss)(state.discriminator)
        variables, optimizer_state = update(
            gradients, state.discriminator_optimizer, state.discriminator, state.step
        )
        state = state.replace(discriminator=variables, discriminator_optimizer=optimizer_state)
        return state, value

    def step(
        state: TrainState, dino: PyTree, batch: Batch, adversarial: bool
    ) -> tuple[TrainState, Metrics]:
        images, known = unpack(batch)
        masked = images * known
        clean_token, masked_token = tokens(dino, images, masked)
        rngs = {"noise": jax.random.fold_in(state.key, state.step)}  # for layers that draw some

        def generator_loss(variables):
            out = networks.generator.apply(variables, masked, masked_token, known, rngs=rngs)
            fake = jnp.clip(out.image, 0.0, 1.0)
            terms = {"l1": losses.l1(fake, images)}
            if config.model.semantic:
                terms["semantic"] = losses.semantic(out.token, clean_token)
            after, discriminator_loss = state, jnp.zeros(())
            if adversarial:
                after, discriminator_loss = train_discriminator(
                    state, images, jax.lax.stop_gradient(fake)
                )
                terms["gan"] = losses.hinge_generator(judge(after.discriminator, fake))
            total = sum(config.loss[name] * term for name, term in terms.items())
            terms |= {"total": total, "discriminator": discriminator_loss}
            return total, (after, terms)

        gradients, (state, terms) = jax.grad(generator_loss, has_aux=True)(state.generator)
        generator, optimizer_state = update(
            gradients, state.generator_optimizer, state.generator, state.step
        )
        metrics = {f"loss/{name}": term for name, term in terms.items()}
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        metrics["learning_rate"] = rate(state.step)
        state = state.replace(
            step=state.step + 1, generator=generator, generator_optimizer=optimizer_state
        )
        return state, metrics

    return step
