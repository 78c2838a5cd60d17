"""hf:OWNER/NAME with the real huggingface_hub, against a stand-in of the Hub's HTTP API."""

import logging
import sys
import threading

import huggingface_hub
import numpy as np
import pytest
import yaml
from absl import logging as absl_logging
from huggingface_hub import constants

from gsjax.errors import UserError
from gsjax.models.build import build_networks
from gsjax.pack.card import write_card
from gsjax.trained import hub as on_hub
from gsjax.trained import packed
from gsjax.trained.initial import check_initial
from gsjax.trained.load import read_generator
from gsjax.trained.place import check_path, locate
from tests.hub import TOKEN, Hub
from tests.runs import run
from tests.tiny import make_config
from tests.weights import random_variables


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The contents of a packed inpainter's two files."""
    config = make_config()
    config.model.semantic = False
    config.dino.weights = ""
    image = np.zeros((1, 24, 32, 3), np.float32)
    generator = build_networks(config).generator
    variables = random_variables(generator.init, image, None, image[..., :1])
    folder = tmp_path_factory.mktemp("packed") / "mine"
    packed.write_packed(folder, config, variables)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    on_hub.download.cache_clear()
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    on_hub.download.cache_clear()


def error_of(path):
    with pytest.raises(UserError) as raised:
        check_path(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_only_the_config_and_the_parameters_of_the_newest_commit_are_downloaded(hub, files, caplog):
    hub.add("me/mine", {"config.json": b"{}"})
    commit = hub.add("me/mine", files | {"code.py": b"1/0", "model.pkl": b"x"})
    with caplog.at_level(logging.INFO, logger=absl_logging.get_absl_logger().name):
        place = locate("hf:me/mine", "best")
    assert place.packed
    assert place.folder.name == commit
    assert f"hf:me/mine is at commit {commit}" in caplog.text
    assert {file.name: file.read_bytes() for file in place.folder.iterdir()} == files
    read_generator("hf:me/mine")  # a whole inpainter
    assert {asked.rpartition("/")[2] for asked in hub.asked if "/resolve/" in asked} == set(files)


def test_a_revision_is_resolved_once_per_process(hub, files):
    first = hub.add("me/mine", files)
    assert check_path("hf:me/mine").name == first
    hub.add("me/mine", {"config.json": b"{}"})
    assert check_path("hf:me/mine").name == first
    assert check_path(f"hf:me/mine@{first}").name == first


def test_a_commit_that_is_in_the_cache_needs_no_hub(hub, files):
    commit = hub.add("me/mine", files)
    folder = check_path("hf:me/mine")
    on_hub.download.cache_clear()
    hub.asked.clear()
    assert check_path(f"hf:me/mine@{commit}") == folder
    assert hub.asked == []


def test_the_cache_stands_in_for_a_hub_that_is_unreachable(hub, files, monkeypatch):
    hub.add("me/mine", files)
    folder = check_path("hf:me/mine")
    on_hub.download.cache_clear()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert check_path("hf:me/mine") == folder


@pytest.mark.slow  # huggingface_hub tries for 20 seconds
def test_without_hub_and_cache_the_remedy_is_named(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = error_of("hf:me/other")
    assert message.startswith("checkpoint: hf:me/other: the Hub cannot be reached")
    assert "connect to the network, or give a folder" in message


def test_what_is_wrong_is_said_with_its_remedy(hub, files):
    hub.add("me/mine", files)
    hub.add("me/secret", files)
    hub.add("me/gated", files)
    hub.add("me/other", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    hub.private.add("me/secret")
    hub.gated.add("me/gated")
    for path, what, remedy in (
        ("hf:me/nothing", "does not exist, or is private", "check the name"),
        ("hf:me/secret", "does not exist, or is private", "hf auth login"),
        ("hf:me/gated", "access to it must be granted", "ask for it on its page"),
        ("hf:me/mine@v9", "it has no revision 'v9'", "branches, tags and commits"),
        ("hf:me/other", "it is not a packed inpainter", "gsjax.pack makes one"),
    ):
        message = error_of(path)
        assert message.startswith(f"checkpoint: {path.partition('@')[0]}: ")
        assert what in message
        assert remedy in message


def test_a_token_opens_what_is_private(hub, files, monkeypatch):
    hub.add("me/secret", files)
    hub.private.add("me/secret")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert packed.is_packed(check_path("hf:me/secret"))


def test_offline_only_the_cache_is_asked(hub, files, monkeypatch):
    hub.add("me/mine", files)
    folder = check_path("hf:me/mine")
    on_hub.download.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert check_path("hf:me/mine") == folder
    assert "the files are not in its cache" in error_of("hf:me/other")
    assert hub.asked == []


@pytest.mark.parametrize(
    "path",
    ["hf:", "hf:mine", "hf:a/b/c", "hf:a/../b", "hf:a/b@", "hf:/b", "hf:a/b@../x", "hf:a/b c"],
)
def test_only_owner_name_and_revision_are_a_path_on_the_hub(path):
    assert error_of(path) == f"checkpoint: {path} is not of the form hf:OWNER/NAME[@REVISION]"


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    on_hub.download.cache_clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    expected = 'checkpoint: hf:me/mine needs huggingface_hub; pip install "gsjax[hub]"'
    assert error_of("hf:me/mine") == expected


def test_a_run_may_start_from_it(hub, files):
    hub.add("me/mine", files)
    config = make_config()
    config.initial = "hf:me/mine"
    check_initial(config)
    config.initial = "hf:me/nothing"
    with pytest.raises(UserError, match=r"^initial: checkpoint: hf:me/nothing: it does not exist"):
        check_initial(config)


def test_what_is_pushed_is_what_is_loaded(hub, files, tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    for name, content in files.items():
        (source / name).write_bytes(content)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    command = [sys.executable, "-m", "gsjax.pack", f"--checkpoint={source}", "--private"]
    result = run([*command, "--push=hf:me/mine"], tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    commit = list(hub.commits["me/mine"])[-1]
    assert f"fill with --checkpoint=hf:me/mine@{commit}" in result.stdout
    assert hub.private == {"me/mine"}
    pushed = hub.commits["me/mine"][commit]
    assert {name: pushed[name] for name in files} == files
    _, front, card = pushed["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "gsjax"
    assert 'gsjax.Inpainter.load("hf:me/mine")' in card
    read_generator(f"hf:me/mine@{commit}")


def test_a_card_that_is_there_is_kept(hub, files, monkeypatch):
    hub.add("me/mine", {"README.md": b"by hand"})
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commit = on_hub.push(on_hub.parse("hf:me/mine"), files, "new", private=False)
    assert hub.commits["me/mine"][commit] == files | {"README.md": b"by hand"}


def test_pushing_without_rights_says_how_to_log_in(hub, files):
    with pytest.raises(UserError, match=r"HTTP status 401.*hf auth login"):
        on_hub.push(on_hub.parse("hf:me/mine"), files, "card", private=False)
    assert hub.commits == {}


def test_a_card_tells_the_size_and_how_to_use_it():
    config = make_config()
    card = write_card("me/mine", config, {"a": np.zeros((30, 50))})
    assert "| parameters | 1,500 |" in card
    assert "| crops | 24×32 pixels |" in card
    assert card.count("hf:me/mine") == 2
    assert huggingface_hub.ModelCard(card).data.library_name == "gsjax"
