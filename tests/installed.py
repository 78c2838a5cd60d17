"""Uses an installed gsjax as its users do; .ci/wheel runs it in a folder that is not the clone."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

COMMAND = str(Path(sys.executable).with_name("gsjax"))


def output(*arguments: str) -> str:
    return subprocess.run(
        [COMMAND, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def fill() -> None:
    image, mask = data.coffee()[100:228, 200:360], np.zeros((128, 160), np.uint8)
    mask[40:70, 60:100] = 255
    Image.fromarray(image).save("coffee.png")
    Image.fromarray(mask).save("hole.png")
    output("inpaint", "--image=coffee.png", "--mask=hole.png", "--output=filled.png")
    changed = np.any(np.asarray(Image.open("filled.png")) != image, axis=-1)
    assert changed[mask > 0].mean() > 0.9
    assert not changed[mask == 0].any()


def serve() -> None:
    server = subprocess.Popen([COMMAND, "serve", "--port=0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = next(word for word in server.stdout.readline().split() if "://" in word)
        with urllib.request.urlopen(address) as page:
            assert b"<html" in page.read()
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()


if __name__ == "__main__":
    assert output("--help").count("\n") < 24
    assert output("train", "--config=published", "--help").count("celeba") > 0
    fill()
    serve()
    print("installed: gsjax fills a picture and serves its page")
