#!/usr/bin/env python3
"""Starts one run as several processes on this machine, to try out what a cluster does.

launch/local.py --processes=2 --devices=2 -- python -m gsjax.main --config=configs/photos.py

Appends --coordinator, --processes and --process to the arguments of each process, and prefixes
each line of output with the process's number. Forwards SIGTERM and Ctrl-C to all processes. If
one fails, the others have 90 seconds to end; the exit code is that of the first failure.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

_GRACE = 90  # seconds between the first failure and killing the others


def main() -> int:
    """Returns the exit code."""
    options = parse()
    coordinator = f"127.0.0.1:{options.port or free_port()}"
    commands = [
        [
            *options.command,
            f"--coordinator={coordinator}",
            f"--processes={options.processes}",
            f"--process={process}",
        ]
        for process in range(options.processes)
    ]
    added = cpu_devices(options.devices) if options.devices else {}
    if options.dry_run:
        words = [f"{name}={shlex.quote(value)}" for name, value in added.items()]
        for command in commands:
            print(" ".join([*words, shlex.join(command), "&"]))
        return 0
    return run(commands, os.environ | added)


def parse() -> argparse.Namespace:
    """Returns the options; exits with code 2 if they are invalid."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--devices", type=int, help="CPU devices per process (default: all devices JAX finds)"
    )
    parser.add_argument("--port", type=int, help="port of process 0 (default: any free port)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument("command", nargs="+", help="after --: the command to run")
    options = parser.parse_args()
    for name in ("processes", "devices"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name}: {value} must be at least 1")
    return options


def cpu_devices(count: int) -> dict[str, str]:
    """Returns environment variables that make JAX see `count` CPU devices and nothing else."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(commands: list[list[str]], environment: dict[str, str]) -> int:
    """Runs the commands in parallel; returns the exit code of the first failure, or 0."""
    processes: list[subprocess.Popen] = []

    def forward(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)  # no effect on a process that has ended

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    readers = []
    for index, command in enumerate(commands):
        try:
            # In a session of its own, so that it receives Ctrl-C once, from `forward`.
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
            return 2
        processes.append(process)
        for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            readers.append(threading.Thread(target=relay, args=(index, source, target)))
            readers[-1].start()
    code, deadline = 0, None
    while any(process.poll() is None for process in processes):
        failed = [process for process in processes if process.poll()]
        if failed and deadline is None:
            code, deadline = failed[0].returncode, time.monotonic() + _GRACE
        if deadline is not None and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    for reader in readers:
        reader.join()
    code = code or next((process.returncode for process in processes if process.returncode), 0)
    return 128 - code if code < 0 else code  # killed by a signal: as shells report it


def relay(index: int, source, target) -> None:
    """Copies lines, each with the number of its process in front."""
    for line in source:
        target.write(f"[{index}] {line.decode(errors='replace').rstrip()}\n")
        target.flush()


if __name__ == "__main__":
    sys.exit(main())
