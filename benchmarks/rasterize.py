"""Speed and memory of splatting: every backend against the direct formula, in one run.

python -m benchmarks.rasterize [--output=FILE.jsonl]

For each pair of a pixel and a Gaussian, the floor counts one exponential per pass, and 7 + C
multiply-adds forward and 17 + 2 C backward. Exponentials and multiply-adds are each timed alone
on this machine. The floor is the larger of the two times on devices with separate units for them
(GPU, TPU), and their sum on others (CPU).
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import measure
from gsjax import cli
from gsjax.kernels.rasterizer import rasterize, reference

SIDE = flags.DEFINE_integer("side", 18, "side of a patch in pixels, with overlap", lower_bound=1)
CHANNELS = flags.DEFINE_integer("channels", 3, "color channels", lower_bound=1)
flags.adopt_module_key_flags(measure)


def main() -> None:
    """Measures and prints."""
    patches, n, c = measure.PATCHES.value, measure.GAUSSIANS.value, CHANNELS.value
    patch = (SIDE.value, SIDE.value)
    rng = np.random.default_rng(0)
    gaussians = [
        jnp.asarray(array, jnp.float32)
        for array in (
            rng.uniform(0, SIDE.value, (patches, n, 2)),
            rng.uniform(0.4, 2.0, (patches, n, 3)),
            rng.normal(size=(patches, n, c)),
        )
    ]
    error = jnp.asarray(rng.normal(size=(patches, *patch, c)), jnp.float32)

    def forward(draw):
        return lambda *gaussians: draw(*gaussians, patch)

    def both(draw):
        def program(*gaussians):
            image, pull = jax.vjp(forward(draw), *gaussians)
            # As in training, the error depends on the image; otherwise XLA merges both passes.
            return image, pull(image * error)

        return program

    ways = measure.ways(reference.rasterize, rasterize)
    pairs = patches * n * patch[0] * patch[1]
    measure.compare_ways(
        {"op": "rasterize", "patches": patches, "gaussians": n, "side": SIDE.value, "channels": c},
        {name: (forward(draw), gaussians) for name, draw in ways.items()},
        {name: (both(draw), gaussians) for name, draw in ways.items()},
        # exponentials and multiply-adds: forward, then both passes
        ((pairs, (7 + c) * pairs), (2 * pairs, (7 + c + 17 + 2 * c) * pairs)),
    )


if __name__ == "__main__":
    cli.run(main)
