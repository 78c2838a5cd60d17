"""What goes wrong around a run, for real: disks, folders, files and signals."""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess

import pytest

from gsjax.trained import checkpoints, restore
from tests.runs import SMALL, assert_same_state, command, ended, lines, run, started

# Four steps, without the networks that make no difference here.
CONFIG = SMALL | {
    "loss.gan": "0",
    "model.semantic": "False",
    "train.steps": "4",
    "validate.every": "4",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def whole(folder):
    """The workdir of a run that nothing happened to; it has checkpoints 2 and 4."""
    workdir = folder / "whole"
    done = run(command(workdir=workdir, **CONFIG), folder / "cache")
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture
def workdir(whole, tmp_path):
    """A copy of it that may be spoiled."""
    yield shutil.copytree(whole, tmp_path / "run")
    for path in (tmp_path / "run").rglob("*"):
        path.chmod(0o755)


def going_on(workdir, **fields):
    """The command that trains the run four steps further."""
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    return command(workdir=workdir, **CONFIG | {"train.steps": "8"} | fields)


def assert_told(result, *parts):
    """It ended with exit code 2 and one line that says all this."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.splitlines()[-1] == error
    for part in parts:
        assert part in error


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_goes_on(workdir, whole):
    """Its checkpoints 2 and 4 are as they were, and they are what a resumed run would find."""
    for step in ("2", "4"):
        one, other = (folder / "checkpoints" / step for folder in (workdir, whole))
        assert [*content(one).values()] == [*content(other).values()]
    assert not [path for path in (workdir / "checkpoints").iterdir() if path.name in ("6", "8")]
    assert checkpoints.latest_step(workdir / "checkpoints") == 4


def test_a_checkpoint_that_does_not_fit_ends_a_run_with_a_message(workdir, whole, folder):
    def limit():  # of every file's size: the system refuses to write more
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    result = run(going_on(workdir), folder / "cache", preexec_fn=limit)
    assert_told(result, "cannot write a checkpoint", "File too large", "make room")
    assert_goes_on(workdir, whole)


def test_a_workdir_that_may_not_be_written_to_is_told(workdir, whole, folder):
    def obey():  # root may write everywhere as long as it has these two capabilities
        if os.geteuid() == 0:
            prctl = ctypes.CDLL(None).prctl
            assert prctl(24, 1, 0, 0, 0) == prctl(24, 2, 0, 0, 0) == 0  # PR_CAPBSET_DROP

    before = content(workdir)
    for path in (workdir, *workdir.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    result = run(going_on(workdir), folder / "cache", preexec_fn=obey)
    workdir.chmod(0o755)
    assert_told(result, f"--workdir: cannot write to {workdir}", "Permission denied", "--workdir")
    assert content(workdir) == before


def test_a_workdir_that_is_deleted_under_a_run_ends_it(workdir, folder):
    arguments = going_on(workdir, train__steps="1000")
    process = started(arguments, folder / "cache", (workdir / "checkpoints" / "6").exists)
    gone = workdir.rename(workdir.with_name("gone"))  # in one go, unlike deleting
    _, _, errors = ended(process)
    result = subprocess.CompletedProcess(arguments, process.returncode, "", errors)
    assert_told(result, f"--workdir: cannot write to {workdir}", "No such file or directory")
    assert checkpoints.latest_step(gone / "checkpoints") >= 6


def test_another_architecture_is_refused(workdir, whole, folder):
    (workdir / "config.json").unlink()  # which would tell as well
    result = run(going_on(workdir, model__width="32"), folder / "cache")
    assert_told(result, "another architecture: generator/params/", " is 32 there and 64 here")
    assert_goes_on(workdir, whole)


def test_a_changed_model_is_refused_before_anything_is_written(workdir, folder):
    before = content(workdir)
    result = run(going_on(workdir, model__overlap="2"), folder / "cache")
    assert_told(result, "model.overlap: it was 1 in this run so far and is 2 now", "set it back")
    assert content(workdir) == before


@pytest.mark.slow
def test_a_corrupt_last_checkpoint_costs_the_steps_since_the_one_before(workdir, whole, folder):
    for path in (workdir / "checkpoints" / "4").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    arguments = going_on(workdir, train__steps="4", checkpoint__keep="4")
    result = run(arguments, folder / "cache")
    assert result.returncode == 0, result.stderr
    assert "set aside as corrupt_4" in result.stderr
    assert "checkpoint.keep was 3 in this run so far and is 4 now" in result.stderr
    assert "resuming after step 2" in result.stderr
    assert_same_state(workdir, whole)
    assert lines(workdir) == lines(whole)
    assert (workdir / "checkpoints" / "corrupt_4").exists()


@pytest.mark.slow
def test_losses_that_are_no_numbers_end_a_run_that_can_be_mended(workdir, whole, folder):
    # 1e39 is infinite in float32.
    arguments = going_on(
        workdir, loss__l1="1e39", train__max_skipped="3", checkpoint__every="4", loss__semantic="0"
    )
    result = run(arguments, folder / "cache")
    assert_told(result, "training has diverged: 3 steps in a row, up to step 7", "max_skipped")
    assert "step 5 was skipped: loss inf" in result.stderr
    assert [path.name for path in (workdir / "skipped").iterdir()] == ["step_00000005.npz"]
    assert_goes_on(workdir, whole)


@pytest.mark.slow
def test_before_the_first_step_a_run_ends_at_once(folder):
    workdir = folder / "new"
    arguments = command(workdir=workdir, **CONFIG | {"seed": "1"})
    process = started(arguments, folder / "cold", (workdir / "config.json").exists)
    process.send_signal(signal.SIGTERM)  # it is about to compile
    seconds, output, errors = ended(process)
    assert process.returncode == 0, errors
    assert output == "stopped on request with nothing to save; the same command resumes\n"
    assert seconds < 5
    assert not list((workdir / "checkpoints").iterdir())


def test_a_validation_is_no_reason_to_wait(workdir, folder):
    def validates():
        metrics = (workdir / "metrics.jsonl").read_text().splitlines()
        return json.loads(metrics[-1])["step"] == 6

    arguments = going_on(workdir, train__steps="6", validate__images="400")
    process = started(arguments, folder / "cache", validates)
    process.send_signal(signal.SIGTERM)
    seconds, output, errors = ended(process)
    assert process.returncode == 0, errors
    assert output.startswith("stopped on request after step 6; the same command")
    assert seconds < 20  # all 100 batches take several times that
    assert checkpoints.latest_step(workdir / "checkpoints") == 6
    assert not [line for line in lines(workdir) if line["step"] == 6 and "val/psnr" in line]


def namespaces():
    able = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/tmp"],
        capture_output=True,
    )
    return able.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare") or not namespaces(), reason="no disk to fill")
@pytest.mark.parametrize("room", [500, 1500, 2500, 4500])
def test_a_full_disk_ends_a_run_with_a_message(workdir, folder, tmp_path, room):
    """A disk of its own with some kB left, which metrics, pictures or checkpoints use up."""
    disk, after = tmp_path / "disk", tmp_path / "after"
    disk.mkdir()
    used = int(subprocess.check_output(["du", "-sk", workdir]).split()[0])
    script = """
        mount -t tmpfs -o size=$1k none "$2" && cp -r "$3/." "$2" || exit 9
        disk=$2 after=$4; shift 4
        "$@"; code=$?
        cp -r "$disk" "$after"; exit $code
    """
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    arguments = [str(used + room), disk, workdir, after, *going_on(disk, train__steps="100")]
    result = run([*unshare, *arguments], folder / "cache")
    assert_told(result, "cannot write", "No space left on device", "make room")
    # The last checkpoint is whole, and no older than before.
    assert checkpoints.latest_step(after / "checkpoints") >= 4
    for name in restore.names_in(after):
        restore.restore_params(after, name)
