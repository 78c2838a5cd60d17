"""Speed and memory of the mixture of atoms: every backend against the direct formula.

python -m benchmarks.mixture [--output=FILE.jsonl]

For each pair of a query and an atom, the floor counts one exponential per pass, and D + C + 1
multiply-adds forward and 3 D + 2 C + 2 backward; see benchmarks.rasterize.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import measure
from gsjax import cli
from gsjax.kernels.mixture import mix, reference

ATOMS = flags.DEFINE_integer("atoms", 730, "atoms in the dictionary", lower_bound=1)
FEATURES = flags.DEFINE_integer("features", 12, "channels of queries and keys", lower_bound=1)
flags.adopt_module_key_flags(measure)


def main() -> None:
    """Measures and prints."""
    lead, atoms, d, c = (
        (measure.PATCHES.value, measure.GAUSSIANS.value),
        ATOMS.value,
        FEATURES.value,
        3,
    )
    rng = np.random.default_rng(0)
    shapes = ((*lead, d), (atoms, d), (atoms, c))
    arrays = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    error = jnp.asarray(rng.normal(size=(*lead, c)), jnp.float32)

    def both(way):
        def program(*arrays):
            mixed, pull = jax.vjp(way, *arrays)
            # As in training, the error depends on the result; otherwise XLA merges both passes.
            return mixed, pull(mixed * error)

        return program

    ways = measure.ways(reference.mix, mix)
    pairs = lead[0] * lead[1] * atoms
    measure.compare_ways(
        {"op": "mixture", "patches": lead[0], "gaussians": lead[1], "atoms": atoms, "features": d},
        {name: (way, arrays) for name, way in ways.items()},
        {name: (both(way), arrays) for name, way in ways.items()},
        ((pairs, (d + c + 1) * pairs), (2 * pairs, (4 * d + 3 * c + 3) * pairs)),
    )


if __name__ == "__main__":
    cli.run(main)
