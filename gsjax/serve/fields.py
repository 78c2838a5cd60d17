"""The fields of a request: multipart, or JSON with files in Base64."""

import base64
import binascii
import json
import math
import re
from collections.abc import AsyncGenerator, Collection
from typing import Any, NamedTuple, cast, get_args

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from gsjax.errors import shown, suggestion
from gsjax.inpainting.exemplar import Deep
from gsjax.inpainting.opened import Options
from gsjax.inpainting.ranges import RANGES
from gsjax.serve.errors import HTTPError
from gsjax.serve.jobs import Asked

FILES = ("image", "mask", "avoid")
_FORMATS = {"png": ".png", "jpg": ".jpg", "jpeg": ".jpg", "webp": ".webp", "tif": ".tif",
            "tiff": ".tif"}  # fmt: skip
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
OTHERS = (
    "grow", "feather", "threshold", "invert", "deep", "checkpoint", "quality", "format", "job",
)  # fmt: skip
_JOB = re.compile(r"[A-Za-z0-9-]{16,64}")


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # no file is ever written to the disk
    ended = False

    def on_end(self) -> None:
        self.ended = True


class Fields(NamedTuple):
    """What a request has asked for, and the name by which its progress can be asked for."""

    asked: Asked
    job: str | None


async def read_fields(request: Request, most: int) -> dict[str, Any]:
    """Returns the fields of a request's body by name: bytes of files, and text or JSON of others.

    Raises:
      HTTPError: it is neither multipart nor JSON, damaged, or larger than `most` bytes.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request.headers, limited(request, most))
    if kind == "application/json":
        return _json(b"".join([part async for part in limited(request, most)]))
    raise HTTPError(
        415, f"Content-Type: {shown(kind) or 'none'}; send multipart/form-data or application/json"
    )


async def limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """Yields a request's body; raises HTTPError once it is larger than `most` bytes."""
    taken = 0
    try:
        async for part in request.stream():
            taken += len(part)
            if taken > most:
                raise too_large(most)
            yield part
    except ClientDisconnect:
        raise HTTPError(400, "the request ended early") from None


def too_large(most: int) -> HTTPError:
    """Returns the error for a body of more than `most` bytes."""
    return HTTPError(413, f"the request is larger than {most:,} bytes, the most that is taken")


async def _multipart(headers: Headers, body: AsyncGenerator[bytes, None]) -> dict[str, Any]:
    parser = _InMemory(headers, body, max_files=len(FILES), max_fields=len(OTHERS))
    try:
        form = await parser.parse()
        if not parser.ended:
            raise MultiPartException("It ends before its last boundary.")
    except MultiPartException as error:
        raise HTTPError(400, f"the multipart body cannot be read: {error.message}") from None
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise HTTPError(400, f"{shown(name)}: it is there twice")
        fields[name] = value
        if isinstance(value, UploadFile):
            fields[name] = value.file.read()
            value.file.close()
    return fields


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPError(400, f"the body is no JSON: {shown(error)}") from None
    if not isinstance(fields, dict):
        raise HTTPError(400, 'the body must be a JSON object, such as {"image": …, "mask": …}')
    fields = {name: value for name, value in fields.items() if value is not None}
    for name in FILES:
        if name in fields:
            try:
                fields[name] = base64.b64decode(fields[name], validate=True)
            except (TypeError, ValueError, binascii.Error):
                raise HTTPError(400, f"{name}: it must be a file in Base64") from None
    return fields


def check_fields(
    fields: dict[str, Any], checkpoints: Collection[str], default: str, max_pixels: int
) -> Fields:
    """Returns what fields ask for.

    Args:
      fields: as `read_fields` has read them.
      checkpoints: the names there are.
      default: the one that is taken if none is asked for.
      max_pixels: larger pictures are refused.

    Raises:
      HTTPError: a field is missing, unknown or out of its range; the message names it.
    """
    names = [*FILES, *OTHERS]
    for name in fields:
        if name not in names:
            meant = suggestion(name, names)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names)}"
            raise HTTPError(400, f"{shown(name)}: there is no such field; {hint}")
    files = {name: _file(fields, name) for name in FILES}
    if files["image"] is None:
        raise HTTPError(400, "image: it is missing; send the content of a picture's file")
    options = Options(
        threshold=_whole(fields, "threshold"),
        quality=_whole(fields, "quality"),
        deep=cast(Deep, _choice(fields, "deep", get_args(Deep)) or "exemplar"),
        invert=bool(_BOOLS.get(_choice(fields, "invert", _BOOLS) or "0")),
        grow=_width(fields, "grow"),
        feather=_width(fields, "feather"),
        max_pixels=max_pixels,
    )
    checkpoint = _choice(fields, "checkpoint", checkpoints) or default
    suffix = _FORMATS.get(_choice(fields, "format", _FORMATS) or "")
    job = fields.get("job")
    if job is not None and not (isinstance(job, str) and _JOB.fullmatch(job)):
        raise HTTPError(400, "job: it must be 16 to 64 letters, digits and dashes, such as a UUID")
    return Fields(
        Asked(files["image"], files["mask"], files["avoid"], options, checkpoint, suffix), job
    )


def _file(fields: dict[str, Any], name: str) -> bytes | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, bytes):
        raise HTTPError(400, f"{name}: it must be a file; with curl, -F {name}=@FILE")
    if value == b"":
        raise HTTPError(400, f"{name}: the file is empty")
    return value


def _choice(fields: dict[str, Any], name: str, choices: Collection[str]) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    value = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(value, str) or value not in choices:
        raise HTTPError(400, f"{name}: {shown(repr(value))} is none of {', '.join(choices)}")
    return value


def _whole(fields: dict[str, Any], name: str) -> int | None:
    number = _number(fields, name)
    low, high = RANGES[name]
    if number is not None and not (number == round(number) and low <= number <= high):
        raise HTTPError(400, f"{name}: {number:g} is not a whole number from {low} to {high}")
    return None if number is None else int(number)


def _width(fields: dict[str, Any], name: str) -> float:
    number = _number(fields, name) or 0.0
    low, high = RANGES[name]
    if not low <= number <= high:
        raise HTTPError(400, f"{name}: {number:g} is not a width from {low} to {high} pixels")
    return number


def _number(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise HTTPError(400, f"{name}: {shown(repr(value))} is not a number")
    return number
