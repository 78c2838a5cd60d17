"""The gradients of the losses against finite differences, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gsjax import config as configs
from gsjax.models import losses
from gsjax.models.discriminator import Discriminator, touches_hole
from gsjax.models.lpips import Lpips
from tests.quick import jit
from tests.weights import random_variables

SIZE = 32
NETWORK = Discriminator(width=8, layers=1, dtype=jnp.float64)
# By name: the term, and the options it is computed with.
COMPOSITE = {"composite": True}
BY_PATCH = COMPOSITE | {"adversarial": "logistic", "patch_labels": True}
CASES = {
    "hole_l1": ("hole_l1", {}),
    "known_l1": ("known_l1", {}),
    "hinge on the prediction": ("gan", {}),
    "logistic by patch": ("gan", BY_PATCH),
    "features on the composite": ("features", COMPOSITE),
    "dino on the composite": ("dino", COMPOSITE),
    "spectrum on the composite": ("spectrum", COMPOSITE),
}
LPIPS = {"lpips on the composite": ("lpips", COMPOSITE)}
OF_THE_DISCRIMINATOR = {"discriminator, hinge": {}, "discriminator, logistic by patch": BY_PATCH}


class Gradients:
    """Slopes along a direction, by both ways, and the gradients by what is drawn."""

    def __init__(self, cases, judged, lpips=None):
        rng = np.random.default_rng(0)
        images, self.drawn = jnp.asarray(rng.uniform(0.01, 0.99, (2, 2, SIZE, SIZE, 3)))
        self.known = jnp.ones((2, SIZE, SIZE, 1))
        self.known = self.known.at[0, 4:15, 6:20].set(0).at[1, 20:28, 20:28].set(0)
        image = jnp.zeros((1, SIZE, SIZE, 3))
        variables = float64(random_variables(NETWORK.init, image))
        weights = rng.standard_normal((2, 192, 8)) / 8
        frozen = lpips and float64(random_variables(lpips.init, image, image))

        def see(drawn, variables, options):
            loss = configs.default().loss
            loss.update(options)
            return losses.Seen(
                loss, images, self.known, drawn,
                judge=lambda images: NETWORK.apply(variables, images, method="judge"),
                patch_tokens=functools.partial(patch_tokens, weights),
                distance=lambda *images: lpips.apply(frozen, *images),
                touches_hole=touches_hole(1 - self.known, 1) if loss.patch_labels else None,
            )  # fmt: skip

        flat, unravel = ravel_pytree(variables)

        def of_discriminator(flat, options):
            return losses.discriminator_loss(see(self.drawn, unravel(flat), options))[0]

        def r1(flat):
            return losses.r1(see(self.drawn, unravel(flat), {}).judge, images)

        terms = {
            case: lambda drawn, name=name, options=options: losses.TERMS[name].function(
                see(drawn, variables, options)
            )
            for case, (name, options) in cases.items()
        }
        judged = {
            case: functools.partial(of_discriminator, options=options)
            for case, options in judged.items()
        }
        self.gradients, self.slopes = {}, {}
        self._compare(terms, self.drawn, rng)
        if judged:
            self._compare(judged | {"r1": r1}, flat, rng)

    def _compare(self, functions, at, rng):
        def compute(at, ways):
            gradients = {case: jax.grad(function)(at) for case, function in functions.items()}
            values = {case: [function(w) for w in ways] for case, function in functions.items()}
            return gradients, values

        direction, step = rng.standard_normal(at.shape), 1e-6
        ways = at - step * direction, at + step * direction
        gradients, values = jit(compute)(at, ways)
        self.gradients |= gradients
        for case, (below, above) in values.items():
            along = float((gradients[case] * direction).sum())
            self.slopes[case] = along, float((above - below) / (2 * step))


def patch_tokens(weights, images):
    """Tokens of patches of 8 pixels, of two blocks; DINO's would have a softmax in float32."""
    count = SIZE // 8
    cut = images.reshape(-1, count, 8, count, 8, 3).transpose(0, 1, 3, 2, 4, 5)
    return jnp.tanh(jnp.einsum("btp,lpd->lbtd", cut.reshape(-1, count**2, 192), weights))


def float64(variables):
    return jax.tree.map(lambda array: array.astype(np.float64), variables)


@pytest.fixture(scope="module")
def found():
    with jax.enable_x64(True):
        return Gradients(CASES, OF_THE_DISCRIMINATOR)


def check_slope(found, case):
    gradient, slope = found.slopes[case]
    assert abs(gradient) > 1e-6
    assert gradient == pytest.approx(slope, rel=1e-5)


def check_known_pixels_rest(found, case):
    gradient = np.abs(found.gradients[case])
    np.testing.assert_array_equal(gradient * found.known, 0)
    assert (gradient * (1 - found.known)).max() > 0


@pytest.mark.parametrize("case", [*CASES, *OF_THE_DISCRIMINATOR, "r1"])
def test_a_gradient_is_the_slope_of_its_loss(found, case):
    check_slope(found, case)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][1].get("composite")])
def test_known_pixels_of_the_composite_get_no_gradient(found, case):
    check_known_pixels_rest(found, case)


def test_known_pixels_of_the_prediction_do(found):
    assert (np.abs(found.gradients["hinge on the prediction"]) * found.known).max() > 0


@pytest.mark.slow
def test_so_it_is_with_lpips():
    with jax.enable_x64(True):
        found = Gradients(LPIPS, {}, Lpips(dtype=jnp.float64))
    for case in LPIPS:
        check_slope(found, case)
        check_known_pixels_rest(found, case)
