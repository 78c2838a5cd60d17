"""What the losses of large holes make of known mistakes, and what their gradients cost.

python -m benchmarks.losses --dino=NAME|FOLDER [--rounds=N]

On crops of four photographs of scikit-image at 128×128, with a hole in the middle 64×64. The fills
are the photograph itself with something added, or its push-pull fill. Known pixels are those of the
photograph throughout (`loss.composite`).
"""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from absl import flags

from benchmarks import measure
from gsjax import cli
from gsjax import config as configs
from gsjax.evaluation.semantics import describe, load_dino
from gsjax.models import losses
from gsjax.models.coarse_fill import push_pull
from gsjax.models.semantic import make_patch_tokens

DINO = flags.DEFINE_string("dino", None, "the DINO of loss.dino: a published name or a folder")
flags.mark_flag_as_required("dino")
flags.declare_key_flag("rounds")

TERMS = ("hole_l1", "spectrum", "dino")
SIDE, DINO_SIDE = 128, 112
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")


def main() -> None:
    """Measures and prints."""
    module, variables = load_dino(DINO.value)
    config = configs.default()
    config.loss.composite, config.dino.image_size = True, DINO_SIDE
    tokens = functools.partial(make_patch_tokens(config.dino, module), variables)
    images = photographs()
    known = np.ones((*images.shape[:3], 1), np.float32)
    known[:, SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 0

    def term(name, drawn, images, known):
        seen = losses.Seen(config.loss, images, known, drawn, patch_tokens=tokens)
        return losses.TERMS[name].function(seen)

    values = jax.jit(lambda *arrays: {name: term(name, *arrays) for name in TERMS})
    made = fills(images, known)
    rows = [
        {"fill": name} | {column: f"{each[column]:.5f}" for column in TERMS}
        for name, each in ((name, values(fill, images, known)) for name, fill in made.items())
    ]
    print(f"{measure.device_name()}; {describe(module)}, shown {DINO_SIDE}×{DINO_SIDE}")
    print(measure.table(rows))
    few = tuple(jnp.asarray(array[:4]) for array in (1 - images, images, known))
    gradients = {name: (jax.grad(functools.partial(term, name)), few) for name in TERMS}
    for name, took in measure.compare(gradients, measure.ROUNDS.value).items():
        print(f"{name}: {1e3 * took.seconds / len(few[0]):.1f} ms an image, backward included")


def photographs() -> np.ndarray:
    """Returns crops of 60 to 90 % of each photograph's shorter side, four of each."""
    rng, crops = np.random.default_rng(0), []
    for name in PHOTOGRAPHS:
        photo = getattr(skimage.data, name)()
        for part in (0.6, 0.7, 0.8, 0.9):
            side = int(part * min(photo.shape[:2]))
            y, x = (rng.integers(0, whole - side + 1) for whole in photo.shape[:2])
            crop = photo[y : y + side, x : x + side]
            crops.append(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(crops).astype(np.float32) / 255


def fills(images: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Returns fills by name; what is added has a standard deviation of 0.03."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    lines = ((y % 16 == 0) | (x % 16 == 0)).astype(np.float32)
    added = {
        "chessboard": 2 * ((y + x) % 2) - 1,
        "ripples of 8 px": np.sqrt(2) * np.sin(2 * np.pi * x / 8),
        "grid of 16 px": (lines - lines.mean()) / lines.std(),
    }
    added = {name: pattern[None, ..., None] for name, pattern in added.items()}
    added["noise"] = np.random.default_rng(1).standard_normal(images.shape)
    detail = images - np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in images])
    smooth = np.asarray(push_pull(images * known, known))
    drawn = {"smooth": smooth, "smooth + detail moved by 8 px": smooth + np.roll(detail, 8, 1)}
    for base, pixels in (("photograph", images), ("smooth", smooth)):
        drawn |= {f"{base} + {name}": pixels + 0.03 * what for name, what in added.items()}
    drawn |= {"photograph, moved 4 px": np.roll(images, 4, 2), "mirrored": images[:, :, ::-1]}
    drawn["another photograph"] = np.roll(images, 4, 0)
    return {name: fill.astype(np.float32) for name, fill in drawn.items()}


if __name__ == "__main__":
    cli.run(main)
