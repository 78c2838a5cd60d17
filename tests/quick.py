"""Compiling for tests."""

import jax


def jit(function, **options):
    """Compiles without LLVM's optimizations: for what runs a few times, half the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)
