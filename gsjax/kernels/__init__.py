"""Splatting and mixing, in plain JAX and as kernels for TPUs and GPUs."""
