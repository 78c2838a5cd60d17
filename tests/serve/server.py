"""A server as a process of its own, and pictures to send to it."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from tests import quick

ROOT = Path(__file__).parents[2]


def environment(cache):
    """Returns that of commands whose compiled programs are found again."""
    own = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache),
           "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XLA_FLAGS": quick.FLAGS}  # fmt: skip
    return os.environ | own


class Server:
    """`python -m gsjax.serve` on a free port.

    Attributes:
      url: of the server, once it is ready.
      process: as `subprocess.Popen`.
    """

    def __init__(self, folder, cache, *flags, timeout=120, **variables):
        self.log = folder / f"{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "gsjax.serve", "--port=0", *flags]
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(cache) | variables, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + timeout
        while not (
            found := re.search(r"serving on (http://\S+?)(?:/#token=TOKEN)?\n", self.text())
        ):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"the server does not start: {self.text()}")
            time.sleep(0.05)
        self.url = found[1]

    def text(self):
        """Returns what it has printed."""
        return self.log.read_text()

    def post(self, path="inpaint", **fields):
        """Posts bytes as files, and all else as fields."""
        files = {name: (name, value) for name, value in fields.items() if isinstance(value, bytes)}
        data = {name: value for name, value in fields.items() if name not in files}
        return requests.post(f"{self.url}/api/v1/{path}", data=data, files=files, timeout=120)

    def stop(self, timeout=60):
        """Sends SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


def encoded(array, kind="PNG", **options):
    """Returns the content of a picture's file."""
    content = io.BytesIO()
    Image.fromarray(array).save(content, format=kind, **options)
    return content.getvalue()


def decoded(content):
    """Returns the pixels of a picture's file."""
    return np.asarray(Image.open(io.BytesIO(content)))


def picture(height=50, width=70, seed=0):
    """Returns a picture of soft waves, and its hole."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin(x / (5 + i + seed) + y / 7 + i) for i in range(3)]
    hole = np.zeros((height, width), bool)
    hole[height // 3 : height // 2, width // 3 : width // 2] = True
    return np.stack(waves, -1).astype(np.uint8), hole
