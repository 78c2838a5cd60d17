import functools

import pytest

from tests.tiny import Run


@pytest.fixture(scope="session")
def tiny_run():
    """A `tests.tiny.Run` whose `steps` are compiled and computed once."""
    run = Run()
    run.steps = functools.cache(run.steps)
    return run
