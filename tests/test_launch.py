"""The launchers: run for real on this machine, and with stand-ins for the tools of clusters."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
LOCAL = [sys.executable, str(LAUNCH / "local.py")]
SHELL_SCRIPTS = sorted(LAUNCH.glob("*.sh"))


@pytest.fixture
def tools(tmp_path):
    """Returns a function that puts a stand-in for a command first in the path it returns."""
    folder = tmp_path / "tools"
    folder.mkdir()

    def add(**scripts):
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/bash\nhere={shlex.quote(str(tmp_path))}\n{script}")
            (folder / name).chmod(0o755)
        return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}

    return add


def run(arguments, environment=None, **options):
    return subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, **options
    )


def waited_for(path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_have_none_of_the_mistakes_that_shellcheck_knows(script):
    result = run(["shellcheck", str(script)])
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "script",
    [LAUNCH / "slurm.sh", LAUNCH / "tpu_pod.sh", LAUNCH / "local.py"],
    ids=lambda p: p.name,
)
def test_help_says_how_to_start_it(script):
    result = run([str(script), "--help"])
    assert result.returncode == 0
    assert f"launch/{script.name} " in result.stdout


# Several processes of one machine.


def local(code, *options):
    return run([*LOCAL, *options, "--", sys.executable, "-c", code])


def test_local_processes_know_of_each_other():
    result = local("import sys; print(*sys.argv[1:])", "--processes=3", "--port=1234")
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines()) == [
        f"[{i}] --coordinator=127.0.0.1:1234 --processes=3 --process={i}" for i in range(3)
    ]


def test_local_devices_are_of_the_cpu():
    code = "import os; print(os.environ['JAX_PLATFORMS'], os.environ['XLA_FLAGS'])"
    result = local(code, "--processes=1", "--devices=5")
    assert re.fullmatch(r"\[0\] cpu .*--xla_force_host_platform_device_count=5\n", result.stdout)


def test_a_local_dry_run_prints_what_a_shell_could_run():
    result = local("print(1)", "--dry-run", "--processes=2")
    assert result.stdout.count(" --process=") == 2
    assert all(line.endswith(" &") for line in result.stdout.splitlines())


def test_the_first_local_failure_is_the_exit_code():
    fails = "import sys, time; i = int(sys.argv[3][-1]); time.sleep(0.5 * i); sys.exit(4 + i)"
    assert local(fails).returncode == 4


def test_sigterm_reaches_all_local_processes(tmp_path):
    code = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved')))\n"
        f"pathlib.Path({str(tmp_path)!r}, sys.argv[3]).touch()\n"
        "signal.pause()"
    )
    launcher = subprocess.Popen(
        [*LOCAL, "--", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    for process in range(2):
        waited_for(tmp_path / f"--process={process}")
    launcher.send_signal(signal.SIGTERM)
    output, _ = launcher.communicate(timeout=20)
    assert launcher.returncode == 0
    assert sorted(output.splitlines()) == ["[0] saved", "[1] saved"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--processes=0", "--", "x"], "--processes: 0"),
        (["--devices=0", "--", "x"], "--devices: 0"),
        (["--", "no-such-command"], "no-such-command: No such file"),
        ([], "command"),
    ],
)
def test_a_wrong_local_command_ends_with_code_2(arguments, part):
    result = run([*LOCAL, *arguments])
    assert result.returncode == 2
    assert part in result.stderr


# Told apart: a stop and the end.

TASK = """
trap 'sleep 0.3; echo saved; exit 0' TERM
touch $here/started
while true; do sleep 0.05; done
"""


def test_a_task_that_is_asked_to_stop_saves_and_is_not_done(tools, tmp_path):
    environment = tools(python=TASK)
    task = subprocess.Popen(
        [str(LAUNCH / "task.sh"), "python"], env=environment, stdout=subprocess.PIPE, text=True
    )
    waited_for(tmp_path / "started")
    task.terminate()
    time.sleep(0.1)
    task.terminate()
    output, _ = task.communicate(timeout=20)
    assert (task.returncode, output) == (75, "saved\n")


@pytest.mark.parametrize("code", [0, 2, 75])
def test_a_task_that_ends_by_itself_ends_as_its_command(code):
    assert run([str(LAUNCH / "task.sh"), "bash", "-c", f"exit {code}"]).returncode == code


# SLURM.


def slurm_tools(tools, code, state="RUNNING"):
    return tools(
        srun=f'echo srun "$@" >> $here/log; exit {code}',
        scontrol=f'[ "$1" = show ] && echo JobState={state} || echo scontrol "$@" >> $here/log',
    ) | {"SLURM_JOB_ID": "7"}


def test_a_job_whose_tasks_were_stopped_is_queued_again(tools, tmp_path):
    result = run([str(LAUNCH / "slurm.sh"), "--config=a b"], slurm_tools(tools, 75))
    assert result.returncode == 75
    assert (tmp_path / "log").read_text().splitlines() == [
        "srun --wait=120 launch/task.sh python -m gsjax.main --config=a b",
        "scontrol requeue 7",
    ]


def test_a_job_that_was_canceled_is_not_queued_again(tools, tmp_path):
    result = run([str(LAUNCH / "slurm.sh"), "--config=x"], slurm_tools(tools, 75, "COMPLETING"))
    assert result.returncode == 75
    assert "requeue" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("code", [0, 2])
def test_a_job_that_ends_by_itself_is_not_queued_again(tools, tmp_path, code):
    result = run([str(LAUNCH / "slurm.sh"), "--config=x"], slurm_tools(tools, code))
    assert result.returncode == code
    assert "requeue" not in (tmp_path / "log").read_text()


def test_a_job_script_needs_a_job():
    environment = {name: value for name, value in os.environ.items() if "SLURM" not in name}
    result = run([str(LAUNCH / "slurm.sh"), "--config=x"], environment)
    assert result.returncode == 2
    assert "sbatch" in result.stderr


# Slices of TPUs.

GCLOUD = """
echo "${@:3}" >> $here/log
case "$*" in
  *describe*) cat $here/state 2> /dev/null || exit 1 ;;
  *create*) echo ACTIVE > $here/state ;;
  *delete*) rm $here/state ;;
  *"-m gsjax.main"*) RUN ;;
esac
"""


def pod(tools, tmp_path, run_code):
    environment = tools(gcloud=GCLOUD.replace("RUN", run_code), sleep="") | {"BUCKET": "mine"}
    arguments = [str(LAUNCH / "tpu_pod.sh"), "pod", "--config=configs/celeba.py"]
    result = run(arguments, environment)
    log = (tmp_path / "log").read_text().splitlines()
    kinds = ("create", "delete", "scp", "pip install", "-m gsjax.main")
    return result, [kind for line in log for kind in kinds if kind in line]


def test_a_slice_that_is_taken_back_is_asked_for_again(tools, tmp_path):
    taken_back = (
        "[ -e $here/once ] || { touch $here/once; echo SUSPENDED > $here/state; exit 255; }"
    )
    result, done = pod(tools, tmp_path, taken_back)
    assert result.returncode == 0
    once = ["create", "scp", "pip install", "-m gsjax.main"]
    assert done == [*once, "delete", *once]
    assert "queued-resources delete pod" in result.stderr  # it goes on to cost


@pytest.mark.parametrize(("code", "runs"), [(0, 1), (2, 1), (1, 3)])
def test_a_run_on_a_slice_is_tried_again_unless_it_was_a_mistake(tools, tmp_path, code, runs):
    result, done = pod(tools, tmp_path, f"exit {code}")
    assert result.returncode == code
    assert done.count("-m gsjax.main") == runs


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_dry_run_on_a_slice_calls_nothing(tools, place):
    environment = tools(gcloud="exit 9") | {"BUCKET": "mine"}
    arguments = ["pod", "--config=configs/celeba.py", "--workdir=/x"]
    arguments.insert(place, "--dry-run")
    result = run([str(LAUNCH / "tpu_pod.sh"), *arguments], environment)
    assert result.returncode == 0
    lines = [shlex.split(line) for line in result.stdout.splitlines()]
    assert [line[3:5] for line in lines if line[0] == "gcloud"] == [
        ["queued-resources", "create"], ["tpu-vm", "ssh"], ["tpu-vm", "scp"], ["tpu-vm", "ssh"],
        ["tpu-vm", "ssh"],
    ]  # fmt: skip
    assert lines[-1][-2].endswith("gsjax.main --config=configs/celeba.py --workdir=/x")


def test_a_slice_that_cannot_be_asked_for_is_asked_for_once(tools, tmp_path):
    refused = 'echo "$3 $4" >> $here/log; exit 1'
    environment = tools(gcloud=refused, sleep="") | {"BUCKET": "mine"}
    assert run([str(LAUNCH / "tpu_pod.sh"), "pod", "--config=x"], environment).returncode == 1
    asked = (tmp_path / "log").read_text().splitlines()
    assert asked.count("queued-resources create") == 1


def test_a_run_that_was_stopped_on_a_slice_goes_on(tools, tmp_path):
    stopped = "[ $(grep -c -e '-m gsjax.main' $here/log) -gt 4 ] || exit 75"
    result, done = pod(tools, tmp_path, stopped)
    assert result.returncode == 0
    assert done.count("-m gsjax.main") == 5


def test_a_slice_needs_a_bucket():
    environment = {name: value for name, value in os.environ.items() if name != "BUCKET"}
    result = run([str(LAUNCH / "tpu_pod.sh"), "pod"], environment)
    assert result.returncode == 2
    assert "BUCKET" in result.stderr


# Kubernetes.


@pytest.fixture(scope="module")
def job():
    manifest = yaml.safe_load((LAUNCH / "gke.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = manifest["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_the_hosts_have_all_chips_of_the_topology(job):
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    sides = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = int(sides[0]) * int(sides[1])
    assert job["parallelism"] == job["completions"]
    assert job["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == chips
    (batch,) = re.findall(r"batch_size=(\d+)", " ".join(container["args"]))
    assert int(batch) % chips == 0


def test_what_is_mounted_is_there(job):
    pod = job["template"]["spec"]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_job_fits_the_schema_of_kubernetes(job):
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": job}
    kubernetes_validate.validate(manifest, "1.32", strict=True)


def test_the_jobset_has_only_fields_of_its_documentation():
    spec = yaml.safe_load((LAUNCH / "gke.yaml").read_text())["spec"]
    assert spec.keys() == {"failurePolicy", "replicatedJobs"}
    assert spec["failurePolicy"].keys() == {"maxRestarts", "rules"}
    assert all(
        rule.keys() == {"action", "onJobFailureReasons"} for rule in spec["failurePolicy"]["rules"]
    )
    assert spec["replicatedJobs"][0].keys() == {"name", "replicas", "template"}
