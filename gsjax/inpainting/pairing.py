"""Pairs pictures with masks and outputs."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from gsjax.data.mask_files import MaskMatcher, describe, is_marked
from gsjax.data.sources import list_images, unlisted_files
from gsjax.errors import UserError, at
from gsjax.inpainting.pictures import FORMATS, NAMES


class Job(NamedTuple):
    """A picture to fill.

    Attributes:
      image: the file of the picture.
      mask: the file of its mask; None to use the alpha channel.
      output: the file to write.
      problem: why it cannot be filled, if that is already known.
      avoid: the file of the mask of what must not be copied, if there is one.
    """

    image: Path
    mask: Path | None
    output: Path
    problem: str | None = None
    avoid: Path | None = None


def single_job(image: Path, mask: Path | None, output: Path, suffix: str | None) -> Job:
    """Returns the job for one file; in an output folder, the file has the name of the input.

    Raises:
      UserError: a file is missing, or the output cannot be written.
    """
    if mask is not None:
        with at("--mask"):
            _check_file(mask)
    if output.is_dir():
        output = output / _output_name(image, suffix).name
    elif suffix and FORMATS[suffix] != FORMATS.get(output.suffix.lower()):
        raise UserError(
            "--format", f"{suffix[1:]} does not fit --output={output}", "give one of them"
        )
    if output.suffix.lower() not in FORMATS:
        raise UserError(
            "--output", f"{output} does not have the suffix of a {NAMES} file", "name it .png"
        )
    same = [file for file in (image, mask) if file is not None and _is_same(file, output)]
    if same:
        raise UserError("--output", f"{output} is an input", "write to another file")
    return Job(image, mask, output)


def folder_jobs(images: Path, masks: Path | None, output: Path, suffix: str | None) -> list[Job]:
    """Returns the jobs for all pictures in a folder and its subfolders, in alphabetical order.

    Masks are named as `MaskMatcher` says, and are at the same relative path in the folder of
    masks; if that is the folder of pictures, only names with `_mask` count. A mask that is a file
    applies to all pictures.

    Raises:
      UserError: no picture has a mask, or the output is one of the input folders.
    """
    if output.exists() and not output.is_dir():
        raise UserError(
            "--output", f"{output} is a file", "for a folder of images it must be a folder"
        )
    if masks is not None and not masks.is_dir():
        with at("--mask"):
            _check_file(masks)
    inputs = {"--image": images} | ({"--mask": masks} if masks and masks.is_dir() else {})
    for flag, folder in inputs.items():
        if output.exists() and _is_same(folder, output):
            raise UserError("--output", f"{output} is the folder of {flag}", "write to another")
        if folder.resolve() in output.resolve().parents:
            raise UserError(
                "--output", f"{output} is inside the folder of {flag}", "write to another"
            )
    beside = masks is not None and masks.is_dir() and _is_same(images, masks)
    files = [Path(file) for file in list_images(images)]
    if beside:
        files = [file for file in files if not is_marked(file.stem)]
    if not files:
        unread = unlisted_files(images)
        raise UserError("--image", f"the folder {images} holds no {NAMES} files", unread or "")
    matcher = None
    if masks is not None and masks.is_dir():
        matcher = MaskMatcher(list_images(masks), masks, marked=beside)
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for file in files:
        place = file.relative_to(images)
        target = output / _output_name(place, suffix)
        mask, problem = masks, None
        if matcher is not None:
            mask, problem = _mask_of(matcher, place.with_suffix(""))
        if target in taken:
            problem = f"its output would be that of {taken[target]}, {target}"
        taken.setdefault(target, file)
        jobs.append(Job(file, mask, target, problem))
    if all(job.problem for job in jobs):
        raise UserError("--mask", "no image has a mask", f"{jobs[0].image}: {jobs[0].problem}")
    return jobs


def add_avoid_masks(jobs: list[Job], images: Path, avoid: Path) -> list[Job]:
    """Returns jobs with masks of what must not be copied.

    Args:
      jobs: for `images`.
      images: a file, or a folder.
      avoid: a mask for all pictures; or, if `images` is a folder, a folder with masks named as
        `MaskMatcher` says. A picture without a mask there avoids nothing.

    Raises:
      UserError: there is no such file, or none of the masks belongs to a picture.
    """
    if not (avoid.is_dir() and images.is_dir()):
        with at("--avoid"):
            _check_file(avoid)
        return [job._replace(avoid=avoid) for job in jobs]
    matcher = MaskMatcher(list_images(avoid), avoid)
    done = []
    for job in jobs:
        masks = matcher.find(job.image.relative_to(images).with_suffix(""))
        problem = job.problem or (f"--avoid: {describe(masks)}" if len(masks) > 1 else None)
        done.append(job._replace(avoid=masks[0] if masks else None, problem=problem))
    if not any(job.avoid for job in done):
        raise UserError("--avoid", f"the folder {avoid} has no mask for any image")
    return done


def unmatched_masks(jobs: list[Job], masks: Path) -> list[str]:
    """Returns the files in a folder of masks that belong to no image."""
    used = {str(job.mask) for job in jobs} | {str(job.image) for job in jobs}
    mentioned = " ".join(job.problem or "" for job in jobs)
    return [file for file in list_images(masks) if file not in used and file not in mentioned]


def remove_leftovers(jobs: list[Job]) -> None:
    """Removes half-written files of a killed run beside the outputs of jobs."""
    names: dict[Path, set[str]] = {}
    for job in jobs:
        names.setdefault(job.output.parent, set()).add(job.output.name)
    for folder, own in names.items():
        if not folder.is_dir():
            continue
        for entry in os.scandir(folder):
            # As gsjax.files.write_atomically names them.
            match = re.match(r"\.(.+)\.\d+\.tmp$", entry.name)
            if match and match[1] in own:
                os.unlink(entry.path)


def _output_name(image: Path, suffix: str | None) -> Path:
    """Returns an image's name with the suffix of its output; .png if its format is read-only."""
    own = image.suffix if image.suffix.lower() in FORMATS else ".png"
    return image.with_suffix(suffix or own)


def _mask_of(matcher: MaskMatcher, place: Path) -> tuple[Path | None, str | None]:
    """Returns an image's mask, or None and the reason."""
    masks = matcher.find(place)
    if len(masks) == 1:
        return masks[0], None
    return None, describe(masks) if masks else matcher.expected(place)


def _check_file(path: Path) -> None:
    if not path.is_file():
        if path.is_dir():
            raise UserError(path, "this is a folder", "that needs a folder of images")
        raise UserError(path, "it does not exist")


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)
