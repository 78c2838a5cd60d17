"""What DINO says of fills at a validation, against the same computed token by token in float64."""

import copy

import jax
import numpy as np
import pytest

from gsjax.models.build import build_networks
from gsjax.models.dino import preprocess
from gsjax.models.inpainter import init_variables
from gsjax.training.batch import unpack
from gsjax.training.dino_scores import TokenMeans, make_dino_scores, make_token_means, token_means
from gsjax.training.validation import make_validation_step, validate
from tests.quick import jit
from tests.tiny import make_batch


def config_of(run):
    config = copy.deepcopy(run.config)
    config.validate.dino, config.validate.samples = True, 4
    return config


class Scored:
    """Scores of noisy fills by the tiny run's DINO, and the tokens of all that it was shown."""

    def __init__(self, run):
        batch = make_batch() | {"weight": np.float32([1, 1, 1, 0]), "band": np.int32([0, 0, 1, 1])}
        batch = jax.device_put(batch)
        frozen = {"dino": run.dino}
        sums = jit(make_token_means(config_of(run), run.networks))
        frozen["dino_means"] = self.means = token_means(sums, frozen, [batch, batch])
        images, known = (np.asarray(array) for array in unpack(batch))
        rng = np.random.default_rng(0)
        filled = np.where(known > 0, images, rng.random(images.shape, np.float32))
        self.holes = known[..., 0] == 0

        @jit
        def tokens(images):
            out = run.networks.dino.apply(run.dino, preprocess(images, 28))
            return out.cls_token, out.patch_tokens

        found = [tokens(pixels) for pixels in (images, filled, images * known)]
        self.mapped = rng.standard_normal((4, 32)).astype(np.float32)
        scores = jit(make_dino_scores(config_of(run), run.networks))
        values = scores(frozen, images, known, filled, found[2][0], self.mapped)
        values |= {name: batch[name] for name in ("weight", "band")}
        values["psnr_hole"] = np.zeros(4)  # of the captions
        self.values, _ = validate(
            lambda *_: ((images, known, images, filled), values), {}, {}, [batch], 1, ["one", "two"]
        )
        self.photographs, self.fills, self.masked = (
            tuple(np.float64(each) for each in pair) for pair in found
        )


@pytest.fixture(scope="module")
def scored(tiny_run):
    return Scored(tiny_run)


def cosine(one, other):
    return one @ other / np.sqrt((one @ one) * (other @ other))


def test_the_means_are_those_of_the_photographs_that_count(scored):
    cls_tokens, patches = scored.photographs
    np.testing.assert_allclose(scored.means.class_token, cls_tokens[:3].mean(0), atol=1e-5)
    np.testing.assert_allclose(scored.means.patch_token, patches[:3].mean((0, 1)), atol=1e-5)


def test_class_tokens_are_compared_after_the_mean_is_taken_off(scored):
    mean = scored.photographs[0][:3].mean(0)
    each = [
        1 - cosine(scored.fills[0][i] - mean, scored.photographs[0][i] - mean) for i in range(3)
    ]
    assert scored.values["val/dino_class"] == pytest.approx(np.mean(each), rel=1e-3)
    assert scored.values["val/one/dino_class"] == pytest.approx(np.mean(each[:2]), rel=1e-3)
    assert scored.values["val/two/dino_class"] == pytest.approx(each[2], rel=1e-3)


def test_patch_tokens_are_compared_where_a_patch_is_more_than_half_hole(scored):
    mean = scored.photographs[1][:3].mean((0, 1))
    each = []
    for i in range(3):
        # 2×2 patches of 12×16 pixels.
        shares = scored.holes[i].reshape(2, 12, 2, 16).mean((1, 3)).ravel()
        distances = [
            1 - cosine(scored.fills[1][i, t] - mean, scored.photographs[1][i, t] - mean)
            for t in np.flatnonzero(shares > 0.5)
        ]
        each.append(np.mean(distances) if distances else 0)
    assert 0 in each
    assert max(each) > 0
    assert scored.values["val/dino_patches"] == pytest.approx(np.mean(each), rel=1e-3)


def test_alignment_is_the_cosine_to_the_photographs_token(scored):
    for name, tokens in (("token_raw", scored.masked[0]), ("token_mapped", scored.mapped)):
        each = [cosine(np.float64(tokens[i]), scored.photographs[0][i]) for i in range(3)]
        assert scored.values[f"val/{name}"] == pytest.approx(np.mean(each), abs=1e-5)
        assert scored.values[f"val/two/{name}"] == pytest.approx(each[2], abs=1e-5)


@pytest.mark.parametrize("semantic", [True, False])
def test_a_validation_gives_them_on_request(tiny_run, semantic):
    config = config_of(tiny_run)
    config.model.semantic = semantic
    networks = build_networks(config, tiny_run.networks.dino)
    token = 32 if semantic else 0
    variables = jax.eval_shape(lambda: init_variables(networks.generator, jax.random.key(0), token))
    zeros = np.zeros(32, np.float32)
    frozen = {"dino": tiny_run.dino, "dino_means": TokenMeans(zeros, zeros)}
    batch = make_batch() | {"weight": np.ones(4, np.float32), "band": np.zeros(4, np.int32)}

    def names():
        step = make_validation_step(config, networks)
        return set(jax.eval_shape(step, variables, frozen, batch)[1])

    with_dino = names()
    config.validate.dino = False
    tokens = {"token_raw", "token_mapped"} if semantic else set()
    assert with_dino - names() == {"dino_class", "dino_patches"} | tokens
