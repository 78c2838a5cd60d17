"""The inpainter against the published one, stage by stage; round trips; mistakes."""

import jax
import numpy as np
import pytest

from gsjax import convert
from gsjax.errors import UserError
from gsjax.kernels.rasterizer import rasterize
from gsjax.models.gaussian_head import anchors
from gsjax.models.inpainter import GaussianInpainter, init_variables
from tests import published
from tests.weights import random_variables

FIXTURES = {"inpainter": 1, "inpainter_pad2": 2}  # and their overlap


@pytest.fixture(scope="module", params=FIXTURES)
def stages(request):
    """Everything that ours computes of a fixture, under the names of what was recorded."""
    overlap = FIXTURES[request.param]
    _, state_dict, arrays = published.load(request.param)
    module, variables = convert.reference(state_dict, overlap=overlap)
    extent = module.patch_size + 2 * overlap

    @jax.jit
    def run(images, token):
        out, state = module.apply(variables, images, token, capture_intermediates=True)
        g = out.gaussians
        drawn = rasterize(g.means, g.cholesky, g.colors, (extent, extent))
        return out, state["intermediates"]["to_patches"]["__call__"][0], drawn

    out, features, drawn = run(published.nhwc(arrays["image"]), arrays["dino_token"])
    gaussians = jax.tree.map(np.asarray, out.gaussians)
    # Recorded in float32, the conic of these is exact to far less than the tolerance.
    lower = np.zeros((*gaussians.cholesky.shape[:-1], 2, 2))
    lower[..., 0, 0], lower[..., 1, 0], lower[..., 1, 1] = np.moveaxis(gaussians.cholesky, -1, 0)
    conic = np.linalg.inv(lower @ np.swapaxes(lower, -1, -2))
    rows, columns = (side // module.patch_size for side in arrays["image"].shape[2:])
    drawn = np.reshape(drawn, (-1, rows, columns, extent, extent, 3)).transpose(0, 1, 3, 2, 4, 5)
    ours = {
        "mapped_token": out.token,
        "features": np.reshape(features, arrays["features"].shape),
        "color": gaussians.colors,
        "cholesky": gaussians.cholesky * module.patch_size / extent,
        "offset": gaussians.means - anchors(round(module.gaussians**0.5), extent),
        "mean_px": gaussians.means,
        "conic": conic[..., (0, 0, 1), (0, 1, 1)],
        "raster_padded": drawn.reshape(-1, rows * extent, columns * extent, 3),
        "output": np.transpose(out.image, (0, 3, 1, 2)),
    }
    return ours, arrays


@pytest.mark.parametrize(
    "stage",
    [
        "mapped_token",
        "features",
        "color",
        "cholesky",
        "offset",
        "mean_px",
        "conic",
        "raster_padded",
        "output",
    ],
)
def test_every_stage_is_the_published_one(stages, stage):
    ours, arrays = stages
    published.check(stage, ours[stage], arrays[stage])


@pytest.fixture(scope="module")
def state_dict():
    return published.load("inpainter").state_dict


def test_the_architecture_is_read_off_the_shapes(state_dict):
    module, _ = convert.reference(state_dict, overlap=2)
    assert module == GaussianInpainter(overlap=2, gaussians=16, width=16, blocks=2)


def test_every_bit_but_what_is_unused_survives_a_round_trip(state_dict):
    back = convert.reference_state_dict(*convert.reference(state_dict))
    used = {key: array for key, array in state_dict.items() if "skip_linear" not in key}
    assert back.keys() == used.keys()
    jax.tree.map(np.testing.assert_array_equal, back, used)


@pytest.mark.parametrize(
    "module",
    [
        GaussianInpainter(8, 1, 4, 6, width=16, max_width=32, downs=2, blocks=1, skips=False),
        GaussianInpainter(8, 1, 9, 4, width=16, downs=2, blocks=3, mask_channel=True),
        GaussianInpainter(4, 1, 4, 4, width=16, downs=1, blocks=1),
        GaussianInpainter(4, 1, 4, 4, width=16, downs=1, blocks=1, semantic=False),
    ],
    ids=["capped, no skips", "mask channel", "one halving", "no semantic branch"],
)
def test_other_architectures_survive_a_round_trip(module):
    def init(key):
        return init_variables(module, key, token_size=24)

    variables = random_variables(init)
    again, parameters = convert.reference(convert.reference_state_dict(module, variables))
    assert again == module
    jax.tree.map(np.testing.assert_array_equal, parameters, variables)


def test_a_trainers_checkpoint_is_read_without_its_dino(state_dict):
    plain = {key: array for key, array in state_dict.items() if "skip_linear" not in key}
    plain["dino_model.cls_token"] = np.zeros((1, 1, 768), np.float32)
    wrapped = {"model": {f"module.{key}": array for key, array in plain.items()}, "epoch": 7}
    module, _ = convert.reference(wrapped)
    assert module.blocks == 2


def test_all_wrong_keys_are_listed_in_one_error(state_dict):
    changed = dict(state_dict, extra=np.zeros(1))
    del changed["feature_map.mlp_xy.layers.6.bias"]
    changed["encoder.encoder.ups.2.0.bias"] = np.zeros(3)
    with pytest.raises(UserError) as error:
        convert.reference(changed)
    assert str(error.value) == (
        "inpainter weights: 1 missing: feature_map.mlp_xy.layers.6.bias; 1 left over: extra; "
        "1 wrongly shaped: encoder.encoder.ups.2.0.bias [3], expected [16]"
    )


def test_a_missing_block_is_missing_keys(state_dict):
    changed = {key: array for key, array in state_dict.items() if ".mid_res.0." not in key}
    with pytest.raises(UserError, match=r"missing: encoder\.encoder\.mid_res\.0\.conv_block"):
        convert.reference(changed)


def test_a_number_of_gaussians_without_a_root_is_refused(state_dict):
    changed = dict(state_dict)
    changed["encoder.conv_out.weight"] = state_dict["encoder.conv_out.weight"][: 15 * 12]
    with pytest.raises(UserError, match=r"conv_out\.weight has 180 outputs; expected a square"):
        convert.reference(changed)
