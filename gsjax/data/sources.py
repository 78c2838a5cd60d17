"""Where images come from: `photos`, `folder:DIR` and `list:FILE`, as random-access sources."""

import difflib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gsjax.errors import UserError

SPECS = "photos, folder:DIR, list:FILE"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MIN_SIDE = 8  # pixels; smaller files are tracking pixels and icons, not pictures

# The pictures that scikit-image's wheel carries. Those held out are photographs of
# things that no training picture shows: a cat, a cup, a man in a park.
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


class UnreadableImage(Exception):
    """An image file that cannot be used: `name` says which, `reason` says why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


class ImageSource:
    """Image files as a Grain random-access source: `source[i]` is uint8 [h, w, 3], RGB.

    Raises UnreadableImage where file i is no usable image. With `keep`, decoded
    images stay in this process's memory (a pickled copy starts empty).
    """

    def __init__(self, paths: Sequence[str], keep: bool = False):
        self._paths = list(paths)
        self._keep = keep
        self._kept = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index) -> np.ndarray:
        index = int(index)
        image = self._kept.get(index)
        if image is None:
            image = read_image(self._paths[index])
            if self._keep:
                image.flags.writeable = False
                self._kept[index] = image
        return image

    def __getstate__(self):
        return {**self.__dict__, "_kept": {}}

    def __repr__(self):
        return f"ImageSource({len(self)} images)"

    def name(self, index: int) -> str:
        """Returns the path of file `index`."""
        return self._paths[int(index)]


def open_source(spec: str, split: str, field: str, help: str = "") -> ImageSource:
    """Opens the images that a spec names.

    Args:
      spec: `photos`, `folder:DIR` (recursive, sorted, hidden files ignored) or
        `list:FILE` (a path a line, relative to the file's folder; # comments).
      split: "train" or "validation"; `photos` holds some pictures out.
      field: what the user set, for errors, such as "data.train".
      help: how to get the data, added to the error when it is missing.

    Raises:
      UserError: there is no such source, or it holds no image files.
    """
    scheme, _, where = str(spec or "").partition(":")
    if scheme == "photos" and not where:
        return ImageSource(_photos(split, field), keep=True)
    if scheme in ("folder", "list") and where:
        path = Path(where).expanduser()
        try:
            paths = _in_folder(path) if scheme == "folder" else _in_list(path)
        except _Missing as e:
            raise UserError(
                "\n".join(filter(None, [f"{field}: {e}", help, _instead(field)]))
            ) from e
        return ImageSource(paths)
    raise UserError(f"{field}: {_bad_spec(spec, scheme, help)}")


def require_readable(source: ImageSource, field: str) -> None:
    """Raises UserError, naming the first failures, unless one image can be read."""
    failures = []
    for index in range(len(source)):
        try:
            source[index]
            return
        except UnreadableImage as e:
            failures.append(str(e))
    shown = "".join(f"\n  {failure}" for failure in failures[:3])
    raise UserError(f"{field}: none of its {len(source)} images can be read:{shown}")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a file as uint8 [h, w, 3] RGB, turned upright by its EXIF orientation.

    Transparent pixels are composited over white, 16-bit values are scaled to
    8 bits, the first frame of an animation counts.

    Raises:
      UnreadableImage: missing, no image, truncated, or smaller than MIN_SIDE.
    """
    path = os.fspath(path)
    # Decoders meet a broken file with any kind of exception (SyntaxError,
    # struct.error, zlib.error, IndexError, …); none of them may end a training run.
    try:
        with Image.open(path) as opened:
            image = np.array(_to_rgb(ImageOps.exif_transpose(opened)))
    except FileNotFoundError as e:
        raise UnreadableImage(path, "the file does not exist") from e
    except UnidentifiedImageError as e:
        empty = os.path.getsize(path) == 0
        raise UnreadableImage(path, "the file is empty" if empty else "not an image file") from e
    except Exception as e:
        raise UnreadableImage(path, f"{e or type(e).__name__}") from e
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UnreadableImage(path, f"{width}x{height} pixels, fewer than {MIN_SIDE} a side")
    return image


def list_images(folder: str | os.PathLike) -> list[str]:
    """Lists the image files under a folder, recursively and sorted, hidden ones left out.

    Linked folders are followed; each real folder is visited once, so loops end.
    """
    found, visited = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name)
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


class _Missing(Exception):
    """The data that a spec names is not there."""


def _photos(split: str, field: str) -> list[str]:
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{field}: photos needs scikit-image: pip install scikit-image")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    # Other versions of scikit-image may carry fewer of them.
    paths = [str(folder / name) for name in PHOTOS[split] if (folder / name).is_file()]
    if not paths:
        raise UserError(f"{field}: this scikit-image has no photographs in {folder}")
    return paths


def _in_folder(folder: Path) -> list[str]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise _Missing(f"the folder '{folder}' {what}")
    paths = list_images(folder)
    if not paths:
        suffixes = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise _Missing(f"the folder '{folder}' holds no images ({suffixes})")
    return paths


def _in_list(file: Path) -> list[str]:
    if not file.is_file():
        what = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise _Missing(f"the list '{file}' {what}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    except OSError as e:
        raise _Missing(f"the list '{file}' cannot be read: {e.strerror}") from e
    if "\0" in text:
        raise _Missing(f"the list '{file}' is not a text file with one image path a line")
    lines = (line.strip() for line in text.splitlines())
    paths = [str(file.parent / line) for line in lines if line and not line.startswith("#")]
    if not paths:
        raise _Missing(f"the list '{file}' names no image; it needs one path a line")
    return paths


def _bad_spec(spec: str, scheme: str, help: str) -> str:
    if not spec:
        return "\n".join(filter(None, [f"no data is named; there are {SPECS}", help]))
    guess = difflib.get_close_matches(scheme, ("photos", "folder", "list"), n=1)
    if os.path.isdir(spec):
        hint = f"; did you mean folder:{spec}?"
    elif guess and guess[0] != scheme:
        hint = f"; did you mean {guess[0]}?"
    else:
        hint = ""
    return f"'{spec}' is no source of images{hint}\nThere are {SPECS}."


def _instead(field: str) -> str:
    flag = field if field.startswith("--") else f"--config.{field}"
    return f"To use images that lie elsewhere: {flag}=folder:DIR"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        # Pillow's own conversion clips these at 255 instead of scaling them.
        values = np.asarray(image, np.float32)
        top = float(values.max(initial=0.0))
        full = 1.0 if image.mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
        values = np.clip(values * (255.0 / full), 0.0, 255.0)
        image = Image.fromarray(np.rint(values).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
