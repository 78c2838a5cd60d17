"""What a client has done wrong, or the server cannot do now, as an HTTP status and one line."""

import re

from gsjax.data.containers import TooLarge
from gsjax.errors import UserError


class HTTPError(Exception):
    """An answer other than success; its text is for people.

    Attributes:
      status: of HTTP.
      headers: of the answer, beside the usual ones.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def of_user(error: UserError) -> HTTPError:
    """Returns the answer to inputs that cannot be used."""
    if isinstance(error.__cause__, TooLarge):
        limit, _, _ = str(error).partition(";")
        return HTTPError(413, f"{limit}, the most that this server takes")
    return HTTPError(422, plain(str(error)))


def plain(message: str) -> str:
    """Returns a message for clients, whose fields are the command's flags without dashes."""
    return re.sub(r"--(?=[a-z])", "", message)
