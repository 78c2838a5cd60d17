"""Serves a page that fills holes in photographs, and the same over HTTP.

python -m gsjax.serve
python -m gsjax.serve --port=8080 --checkpoint=photos,mine=runs/mine

Open the address that it prints. Nothing is sent elsewhere and nothing is stored. Other machines
can only reach it with --host, and then only with the token. SIGTERM finishes what is in work.
"""

import ipaddress
import math
import os
import signal
import socket

from absl import flags

from gsjax import cli
from gsjax.errors import UserError

PORT = flags.DEFINE_integer("port", 8000, "of TCP; 0: any that is free", 0, 65_535)
HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "the address to listen on; one that is not loopback needs a --token"
)
CHECKPOINT = flags.DEFINE_list(
    "checkpoint",
    "photos",
    "what gsjax.inpaint takes, or several with commas, the first the default; NAME=PATH gives one "
    "another name than the last part of its path",
)
TOKEN = flags.DEFINE_string(
    "token", None, "what clients must send; better in the environment variable GSJAX_TOKEN"
)
HOSTS = flags.DEFINE_list(
    "hosts", "", "names by which it may be called beside its address, as behind a proxy"
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "crops that are painted at a time; 8 if not given, on a CPU 1", 1, 4096
)
QUEUE = flags.DEFINE_integer("queue", 64, "requests that are taken at a time", 1)
MAX_MEGABYTES = flags.DEFINE_integer("max_megabytes", 128, "of a request", 1, 2047)
MAX_PIXELS = flags.DEFINE_integer("max_pixels", 2**26, "larger pictures are refused", 1)
TIME_LIMIT = flags.DEFINE_float("time_limit", 600, "seconds that a request may take", 0.001)
_SHORTEST = 16  # characters of a token


def main() -> None:
    """Checks, loads, listens, and serves until it is told to end."""
    try:
        import python_multipart  # noqa: F401, Starlette imports it when it is needed
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            "gsjax.serve", f"it needs {error.name}", "pip install gsjax[web]"
        ) from error
    if not math.isfinite(TIME_LIMIT.value):
        raise UserError("--time_limit", f"{TIME_LIMIT.value} is not a number of seconds")
    paths = _checkpoints(CHECKPOINT.value)
    token = TOKEN.value if TOKEN.value is not None else os.environ.get("GSJAX_TOKEN")
    if token is not None and (len(token) < _SHORTEST or not token.isascii() or " " in token):
        raise UserError(
            "--token", f"it must have at least {_SHORTEST} ASCII characters and no spaces"
        )
    listening = _listen(HOST.value, PORT.value)
    with listening:
        address, port = listening.getsockname()[:2]
        loopback = ipaddress.ip_address(address).is_loopback
        if not loopback and token is None:
            raise UserError(
                "--host",
                f"other machines can reach {HOST.value}",
                "give a --token, or listen at 127.0.0.1",
            )
        hosts = {name.lower() for name in HOSTS.value}
        if loopback:
            hosts |= {"127.0.0.1", "localhost", "[::1]", HOST.value.lower()}
        app, jobs = _load(paths, hosts or None, token)
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", server_header=False, access_log=False,
            log_config=None, proxy_headers=False, timeout_keep_alive=30,
            limit_concurrency=4 * QUEUE.value + 64,
        )  # fmt: skip
        shown = f"[{address}]" if ":" in address else address
        print(
            f"serving on http://{shown}:{port}" + "/#token=TOKEN" * (token is not None), flush=True
        )
        # uvicorn raises again what has ended it, once all is done.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listening])
    jobs.close()
    print("ended; all that was asked for is answered", flush=True)


def _checkpoints(given: list[str]) -> dict[str, str]:
    """Returns the paths of checkpoints by name."""
    from gsjax.trained.place import check_path

    paths: dict[str, str] = {}
    for one in given:
        name, _, path = one.rpartition("=")
        path = os.path.expanduser(path)
        name = name or os.path.basename(os.path.normpath(path))
        if not name.strip() or not path.strip():
            raise UserError("--checkpoint", f"{one!r} is neither a path nor NAME=PATH")
        if name in paths:
            raise UserError("--checkpoint", f"two are called {name}", "give one as NAME=PATH")
        check_path(path)
        paths[name] = path
    if not paths:
        raise UserError("--checkpoint", "it is empty", "name a checkpoint")
    return paths


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        reason = error.strerror or error
        where = f"--host={host} --port={port}"
        raise UserError(where, f"cannot listen there: {reason}") from error
    return listening


def _load(paths: dict[str, str], hosts: set[str] | None, token: str | None):
    """Returns the app and what works for it."""
    from gsjax.inpainting.painter import Inpainter
    from gsjax.kernels.backends import check_platform
    from gsjax.serve.app import Limits, make_app
    from gsjax.serve.jobs import Jobs

    check_platform()
    cli.enable_compilation_cache()
    painters = {name: Inpainter.load(path) for name, path in paths.items()}
    jobs = Jobs(painters, BATCH_SIZE.value)
    jobs.warm_up()
    sizes = {name: painter.size for name, painter in painters.items()}
    limits = Limits(QUEUE.value, MAX_MEGABYTES.value * 10**6, MAX_PIXELS.value, TIME_LIMIT.value)
    return make_app(jobs, sizes, limits, hosts, token), jobs


if __name__ == "__main__":
    cli.run(main)
