"""Parameters for tests, drawn by NumPy: compiling a module's own initializers takes longer."""

import jax
import numpy as np


def random_variables(init, *inputs):
    """Returns normal parameters of the sizes that `init(key, *inputs)` would make.

    Matrices and kernels keep the size of what they are applied to.
    """
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)

    def draw(leaf):
        array = rng.standard_normal(leaf.shape, np.float32)
        return array / np.sqrt(max(1, array.size // leaf.shape[-1]), dtype=np.float32)

    return jax.tree.map(draw, shapes)
