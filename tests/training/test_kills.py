"""A run that is killed again and again is, in every bit, one without a break."""

import functools
import random
import signal
import time

import pytest

from tests.runs import SMALL, assert_same_run, command, ended, run, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def straight(folder):
    """Runs without a break: a function from the parts of a batch to workdir and config."""

    @functools.cache
    def of(parts):
        workdir, config = folder / f"straight{parts}", SMALL | {"train.accumulate": str(parts)}
        done = run(command(workdir=workdir, **config), folder / "cache")
        assert done.returncode == 0, done.stderr
        return workdir, config

    return of


def saving(workdir):
    """Whether a checkpoint is being written: Orbax renames the folder when it is whole."""
    return any(workdir.glob("checkpoints/*tmp*")) or any(workdir.glob("best/*tmp*"))


def waits(chance, workdir, process):
    """Waits for some moment in the life of a run, or for its end.

    Returns its name, and whether it came at once: what runs before have left looks the same.
    """
    moments = {
        "start": lambda: True,
        "compiling": (workdir / "config.json").exists,
        "training": lambda: any(workdir.glob("checkpoints/[0-9]*")),
        "saving": lambda: saving(workdir),
        "validating": lambda: any(workdir.glob("samples/*.png")),
    }
    name = chance.choice([*moments])
    at_once = moments[name]()
    while process.poll() is None and not moments[name]():
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.05) if name == "saving" else chance.uniform(0, 6))
    return name, at_once


def interrupted(arguments, cache, workdir, chance):
    """Starts the run and kills it, or asks it to stop, at a random time; returns what happened."""
    process = start(arguments, cache)
    moment, at_once = waits(chance, workdir, process)
    how = chance.choice(["kill", "stop", "stop twice", "Ctrl-C twice"])
    if how == "kill":
        process.kill()
    elif how == "Ctrl-C twice":
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(chance.uniform(0, 1))
    else:
        process.send_signal(signal.SIGTERM)
    while how == "stop twice" and process.poll() is None:
        if saving(workdir):
            process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    _, output, errors = ended(process)
    # Until Python has started, nobody can catch a signal.
    early = (-signal.SIGTERM, -signal.SIGINT) if at_once else ()
    ends = {"kill": (-signal.SIGKILL,), "Ctrl-C twice": (130, *early)}
    expected = (0, *ends.get(how, early))
    assert process.returncode in expected, errors
    assert output.startswith(("stopped on request", "done: 8 steps")) or process.returncode
    return f"{how} while {moment}: {output.strip() or process.returncode}"


@pytest.mark.parametrize(("parts", "seed"), [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 5)])
def test_a_run_survives_any_end_to_the_bit(straight, folder, parts, seed):
    reference, config = straight(parts)
    chance, workdir = random.Random(seed), folder / f"{reference.name}_{seed}"
    arguments = command(workdir=workdir, **config)
    history = []
    for _ in range(3):
        # Readers in processes or in threads: the batches are the same.
        workers = f"--config.data.workers={chance.choice([0, 2])}"
        history.append(interrupted([*arguments, workers], folder / "cache", workdir, chance))
    last = run(arguments, folder / "cache")
    assert last.returncode == 0, last.stderr
    print(*history, last.stdout, sep="\n")
    assert_same_run(workdir, reference)
