"""What training minimizes; each is a mean over the batch."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def l1(prediction: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Mean absolute difference over the whole image, known pixels included."""
    return jnp.abs(prediction - target).mean()


def hole_mse(
    prediction: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    known: Float[Array, "b h w 1"],
) -> Float[Array, ""]:
    """Mean squared difference over each image's hole, the mean of all images; 0 without a hole."""
    hole = 1.0 - known
    error = (jnp.square(prediction - target) * hole).sum((1, 2, 3))
    pixels = jnp.maximum(hole.sum((1, 2, 3)), 1.0)
    return (error / (pixels * target.shape[-1])).mean()


def semantic(token: Float[Array, "b d"], target: Float[Array, "b d"]) -> Float[Array, ""]:
    """−cos between the mapped token of the masked image and the clean image's own."""

    def normalized(x):
        # Inside the root, so that a token of zeros has a gradient.
        return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-16))

    return -jnp.sum(normalized(token) * normalized(target), axis=-1).mean()


def hinge_generator(fake: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """−mean of the discriminator's logits for what the generator made."""
    return -fake.mean()


def hinge_discriminator(
    real: Float[Array, "b h w 1"], fake: Float[Array, "b h w 1"]
) -> Float[Array, ""]:
    """½ (mean max(0, 1 − real) + mean max(0, 1 + fake))."""
    return 0.5 * (nn.relu(1.0 - real).mean() + nn.relu(1.0 + fake).mean())
