"""The page in a real browser."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.serve.server import decoded, encoded, picture

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
]
IMAGE, HOLE = picture(120, 160)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The page; at the end nothing must have been logged, and nothing asked for elsewhere."""
    context = browser.new_context(viewport={"width": 1300, "height": 850}, has_touch=True)
    page = context.new_page()
    logged, asked = [], []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        """const real = window.fetch;
        window.fetch = (url, options) => (
          options?.body?.has('mask') && (window.sent = options.body), real(url, options));"""
    )
    page.goto(server.url)
    yield page
    assert [text for text in logged if "status of 422" not in text] == []
    assert {url for url in asked if not url.startswith((server.url, "blob:"))} == set()
    context.close()


def open_file(page, name="a.png", content=None, kind="image/png"):
    file = {"name": name, "mimeType": kind, "buffer": content or encoded(IMAGE)}
    page.set_input_files("#open", file)
    expect(page.locator("#name")).to_contain_text(name)


def stroke(page, *points):
    """Draws a line through points, from 0 to 1 across the stage."""
    box = page.locator("#stage").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def painted(page):
    """Returns how many pixels of the stage show a mask."""
    program = """(canvas) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height);
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((a, i) => i % 4 === 3 && a > 0).length;
    }"""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return page.locator("#masks").evaluate(program)


def fill(page):
    """Presses Fill; returns the mask that was sent."""
    # Until the server answers, the page may still show how the fill before this one ended.
    with page.expect_response("**/api/v1/inpaint", timeout=60_000):
        page.click("#fill")
    expect(page.locator("#status")).to_contain_text("Filled in", timeout=60_000)
    program = "async () => [...new Uint8Array(await window.sent.get('mask').arrayBuffer())]"
    return decoded(bytes(page.evaluate(program)))


def save(page):
    with page.expect_download() as download:
        page.click("#save")
    with open(download.value.path(), "rb") as file:
        return download.value.suggested_filename, file.read()


def test_a_stroke_is_filled_compared_and_saved_and_all_else_is_as_it_was(page):
    open_file(page)
    stroke(page, (0.4, 0.4), (0.6, 0.5))
    hole = fill(page)
    assert 50 < hole.sum() < hole.size / 4
    page.click("text=Compare")
    expect(page.locator("#divider")).to_be_visible()
    page.locator("#divide").focus()
    page.keyboard.press("End")
    name, content = save(page)
    assert name == "a_filled.png"
    filled = decoded(content)
    np.testing.assert_array_equal(filled[~hole], IMAGE[~hole])
    assert (filled[hole] != IMAGE[hole]).any()


def test_the_answer_is_what_the_api_gives_for_the_same_mask(page, server):
    open_file(page)
    page.fill("#grow", "3")
    page.select_option("#deep", "network")
    stroke(page, (0.3, 0.3), (0.3, 0.6))
    hole = fill(page)
    _, content = save(page)
    asked = {"image": encoded(IMAGE), "mask": encoded(hole), "grow": "3", "deep": "network"}
    assert content == server.post(**asked).content


def test_what_is_undone_and_redone_is_as_before(page):
    open_file(page)
    stroke(page, (0.4, 0.4), (0.6, 0.4))
    one = painted(page)
    stroke(page, (0.4, 0.6), (0.6, 0.6))
    two = painted(page)
    assert 0 < one < two
    page.keyboard.press("Control+z")
    assert painted(page) == one
    page.keyboard.press("Control+Shift+Z")
    assert painted(page) == two
    page.keyboard.press("e")
    stroke(page, (0.4, 0.6), (0.6, 0.6))
    assert painted(page) == one
    page.keyboard.press("i")
    page.keyboard.press("i")
    assert painted(page) == one
    page.keyboard.press("Delete")
    assert painted(page) == 0
    page.keyboard.press("Control+z")
    first = fill(page)
    assert painted(page) == 0
    page.keyboard.press("Control+z")  # the fill
    assert painted(page) == one
    np.testing.assert_array_equal(fill(page), first)


def test_a_loaded_mask_is_sent_as_it_is(page):
    open_file(page)
    mask = np.zeros((120, 160), np.uint8)
    mask[::3, 5] = 1  # hardly not black
    mask[60:70, 3:9] = 200
    file = {"name": "mask.png", "mimeType": "image/png", "buffer": encoded(mask)}
    page.set_input_files("#load", file)
    np.testing.assert_array_equal(fill(page), mask > 0)
    page.set_input_files("#load", file | {"buffer": encoded(mask.T)})
    expect(page.locator("#status")).to_have_text(
        "The mask is 120 × 160 pixels, the picture 160 × 120."
    )


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP"])
def test_other_formats_come_back_in_their_own(page, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    name, content = f"b.{kind.lower()}", encoded(IMAGE, kind, **options)
    open_file(page, name, content, f"image/{kind.lower()}")
    stroke(page, (0.5, 0.4), (0.5, 0.6))
    hole = fill(page)
    saved, content = save(page)
    assert saved == f"b_filled.{kind.lower()}"
    image = Image.open(io.BytesIO(content))
    assert image.format == kind
    if kind != "JPEG":
        np.testing.assert_array_equal(np.asarray(image)[~hole], IMAGE[~hole])


def test_touch_paints_and_two_fingers_zoom(page):
    open_file(page)
    box = page.locator("#stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": x + dx, "y": y + dy, "id": i} for i, (dx, dy) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (-50, 0))
    touch("touchMove", (50, 0))
    touch("touchEnd")
    one = painted(page)
    assert one > 0
    touch("touchStart", (-50, 0))
    touch("touchStart", (-50, 0), (50, 0))
    touch("touchMove", (-100, 0), (100, 0))
    touch("touchEnd")
    assert painted(page) > 2 * one  # twice as large, and nothing more was painted
    page.keyboard.press("0")
    assert painted(page) == one


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photographs_are_dropped_and_pasted(page, kind):
    program = """async ([kind, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], 'c.png', { type: 'image/png' }));
        const options = { dataTransfer: transfer, clipboardData: transfer, bubbles: true };
        const event = kind === 'drop' ? new DragEvent(kind, options)
          : new ClipboardEvent(kind, options);
        document.getElementById('stage').dispatchEvent(event);
    }"""
    page.evaluate(program, [kind, list(encoded(IMAGE))])
    expect(page.locator("#name")).to_have_text("c.png · 160 × 120")


def test_strokes_land_where_the_pointer_is_at_every_zoom(page):
    open_file(page)
    page.locator("#size").fill("0")
    for key, times in (("0", 1), ("9", 1), ("+", 3), ("-", 9)):
        for _ in range(times):
            page.keyboard.press(key)
        page.keyboard.press("Delete")
        stroke(page, (0.5, 0.5), (0.5, 0.5))
        y, x = np.nonzero(fill(page))
        assert np.abs([y.mean() + 0.5 - 60, x.mean() + 0.5 - 80]).max() <= 1
        assert len(x) <= 4


def test_canceling_leaves_the_picture_and_the_mask(page, server):
    side = 900
    image, _ = picture(side, side)
    open_file(page, "d.png", encoded(image))
    page.keyboard.press("i")  # all of it
    page.select_option("#deep", "network")
    page.click("#fill")
    expect(page.locator("#progress")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("Canceled.")
    expect(page.locator("#fill")).to_be_enabled()
    page.keyboard.press("Control+z")
    stroke(page, (0.5, 0.5), (0.52, 0.5))
    assert 0 < fill(page).sum() < side**2 / 50


def test_the_page_takes_the_token_out_of_its_address(browser, start):
    token = "a-token-of-enough-characters"
    server = start(GSJAX_TOKEN=token)
    page = browser.new_page()
    page.goto(f"{server.url}/#token={token}")
    file = {"name": "a.png", "mimeType": "image/png", "buffer": encoded(IMAGE)}
    page.set_input_files("#open", file)
    expect(page.locator("#name")).to_contain_text("a.png")
    stroke(page, (0.4, 0.4), (0.6, 0.5))
    page.click("#fill")
    expect(page.locator("#status")).to_contain_text("Filled in", timeout=60_000)
    assert token not in page.url
    page.close()


def test_every_shortcut_is_listed_and_every_control_has_a_name(page):
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    listed = page.locator("#shortcuts dt").all_inner_texts()
    assert len(listed) == len(set(listed)) > 20
    page.keyboard.press("Escape")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, section, dialog')].filter(
        (e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()))
        .map((e) => e.id)"""
    )
    assert unnamed == []


def test_what_cannot_be_opened_or_filled_is_said(page):
    file = {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#open", file)
    expect(page.locator("#status")).to_contain_text("image: it is not a PNG")
    expect(page.locator("#fill")).to_be_disabled()
