"""Downloads published weights by name into a cache, and checks their hash."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from gsjax.errors import UserError
from gsjax.progress import progress_bar


class Remote(NamedTuple):
    """A published file."""

    url: str
    sha256: str


def _hugging_face(model: str, revision: str, sha256: str) -> Remote:
    # The Hub's own programs read this variable to use a mirror.
    server = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    return Remote(f"{server}/facebook/{model}/resolve/{revision}/model.safetensors", sha256)


# The weights of DINOv2 (Apache-2.0) by their names in the official repository. All but one
# come as .safetensors, which do not need PyTorch.
REMOTE = {
    "dinov2_vits14": _hugging_face(
        "dinov2-small",
        "ed25f3a31f01632728cabb09d1542f84ab7b0056",
        "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
    ),
    "dinov2_vitb14": _hugging_face(
        "dinov2-base",
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        "d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
    ),
    "dinov2_vitl14": _hugging_face(
        "dinov2-large",
        "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
    ),
    "dinov2_vitg14": _hugging_face(
        "dinov2-giant",
        "611a9d42f2335e0f921f1e313ad3c1b7178d206d",
        "917d3c470db999d32a312f8542149be91c7cbac61ee8fb4b67ae3d82b79ce21f",
    ),
    "dinov2_vits14_reg": Remote(
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth",
        "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    ),
    "dinov2_vitb14_reg": _hugging_face(
        "dinov2-with-registers-base",
        "a1d738ccfa7ae170945f210395d99dde8adb1805",
        "7a6f7b3b9fa4b8732e707476a03cd6cdce210048582f21aafb7991c17d98e362",
    ),
    "dinov2_vitl14_reg": _hugging_face(
        "dinov2-with-registers-large",
        "e4c89a4e05589de9b3e188688a303d0f3c04d0f3",
        "edccedab2c4e164e80833096de89a32a6e8d7365870499a066a61dbc8894b42b",
    ),
    "dinov2_vitg14_reg": _hugging_face(
        "dinov2-with-registers-giant",
        "8d0d49f77fb8b5dd78842496ff14afe7dd4d85cb",
        "c03832d44691e99b62ae28c4dfa2f134853a3614b3756c94f525109cce5a5051",
    ),
}
# The classifiers of torchvision (BSD-3-Clause) and the linear heads of LPIPS 0.1 (BSD-2-Clause).
_HEADS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
)
REMOTE |= {
    "alexnet": Remote(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "vgg16": Remote(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "squeezenet1_1": Remote(
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    ),
    "lpips_alex": Remote(
        f"{_HEADS}/alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
    ),
    "lpips_vgg": Remote(
        f"{_HEADS}/vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
    ),
    "lpips_squeeze": Remote(
        f"{_HEADS}/squeeze.pth", "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76"
    ),
    # FID's Inception (Apache-2.0), ported from TensorFlow by pytorch-fid.
    "inception": Remote(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
}


def cache_folder() -> Path:
    """Returns the folder of downloads: $GSJAX_CACHE or the user's cache."""
    import platformdirs

    folder = os.environ.get("GSJAX_CACHE") or platformdirs.user_cache_dir("gsjax")
    return Path(folder).expanduser()


def cached_path(name: str) -> Path:
    """Returns the path of a download, whether or not it exists yet."""
    return cache_folder() / (name + Path(REMOTE[name].url).suffix)


def fetch(name: str) -> Path:
    """Returns the path of published weights, and downloads them if they are not in the cache.

    An interrupted download resumes where it stopped. A file gets its name in the cache only
    once its hash is verified, and a damaged one is replaced. Of several processes that need
    the same file, one downloads it and the others wait.

    Args:
      name: one of `REMOTE`.

    Raises:
      UserError: it cannot be downloaded or stored. The message says what to download by hand
        and where to put it.
    """
    import filelock
    import requests

    remote, path = REMOTE[name], cached_path(name)
    try:
        if _is_whole(path, remote):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock"):
            # Another process may have fetched it by now.
            if not _is_whole(path, remote):
                _download(name, remote, path)
        return path
    except requests.exceptions.RequestException as error:
        was = "is damaged" if path.exists() else "is not in the cache"
        raise UserError(
            name,
            f"it {was} and could not be downloaded ({_reason(error)}).",
            f"\nDownload {remote.url}\n(SHA-256 {remote.sha256})\nelsewhere and put it at {path}",
        ) from error
    except OSError as error:
        raise UserError(
            name,
            f"it cannot be stored in {path.parent}: {error.strerror or error}",
            "point the environment variable GSJAX_CACHE to another folder",
        ) from error


def _is_whole(path: Path, remote: Remote) -> bool:
    if not path.exists():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == remote.sha256


def _download(name: str, remote: Remote, path: Path) -> None:
    """Completes the download, and moves it to `path` if its hash is right."""
    import requests

    part = path.with_name(f"{path.name}.{remote.sha256[:8]}.part")
    resumes = part.exists()
    _fetch_rest(name, remote.url, part)
    if not _is_whole(part, remote) and resumes:  # the earlier part may be the damaged one
        part.unlink()
        _fetch_rest(name, remote.url, part)
    if not _is_whole(part, remote):
        part.unlink()
        raise requests.exceptions.InvalidSchema("the server sent another file than expected")
    os.replace(part, path)


def _fetch_rest(name: str, url: str, part: Path) -> None:
    """Downloads the bytes that `part` lacks, and appends them."""
    import requests

    done = part.stat().st_size if part.exists() else 0
    # With compression, the offset and size would not be those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is missing; the hash is checked next
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            done = 0
        total = done + int(response.headers.get("Content-Length", 0))
        bar = progress_bar(total, done, f"fetching {name}", unit="B", unit_scale=True)
        with bar, open(part, "ab" if done else "wb") as file:
            for chunk in response.iter_content(2**16):
                file.write(chunk)
                bar.update(len(chunk))


def _reason(error: Exception) -> str:
    """Returns the cause in a few words; requests wraps it in several layers of exceptions."""
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off; the same command resumes there"
    if type(error) is requests.exceptions.ConnectionError:
        return "no connection"
    return str(error) or type(error).__name__
