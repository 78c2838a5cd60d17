"""The training command as one or several processes, small enough to compile in seconds."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from gsjax.models.dino import DinoViT
from gsjax.trained import converted
from tests import quick
from tests.weights import random_variables

ROOT = Path(__file__).parents[1]
FIELDS = {
    "data.image_size": "(32, 32)",
    "model.gaussians": "16",
    "model.downs": "1",
    "model.blocks": "1",
    "dino.image_size": "28",
    "discriminator.width": "8",
    "optimizer.schedule": "steps",
    "optimizer.warmup_steps": "0",
    "optimizer.learning_rate": "2e-4",
    "loss.gan": "0.3",
    "train.batch_size": "4",
    "train.steps": "10",
    "log.every": "1",
    "checkpoint.every": "5",
    "validate.every": "10",
    "validate.images": "6",
    "validate.samples": "3",
}


def small_dino(path):
    """Writes a DINO of two blocks as a converted folder; returns its path."""
    module = DinoViT(width=32, depth=2, heads=2, mlp_width=64, grid=(2, 2))
    variables = random_variables(module.init, np.zeros((1, 28, 28, 3), np.float32))
    converted.write(path, {"dino": variables}, dino=module)
    return str(path)


class Run:
    """Processes of one run on this machine, each with its own CPU devices.

    Attributes:
      processes: as `subprocess.Popen`.
      workdir: of them all.
    """

    def __init__(self, workdir, processes=1, devices=1, of_each=None, **fields):
        """Starts them.

        Args:
          workdir: beside its folder `cache`, which all runs there share.
          processes: how many.
          devices: of each.
          of_each: config fields of process i, as `of_each(i)`.
          **fields: those of all, with __ for the dot.
        """
        self.workdir, self._outputs, self.processes = Path(workdir), [], []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.workdir.parent / "cache"),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "XLA_FLAGS": quick.FLAGS,
        }
        for i in range(processes):
            own = FIELDS | {name.replace("__", "."): value for name, value in fields.items()}
            own |= of_each(i) if of_each else {}
            command = [sys.executable, "-m", "gsjax.main", "--config=configs/photos.py"]
            command += [f"--workdir={workdir}"]
            command += [f"--config.{name}={value}" for name, value in own.items()]
            if processes > 1:
                command += [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}"]
                command += [f"--process={i}"]
            output = self.workdir.with_name(f"{self.workdir.name}_{time.monotonic_ns()}_{i}.txt")
            self._outputs.append(output)
            with open(output, "wb") as file:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
                )
            self.processes.append(process)

    def output(self, i):
        """Returns what process i has printed so far, errors too."""
        return self._outputs[i].read_text()

    def wait(self, timeout=300):
        """Waits until all have ended; returns their exit codes."""
        try:
            deadline = time.monotonic() + timeout
            return [p.wait(max(deadline - time.monotonic(), 0.1)) for p in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def wait_for(self, step, timeout=300):
        """Waits until that step is in the metrics."""
        deadline = time.monotonic() + timeout
        while step not in metrics(self.workdir):
            told = [self.output(i) for i in range(len(self.processes))]
            if any(process.poll() is not None for process in self.processes):
                self.wait(1)
                raise AssertionError(f"ended before step {step}: {told}")
            if time.monotonic() > deadline:
                self.wait(0)
                raise AssertionError(f"step {step} takes too long: {told}")
            time.sleep(0.02)


def metrics(workdir):
    """Returns all scalars of a run by step."""
    path, steps = Path(workdir) / "metrics.jsonl", {}
    for line in path.read_bytes().splitlines(True) if path.exists() else []:
        if line.endswith(b"\n"):
            scalars = json.loads(line)
            steps.setdefault(scalars["step"], {}).update(scalars)
    return steps
