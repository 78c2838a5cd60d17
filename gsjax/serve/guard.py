"""Who may ask: hosts, origins and the token; and headers that confine the page.

Any page in a browser can send requests to a server on the same machine. Requests that another
site's page has sent are refused by Origin and Sec-Fetch-Site; a name that another site has pointed
at the loopback address (DNS rebinding) by Host.
"""

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gsjax.serve.errors import HTTPError

_OPEN = ("/api/v1/health", "/api/v1/openapi.json")  # without a token
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Checks requests before an app gets them, and adds headers to what it answers.

    Args:
      app: what is guarded.
      answer: makes an answer of an HTTPError.
      hosts: the names that a request may be sent to, without ports; None: any.
      token: what requests of the API must bring; None: none.
    """

    def __init__(self, app: ASGIApp, answer, hosts: Collection[str] | None, token: str | None):
        self._app, self._answer, self._hosts, self._token = app, answer, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
        except HTTPError as error:
            await self._answer(error)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise HTTPError(403, "Host: this server does not go by that name; see --hosts")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        # A link from elsewhere to the page itself is no harm.
        if foreign or (site not in ("none", "same-origin") and path.startswith("/api/")):
            raise HTTPError(403, "Origin: requests from other sites' pages are refused")
        if self._token is None or not path.startswith("/api/") or path in _OPEN:
            return
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            message = "Authorization: send `Bearer TOKEN` with the server's token"
            raise HTTPError(401, message, {"WWW-Authenticate": "Bearer"})


def _name(host: str) -> str:
    """Returns a Host header without its port."""
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() and name else host).lower()
