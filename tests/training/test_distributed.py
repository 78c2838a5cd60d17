"""Runs of several processes, in processes of their own with two devices each."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from gsjax import distributed
from gsjax.errors import UserError
from gsjax.trained import checkpoints
from tests.processes import Run, metrics, small_dino


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    small_dino(folder / "dino")
    return folder


@pytest.fixture(scope="module")
def start(folder):
    def start(name, *counts, **fields):
        return Run(folder / name, *counts, dino__weights=str(folder / "dino"), **fields)

    return start


@pytest.fixture(scope="module")
def alone(start):
    """The scalars of a run of one process with one device."""
    run = start("alone")
    assert run.wait() == [0], run.output(0)
    return metrics(run.workdir)


def assert_same_losses(scalars, alone):
    for step in range(1, 11):
        for name, value in alone[step].items():
            if name.startswith(("loss/", "val/")):
                # Adversarial terms are means of logits that cancel out.
                expected = pytest.approx(value, rel=1e-4, abs=1e-5)
                assert scalars[step][name] == expected, (step, name)


@pytest.fixture(scope="module")
def stopped(start):
    """Two processes whose second was asked to stop after some of ten steps."""
    run = start("run", 2, 2, mesh__fsdp=2)
    run.wait_for(step=2)
    run.processes[1].send_signal(signal.SIGTERM)
    assert run.wait() == [0, 0], (run.output(0), run.output(1))
    return run


def test_a_stop_asked_of_one_process_stops_all_after_the_same_step(stopped):
    (step,) = re.findall(r"stopped on request after step (\d+); the same", stopped.output(0))
    assert checkpoints.latest_step(stopped.workdir / "checkpoints") == int(step)
    assert "stopped on request" not in stopped.output(1)  # one of them speaks for all


@pytest.mark.slow
def test_other_processes_devices_and_mesh_go_on_to_the_same_losses(stopped, start, alone):
    run = start("run", 1, 2)  # one process of two devices, and no fsdp
    assert run.wait() == [0], run.output(0)
    assert "resuming after step" in run.output(0)
    assert_same_losses(metrics(run.workdir), alone)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 2])
def test_two_processes_train_to_the_losses_of_one(start, alone, fsdp):
    run = start(f"fsdp_{fsdp}", 2, 2, mesh__fsdp=fsdp)
    assert run.wait() == [0, 0], (run.output(0), run.output(1))
    assert_same_losses(metrics(run.workdir), alone)
    assert len(list(run.workdir.glob("events.out.tfevents.*"))) == 1
    assert (run.workdir / "best" / "best.json").exists()


@pytest.mark.slow
def test_a_state_divided_over_all_processes_trains_to_the_losses_of_one(start, alone):
    # At the rate of `alone`, training makes more of rounding than these tests allow: one device
    # whose weights start 1e-7 apart gets 7e-4 apart. At this rate it stays within 1e-6, and in
    # float64 one device and four, at the full rate, within 1e-14.
    slowly = {"optimizer__learning_rate": "1e-5"}
    whole, divided = start("slow", **slowly), start("fsdp_4", 2, 2, mesh__fsdp=4, **slowly)
    assert whole.wait() == [0], whole.output(0)
    assert divided.wait() == [0, 0], (divided.output(0), divided.output(1))
    expected = metrics(whole.workdir)
    assert_same_losses(metrics(divided.workdir), expected)
    # It is not so low that what is learned would not matter.
    at_full_rate = pytest.approx(alone[10]["loss/l1"], rel=1e-3)
    assert expected[10]["loss/l1"] != at_full_rate


def test_a_mistake_on_one_machine_ends_all_processes(start, tmp_path):
    def own(process):
        return {"data.train": f"folder:{tmp_path}"} if process == 1 else {}

    run = start("mistake", 2, of_each=own)
    assert run.wait(100) == [2, 2]
    assert "error: data.train: the folder" in run.output(1)
    assert "error: another process of this run failed" in run.output(0)
    assert not run.workdir.exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_others_end_within_a_minute_when_one_is_killed(start, alone, folder, victim):
    workdir = folder / f"killed_{victim}"
    run = start(workdir.name, 2, 2, train__steps=1000)
    run.wait_for(step=7)
    run.processes[victim].kill()
    killed = time.monotonic()
    codes = run.wait(60)
    assert time.monotonic() - killed < 60
    assert codes[1 - victim] == distributed.GONE, run.output(1 - victim)
    told = [line for line in run.output(1 - victim).splitlines() if line.startswith("error: ")]
    assert told
    assert all("another process of this run is gone" in line for line in told)
    assert all("resumes from the last checkpoint" in line for line in told)

    again = start(workdir.name, 2, 2)
    assert again.wait() == [0, 0], again.output(0)
    assert "resuming after step" in again.output(0)
    assert_same_losses(metrics(workdir), alone)


@pytest.mark.slow
def test_a_process_that_hangs_counts_as_gone(start):
    run = start("hung", 2, train__steps=1000)
    run.wait_for(step=3)
    os.kill(run.processes[1].pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        again = start("hung", 2)  # before the other process has noticed
        assert run.processes[0].wait(60) == distributed.GONE
        assert time.monotonic() - stopped < 60
        assert "error: another process of this run is gone" in run.output(0)
        assert again.wait() == [0, 0], again.output(0)
        assert "info: waiting up to" in again.output(0)
    finally:
        run.processes[1].kill()


@pytest.mark.slow
def test_a_corrupt_checkpoint_is_set_aside_by_all_processes(start, alone):
    run = start("corrupt", 2, 2, mesh__fsdp=2)
    assert run.wait() == [0, 0]
    newest = run.workdir / "checkpoints" / "10"
    for path in newest.rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])
    again = start("corrupt", 2, 2, mesh__fsdp=2)
    assert again.wait() == [0, 0], again.output(0)
    assert "resuming after step 5" in again.output(0)
    assert (run.workdir / "checkpoints" / "corrupt_10").exists()
    assert_same_losses(metrics(run.workdir), alone)


@pytest.mark.slow
def test_losses_that_are_no_numbers_end_all_processes(start):
    fields = {"optimizer__learning_rate": "1e30", "train__max_skipped": "3"}
    run = start("diverged", 2, **fields)
    assert run.wait() == [2, 2], run.output(0)
    for i in range(2):
        assert "error: training has diverged" in run.output(i)
    kept = {path.name for path in (run.workdir / "skipped").iterdir()}
    assert len({name for name in kept if "process_1" in name}) == len(kept) / 2


@pytest.mark.slow
def test_data_that_goes_away_from_one_machine_ends_all_after_a_checkpoint(start, folder):
    shutil.copytree(os.path.dirname(_photo()), folder / "pictures")
    own = {"data.train": f"folder:{folder / 'pictures'}", "data.prefetch": "1"}
    run = start("gone", 2, of_each=lambda i: own if i else {}, train__steps=1000)
    run.wait_for(step=3)
    shutil.rmtree(folder / "pictures")
    assert run.wait() == [2, 2], run.output(1)
    assert "can be read any more" in run.output(1)
    assert "error: another process of this run failed" in run.output(0)
    assert checkpoints.latest_step(run.workdir / "checkpoints") > 3


def _photo():
    from gsjax.data.sources import open_source

    return open_source("photos", "validation", "data").name(0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("h:1", None, None), "^--processes and --process: missing; every process needs"),
        ((None, 2, 0), "^--coordinator: missing; every"),
        (("h:1", 2, None), "^--process: missing; every"),
        (("h", 2, 0), "'h' is not HOST:PORT"),
        ((":1", 2, 0), "':1' is not HOST:PORT"),
        (("h:x", 2, 0), "'h:x' is not HOST:PORT"),
        (("h:70000", 2, 0), "'h:70000' is not HOST:PORT"),
        (("h:1", 0, 0), "--processes: 0 is less than 1"),
        (("h:1", 2, 2), r"--process: 2 is not one of the 2 processes, .* from 0 to 1"),
        (("h:1", 2, -1), "--process: -1 is not one"),
    ],
)
def test_wrong_flags_are_named(flags, message):
    with pytest.raises(UserError, match=message):
        distributed.join(*flags)


JOIN = "from gsjax import distributed; distributed._MEET = 2; distributed.join({!r}, 2, {})"


@pytest.mark.parametrize("process", [0, 1])
def test_processes_that_do_not_meet_are_told(process):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        coordinator = f"127.0.0.1:{taken.getsockname()[1]}"
    told = subprocess.run(
        [sys.executable, "-c", JOIN.format(coordinator, process)], capture_output=True, text=True
    )
    assert told.returncode == 1
    assert "error: the processes of this run have not met within 2 s" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_coordinator_without_its_port_is_told():
    with socket.create_server(("", 0)) as taken:
        coordinator = f"127.0.0.1:{taken.getsockname()[1]}"
        told = subprocess.run(
            [sys.executable, "-c", JOIN.format(coordinator, 0)], capture_output=True, text=True
        )
    assert told.returncode == 1
    assert "error: the processes of this run cannot meet" in told.stderr
    assert "Is the port" in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr


SRUN = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_NTASKS": "2",
}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, None),  # a job's script, outside of srun
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # a shell in a step of its own
        (SRUN, {"cluster_detection_method": "slurm"}),
        (
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_GPUS_ON_NODE": "4"},
            {"cluster_detection_method": "slurm", "local_device_ids": [0, 1, 2, 3]},
        ),
        (
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "4"},
            {"cluster_detection_method": "slurm"},
        ),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, {"cluster_detection_method": "gketpu"}),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "JAX_PLATFORMS": "cpu"}, None),
        (
            {"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"},
            {"cluster_detection_method": "gketpu"},
        ),
        ({"TPU_SKIP_MDS_QUERY": "1"}, None),
        ({"metadata": {"worker-network-endpoints": "a"}}, None),
        (
            {"metadata": {"worker-network-endpoints": "x:1:10.0.0.1,y:2:10.0.0.2"}},
            {"cluster_detection_method": "gcetpu"},
        ),
        (
            {"metadata": {"tpu-env": "ZONE: 'a'\nMEGASCALE_NUM_SLICES: '2'\n"}},
            {"cluster_detection_method": "gcetpu"},
        ),
        ({"metadata": {"tpu-env": "MEGASCALE_NUM_SLICES: '1'"}}, None),
    ],
    ids=str,
)
def test_only_several_processes_of_a_pod_or_a_step_are_joined(monkeypatch, environment, found):
    environment = dict(environment)
    metadata = environment.pop("metadata", {})
    for name in [*os.environ]:
        if name.startswith(("SLURM_", "TPU_", "MEGASCALE_", "JAX_PLATFORMS")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(distributed, "_metadata", lambda name: metadata.get(name, ""))
    assert distributed._found() == found


def test_without_a_cluster_nothing_is_joined_or_asked(monkeypatch):
    def called(**options):
        raise AssertionError(options)

    monkeypatch.setattr("jax.distributed.initialize", called)
    distributed.join()
    distributed.join("localhost:1234", 1, 0)
    assert distributed.max_over_processes(3) == 3
