"""Weights by name, from a real HTTP server on this machine: whole, cut short, damaged, offline."""

import hashlib
import http.server
import threading

import pytest

from gsjax import fetch as fetching
from gsjax.errors import UserError
from gsjax.fetch import REMOTE, Remote, cached_path, fetch

NAME = "dinov2_vits14"
CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at any path, from a byte on if asked, and notes what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut_after, self.ranges, self.status = CONTENT, None, True, None
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/model.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        content = self.server.content
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if self.server.status or start >= len(content):
            self.send_error(self.server.status or 416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.cut_after or len(content)
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("GSJAX_CACHE", str(tmp_path / "cache"))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        remote = Remote(server.url, hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setitem(REMOTE, NAME, remote)
        yield server
        server.shutdown()
        thread.join()


def part_path():
    cached_path(NAME).parent.mkdir()
    return cached_path(NAME).with_name(f"{cached_path(NAME).name}.{REMOTE[NAME].sha256[:8]}.part")


def refused():
    with pytest.raises(UserError, match=rf"^{NAME}: it ") as error:
        fetch(NAME)
    return str(error.value)


def test_a_file_is_fetched_once(server):
    path = fetch(NAME)
    assert path == cached_path(NAME)
    assert path.read_bytes() == CONTENT
    assert fetch(NAME) == path
    assert server.asked == [None]


def test_a_download_that_broke_off_goes_on_where_it_stopped(server):
    server.cut_after = 300_000
    assert "broke off" in refused()
    assert not cached_path(NAME).exists()
    server.cut_after = None
    assert fetch(NAME).read_bytes() == CONTENT
    _, asked = server.asked
    assert asked.startswith("bytes=")
    assert 300_000 - 2**16 <= int(asked[6:-1]) <= 300_000


def test_a_server_that_cannot_go_on_sends_all_again(server):
    server.cut_after = 300_000
    refused()
    server.cut_after, server.ranges = None, False
    assert fetch(NAME).read_bytes() == CONTENT


def test_all_that_had_arrived_before_a_kill_is_used(server):
    part = part_path()
    part.write_bytes(CONTENT)
    assert fetch(NAME).read_bytes() == CONTENT
    assert not part.exists()


def test_other_content_than_expected_is_never_used(server):
    server.content = CONTENT[:-1] + b"x"
    assert "another file than expected" in refused()
    assert {path.suffix for path in cached_path(NAME).parent.iterdir()} <= {".lock"}


def test_a_wrong_beginning_is_fetched_again(server):
    part_path().write_bytes(b"x" * 1000)
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_damaged_file_in_the_cache_is_fetched_again(server):
    cached_path(NAME).parent.mkdir()
    cached_path(NAME).write_bytes(CONTENT[:1000])
    assert fetch(NAME).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_used_offline(server):
    cached_path(NAME).parent.mkdir()
    cached_path(NAME).write_bytes(CONTENT)
    server.status = 500
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.asked == []


def test_a_file_in_a_cache_that_cannot_be_written_is_used(server):
    cached_path(NAME).parent.mkdir()
    cached_path(NAME).write_bytes(CONTENT)
    cached_path(NAME).with_name(f"{cached_path(NAME).name}.lock").mkdir()  # no lock can be taken
    assert fetch(NAME).read_bytes() == CONTENT


def test_a_home_in_the_caches_name_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GSJAX_CACHE", "~/cache")
    assert cached_path(NAME).parent == tmp_path / "cache"


def test_offline_it_says_what_to_download_and_where_to_put_it(server, monkeypatch):
    url = "http://127.0.0.1:9/model.safetensors"  # nothing listens there
    monkeypatch.setitem(REMOTE, NAME, Remote(url, "0" * 64))
    message = refused()
    assert "no connection" in message
    assert f"Download {url}" in message
    assert f"put it at {cached_path(NAME)}" in message


def test_an_answer_that_is_no_file_is_told(server):
    server.status = 404
    assert "HTTP status 404" in refused()


def test_a_cache_that_cannot_be_written_names_the_variable_to_set(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "point the environment variable GSJAX_CACHE" in refused()


def test_two_at_once_fetch_once(server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(NAME))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cached_path(NAME)] * 2
    assert server.asked == [None]


def test_every_name_has_an_address_and_a_hash():
    for name, remote in fetching.REMOTE.items():
        assert remote.url.startswith("https://"), name
        assert len(bytes.fromhex(remote.sha256)) == 32, name
    assert len({remote.sha256 for remote in REMOTE.values()}) == len(REMOTE)
