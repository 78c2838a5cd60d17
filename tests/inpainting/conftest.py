import functools

import jax
import numpy as np
import pytest

from gsjax.inpainting.painter import Inpainter
from gsjax.models.dino import DinoViT
from gsjax.trained import folder as converted
from gsjax.training.state import build_networks
from tests.tiny import make_config
from tests.weights import random_variables


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Compiles without most optimizations, as `tests.quick.jit` does."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A converted folder with a tiny inpainter of random weights and the DINO that it needs."""
    path = tmp_path_factory.mktemp("weights") / "tiny"
    config = make_config()
    dino = DinoViT(width=32, depth=1, heads=2, mlp_width=32, grid=(2, 2))
    dino_variables = random_variables(dino.init, np.zeros((1, 28, 28, 3), np.float32))
    generator = build_networks(config, dino).generator
    inputs = (np.zeros((1, 24, 32, 3)), np.zeros((1, 32)), np.zeros((1, 24, 32, 1)))
    variables = random_variables(generator.init, *inputs)
    # Colors near the coarse fill, as after some training, instead of any.
    layers = variables["params"]["head"]["color"]
    last = max(layers, key=lambda name: int(name.rpartition("_")[2]))
    layers[last] = jax.tree.map(lambda array: 0.05 * array, layers[last])
    converted.write(path, {"generator": variables, "dino": dino_variables}, config, dino)
    return path


@pytest.fixture(scope="session")
def load():
    """`Inpainter.load` that reads a path once: compiling takes seconds."""
    return functools.cache(Inpainter.load)


@pytest.fixture(scope="session")
def painter(checkpoint, load):
    return load(str(checkpoint))
