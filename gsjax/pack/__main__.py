"""Packs a trained inpainter into two small files to share: its parameters and its config.

python -m gsjax.pack --checkpoint=RUN --output=DIR
python -m gsjax.pack --checkpoint=RUN --push=hf:OWNER/NAME

Parameters are stored in half precision in generator.safetensors, a format that cannot contain code.
Every --checkpoint and --config.initial accept DIR and hf:OWNER/NAME, like the run. --push writes
the files to the Hugging Face Hub and adds a model card if the repository has none. It needs
pip install "gsjax[hub]", and a login by `hf auth login` or HF_TOKEN.
"""

import os
import tempfile
from pathlib import Path

from absl import flags

from gsjax import cli
from gsjax.errors import UserError, at
from gsjax.files import check_new_folder

CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "a run's workdir, or a checkpoint in it", required=True
)
OUTPUT = flags.DEFINE_string("output", None, "the folder to write the two files to")
PUSH = flags.DEFINE_string(
    "push", None, "hf:OWNER/NAME, the repository to write to; it is created if need be"
)
PRIVATE = flags.DEFINE_bool("private", False, "a repository that --push creates is private")


def main() -> None:
    """Packs the generator that validated best, or that of a given checkpoint."""
    if not OUTPUT.value and not PUSH.value:
        raise UserError("--output", "it is missing", "give a folder, or --push=hf:OWNER/NAME")
    if PRIVATE.value and not PUSH.value:
        raise UserError(
            "--private", "only a repository can be private", "give --push=hf:OWNER/NAME"
        )
    if OUTPUT.value:
        check_new_folder(os.path.expanduser(OUTPUT.value))
    if PUSH.value:
        _check_push(PUSH.value)

    from gsjax.trained import packed
    from gsjax.trained.load import read_generator

    config, generator = read_generator(CHECKPOINT.value)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(OUTPUT.value or f"{temporary}/packed").expanduser()
        size = f"{packed.write_packed(output, config, generator) / 1e6:.1f} MB"
        if OUTPUT.value:
            print(f"done: {size}; fill with --checkpoint={output}")
        if PUSH.value:
            commit = _push(PUSH.value, output)
            print(f"pushed: {size}; fill with --checkpoint={PUSH.value}@{commit}")


def _check_push(target: str) -> None:
    from gsjax.trained import hub

    with at("--push"):
        if not hub.is_hub(target) or hub.parse(target).revision:
            raise UserError("", f"{target} is not of the form hf:OWNER/NAME")
        hub.check_installed(target)


def _push(target: str, folder: Path) -> str:
    """Pushes a packed folder; returns the commit."""
    from gsjax.pack.card import write_card
    from gsjax.trained import hub
    from gsjax.trained.load import read_generator

    repository = hub.parse(target)
    card = write_card(repository.name, *read_generator(folder))
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    with at("--push"):
        return hub.push(repository, files, card, PRIVATE.value)


if __name__ == "__main__":
    cli.run(main)
