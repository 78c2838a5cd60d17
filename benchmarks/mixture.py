"""Speed and memory of the mixture of atoms: every backend against the direct formula.

python -m benchmarks.mixture [--output=FILE.jsonl]

The floor counts, for each pair of a query and an atom, one exponential and the multiply-adds
around it: D + C + 1 forward and 3 D + 2 C + 2 more backward; see benchmarks.rasterize.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import measure
from gsjax import cli
from gsjax.mixture import mix, reference

PATCHES = flags.DEFINE_integer("patches", 256, "patches; 256 of 16 pixels are an image of 256²")
GAUSSIANS = flags.DEFINE_integer("gaussians", 324, "Gaussians a patch, each with a query")
ATOMS = flags.DEFINE_integer("atoms", 730, "atoms in the dictionary")
FEATURES = flags.DEFINE_integer("features", 12, "channels of queries and keys")
BACKENDS = flags.DEFINE_list("backends", ["xla"], "backends beside the direct formula")
ROUNDS = flags.DEFINE_integer("rounds", 9, "timed runs of each program")
OUTPUT = flags.DEFINE_string("output", None, "a file to add the rows to, as JSON lines")


def main() -> None:
    """Measures and prints."""
    lead, atoms, d, c = (PATCHES.value, GAUSSIANS.value), ATOMS.value, FEATURES.value, 3
    rng = np.random.default_rng(0)
    shapes = ((*lead, d), (atoms, d), (atoms, c))
    arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    error = jnp.asarray(rng.normal(size=(*lead, c)), jnp.float32)

    def both(way):
        def program(*arrays):
            mixed, pull = jax.vjp(way, *arrays)
            # As in training, the error follows from the result; else both passes run at once.
            return mixed, pull(mixed * error)

        return program

    ways = {"direct": reference.mix}
    for backend in BACKENDS.value:
        ways[backend] = lambda *arrays, backend=backend: mix(*arrays, backend)
    pairs = lead[0] * lead[1] * atoms
    measure.compare_ways(
        {"op": "mixture", "patches": lead[0], "gaussians": lead[1], "atoms": atoms, "features": d},
        {name: (way, arrays) for name, way in ways.items()},
        {name: (both(way), arrays) for name, way in ways.items()},
        ((pairs, (d + c + 1) * pairs), (2 * pairs, (4 * d + 3 * c + 3) * pairs)),
        ROUNDS.value,
        OUTPUT.value,
    )


if __name__ == "__main__":
    cli.run(main)
