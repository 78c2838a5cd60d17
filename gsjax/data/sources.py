"""Opens datasets, named by a spec, as random-access sources of images.

photos                the photographs in scikit-image
folder:DIR            image files, recursive, sorted, without hidden ones
list:FILE             a file with one path per line, relative to its folder; # starts a comment
array_record:GLOB     shards of gsjax.data.prepare or other tools, see `records`
tfds:NAME[:SPLIT]     a dataset of TensorFlow Datasets, see `tfds`

DIR, FILE and GLOB are local, or have a scheme, such as gs://bucket/folder.
"""

import difflib
import functools
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from gsjax.data import records, remote, tfds
from gsjax.data.images import ImageSource, MissingData, UnreadableImage
from gsjax.data.reader import missing_decoder
from gsjax.errors import UserError, at

SPECS = "photos, folder:DIR, list:FILE, array_record:GLOB, tfds:NAME[:SPLIT]"
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif",
    ".hif",
)  # fmt: skip
_DECODERS = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}

# The photographs in scikit-image's wheel. Those for validation show things that no training
# photograph shows: a cat, a cup, a man in a park.
PHOTOS = {
    "train": (
        "astronaut.png",
        "rocket.jpg",
        "motorcycle_left.png",  # a stereo pair: both must be in the same split
        "motorcycle_right.png",
        "retina.jpg",
        "hubble_deep_field.jpg",
        "ihc.png",
        "coins.png",
        "moon.png",
        "brick.png",
        "grass.png",
        "gravel.png",
    ),
    "validation": ("chelsea.png", "coffee.png", "camera.png"),
}


class FileSource(ImageSource):
    """Image files; with `keep`, decoded images are cached in memory, but not pickled.

    `paths` are local or have a scheme; their short names are relative to `folder`.
    """

    def __init__(self, paths: Sequence[str], keep: bool = False, folder: str = ""):
        self._paths = list(paths)
        self._folder = folder
        self._keep = keep
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index) -> np.ndarray:
        image = self._kept.get(int(index))
        if image is None:
            image = super().__getitem__(index)
            if self._keep:
                image.flags.writeable = False
                self._kept[int(index)] = image
        return image

    def __getstate__(self):
        return {**self.__dict__, "_kept": {}}

    def name(self, index: int) -> str:
        """Returns the path of file `index`, with bytes that are not UTF-8 replaced."""
        return _readable(self._paths[int(index)])

    def short_name(self, index: int) -> str:
        """Returns the path of file `index`, relative to the folder."""
        name = self.name(index).removeprefix(_readable(self._folder))
        return name.lstrip("/" if self._folder else "")

    def encoded(self, index: int) -> bytes:
        """Returns the content of file `index`."""
        return _read(self._paths[int(index)])

    def identity(self) -> str:
        """Returns a hash of all paths."""
        return hashlib.sha256("\n".join(self._paths).encode(errors="replace")).hexdigest()


def open_source(spec: str, split: str, field: str, help: str = "") -> ImageSource:
    """Opens the images that a spec names.

    Args:
      spec: see above.
      split: "train" or "validation"; selects photographs of `photos`, and is the default split of
        `tfds:NAME`.
      field: what the user set, for errors, such as "data.train".
      help: how to get the data; added to the error if it is missing.

    Raises:
      UserError: there is no such source, or it has no images.
    """
    try:
        with at(field):
            return _open(spec, split, help)
    except MissingData as e:
        remedy = "\n".join(filter(None, [help, _other_data_hint(field)]))
        raise UserError(field, e, f"\n{remedy}") from e


def _open(spec: str, split: str, help: str) -> ImageSource:
    scheme, _, where = str(spec or "").partition(":")
    if scheme == "photos" and not where:
        paths = _photos(split)
        return FileSource(paths, keep=True, folder=os.path.dirname(paths[0]))
    if scheme in ("folder", "list", "array_record") and where:
        where = where if remote.is_remote(where) else os.path.expanduser(where)
        remote.check_scheme(where)
        if scheme == "array_record":
            return records.open_records(where)
        if scheme == "folder":
            return FileSource(_folder_paths(where), folder=where)
        return FileSource(_listed_paths(where))
    if scheme == "tfds" and where:
        return tfds.open_tfds(where, split)
    raise _bad_spec(spec, scheme, help)


def require_readable(source: ImageSource) -> None:
    """Raises UserError, which names the first failures, unless an image can be read."""
    failures = []
    for index in range(len(source)):
        try:
            source[index]
            return
        except UnreadableImage as e:
            failures.append(str(e))
    shown = "".join(f"\n  {failure}" for failure in failures[:3])
    raise UserError("", f"none of its {len(source)} images can be read:{shown}")


def list_images(folder: str | os.PathLike) -> list[str]:
    """Lists the image files under a folder, recursively and sorted, without hidden ones.

    Links to folders are followed; each real folder is visited only once, so there are no loops.
    """
    return [file for file in _all_files(folder) if file.lower().endswith(_readable_suffixes())]


def unlisted_files(folder: str | os.PathLike) -> str | None:
    """Returns a note about the files that `list_images` ignores; None if there are none."""
    suffixes = _readable_suffixes()
    files = [file for file in _all_files(folder) if not file.lower().endswith(suffixes)]
    if not files:
        return None
    kinds = ", ".join(sorted({suffix[1:] for suffix in suffixes}))
    are = "1 file is" if len(files) == 1 else f"{len(files)} files are"
    first = next((file for file in files if file.lower().endswith(SUFFIXES)), files[0])
    missing = missing_decoder(_DECODERS.get(os.path.splitext(first)[1].lower(), ""))
    text = f"{are} none of {kinds} and left out, the first {_readable(first)}"
    return f"{text}: {missing}" if missing else text


@functools.cache
def _readable_suffixes() -> tuple[str, ...]:
    return tuple(s for s in SUFFIXES if not missing_decoder(_DECODERS.get(s, "")))


def _all_files(folder: str | os.PathLike) -> list[str]:
    paths: list[str] = []
    visited: set[str] = set()
    for parent, folders, files in os.walk(os.fspath(folder), followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [os.path.join(parent, name) for name in files if not name.startswith(".")]
    return sorted(paths)


def _readable(path: str) -> str:
    """Returns a printable path: old collections have names in other encodings."""
    return os.fsencode(path).decode(errors="replace")


def _read(path: str) -> bytes:
    try:
        return remote.read(path)
    except FileNotFoundError as e:
        raise UnreadableImage(_readable(path), "the file does not exist") from e
    except Exception as e:  # of a remote file system, anything
        raise UnreadableImage(_readable(path), f"{getattr(e, 'strerror', None) or e}") from e


def _photos(split: str) -> list[str]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("", "photos needs scikit-image", "pip install scikit-image")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    # Other versions of scikit-image may have fewer of them.
    paths = [str(folder / name) for name in PHOTOS[split] if (folder / name).is_file()]
    if not paths:
        raise UserError("", f"this scikit-image has no photographs in {folder}")
    return paths


def _folder_paths(folder: str) -> list[str]:
    if remote.is_remote(folder):
        paths = [path for path in remote.listing(folder, remote.walk) if _is_shown(path, folder)]
    elif os.path.isdir(folder):
        paths = list_images(folder)
    else:
        what = "is a file, not a folder" if os.path.exists(folder) else "does not exist"
        raise MissingData(f"the folder '{folder}' {what}")
    if not paths:
        suffixes = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise MissingData(f"the folder '{folder}' holds no images ({suffixes})")
    if not remote.is_remote(folder) and (unread := unlisted_files(folder)):
        logging.warning("%s: %s", folder, unread)
    return paths


def _is_shown(path: str, folder: str) -> bool:
    """Returns whether a file under a remote folder is an image and not hidden."""
    parts = path.removeprefix(folder).split("/")
    return path.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in parts)


def _listed_paths(file: str) -> list[str]:
    try:
        text = remote.read(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    except FileNotFoundError as e:
        raise MissingData(f"the list '{file}' does not exist") from e
    except IsADirectoryError as e:
        raise MissingData(f"the list '{file}' is a folder, not a file") from e
    except Exception as e:  # of a remote file system, anything
        raise MissingData(
            f"the list '{file}' cannot be read: {getattr(e, 'strerror', 0) or e}"
        ) from e
    if "\0" in text:
        raise MissingData(f"the list '{file}' is not a text file with one image path a line")
    lines = (line.strip() for line in text.splitlines())
    folder = file.rpartition("/")[0] if remote.is_remote(file) else os.path.dirname(file)
    paths = [remote.join(folder, line) for line in lines if line and not line.startswith("#")]
    if not paths:
        raise MissingData(f"the list '{file}' names no image; it needs one path a line")
    return paths


def _bad_spec(spec: str, scheme: str, help: str) -> UserError:
    if not spec:
        return UserError("", "no data is named", "\n".join([f"there are {SPECS}", help]).strip())
    schemes = [other.partition(":")[0] for other in SPECS.split(", ")]
    guess = difflib.get_close_matches(scheme, schemes, n=1)
    if os.path.isdir(spec):
        hint = f"did you mean folder:{spec}?"
    elif guess and guess[0] != scheme:
        hint = f"did you mean {guess[0]}?"
    else:
        hint = ""
    return UserError("", f"'{spec}' is not a source of images", f"{hint}\nThere are {SPECS}.")


def _other_data_hint(field: str) -> str:
    flag = field if field.startswith("--") else f"--config.{field}"
    return f"To use images that lie elsewhere: {flag}=folder:DIR"
