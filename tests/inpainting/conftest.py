import functools

import jax
import pytest

from gsjax.inpainting.painter import Inpainter
from tests.tiny import write_inpainter


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Compiles without most optimizations, as `tests.quick.jit` does."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A converted folder with a tiny inpainter of random weights and the DINO that it needs."""
    path = tmp_path_factory.mktemp("weights") / "tiny"
    write_inpainter(path)
    return path


@pytest.fixture(scope="session")
def load():
    """`Inpainter.load` that reads a path once: compiling takes seconds."""
    return functools.cache(Inpainter.load)


@pytest.fixture(scope="session")
def painter(checkpoint, load):
    return load(str(checkpoint))
