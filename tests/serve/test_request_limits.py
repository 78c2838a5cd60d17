"""What one client cannot take from the others, and how a server ends."""

import random
import resource
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from tests.serve.server import ROOT, encoded, environment, picture
from tests.serve.test_http import BAD

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-enough-characters"


def large(side, seed=0):
    """Returns fields of a picture that takes seconds."""
    image, _ = picture(side, side, seed)
    hole = np.zeros(image.shape[:2], bool)
    hole[10:-10:24, 10:-10] = True
    return {"image": encoded(image), "mask": encoded(hole), "deep": "network"}


def memory(process):
    """Returns the bytes that a process holds."""
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def refusal(folder, *flags):
    """Returns how a server says that it does not start."""
    command = [sys.executable, "-m", "gsjax.serve", f"--checkpoint={folder / 'tiny'}", *flags]
    result = subprocess.run(
        command, cwd=ROOT, env=environment(folder / "cache"), capture_output=True, text=True
    )
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    return result.stderr


def test_what_could_be_reached_by_others_needs_a_token(folder):
    assert "give a --token" in refusal(folder, "--host=0.0.0.0", "--port=0")
    assert "--token: it must have at least 16" in refusal(folder, "--token=short")
    assert "--time_limit: nan is not a number" in refusal(folder, "--time_limit=nan")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use" in refusal(folder, f"--port={port}")
    assert "two are called tiny" in refusal(folder, f"--checkpoint={folder}/tiny,{folder}/tiny")


def test_200_requests_by_32_clients_a_third_of_them_bad(start):
    server = start()
    sent = [picture(60 + 8 * i, 90, i) for i in range(8)]
    sent = [{"image": encoded(image), "mask": encoded(hole)} for image, hole in sent]
    alone = [server.post(**asked).content for asked in sent]
    before, took = memory(server.process), []

    def ask(number):
        if number % 3 == 2:
            asked, status, _ = list(BAD.values())[number % len(BAD)]
            return server.post(**asked).status_code == status
        began = time.monotonic()
        answer = server.post(**sent[number % 8])
        took.append(time.monotonic() - began)
        return answer.content == alone[number % 8]

    with ThreadPoolExecutor(32) as clients:
        right = list(clients.map(ask, range(200)))
    assert sum(right) == 200
    p50, p95 = np.percentile(took, (50, 95))
    grown = (memory(server.process) - before) / 2**20
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, {grown:.0f} MiB more memory")
    assert grown < 200


def test_a_client_that_is_killed_harms_no_other(start):
    server = start()
    asked = large(300)
    alone = server.post(**asked).content
    program = (
        "import sys, requests; url, image, mask = sys.argv[1:];"
        "files = {'image': open(image, 'rb'), 'mask': open(mask, 'rb')};"
        "requests.post(url, files=files, data={'deep': 'network'})"
    )
    folder = server.log.parent
    for name in ("image", "mask"):
        (folder / name).write_bytes(asked[name])
    url = f"{server.url}/api/v1/inpaint"
    command = [sys.executable, "-c", program, url, folder / "image", folder / "mask"]
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(server.post, **asked) for _ in range(4)]
        victims = [subprocess.Popen(command) for _ in range(4)]
        time.sleep(1)
        for victim in victims:
            victim.kill()
            victim.wait()
        assert all(answer.result().content == alone for answer in answers)
    deadline = time.monotonic() + 30
    while requests.get(f"{server.url}/api/v1/health", timeout=9).json()["requests"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_limits_of_size_number_and_time_have_their_statuses(start):
    server = start("--max_megabytes=1", "--max_pixels=100000", "--queue=3", "--time_limit=2")
    image, hole = picture()
    small = {"image": encoded(image), "mask": encoded(hole)}
    noise = random.Random(0).randbytes(1_100_000)
    assert server.post(**(small | {"image": noise})).status_code == 413
    sent = iter([noise])  # without its length
    headers = {"Content-Type": "application/json"}
    url = f"{server.url}/api/v1/inpaint"
    assert requests.post(url, data=sent, headers=headers, timeout=60).status_code == 413
    answer = server.post(**large(400))
    assert answer.status_code == 413
    assert "more than 100,000 pixels, the most that this server takes" in answer.json()["error"]
    with ThreadPoolExecutor(12) as clients:
        many = list(clients.map(lambda _: server.post(**large(300)), range(12)))
    statuses = {answer.status_code for answer in many}
    assert 429 in statuses
    assert statuses <= {200, 429, 503, 504}
    assert all("Retry-After" in answer.headers for answer in many if answer.status_code == 429)
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as slow:
        head = "POST /api/v1/inpaint HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert server.post(**small).status_code == 200


def test_only_the_token_opens_the_api(start):
    server = start("--host=0.0.0.0", GSJAX_TOKEN=TOKEN)
    url = server.url.replace("0.0.0.0", "127.0.0.1") + "/api/v1"
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Bearer é".encode()}):
        answer = requests.get(f"{url}/models", headers=headers, timeout=9)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert requests.get(f"{url}/models", headers=headers, timeout=9).ok
    assert requests.get(f"{url}/health", timeout=9).ok
    assert TOKEN not in server.text()


def test_sigterm_finishes_what_is_in_work(start):
    server = start()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post(**large(200)).status_code))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    health = f"{server.url}/api/v1/health"
    while requests.get(health, timeout=9).json()["requests"] < 3:
        time.sleep(0.01)
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert answers == [200, 200, 200]
    assert server.text().endswith("ended; all that was asked for is answered\n")


def test_nothing_is_stored(start):
    server = start()
    # A file that grows beyond this cannot be written.
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (10**5, 10**5))
    image = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    hole = np.zeros((1000, 1000), bool)
    hole[500:510, 500:520] = True
    answer = server.post(image=encoded(image), mask=encoded(hole))
    assert answer.ok
    assert len(answer.content) > 10**6
