"""The losses of the published recipe, as they were recorded when they were first verified.

Both runs train both networks for five steps on one batch, from parameters that JAX and NumPy
draw. On the machine and with the versions they were recorded with, all digits agree. Elsewhere
sums are rounded in another order, and Adam's first updates, which have the size of the rate
whatever that of the gradient, carry it on: by up to 1e-4, which is also what losses on four
devices are held to (`test_step`).
"""

import jax
import numpy as np
import pytest

from gsjax import config as configs
from gsjax import sharding
from gsjax.models.build import build_networks
from gsjax.models.dino import DinoViT
from gsjax.models.lpips import Lpips
from gsjax.training.state import init_state
from gsjax.training.step import make_train_step
from tests.quick import jit
from tests.tiny import make_batch
from tests.weights import random_variables

# Of `tests.tiny.Run`: without LPIPS.
TINY = {
    "loss/discriminator": (1.00022161, 0.97369045, 0.966928005, 0.961799979, 0.953539848),
    "loss/gan": (0.0675921738, 0.0150897484, -0.0125863291, 0.0802686736, 0.156913713),
    "loss/l1": (0.0424021855, 0.0378673337, 0.0402030535, 0.0404129699, 0.0406397581),
    "loss/semantic": (0.0335974246, -0.072534658, -0.174182743, -0.270502031, -0.360833764),
    "loss/total": (0.0962772667, -0.0301403999, -0.137755588, -0.206008464, -0.273119897),
}
# All four terms with their weights by default.
PUBLISHED = {
    "loss/discriminator": (1.00778031, 0.901920557, 0.781891346, 0.684389353, 0.625819087),
    "loss/gan": (0.288840592, 0.233590052, 0.296819806, 0.35005042, 0.362908423),
    "loss/l1": (0.488434076, 0.487498403, 0.487248898, 0.487500191, 0.487703532),
    "loss/lpips": (0.107789204, 0.108917028, 0.109217122, 0.108859278, 0.10833136),
    "loss/semantic": (0.0319186822, 0.0112634674, -0.00960021932, -0.0303628035, -0.050951004),
    "loss/total": (0.930372536, 0.895589948, 0.894345999, 0.888730407, 0.870619178),
}


def check(history, recorded):
    assert {name for name in history[0] if name.startswith("loss/")} == recorded.keys()
    for name, values in recorded.items():
        ours = [metrics[name] for metrics in history]
        print(name, np.abs(np.subtract(ours, values)).max())
        np.testing.assert_allclose(ours, values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_without_lpips_the_losses_are_those_recorded(tiny_run):
    check([metrics for _, metrics in tiny_run.steps(5)], TINY)


@pytest.mark.slow
def test_the_published_losses_are_those_recorded():
    config = configs.default()
    config.data.image_size = (32, 32)
    sizes = {"patch_size": 8, "gaussians": 16, "features": 8, "width": 16, "downs": 1, "blocks": 1}
    config.model.update(sizes)
    config.dino.image_size = 28
    config.discriminator.width = 8
    config.train.batch_size = 4
    dino = DinoViT(width=32, depth=2, heads=2, mlp_width=64, grid=(2, 2))
    image = np.zeros((1, 32, 32, 3), np.float32)
    frozen = {
        "dino": random_variables(dino.init, image[:, :28, :28]),
        "lpips": random_variables(Lpips().init, image, image),
    }
    networks = build_networks(config, dino, Lpips())
    state = init_state(config, networks, sharding.make_mesh(1, 1, jax.devices()[:1]))
    batch = {
        name: np.concatenate([array, array[:, :8]], axis=1) for name, array in make_batch().items()
    }
    step = jit(make_train_step(config, networks), static_argnums=3)
    history = []
    for _ in range(5):
        state, metrics = step(state, frozen, batch, True)
        history.append(jax.device_get(metrics))
    check(history, PUBLISHED)
