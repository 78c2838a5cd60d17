"""What is said where Triton kernels cannot be called."""

import importlib.util
import sys

import jax.numpy as jnp
import pytest

from gsjax.kernels.mixture import triton as mixture
from gsjax.kernels.rasterizer import triton as rasterizer

CALLS = {
    "rasterize": lambda: rasterizer.rasterize(
        jnp.ones((4, 2)), jnp.ones((4, 3)), jnp.ones((4, 3)), (3, 3)
    ),
    "mix": lambda: mixture.mix(jnp.ones((4, 5)), jnp.ones((7, 5)), jnp.ones((7, 3))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ((), "need a GPU build of JAX: pip install"),
        (("triton", "jax_triton"), "need a GPU build of JAX: pip install"),
        (("jax_cuda12_plugin",), "need jax_triton and triton: pip install"),
        (("jax_cuda13_plugin", "triton"), "need jax_triton: pip install"),
    ],
    ids=str,
)
def test_what_is_missing_is_named_without_importing_it(monkeypatch, call, installed, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in installed or None)
    with pytest.raises(ImportError, match=message):
        call()
    assert "jax_triton" not in sys.modules
