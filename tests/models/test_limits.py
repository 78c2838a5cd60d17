"""What the networks take, and that they take it."""

import jax
import jax.numpy as jnp
import pytest

from gsjax.models.encoder import Encoder
from gsjax.models.folded import FoldedEncoder
from gsjax.models.inpainter import GaussianInpainter

ENCODERS = [
    Encoder(4, 16, downs=2, blocks=1),
    FoldedEncoder(4, fold=3, width=32, downs=2, blocks=2),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: type(encoder).__name__)
def test_an_encoder_takes_its_smallest_side_and_width_and_halves_no_other(encoder):
    def shape(height, width):
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        return jax.eval_shape(
            lambda x: encoder.init_with_output(jax.random.key(0), x, None)[0], image
        )

    least, stride = encoder.min_side(), encoder.stride()
    cell = getattr(encoder, "fold", 1)
    assert shape(least, least + stride).shape == (1, least // cell, (least + stride) // cell, 4)
    with pytest.raises((TypeError, ValueError)):
        shape(least, least + stride // 2)


def test_the_generators_stride_is_of_patches_and_encoder():
    assert GaussianInpainter(patch_size=12, downs=3).stride() == 24
    assert GaussianInpainter(patch_size=16, fold=8, downs=3).stride() == 64
