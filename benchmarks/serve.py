"""Serving: latency and memory with many clients at a time, a third of whose requests are bad.

python -m benchmarks.serve [--checkpoint=photos] [--batch_size=8]

Photographs of 512×512 with a hole of 40×60, by HTTP; the answers are compared with those of the
same requests one by one.
"""

import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import requests
from absl import app, flags
from PIL import Image
from skimage import data

CHECKPOINT = flags.DEFINE_string("checkpoint", "photos", "as gsjax.serve takes it")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "as gsjax.serve takes it")
CLIENTS = flags.DEFINE_integer("clients", 32, "at a time", lower_bound=1)
REQUESTS = flags.DEFINE_integer("requests", 200, "of all clients", lower_bound=1)
_PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "retina", "immunohistochemistry")


def _png(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, format="PNG")
    return content.getvalue()


def _asked() -> list[dict[str, bytes]]:
    """Returns the files of a request for each photograph."""
    asked = []
    for number, name in enumerate(_PHOTOGRAPHS):
        image = Image.fromarray(getattr(data, name)()).resize((512, 512))
        hole = np.zeros((512, 512), bool)
        hole[200 + 10 * number : 240 + 10 * number, 220:280] = True
        asked.append({"image": _png(np.asarray(image)), "mask": _png(hole)})
    return asked


def main(argv: list[str]) -> None:
    """Starts a server, measures, and ends it."""
    command = [sys.executable, "-m", "gsjax.serve", "--port=0", f"--checkpoint={CHECKPOINT.value}"]
    if BATCH_SIZE.value is not None:
        command.append(f"--batch_size={BATCH_SIZE.value}")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", server.stdout.readline())[0] + "/api/v1/inpaint"
        _measure(url, server.pid)
    finally:
        server.terminate()
        server.wait()


def _measure(url: str, pid: int) -> None:
    asked = _asked()
    bad = [{"image": b"text", "mask": asked[0]["mask"]}, {"mask": asked[0]["mask"]}]

    def post(files):
        start = time.perf_counter()
        answer = requests.post(url, files=files, timeout=600)
        return answer.status_code, answer.content, time.perf_counter() - start

    alone = [post(files) for files in asked]
    before = _memory(pid)

    def one(number: int):
        if number % 3 == 2:
            status, _, seconds = post(bad[number % 2])
            return False, status in (400, 422), seconds
        status, content, seconds = post(asked[number % len(asked)])
        return True, status == 200 and _close(content, alone[number % len(asked)][1]), seconds

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS.value) as clients:
        done = list(clients.map(one, range(REQUESTS.value)))
    took = time.perf_counter() - start
    for good, name in ((True, "good"), (False, "bad")):
        seconds = [each for kind, _, each in done if kind == good]
        right = sum(right for kind, right, _ in done if kind == good)
        p50, p95 = np.percentile(seconds, (50, 95))
        print(f"{name}: {right} of {len(seconds)} right, p50 {p50:.2f} s, p95 {p95:.2f} s")
    print(f"one alone: {np.median([seconds for *_, seconds in alone]):.2f} s")
    print(f"all: {took:.1f} s; memory: {before:.0f} MB before, {_memory(pid):.0f} MB after")


def _close(one: bytes, other: bytes) -> bool:
    """Returns whether two pictures have the same bits, or in larger batches nearly."""
    if one == other:
        return True
    pixels = [np.asarray(Image.open(io.BytesIO(content))).astype(int) for content in (one, other)]
    most = np.abs(pixels[0] - pixels[1]).max()
    print(f"an answer differs by {most} of 255")
    return False


def _memory(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1000


if __name__ == "__main__":
    app.run(main)
