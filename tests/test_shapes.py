"""That the shapes in the signatures are checked while the tests run."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from gsjax.data.mask_files import looks_inverted
from gsjax.kernels.rasterizer import rasterize
from gsjax.models import patches
from gsjax.models.patch_conv import PatchConv

WRONG = {
    "one dimension too few": lambda: patches.cut(jnp.zeros((8, 8, 3)), 4, 1),
    "sizes that differ": lambda: rasterize(jnp.zeros((4, 2)), jnp.zeros((5, 3)), jnp.zeros((4, 3))),
    "another type": lambda: looks_inverted(np.zeros((8, 8), np.uint8)),
    "under jit": lambda: jax.jit(patches.cut, static_argnums=(1, 2))(jnp.zeros((8, 8, 3)), 4, 1),
    "of a module": lambda: PatchConv(3, 2).init(jax.random.key(0), jnp.zeros((8, 8, 3))),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_raises(call):
    with pytest.raises(jaxtyping.TypeCheckError, match="Type-check error"):
        call()
