"""A config that is read with a trained inpainter: what is wrong in it is one line."""

import json
import os

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gsjax import config as config_lib
from gsjax.config import saved
from gsjax.errors import UserError
from gsjax.models.build import build_networks
from gsjax.models.inpainter import GaussianInpainter, init_variables
from gsjax.trained import packed
from gsjax.trained.load import load_trained, read_generator
from gsjax.training.checks import check_without_inputs
from tests.tiny import make_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A packed inpainter."""
    config = make_config()
    config.model.semantic = False
    module = build_networks(config).generator
    shapes = jax.eval_shape(lambda: init_variables(module, jax.random.key(0), 0))
    path = tmp_path_factory.mktemp("packed") / "mine"
    packed.write_packed(path, config, jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes))
    return path


def _changed(**fields):
    def change(config):
        for name, value in fields.items():
            group, _, field = name.partition("__")
            if field:
                config[group][field] = value
            else:
                config[group] = value
        return json.dumps(config)

    return change


def _nested(levels, opening="[", closing="]"):
    return lambda config: '{"a":' + opening * levels + "1" + closing * levels + "}"


CASES = {
    "text for a number": (_changed(model__gaussians="64"), "model.gaussians: '64' is not a whole"),
    "a fraction": (_changed(model__gaussians=16.0), "model.gaussians: 16.0 is not a whole number"),
    "null": (_changed(model__gaussians=None), "model.gaussians: None is not a whole number"),
    "true for a number": (_changed(model__downs=True), "model.downs: True is not a whole number"),
    "a number for true": (_changed(model__semantic=1), "model.semantic: 1 is not true or false"),
    "a negative number": (_changed(model__fold=-1), "model.fold: -1 is not a whole number of"),
    "no square number": (_changed(model__gaussians=17), "model.gaussians: 17 is not a square"),
    "a huge number": (_changed(model__gaussians=10**14), "model.gaussians: 100000000000000 is not"),
    "a number of 300 digits": (_changed(seed=10**300), "seed: 1000"),
    "more blocks than arrays": (_changed(model__blocks=200), "model.blocks is 200, but it has"),
    "blocks without end": (_changed(model__blocks=10**8), "model.blocks: 100000000 is not"),
    "halvings without end": (_changed(model__downs=5000), "model.downs: 5000 is not a whole"),
    "more Gaussians than the arrays": (
        _changed(model__gaussians=65536), "model.gaussians is 65536, but its arrays have up to"
    ),
    "wider than the arrays": (_changed(model__width=4096), "model.width is 4096, but its arrays"),
    "no patch": (_changed(model__patch_size=0), "model.patch_size: 0 is not a whole number of at"),
    "an overlap beyond a patch": (_changed(model__overlap=10**9), "model.overlap: 1000000000 must"),
    "a backend that is code": (_changed(model__backend="os.system"), "model.backend: 'os.system'"),
    "an unknown field of the model": (
        _changed(model__name="x"),
        "model.name: this version of gsjax does not have such a field",
    ),
    "a text for the size": (_changed(data__image_size="big"), "data.image_size: 'big' is not two"),
    "a negative size": (_changed(data__image_size=[-32, -32]), "data.image_size: (-32, -32) is"),
    "one side": (_changed(data__image_size=[32]), "data.image_size: [32] is not two whole"),
    "a size of lists": (_changed(data__image_size=[[32]] * 2), "data.image_size: [[32], [32]]"),
    "pixels without end": (_changed(data__image_size=[8, 80000]), "data.image_size: (8, 80000) is"),
    "NaN": (_changed(fill__rim=float("nan")), "fill.rim: nan is not a number in (0, 1]"),
    "NaN in training": (
        _changed(optimizer__learning_rate=float("nan")), "optimizer.learning_rate: nan is not"
    ),
    "a huge DINO": (
        _changed(model__semantic=True, dino__image_size=10**7, dino__size="g",
                 dino__weights="random"),
        "dino.image_size: 10000000 is more than 128 patches",
    ),
    "a DINO of no size": (
        _changed(model__semantic=True, dino__weights="random", dino__size="x"),
        "dino.size: 'x' is not one of ti, S, B, L, g",
    ),
    "a group that is a list": (_changed(fill=[1]), "fill: [1] is not a group of fields"),
    "a group that is null": (_changed(model=None), "model: None is not a group of fields"),
    "a group that is empty": (_changed(model={}), "it has no model.patch_size"),
    "a name that Python has": (_changed(**{"model____class__": 1}), "overridden"),
    "text without end": (_changed(model__backend="x\n" * 10**5), "model.backend: 'x"),
    "a list": (lambda config: "[1]", "is not a run's config: it is not a group of fields"),
    "no JSON": (lambda config: '{"seed": ', "is not a run's config: Expecting value"),
    "no text": (lambda config: b"\xff\xfe\x00", "is not a run's config"),
    "thousands of digits": (lambda config: '{"seed":' + "1" * 5000 + "}", "is not a run's config"),
    "40 levels": (_nested(40), "is not a run's config: it is nested more than 32 levels deep"),
    "900 levels": (_nested(900, '{"a":', "}"), "is not a run's config: it is nested more than 32"),
    "2,000 levels": (_nested(2000), "is not a run's config: it is nested more than 32 levels deep"),
    "only opened": (lambda config: '{"a":' + "[" * 900_000, "is not a run's config: it is nested"),
    "megabytes": (lambda config: '{"a":' + "[" * 5_000_000, "5000005 bytes, more than 1048576"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_config_that_is_wrong_is_one_line(folder, tmp_path, name):
    change, expected = CASES[name]
    text = change(json.loads((folder / "config.json").read_text()))
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / packed.FILE).symlink_to(folder / packed.FILE)
    with pytest.raises(UserError) as raised:
        read_generator(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"checkpoint: {tmp_path}/config.json")
    assert expected in message
    assert "\n" not in message
    assert len(message) < 500


def test_what_an_older_run_has_not_known_is_as_by_default(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    for group, name in (("model", "crossfade"), ("fill", None), ("masks", "kinds")):
        del (config[group] if name else config)[name or group]
    config["model"]["patch_size"] = 24
    (tmp_path / "config.json").write_text(json.dumps(config))
    read, default = saved.read_config(tmp_path), config_lib.default()
    assert (read.fill, read.masks) == (default.fill, default.masks)
    assert (read.model.crossfade, read.model.patch_size) == (default.model.crossfade, 24)


def test_the_defaults_of_the_config_are_those_of_the_module():
    known = {name: getattr(GaussianInpainter, name) for name in config_lib.default().model}
    assert known == config_lib.default().model.to_dict()


def test_a_run_that_starts_is_checked_for_types_too():
    config = make_config()
    with config.ignore_type():
        config.model.gaussians = "64"
    with pytest.raises(UserError, match=r"model\.gaussians: '64' is not a whole number"):
        check_without_inputs(config, devices=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_packed_values_that_are_not_finite_are_refused_by_name(folder, tmp_path, value):
    arrays = load_file(folder / packed.FILE)
    name = sorted(arrays)[3]
    arrays[name] = arrays[name].astype(np.float64)
    arrays[name].flat[-1] = value
    save_file(arrays, tmp_path / packed.FILE)
    (tmp_path / "config.json").symlink_to(folder / "config.json")
    with pytest.raises(
        UserError, match=f"{packed.FILE}: it cannot be read: {name} has values that"
    ):
        load_trained(tmp_path)


KEYS = {
    "an empty key": ["", "a"],
    "an empty part": ["params//a"],
    "a key in another": ["a", "a/b"],
    "a key around another": ["a/b", "a"],
    "a key of many parts": ["a/" * 3000 + "b"],
    "a key of megabytes": ["x" * 5_000_000],
    "a key with line breaks": ["a\nb\x1b[31m"],
    "no key": [],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_packed_keys_that_make_no_tree_are_one_line(folder, tmp_path, keys):
    save_file({key: np.ones(2, np.float32) for key in keys}, tmp_path / packed.FILE)
    (tmp_path / "config.json").symlink_to(folder / "config.json")
    with pytest.raises(UserError) as raised:
        load_trained(tmp_path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_a_packed_file_that_is_a_fifo_is_not_waited_for(folder, tmp_path):
    (tmp_path / packed.FILE).symlink_to(folder / packed.FILE)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"config\.json: not a regular file"):
        load_trained(tmp_path)
