"""Packed inpainters on the Hugging Face Hub: hf:OWNER/NAME[@REVISION].

Only the config, which is JSON, and the parameters, which are safetensors, are downloaded, into the
Hub's own cache. A revision is resolved to a commit once per process, and both files are of that
commit. If the Hub is unreachable, the commit is the last one that the cache has of the revision.
HF_ENDPOINT and HF_TOKEN have their usual meaning.
"""

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from gsjax.config import saved
from gsjax.errors import UserError, first_line
from gsjax.trained import packed

PREFIX = "hf:"
_NAME = r"\w[\w.-]*"


class Repository(NamedTuple):
    """A repository on the Hub.

    Attributes:
      name: OWNER/NAME.
      revision: a branch, tag or commit; None: the newest commit of the main branch.
    """

    name: str
    revision: str | None


def is_hub(path: str | os.PathLike) -> bool:
    """Returns whether the path is one on the Hub."""
    return os.fspath(path).startswith(PREFIX)


def parse(path: str) -> Repository:
    """Returns the repository of hf:OWNER/NAME[@REVISION].

    Raises:
      UserError: it is not of this form.
    """
    match = re.fullmatch(rf"({_NAME}/{_NAME})(?:@(\w[\w./-]*))?", path.removeprefix(PREFIX))
    if not match or len(match[1]) > 96 or ".." in path or "--" in match[1]:
        raise UserError("", f"{path} is not of the form hf:OWNER/NAME[@REVISION]")
    return Repository(match[1], match[2])


def check_installed(path: str) -> None:
    """Raises UserError unless huggingface_hub is installed."""
    with explained(parse(path)):
        import huggingface_hub  # noqa: F401


@functools.cache
def download(path: str) -> Path:
    """Returns the folder with a packed inpainter of the Hub, from its cache or else the network.

    Raises:
      UserError: it cannot be had; says what to do.
    """
    repository = parse(path)
    with explained(repository):
        from huggingface_hub import hf_hub_download

        def fetch(file: str, revision: str | None) -> Path:
            path = hf_hub_download(
                repository.name, file, revision=revision, endpoint=_endpoint(), library_name="gsjax"
            )
            return Path(path)

        folder = fetch(saved.CONFIG, repository.revision).parent  # the Hub's cache: one a commit
        logging.info("%s%s is at commit %s", PREFIX, repository.name, folder.name)
        fetch(packed.FILE, folder.name)
    return folder


def push(repository: Repository, files: Mapping[str, bytes], card: str, private: bool) -> str:
    """Writes files to a repository, which is created if need be; returns the commit.

    Args:
      repository: has no revision.
      files: contents by name.
      card: the README.md of a repository that has none; another is left as it is.
      private: whether a repository that is created is private.

    Raises:
      UserError: it cannot be written; says what to do.
    """
    with explained(repository):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(endpoint=_endpoint(), library_name="gsjax")
        api.create_repo(repository.name, private=private, exist_ok=True)
        contents = dict(files)
        if not api.file_exists(repository.name, "README.md"):
            contents["README.md"] = card.encode()
        operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
        message = "A packed inpainter of gsjax"
        return api.create_commit(repository.name, operations, commit_message=message).oid


@contextlib.contextmanager
def explained(repository: Repository) -> Iterator[None]:
    """Turns what huggingface_hub raises within into a UserError of one line."""
    where = f"{PREFIX}{repository.name}"
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "huggingface_hub":
            raise
        raise UserError("", f"{where} needs huggingface_hub", 'pip install "gsjax[hub]"') from error
    except Exception as error:  # of many classes, which differ between versions
        what, remedy = _explanation(error, repository)
        raise UserError("", f"{where}: {what}", remedy) from error


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None  # huggingface_hub reads it when imported


def _explanation(error: Any, repository: Repository) -> tuple[str, str]:
    """Returns what is wrong and the remedy."""
    from huggingface_hub import errors

    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return "access to it must be granted", f"ask for it on its page, and {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "it does not exist, or is private", f"check the name; if it is private, {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {repository.revision!r}", "see its branches, tags and commits"
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        files = f"{saved.CONFIG} and {packed.FILE}"
        return f"it is not a packed inpainter, which has {files}", "gsjax.pack makes one"
    if status in (401, 403):
        return f"the Hub refuses access (HTTP status {status})", f"{log_in}, with the rights needed"
    if status is not None:
        return f"the Hub answered with HTTP status {status}", "try again later"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return "a token is needed", log_in
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"cannot write {error.filename}: {error.strerror}", "set HF_HOME to another folder"
    what = f"the Hub cannot be reached and the files are not in its cache ({first_line(error)})"
    return what, "connect to the network, or give a folder that gsjax.pack wrote"
