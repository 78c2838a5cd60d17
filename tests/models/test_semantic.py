import jax.numpy as jnp
import numpy as np

from gsjax import config as configs
from gsjax.models import semantic
from gsjax.models.dino import DinoViT, preprocess
from tests.quick import jit
from tests.weights import random_variables


def test_tokens_are_those_of_each_batch_by_itself():
    module = DinoViT(width=32, depth=1, heads=2, mlp_width=64, grid=(2, 2))
    config = configs.default()
    config.dino.image_size = 28
    images = np.random.default_rng(0).random((2, 3, 40, 24, 3), np.float32)
    variables = random_variables(module.init, np.zeros((1, 28, 28, 3), np.float32))
    tokens = jit(semantic.make_tokens(config.dino, module))

    @jit
    def apart(images):
        return module.apply(variables, preprocess(jnp.asarray(images), 28)).cls_token

    for token, batch in zip(tokens(variables, *images), images, strict=True):
        np.testing.assert_allclose(token, apart(batch), atol=1e-5)
    (alone,) = tokens(variables, images[1])
    np.testing.assert_allclose(alone, apart(images[1]), atol=1e-5)
