"""The kernels compiled ahead of time for TPUs, where the compiler is installed (libtpu)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("libtpu", reason="needs libtpu, the compiler for TPUs: pip install jax[tpu]")

ROOT = Path(__file__).parents[2]

# In a process of its own, as this one's devices are chosen.
PROGRAM = """if True:
    import json
    import math
    import jax
    from jax.experimental import topologies
    from gsjax.kernels.mixture import pallas as mixture
    from gsjax.kernels.rasterizer import pallas as rasterizer

    def draw(patch):
        return lambda *arrays: rasterizer.rasterize(*arrays, patch, interpret=False)

    def mix(*arrays):
        return mixture.mix(*arrays, interpret=False)

    def gaussians(patches, n, channels):
        return (patches, n, 2), (patches, n, 3), (patches, n, channels)

    programs = {
        "draw": (draw((18, 18)), gaussians(256, 324, 3)),
        "mix": (mix, ((256, 324, 12), (730, 12), (730, 3))),
        "draw one pixel": (draw((1, 1)), gaussians(1, 1, 1)),
        "draw odd sizes": (draw((7, 5)), gaussians(3, 13, 5)),
        "draw the most": (draw((34, 34)), gaussians(256, 1024, 16)),
        "mix one": (mix, ((1, 3), (1, 3), (1, 3))),
        "mix odd sizes": (mix, ((3, 13, 20), (300, 20), (300, 2))),
    }

    def both(function):
        def run(error, *arrays):
            output, pull_back = jax.vjp(function, *arrays)
            return output, pull_back(error)

        return run

    def compile(device, function, shapes):
        arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
        one = jax.sharding.SingleDeviceSharding(device)
        lowered = jax.jit(function, in_shardings=one).lower(*arrays)
        outputs = jax.tree.leaves(lowered.out_info)
        compiled = lowered.compile()
        return {
            "kernels": compiled.as_text().count("tpu_custom_call"),
            "temporary": compiled.memory_analysis().temp_size_in_bytes,
            "output": sum(4 * math.prod(output.shape) for output in outputs),
        }

    results = {}
    for chip in ("v5e", "v6e"):
        topology = topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:2x2")
        for name, (function, shapes) in programs.items():
            if chip == "v6e" and name not in ("draw", "mix"):
                continue
            error = jax.eval_shape(
                function, *(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)
            )
            result = results[f"{chip}: {name}"] = {}
            if name in ("draw", "mix"):
                result["forward"] = compile(topology.devices[0], function, shapes)
            shapes = (error.shape, *shapes)
            result["both"] = compile(topology.devices[0], both(function), shapes)
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def compiled():
    """What each program comes to, on each chip."""
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        # The path that libtpu was found on may be this process's alone.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_every_program_compiles_to_kernels(compiled):
    assert len(compiled) == 9
    for name, program in compiled.items():
        assert program["both"]["kernels"] == (2 if "draw" in name else 3), name


@pytest.mark.parametrize("chip", ["v5e", "v6e"])
@pytest.mark.parametrize("operation", ["draw", "mix"])
@pytest.mark.parametrize("part", ["forward", "both"])
def test_temporary_memory_is_under_twice_the_output(compiled, chip, operation, part):
    program = compiled[f"{chip}: {operation}"][part]
    assert program["output"] >= 4 * 256 * 324 * 3
    assert program["temporary"] < 2 * program["output"]
