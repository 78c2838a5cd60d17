"""Triton kernels without a GPU: run by its interpreter, compiled for chips by name.

The interpreter must be chosen before Triton is imported, and then nothing can be
compiled; hence `saved`.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsjax.kernels import gpu
from gsjax.kernels.backends import vary_alike

missing = [name for name in ("triton", "torch") if importlib.util.find_spec(name) is None]
needs_triton = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
# The interpreter changes triton.language while a kernel runs.
one_at_a_time = threading.Lock()


def saved(script, path):
    """Returns what a test file saves when run by the interpreter: see `save`."""
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    root = pathlib.Path(__file__).parent.parent
    command = [sys.executable, "-m", script, str(path)]
    subprocess.run(command, env=environment, cwd=root, check=True)
    with np.load(path) as arrays:
        return dict(arrays)


def save(results):
    """Saves arrays, or tuples of arrays, by name where the caller asked for them."""
    arrays = {}
    for name, result in results.items():
        if isinstance(result, tuple):
            arrays |= {f"{name}.{i}": array for i, array in enumerate(result)}
        else:
            arrays[name] = result
    np.savez(sys.argv[1], **arrays)


def interpret(launch, module):
    """What `gpu.run` does, by Triton's interpreter."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in launch.writes]

    def call(*arrays):
        import torch

        arrays = [torch.from_numpy(np.array(array)) for array in arrays]
        # What a kernel leaves unwritten shows.
        written = [torch.full(shape, float("nan")) for shape in launch.writes]
        with one_at_a_time:
            kernel = gpu.load(launch.kernel, module)
            kernel[launch.programs](*arrays, *written, **launch.constants)
        return [array.numpy() for array in written]

    return vary_alike(launch.arrays, jax.pure_callback(call, shapes, *launch.arrays))


def launches(monkeypatch, function, *shapes):
    """Returns the launches that a function of float32 arrays comes to, and their modules."""
    found = []

    def note(launch, module):
        found.append((launch, module))
        return [jnp.zeros(shape, jnp.float32) for shape in launch.writes]

    monkeypatch.setattr(gpu, "run", note)
    jax.eval_shape(function, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    return found


def registers(launch, module, chip):
    """Compiles a kernel as jax_triton does; returns registers a thread, and bytes spilled."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = gpu.load(launch.kernel, module)
    constants = launch.constants
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        signature={name: "constexpr" if name in constants else "*fp32" for name in names},
        constexprs=constants,
        attrs={
            (i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name not in constants
        },
    )
    options = {"num_warps": launch.warps, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
    # JAX's ptxas of CUDA 12 must know the version.
    assert ".version 8." in compiled.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        log = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    registers, stack, local = (
        int(re.search(rf"{name}:(\d+)", log)[1]) for name in ("REG", "STACK", "LOCAL")
    )
    return registers, stack + local
