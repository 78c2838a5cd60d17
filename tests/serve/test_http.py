import base64
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL.PngImagePlugin import PngInfo

from gsjax.serve import fields
from tests.serve.server import ROOT, decoded, encoded, environment, picture

IMAGE, HOLE = picture()
PNG, MASK = encoded(IMAGE), encoded(HOLE)
TEXT = PngInfo()
TEXT.add_text("Author", "A. N. Other")
CASES = {  # name: the image, and fields beside the mask
    "a.png": (encoded(IMAGE, pnginfo=TEXT), {"grow": "2.5"}),
    "b.jpg": (encoded(IMAGE, "JPEG", quality=80, comment=b"kept"), {}),
    "c.tif": (encoded(IMAGE, "TIFF", compression="tiff_lzw"), {"feather": "3"}),
    "d.webp": (encoded(IMAGE, "WEBP", lossless=True), {"deep": "network"}),
}


@pytest.fixture(scope="module")
def written(folder):
    """What the command writes for the cases, in the order of their names."""
    listed = []
    (folder / "mask.png").write_bytes(MASK)
    for name, (content, options) in CASES.items():
        (folder / name).write_bytes(content)
        own = [f"--{option}={value}" for option, value in options.items()]
        paths = {"checkpoint": "tiny", "image": name, "mask": "mask.png", "output": f"out_{name}"}
        listed.append(own + [f"--{flag}={folder / path}" for flag, path in paths.items()])
    (folder / "commands.json").write_text(json.dumps(listed))
    command = [sys.executable, "-m", "tests.inpainting.commands", folder / "commands.json"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment(folder / "cache"), capture_output=True, check=True
    )
    assert [code for code, *_ in json.loads(result.stdout)] == [0] * len(CASES)
    return {name: (folder / f"out_{name}").read_bytes() for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_answers_are_the_bits_that_the_command_writes(server, written, name):
    image, options = CASES[name]
    answer = server.post(image=image, mask=MASK, **options)
    assert answer.status_code == 200, answer.text
    assert answer.content == written[name]
    kinds = {"png": "png", "jpg": "jpeg", "tif": "tiff", "webp": "webp"}
    assert answer.headers["Content-Type"] == f"image/{kinds[name[2:]]}"


def test_json_answers_as_multipart_does(server, written):
    image, options = CASES["a.png"]
    body = {"image": base64.b64encode(image).decode(), "mask": base64.b64encode(MASK).decode()}
    body |= {"grow": float(options["grow"]), "invert": False, "checkpoint": "tiny"}
    answer = requests.post(f"{server.url}/api/v1/inpaint", json=body, timeout=60)
    assert answer.content == written["a.png"]


def test_options_do_what_the_commands_flags_do(server):
    inverted = server.post(image=PNG, mask=encoded(~HOLE), invert="true")
    plain = server.post(image=PNG, mask=MASK)
    assert inverted.content == plain.content
    np.testing.assert_array_equal(decoded(plain.content)[~HOLE], IMAGE[~HOLE])
    jpeg = server.post(image=PNG, mask=MASK, format="jpg", quality="50")
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    assert "JPEG is lossy" in json.loads(jpeg.headers["Gsjax-Warnings"])[0]
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)[..., None]
    from_alpha = server.post(image=encoded(np.concatenate([IMAGE, alpha], -1)))
    np.testing.assert_array_equal(decoded(from_alpha.content), decoded(plain.content))
    unchanged = server.post(image=PNG, mask=encoded(np.zeros_like(HOLE)))
    assert unchanged.content == PNG


BAD = {
    "no image": ({"mask": MASK}, 400, "image: it is missing"),
    "no mask": ({"image": PNG}, 422, "image: it has no alpha channel to be its mask; give a mask"),
    "no picture": ({"image": b"text", "mask": MASK}, 422, "image: it is not a PNG, JPEG"),
    "cut off": ({"image": PNG[:-60], "mask": MASK}, 422, "image: the file is cut off"),
    "empty": ({"image": b"", "mask": MASK}, 400, "image: the file is empty"),
    "another size": ({"image": PNG, "mask": encoded(HOLE.T)}, 422, "mask is 50×70 pixels"),
    "no number": ({"image": PNG, "mask": MASK, "grow": "wide"}, 400, "grow: 'wide' is not a"),
    "NaN": ({"image": PNG, "mask": MASK, "feather": "nan"}, 400, "feather: 'nan' is not a number"),
    "too far": ({"image": PNG, "mask": MASK, "grow": "1001"}, 400, "grow: 1001 is not a width"),
    "a path": ({"image": PNG, "mask": MASK, "checkpoint": "/etc"}, 400, "checkpoint: '/etc' is"),
    "a name": ({"image": PNG, "mask": MASK, "gorw": "1"}, 400, "gorw: there is no such field; did"),
    "text": ({"image": "/etc/passwd", "mask": MASK}, 400, "image: it must be a file"),
    "alpha": (
        {"image": encoded(np.full((9, 9, 4), 99, np.uint8)), "mask": encoded(np.eye(9) > 0),
         "format": "jpg"},
        422, "JPEG has no alpha channel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_get_a_line_that_names_the_field(server, case):
    asked, status, message = BAD[case]
    answer = server.post(**asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert message in answer.json()["error"]
    assert "--" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"[" * 10**5, "application/json", 400, "the body is no JSON"),
        (b"[]", "application/json", 400, "must be a JSON object"),
        (b'{"image": "%"}', "application/json", 400, "image: it must be a file in Base64"),
        (b'{"image": 7}', "application/json", 400, "image: it must be a file in Base64"),
        (b"x", "text/plain", 415, "Content-Type: text/plain"),
        (b"x", "multipart/form-data", 400, "the multipart body cannot be read: Missing boundary"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 400, "the multipart body cannot be"),
        (b"--x", "multipart/form-data; boundary=x", 400, "the multipart body cannot be read"),
    ],
)
def test_bad_bodies_get_a_line(server, body, kind, status, message):
    answer = requests.post(
        f"{server.url}/api/v1/inpaint", data=body, headers={"Content-Type": kind}, timeout=60
    )
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_32_clients_at_a_time_get_what_one_would(server):
    sent = [picture(40 + i % 3, 60, i) for i in range(8)]
    alone = [server.post(image=encoded(image), mask=encoded(hole)).content for image, hole in sent]

    def ask(number):
        if number % 3 == 2:
            asked, status, _ = list(BAD.values())[number // 3]
            return server.post(**asked).status_code == status
        image, hole = sent[number % 8]
        return server.post(image=encoded(image), mask=encoded(hole)).content == alone[number % 8]

    with ThreadPoolExecutor(32) as clients:
        assert all(clients.map(ask, range(32)))
    assert server.post("health").status_code == 405
    assert requests.get(f"{server.url}/api/v1/health", timeout=9).json()["requests"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "photos.example:80"}, 403),
        ({"Origin": "http://photos.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:1"}, 200),
    ],
)
def test_requests_of_other_sites_are_refused(server, headers, status):
    answer = requests.get(f"{server.url}/api/v1/models", headers=headers, timeout=9)
    assert answer.status_code == status
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_page_asks_for_nothing_elsewhere(server):
    page = requests.get(server.url, timeout=9)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    names = {"page.css", "app.js", "icon.svg", "api.js", "mask.js", "view.js"}
    files = {name: requests.get(f"{server.url}/{name}", timeout=9) for name in names}
    assert {answer.status_code for answer in files.values()} == {200}
    text = page.text + "".join(answer.text for answer in files.values())
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert requests.get(f"{server.url}/../app.py", timeout=9).status_code == 404


def test_the_description_has_the_fields_and_addresses_that_there_are(server):
    described = requests.get(f"{server.url}/api/v1/openapi.json", timeout=9).json()
    for path, methods in described["paths"].items():
        for method in ("get", "post"):
            url = server.url + path.replace("{job}", "0" * 16)
            status = requests.request(method, url, timeout=9).status_code
            assert (status == 405) == (method not in methods), path
    schema = described["components"]["schemas"]["Fields"]["properties"]
    assert set(schema) == {*fields.FILES, *fields.OTHERS}


def test_a_preview_is_a_png_of_8_bits(server):
    deep = np.arange(60 * 40, dtype=np.uint16).reshape(60, 40) * 27
    answer = server.post("preview", image=encoded(deep, "TIFF"))
    np.testing.assert_array_equal(decoded(answer.content), np.rint(deep / 257).astype(np.uint8))
