"""What is read of compiled programs: exchanges between chips, memory, devices."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gsjax.aot import collectives
from gsjax.aot.program import memory_needed

ROOT = Path(__file__).parents[2]
with_compiler = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs libtpu: pip install jax[tpu]"
)

# Small programs whose exchanges are known, in a process whose environment is the compiler's.
PROGRAM = """if True:
    import json
    from gsjax.aot import chips
    chips.prepare_environment()
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec as P
    from gsjax import sharding
    from gsjax.aot import collectives, program

    devices = chips.devices_of("v5e:2x4")
    mesh = sharding.make_mesh(2, 4, devices)

    def lower(function, shape, where):
        array = jax.ShapeDtypeStruct(shape, "float32", sharding=jax.NamedSharding(mesh, where))
        return jax.jit(function, out_shardings=sharding.replicated(mesh)).lower(array)

    def looped(trips):
        def function(x):
            def body(weights, _):
                return jnp.tanh(weights * jnp.sin(x @ weights).sum(0)[:, None]), None
            return jax.lax.scan(body, jnp.ones((256, 256)), None, length=trips)[0]
        return lower(function, (4096, 256), P(("data", "fsdp")))

    def inside(function, out):
        mapped = jax.shard_map(
            function, mesh=mesh, in_specs=P("fsdp"), out_specs=out, check_vma=False
        )
        array = jax.ShapeDtypeStruct(
            (2048, 4096), "float32", sharding=jax.NamedSharding(mesh, P("fsdp"))
        )
        return jax.jit(mapped).lower(array)

    lowered = {
        "loop of 1": looped(1),
        "loop of 7": looped(7),
        "gather": inside(lambda x: jax.lax.all_gather(x, "fsdp"), P()),
        "scatter": inside(lambda x: jax.lax.psum_scatter(x, "fsdp", tiled=True), P("fsdp")),
        "swap": inside(lambda x: jax.lax.all_to_all(x, "fsdp", 1, 0, tiled=True), P("fsdp")),
        "shift": inside(
            lambda x: jax.lax.ppermute(x, "fsdp", [(i, (i + 1) % 4) for i in range(4)]), P("fsdp")
        ),
    }
    found = {
        name: collectives.find(program.compile_program(one).compiled.as_text(), len(devices))
        for name, one in lowered.items()
    }
    huge = lower(lambda x: jnp.sort(x, 0) @ x, (200_000, 200_000), P())
    outcome = program.compile_program(huge)
    slices = [len(chips.devices_of(name)) for name in ("v5e:1x1", "v4:2x2x1", "v6e:16x16")]
    print(json.dumps([found, outcome, slices]))
"""


@pytest.fixture(scope="module")
def small_programs():
    """Collectives by program, the outcome of one that is too large, and numbers of chips."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@with_compiler
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gather", ["all-gather", 4 * 2048 * 4096, 4, 1]),
        ("swap", ["all-to-all", 4 * 512 * 4096, 4, 1]),
        ("shift", ["collective-permute", 4 * 512 * 4096, 4, 1]),
        ("scatter", ["reduce-scatter", 4 * 512 * 4096, 4, 1]),
    ],
)
def test_exchanges_are_read_with_their_size_and_how_many_take_part(small_programs, name, expected):
    (found,) = small_programs[0][name]
    if name == "shift":  # in pairs: there are no groups
        found[2] = 4
    assert found == expected


@with_compiler
@pytest.mark.parametrize("trips", [1, 7])
def test_an_exchange_in_a_loop_counts_each_time(small_programs, trips):
    assert ["all-reduce", 4 * 256, 8, trips] in small_programs[0][f"loop of {trips}"]


@with_compiler
def test_a_program_that_is_too_large_says_what_it_needs(small_programs):
    compiled, needed, _, _ = small_programs[1]
    assert compiled is None
    assert needed >= 2 * 4 * 200_000**2  # sorted and multiplied


@with_compiler
def test_the_compiler_has_one_device_for_a_chip(small_programs):
    assert small_programs[2] == [1, 4, 256]


HLO = """HloModule jit_step, num_partitions=16
%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%cond (p: (s32[], f32[64])) -> pred[] {
  %n = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%body (p: (s32[], f32[64])) -> (s32[], f32[64]) {
  %r = (f32[64]{0:T(128)S(1)}, bf16[8,2]{1,0:T(8,128)(2,1)}) all-reduce(%a, %b), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
}

%all-reduce-scatter (input: f32[32]) -> f32[8] {
  %whole = f32[32]{0} all-reduce(%input), channel_id=2, replica_groups=[4,4]<=[16], to_apply=%add
}

%started (q: f32[4]) -> f32[16] {
  %g = f32[16]{0} all-gather(%q), channel_id=3, replica_groups=mesh['a'=4,'b'=2,'c'=2], device_ids=([4,4]T(1,0)) {'b','c'}, dimensions={0}
}

%finished (q: f32[4]) -> f32[16] {
  %g2 = f32[16]{0} all-gather(%q), channel_id=3, replica_groups=mesh['a'=4,'b'=2,'c'=2] {'b','c'}
}

%wrapped (q: f32[8]) -> f32[2] {
  ROOT %s = f32[2]{0} reduce-scatter(%q), channel_id=6, replica_groups=[4,4]<=[16], to_apply=%add
}

%never (q: f32[8]) -> f32[8] {
  ROOT %x = f32[8]{0} all-to-all(%q), channel_id=9
}

ENTRY %main (p0: f32[64]) -> f32[64] {
  %loop = (s32[], f32[64]) while(%t), condition=%cond, body=%body
  %k = (s32[], f32[64]) while(%t), condition=%other, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %scattered = f32[8]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter
  %s1 = f32[16]{0} fusion(%q), kind=kCustom, calls=%started
  %s2 = f32[16]{0} fusion(%q), kind=kCustom, calls=%finished
  %gs = (f32[4]{0}, f32[64]{0}) all-gather-start(%q), channel_id=4, replica_groups={}, dimensions={0}
  %gd = f32[64]{0} all-gather-done(%gs)
  %ps = (pred[7]{0}, pred[7]{0}, u32[], u32[]) collective-permute-start(%q), channel_id=5
  %as = ((f32[8]{0}), f32[2]{0}, s32[]) async-start(%q), calls=%wrapped
  %ad = f32[2]{0} async-done(%as), calls=%wrapped
}
"""  # noqa: E501


def test_all_ways_to_write_an_exchange_are_read():
    found = set(collectives.find(HLO, 16))
    assert found == {
        collectives.Collective("all-reduce", 4 * 64 + 2 * 16, 2, 5 + 3),
        collectives.Collective("reduce-scatter", 4 * 32, 4, 1),
        collectives.Collective("all-gather", 4 * 16, 4, 1),  # taken apart: once
        collectives.Collective("all-gather", 4 * 64, 16, 1),
        collectives.Collective("collective-permute", 7, 16, 1),
        collectives.Collective("reduce-scatter", 4 * 2 * 4, 4, 1),
    }


def test_a_chip_sends_no_more_than_the_exchange_needs():
    def sent(kind, group, times=1):
        return collectives.Collective(kind, 1000, group, times).sent

    assert sent("all-reduce", 4) == 1500
    assert sent("all-gather", 4, 2) == 1500
    assert sent("collective-permute", 4) == 1000
    assert sent("all-reduce", 1) == 0


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("required for HLO temporaries (2.5G) exceeds available HBM (15.75G).", (5 * 2**29, True)),
        ("in memory space hbm. Used 17.00G of 15.75G hbm. Exceeded", (17 * 2**30, False)),
        ("INTERNAL: Mosaic failed to compile", None),
    ],
)
def test_only_a_lack_of_memory_is_taken_for_one(message, expected):
    assert memory_needed(message) == expected
