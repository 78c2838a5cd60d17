"""What is due at a step, and when processes agree to stop."""

import pytest

from gsjax import config as config_lib
from gsjax.training.agreement import StopRequested, Vote, start_vote, until_stop
from gsjax.training.due import due_at
from gsjax.training.stages import plan, stage_of, with_total_steps
from tests.tiny import make_config


@pytest.fixture
def config():
    """Two stages, which end after steps 30 and 50."""
    config = make_config()
    config_lib.add_stage(config, "first", 30, {})
    config_lib.add_stage(config, "second", 20, {})
    config.log.every, config.checkpoint.every, config.validate.every = 4, 10, 20
    return with_total_steps(config)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (22, {"announcement", "log"}),  # the first of this process
        (23, set()),
        (24, {"log"}),
        (40, {"log", "checkpoint", "validation"}),
        (30, {"log", "checkpoint", "validation", "stage_end"}),
        (31, {"announcement", "log"}),
        (50, {"log", "checkpoint", "validation", "stage_end"}),
    ],
)
def test_what_is_due_follows_from_the_step(config, step, expected):
    due = due_at(config, stage_of(plan(config), step), step, done=21)
    assert {name for name, value in due._asdict().items() if value} == expected


def test_a_run_without_stages_neither_announces_nor_keeps_one():
    config = make_config()
    (stage,) = plan(config)
    for step in (1, config.train.steps):
        due = due_at(config, stage, step, done=0)
        assert (due.announcement, due.log, due.stage_end) == (False, True, False)


@pytest.mark.parametrize(
    ("stop", "failed", "vote"),
    [(False, False, Vote.CONTINUE), (False, True, Vote.FAIL), (True, True, Vote.STOP)],
)
def test_a_failure_to_read_counts_as_a_stop_once_a_stop_is_requested(stop, failed, vote):
    assert start_vote(stop, failed)() is vote


def test_a_validation_ends_at_the_batch_after_a_stop_is_requested():
    stop_requested = iter([False, False, True]).__next__
    batches = until_stop(range(5), stop_requested)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(StopRequested):
        next(batches)
