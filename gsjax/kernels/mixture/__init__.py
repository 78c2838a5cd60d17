"""Mixtures of dictionary atoms: attention with a few hundred shared keys and tiny values."""

from gsjax.kernels.mixture.api import mix as mix
