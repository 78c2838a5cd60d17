"""The HTTP API and the page, as an ASGI app."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection
from importlib import resources
from typing import NamedTuple

from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import gsjax
from gsjax.errors import UserError
from gsjax.serve.errors import HTTPError, of_user, plain
from gsjax.serve.fields import check_fields, read_fields, too_large
from gsjax.serve.guard import Guard
from gsjax.serve.jobs import Canceled, Filled, Job, Jobs

_BODIES = 2**31  # bytes of requests that are held at a time, in all
_TYPES = {
    "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8", "svg": "image/svg+xml", "json": "application/json",
}  # fmt: skip


class Limits(NamedTuple):
    """What one client cannot take from the others; see the flags of gsjax.serve."""

    queue: int
    bytes: int
    pixels: int
    seconds: float


class Service:
    """Answers requests.

    Args:
      jobs: fills what is asked for.
      sizes: (height, width) of the crops by the checkpoints' names; the first is the default.
      limits: of size, number and time.
    """

    def __init__(self, jobs: Jobs, sizes: dict[str, tuple[int, int]], limits: Limits):
        self._jobs, self._sizes, self._limits = jobs, sizes, limits
        self._admitted = self._bytes = 0
        self._named: dict[str, Job] = {}

    async def health(self, request: Request) -> Response:
        """Says that the server works, and how much it has to do."""
        return JSONResponse(
            {"status": "ok", "version": gsjax.__version__, "requests": self._admitted,
             "limit": self._limits.queue}
        )  # fmt: skip

    async def models(self, request: Request) -> Response:
        """Lists the checkpoints, and what requests may be."""
        listed = [{"name": name, "size": size} for name, size in self._sizes.items()]
        most = {"bytes": self._limits.bytes, "pixels": self._limits.pixels,
                "seconds": self._limits.seconds}  # fmt: skip
        return JSONResponse({"default": next(iter(self._sizes)), "models": listed, "limits": most})

    async def progress(self, request: Request) -> Response:
        """Says how far the job is that a client has named; unknown: not begun, or over."""
        job = self._named.get(request.path_params["job"])
        if job is None:
            return JSONResponse({"state": "unknown", "done": 0, "total": 0})
        done, total = job.progress
        return JSONResponse({"state": job.state, "done": done, "total": total})

    async def inpaint(self, request: Request) -> Response:
        """Fills a picture."""
        with self._admission(request):
            deadline = time.monotonic() + self._limits.seconds
            fields = await self._fields(request)
            most = self._limits.pixels
            asked, name = check_fields(fields, self._sizes, next(iter(self._sizes)), most)
            if name in self._named:
                raise HTTPError(409, f"job: another one is called {name}")
            del fields
            job = self._jobs.submit(asked)
            if name is not None:
                self._named[name] = job
            try:
                filled = await self._wait(request, job, deadline)
            finally:
                job.cancel()
                self._named.pop(name or "", None)
        headers = {}
        if filled.warnings:
            headers["Gsjax-Warnings"] = json.dumps([plain(text) for text in filled.warnings])
        return Response(filled.content, 200, headers, f"image/{filled.kind.lower()}")

    async def preview(self, request: Request) -> Response:
        """Returns a picture as a PNG that every browser shows."""
        with self._admission(request):
            fields = await self._fields(request)
            asked, _ = check_fields(
                fields, self._sizes, next(iter(self._sizes)), self._limits.pixels
            )
            try:
                png = await asyncio.wrap_future(
                    self._jobs.preview(asked.image, self._limits.pixels)
                )
            except UserError as error:
                raise of_user(error) from None
        return Response(png, media_type="image/png")

    @contextlib.contextmanager
    def _admission(self, request: Request):
        """Counts a request and its bytes before they are read; refuses what is too much."""
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdigit() else self._limits.bytes
        if size > self._limits.bytes:
            raise too_large(self._limits.bytes)
        if self._admitted >= self._limits.queue or self._bytes + size > _BODIES:
            raise HTTPError(429, "there is much to do; try again later", {"Retry-After": "5"})
        self._admitted, self._bytes = self._admitted + 1, self._bytes + size
        try:
            yield
        finally:
            self._admitted, self._bytes = self._admitted - 1, self._bytes - size

    async def _fields(self, request: Request) -> dict:
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await read_fields(request, self._limits.bytes)
        except TimeoutError:
            message = f"the request did not arrive in {self._limits.seconds:g} s"
            raise HTTPError(408, message, {"Connection": "close"}) from None

    async def _wait(self, request: Request, job: Job, deadline: float) -> Filled:
        """Returns the answer; gives up when the client has gone, or the time is over."""
        answer = asyncio.wrap_future(job.answer)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            left = deadline - time.monotonic()
            both: set[asyncio.Future] = {answer, gone}
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if answer.done():
            try:
                return answer.result()
            except UserError as error:
                raise of_user(error) from None
            except MemoryError:
                raise HTTPError(503, "there is not enough memory for it now") from None
        answer.cancel()
        if gone.done() and not gone.cancelled():
            raise Canceled
        seconds = self._limits.seconds
        if job.state == "queued":
            message = f"its turn did not come in {seconds:g} s; try again later"
            raise HTTPError(503, message, {"Retry-After": "30"})
        raise HTTPError(504, f"it took longer than {seconds:g} s, the most that is allowed")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(
    jobs: Jobs,
    sizes: dict[str, tuple[int, int]],
    limits: Limits,
    hosts: Collection[str] | None = None,
    token: str | None = None,
) -> Starlette:
    """Returns the app; see `Service` and `Guard` for the arguments."""
    service = Service(jobs, sizes, limits)
    routes = [
        Route("/api/v1/health", service.health),
        Route("/api/v1/models", service.models),
        Route("/api/v1/progress/{job}", service.progress),
        Route("/api/v1/inpaint", service.inpaint, methods=["POST"]),
        Route("/api/v1/preview", service.preview, methods=["POST"]),
    ]
    room = resources.files("gsjax.serve")
    for file in [room / "openapi.json", *(room / "page").iterdir()]:
        content, kind = file.read_bytes(), _TYPES[file.name.rpartition(".")[2]]
        path = f"/{file.name}" if kind != _TYPES["json"] else f"/api/v1/{file.name}"
        routes.append(Route("/" if path == "/index.html" else path, _static(content, kind)))

    def failed(error: Exception) -> Response:
        logging.error("a request failed", exc_info=error)
        return _answer(HTTPError(500, "a mistake of the server; its log says more"))

    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, answer=_answer, hosts=hosts, token=token),
        ],
        exception_handlers={
            HTTPError: _handler(_answer),
            HTTPException: _handler(lambda error: _answer(_of_starlette(error))),
            Canceled: _handler(lambda error: Response(status_code=499)),  # nobody reads it
            Exception: _handler(failed),
        },
    )


def _static(content: bytes, kind: str):
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


def _handler(answer: Callable):
    async def handle(request: Request, error: Exception) -> Response:
        return answer(error)

    return handle


def _answer(error: HTTPError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, error.status, error.headers)


def _of_starlette(error: HTTPException) -> HTTPError:
    text = {404: "there is no such address; see /api/v1/openapi.json",
            405: "this address does not take that method"}  # fmt: skip
    return HTTPError(
        error.status_code, text.get(error.status_code, error.detail), dict(error.headers or {})
    )
