import pytest

from tests.serve.server import Server
from tests.tiny import write_inpainter


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a tiny checkpoint in it, and what has been compiled for it."""
    path = tmp_path_factory.mktemp("served")
    write_inpainter(path / "tiny")
    return path


@pytest.fixture(scope="session")
def start(folder):
    """Starts servers with that checkpoint, and ends them."""
    servers = []

    def start(*flags, **options):
        servers.append(
            Server(folder, folder / "cache", f"--checkpoint={folder / 'tiny'}", *flags, **options)
        )
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def server(start):
    return start()
