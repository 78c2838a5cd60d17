"""Triton kernels on the CPU: for processes started with TRITON_INTERPRET=1.

It must be set before Triton is imported, and then nothing can be compiled; hence
`in_another_process`.
"""

import importlib
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from gsjax import gpu


def run(launch, module):
    """What `gpu.run` does, by Triton's interpreter."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in launch.writes]

    def interpret(*arrays):
        import torch

        torch.set_num_threads(1)
        arrays = [torch.from_numpy(np.array(array)) for array in arrays]
        # What a kernel leaves unwritten is seen.
        written = [torch.full(shape, float("nan")) for shape in launch.writes]
        kernel = getattr(importlib.import_module(module), launch.kernel)
        kernel[launch.programs](*arrays, *written, **launch.constants)
        return [array.numpy() for array in written]

    return gpu.varying_alike(launch.arrays, jax.pure_callback(interpret, shapes, *launch.arrays))


def in_another_process(script, path):
    """Returns the arrays that a test file, run as a program, saves."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-m", script, str(path)], env=environment, check=True)
    with np.load(path) as arrays:
        return dict(arrays)
