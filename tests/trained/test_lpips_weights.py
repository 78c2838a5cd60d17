"""LPIPS from the config: weights fetched or converted, mistakes."""

import hashlib

import jax
import numpy as np
import pytest

from gsjax import config as configs
from gsjax.convert import command
from gsjax.errors import UserError
from gsjax.fetch import REMOTE, Remote
from gsjax.models.lpips import Lpips
from gsjax.trained import lpips
from tests.models.test_lpips import squeeze_by_rule, weights


def config_with(weights, **options):
    config = configs.default()
    config.lpips.update({"weights": weights} | options)
    return config


@pytest.fixture
def files(tmp_path):
    backbone, heads = weights("alex")
    np.savez(tmp_path / "alexnet.npz", **backbone)
    np.savez(tmp_path / "lpips_alex.npz", **heads)
    return tmp_path


def test_converted_weights_are_those_that_are_fetched(files, monkeypatch):
    monkeypatch.setenv("GSJAX_CACHE", str(files))
    for name in ("alexnet", "lpips_alex"):
        content = (files / f"{name}.npz").read_bytes()
        remote = Remote(f"http://127.0.0.1:9/{name}.npz", hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(REMOTE, name, remote)
    module, fetched = lpips.load_lpips(config_with("alex").lpips)
    assert module == Lpips("alex")
    said = command.convert_lpips(str(files / "alexnet.npz"), str(files / "out"))
    assert f"--config.lpips.weights={files / 'out'}" in said
    lpips.check_lpips(config_with(str(files / "out")))
    module, converted = lpips.load_lpips(config_with(str(files / "out"), normalize=False).lpips)
    assert module == Lpips("alex", normalize=False)
    jax.tree.map(np.testing.assert_array_equal, converted, fetched)


def test_a_file_with_backbone_and_heads_is_weights_and_converts_without_another(tmp_path):
    arrays = squeeze_by_rule()
    np.savez(tmp_path / "squeeze.npz", **arrays, **{"classifier/w": np.zeros(3)})
    config = config_with(str(tmp_path / "squeeze.npz"))
    lpips.check_lpips(config)
    module, read = lpips.load_lpips(config.lpips)
    said = command.convert_lpips(str(tmp_path / "squeeze.npz"), str(tmp_path / "out"))
    assert said.startswith("LPIPS on squeeze, 0.7 M parameters")
    again, converted = lpips.load_lpips(config_with(str(tmp_path / "out")).lpips)
    assert module == again == Lpips("squeeze")
    jax.tree.map(np.testing.assert_array_equal, converted, read)


def test_a_file_that_lacks_a_layer_is_refused_by_its_name(tmp_path):
    arrays = squeeze_by_rule()
    del arrays["fire9/squeeze/w"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(
        UserError, match=r"lpips\.weights: .*part\.npz: .*1 missing: features\.9\.squeeze\.weight"
    ):
        lpips.load_lpips(config_with(str(tmp_path / "part.npz")).lpips)


def test_without_weights_there_is_neither_loss_nor_metric():
    config = config_with("")
    with pytest.raises(UserError, match=r"lpips\.weights: none are named, but loss\.lpips is 3"):
        lpips.check_lpips(config)
    config.loss.lpips = 0.0
    lpips.check_lpips(config)
    assert lpips.load_lpips(config.lpips) == (None, {})


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"lpips\.weights: 'resnet' is none of alex, vgg, squeeze"):
        lpips.check_lpips(config_with("resnet"))
    config = config_with("alex")
    config.data.image_size = (24, 64)
    with pytest.raises(UserError, match=r"data\.image_size: \(24, 64\) is too small for LPIPS"):
        lpips.check_lpips(config)
