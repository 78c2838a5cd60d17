"""Compiling for tests."""

import jax

# XLA_FLAGS of commands that are started: without LLVM's optimizations and XLA's own code for
# fusions, what runs a few times is compiled in a third of the time.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def jit(function, **options):
    """Compiles without LLVM's optimizations: for what runs a few times, half the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)
