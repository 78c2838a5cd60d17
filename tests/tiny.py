"""A run small enough for tests: every part of a real one, compiled in seconds."""

import jax
import numpy as np

from gsjax import config as configs
from gsjax import sharding
from gsjax.models.build import build_networks
from gsjax.models.dino import DinoViT
from gsjax.trained import converted
from gsjax.training.state import init_state
from gsjax.training.step import make_train_step
from tests.quick import jit
from tests.weights import random_variables


def make_config():
    """Returns a config for 24×32 pixels with all that the model has on offer."""
    config = configs.default()
    config.data.image_size = (24, 32)
    sizes = {"patch_size": 8, "gaussians": 16, "features": 8, "width": 16, "downs": 1, "blocks": 1}
    options = {"mask_channel": True, "residual_colors": True, "normalize_splats": True}
    config.model.update(sizes | options)
    config.dino.image_size = 28
    config.lpips.weights, config.loss.lpips = "", 0.0
    config.discriminator.width = 8
    config.optimizer.learning_rate = 1e-3
    config.train.batch_size = 4
    return config


def make_batch():
    """Returns four images of soft waves, each with a square hole elsewhere."""
    y, x = np.mgrid[:24, :32]
    waves = [127 + 120 * np.sin(x / (5 + i) + y / 7 + i) for i in range(12)]
    image = np.stack(waves, -1).reshape(24, 32, 4, 3).transpose(2, 0, 1, 3)
    known = np.ones((4, 24, 32, 1), bool)
    for i in range(4):
        known[i, 3 * i : 3 * i + 12, 6:20] = False
    return {"image": image.astype(np.uint8), "known": known}


def write_inpainter(path):
    """Writes a converted folder: an inpainter of random weights, and the DINO that it needs."""
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


class Run:
    """Networks, compiled step and starting state on a mesh of all devices."""

    def __init__(self, data=-1, fsdp=1):
        self.config = make_config()
        self.mesh = sharding.make_mesh(data, fsdp)
        dino = DinoViT(width=32, depth=2, heads=2, mlp_width=64, grid=(2, 2))
        self.dino = random_variables(dino.init, np.zeros((1, 28, 28, 3), np.float32))
        self.networks = build_networks(self.config, dino)
        self.state = init_state(self.config, self.networks, self.mesh)
        self.batch = sharding.put_batch(make_batch(), self.mesh)
        self.step = make_train_step(self.config, self.networks)
        where = (sharding.of(self.state), sharding.replicated(self.mesh))
        self.compiled = jit(self.step, static_argnums=3, out_shardings=where)

    def steps(self, count):
        """Trains both networks on the one batch; returns state and metrics after every step."""
        state, history = self.state, []
        for _ in range(count):
            state, metrics = self.compiled(state, {"dino": self.dino}, self.batch, True)
            history.append((state, {name: float(value) for name, value in metrics.items()}))
        return history
