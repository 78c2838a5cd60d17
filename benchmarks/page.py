"""The page of gsjax.serve with large photographs in headless Chromium.

python -m gsjax.serve & python -m benchmarks.page [--url=http://127.0.0.1:8000]

Photographs of 24 and 50 megapixels: seconds to open, milliseconds from the release of a stroke to
the second frame after it, and seconds to fill two strokes, of which progress is shown.
"""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from skimage import data

URL = flags.DEFINE_string("url", "http://127.0.0.1:8000", "of the server")
_TIMER = """() => {
  window.times = [];
  document.getElementById("stage").addEventListener("pointerup", (event) => {
    const end = () => window.times.push(performance.now() - event.timeStamp);
    requestAnimationFrame(() => requestAnimationFrame(end));
  }, true);
}"""


def main(argv: list[str]) -> None:
    """Opens, paints and fills both."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        for size in ((6000, 4000), (8600, 5800)):
            file = Path(folder) / f"{size[0]}.jpg"
            noise = np.random.default_rng(0).integers(-3, 4, (size[1], size[0], 1))
            pixels = np.asarray(Image.fromarray(data.retina()).resize(size)) + noise
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, quality=92)
            page = browser.new_page(viewport={"width": 1300, "height": 850})
            page.goto(URL.value)
            print(f"{size[0]}×{size[1]}: {_try(page, file)}")
            page.close()
        browser.close()


def _try(page: Page, file: Path) -> str:
    start = time.perf_counter()
    page.set_input_files("#open", file)
    expect(page.locator("#status")).to_contain_text("Paint over", timeout=60_000)
    opened = time.perf_counter() - start
    page.evaluate(_TIMER)
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for right in (0, 60):
        page.mouse.move(x + right, y)
        page.mouse.down()
        page.mouse.move(x + right + 60, y + 30, steps=8)
        page.mouse.move(x + right + 20, y + 70, steps=8)
        page.mouse.up()
        page.wait_for_timeout(500)
    times = page.evaluate("() => window.times")
    start = time.perf_counter()
    page.click("#fill")
    expect(page.locator("#status")).to_contain_text("Painting… 1 of", timeout=300_000)
    expect(page.locator("#status")).to_contain_text("Filled", timeout=300_000)
    filled = time.perf_counter() - start
    shown = " and ".join(f"{each:.0f}" for each in times)
    return f"opened in {opened:.1f} s, strokes shown after {shown} ms, filled in {filled:.1f} s"


if __name__ == "__main__":
    app.run(main)
