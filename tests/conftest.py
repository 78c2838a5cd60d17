import functools
import os

import jaxtyping
import pytest

# Before JAX is imported: with libtpu installed it would look for TPUs first.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.tiny import Run


@pytest.fixture(scope="session")
def tiny_run():
    """A `tests.tiny.Run` whose `steps` are compiled and computed once."""
    run = Run()
    run.steps = functools.cache(run.steps)
    return run


@pytest.fixture
def unchecked(monkeypatch):
    """Lets wrong shapes through to the function, for its own error."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
