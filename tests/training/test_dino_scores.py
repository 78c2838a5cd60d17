"""What DINO says of fills at a validation, against the same computed token by token in float64."""

import copy

import numpy as np
import pytest

from gsjax import sharding
from gsjax.models.dino import preprocess
from gsjax.training.dino_scores import make_token_means, token_means
from gsjax.training.validation import make_validation_step, validate
from tests.quick import jit
from tests.tiny import make_batch


class Scored:
    """A validation of the tiny run, and the tokens of its photographs, fills and masked images."""

    def __init__(self, run):
        config = copy.deepcopy(run.config)
        config.validate.dino, config.validate.samples = True, 4
        batch = make_batch() | {"weight": np.float32([1, 1, 1, 0]), "band": np.int32([0, 0, 1, 1])}
        placed = sharding.put_batch(batch, run.mesh)
        sums = jit(make_token_means(config, run.networks))
        frozen = {"dino": run.dino}
        frozen["dino_means"] = self.means = token_means(sums, frozen, [placed, placed])
        step = jit(make_validation_step(config, run.networks))
        pictures, self.each = step(run.state.generator, frozen, placed)
        self.values, _ = validate(step, run.state.generator, frozen, [placed], 1, ["one", "two"])
        images, known, _, filled = (np.asarray(picture) for picture in pictures)
        self.holes = known[..., 0] == 0

        @jit
        def tokens(images):
            out = run.networks.dino.apply(run.dino, preprocess(images, 28))
            return out.cls_token, out.patch_tokens

        self.photographs, self.fills, self.masked = (
            tuple(np.float64(each) for each in tokens(pixels))
            for pixels in (images, filled, images * known)
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


def test_alignment_is_the_cosine_to_the_photographs_token(scored, tiny_run):
    raw = [cosine(scored.masked[0][i], scored.photographs[0][i]) for i in range(3)]
    assert scored.values["val/token_raw"] == pytest.approx(np.mean(raw), abs=1e-5)
    loss = tiny_run.steps(5)[0][1]["loss/semantic"]  # before the first update, of all four
    assert np.mean(scored.each["token_mapped"]) == pytest.approx(-loss, abs=1e-5)
