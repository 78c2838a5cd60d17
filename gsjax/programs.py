"""Compiled programs that are kept from one start of a command to the next."""

import os

import jax

from gsjax.fetch import cache_folder


def keep_compiled() -> None:
    """Lets a command started again find what it compiled before; JAX may be told where."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_compilation_cache_max_size", 2**31)  # bytes; the oldest go first
        # A command that fills one picture has many small programs, of a second together.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
