"""Several processes as one run: how they connect, agree and end.

All processes run the same programs in the same order, each on its devices and its part of the data.
So whatever only one process notices (a wrong file, a signal) must be shared with the others before
any of them acts on it, and a process that fails must exit without waiting for the others.
"""

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from gsjax.errors import UserError, first_line

OTHER_FAILED = "another process of this run failed; its output says why"
GONE = os.EX_TEMPFAIL  # exit code of a process that ends because another one did; 75
_MEET = 300  # seconds that processes wait for each other at the start
_SILENCE = 30  # seconds without a heartbeat after which a process counts as dead
_LEAVE = 30  # seconds that a failed process waits for its last checkpoint and the others

_RESUMES = "the same command, on all processes, resumes from the last checkpoint"
_keep_alive: list[Any] = []  # callbacks used by C code


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None):
    """Connects this process to the others of the run, if any; call it before JAX computes anything.

    The flags define the processes. Without flags, JAX detects them on TPU pods (of Google Cloud,
    or in Kubernetes there) and in SLURM steps with more than one process. Elsewhere, this does
    nothing.

    Args:
      coordinator: HOST:PORT of process 0.
      processes: number of processes.
      process: index of this one, from 0.

    Raises:
      UserError: the flags are wrong or incomplete.
      SystemExit: the processes cannot connect; with code 1, since a retry may succeed.
    """
    import jax

    flags = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in flags.items() if value is None]
    if len(missing) == 3:
        options = _found()
    elif coordinator is None or processes is None or process is None:
        raise UserError(
            " and ".join(missing),
            "missing",
            "every process needs --coordinator=HOST:PORT of process 0, --processes=N and its own "
            "--process=I",
        )
    else:
        options = _checked(coordinator, processes, process)
    if options is None:
        return
    if options.get("process_id") == 0:
        _check_port(int(options["coordinator_address"].rpartition(":")[2]))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # The preemption service would intercept SIGTERM, which `training.termination` handles.
    jax.config.update("jax_enable_preemption_service", False)
    _when_jax_aborts(
        f"error: the processes of this run have not met within {_MEET} s. Start all of them, with "
        "a --coordinator=HOST:PORT that reaches process 0",
        code=1,
    )
    try:
        jax.distributed.initialize(
            **options, initialization_timeout=_MEET, heartbeat_timeout_seconds=_SILENCE
        )
    except ValueError as error:
        raise UserError(
            "--coordinator",
            f"the processes cannot be detected on this cluster ({first_line(error)})",
            "set them with --coordinator=HOST:PORT of process 0, --processes=N and --process=I",
        ) from error
    except RuntimeError as error:
        _end_unmet(first_line(error))
    _when_jax_aborts(f"error: another process of this run is gone; {_RESUMES}", GONE)


def _check_port(port: int) -> None:
    """Exits process 0 if it cannot listen on its port; JAX 0.10 would crash without a message."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:  # the previous run may still use it
        _end_unmet(f"process 0 cannot listen on port {port}: {os.strerror(error.errno or 0)}")


def _end_unmet(reason: str) -> NoReturn:
    print(
        f"error: the processes of this run cannot meet ({reason}). Is the port of the coordinator "
        "taken on process 0's machine?",
        file=sys.stderr,
    )
    sys.exit(1)


def _checked(coordinator: str, processes: int, process: int) -> dict | None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise UserError("--coordinator", f"{coordinator!r} is not HOST:PORT, such as 10.0.0.1:1234")
    if processes < 1:
        raise UserError("--processes", f"{processes} is less than 1")
    if not 0 <= process < processes:
        raise UserError(
            "--process",
            f"{process} is not one of the {processes} processes, which count from 0 to "
            f"{processes - 1}",
        )
    if processes == 1:
        return None
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def _found() -> dict | None:
    """Returns options for JAX to detect the other processes; None if this is the only one."""
    environment = os.environ
    # Only inside of srun: job scripts and interactive shells are single processes.
    if "SLURM_STEP_NODELIST" in environment:
        tasks = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS", "1")
        if int(tasks) == 1:
            return None
        options: dict[str, Any] = {"cluster_detection_method": "slurm"}
        gpus = environment.get("SLURM_GPUS_ON_NODE", "")
        # JAX gives each task the GPU with its index, which is right only for one task per GPU.
        if re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
            options["local_device_ids"] = list(range(int(gpus))) if gpus.isdigit() else None
        return options
    platforms = environment.get("JAX_PLATFORMS", "")
    if (platforms and "tpu" not in platforms) or not importlib.util.find_spec("libtpu"):
        return None
    hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:  # Kubernetes
        several = "," in hosts or int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1
        return {"cluster_detection_method": "gketpu"} if several else None
    # JAX sets this where it sees no TPU.
    if "TPU_SKIP_MDS_QUERY" in environment:
        return None
    several = "," in _metadata("worker-network-endpoints") or bool(
        re.search(r"MEGASCALE_NUM_SLICES: '?([2-9]|\d\d)", _metadata("tpu-env"))
    )
    return {"cluster_detection_method": "gcetpu"} if several else None


def _metadata(attribute: str) -> str:
    """Returns an attribute from Google Cloud's metadata server; "" if there is none."""
    import requests

    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{server}/computeMetadata/v1/instance/attributes/{attribute}"
    try:
        answer = requests.get(url, headers={"Metadata-Flavor": "Google"}, timeout=5)
    except requests.exceptions.RequestException:
        return ""
    return answer.text if answer.ok else ""


def max_over_processes(value: int) -> int:
    """Returns the maximum of a value over all processes, all of which must call it.

    It is also a barrier.
    """
    return start_max(value)()


def start_max(value: int) -> Callable[[], int]:
    """Queues `max_over_processes` behind the devices' work; call the result to get the maximum."""
    import jax
    import numpy as np

    value = int(value)
    if jax.process_count() == 1:
        return lambda: value
    where, compute = _reduction()
    local = np.full(jax.local_device_count(), value, np.int32)
    answer = compute(jax.make_array_from_process_local_data(where, local))
    return lambda: int(answer)


@functools.cache
def _reduction():
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()), ("all",))
    compute = jax.jit(jax.numpy.max, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return NamedSharding(mesh, PartitionSpec("all")), compute


@contextlib.contextmanager
def shared_errors() -> Iterator[None]:
    """Raises a UserError of the block on all processes, at its end."""
    error = None
    try:
        yield
    except UserError as raised:
        error = raised
    failed = max_over_processes(error is not None)
    if error is not None:
        raise error
    if failed:
        raise UserError("", OTHER_FAILED)


@contextlib.contextmanager
def exit_on_failure(finish: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Exits this process when the block raises, if it is one of several.

    A normal exit would wait for the other processes, which wait for this one. The exit code is 2
    for a UserError, `GONE` if another process died, else 1.

    Args:
      finish: called first, unless another process died; abandoned if it takes too long.
    """
    try:
        yield
    except BaseException as error:
        import jax

        if jax.process_count() == 1:
            raise
        _end(error, finish)


def _end(error: BaseException, finish: Callable[[], None]) -> None:
    import jax

    loss = _loss(error)
    if loss:
        code = GONE
        print(f"error: another process of this run is gone ({loss}); {_RESUMES}", file=sys.stderr)
    elif isinstance(error, UserError):
        code = 2
        print(f"error: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        code = 130
        print("interrupted", file=sys.stderr)
    else:
        code = 1
        traceback.print_exception(error)
    sys.stderr.flush()

    def leave() -> None:
        with contextlib.suppress(Exception):
            finish()
            jax.distributed.shutdown()  # waits for the others, which may have failed, too

    if not loss:
        leaving = threading.Thread(target=leave, daemon=True)
        leaving.start()
        leaving.join(_LEAVE)
    sys.stdout.flush()
    os._exit(code)


def _loss(error: BaseException | None) -> str:
    """Returns the line of an error that says that a process cannot be reached, or ""."""
    while error is not None:
        line = first_line(error)
        if re.search(r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|[Cc]oordination service", line):
            return line
        error = error.__cause__ or error.__context__
    return ""


def _when_jax_aborts(message: str, code: int) -> None:
    """Replaces the message for developers with which JAX aborts a process by one for users.

    If the heartbeat of a process is missing, JAX aborts the others from a thread, without an
    exception.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def end(_: int) -> None:
        os.write(2, f"{message}\n".encode())
        os._exit(code)

    _keep_alive.append(end)
    ctypes.CDLL(None).signal(signal.SIGABRT, end)
