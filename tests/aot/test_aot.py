"""What compiling ahead of time for TPUs tells, by the real compiler where it is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import AbstractMesh

from configs import celeba
from gsjax import config as configs
from gsjax import sharding
from gsjax.aot import chips, report
from gsjax.aot import estimate as aot_run
from gsjax.errors import UserError
from gsjax.models.build import build_dino, build_networks
from gsjax.training.state import abstract_state

ROOT = Path(__file__).parents[2]
with_compiler = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs libtpu: pip install jax[tpu]"
)
SMALL = {
    "data.train": "folder:nowhere",
    "data.image_size": "(32, 32)",
    "model.patch_size": "8",
    "model.gaussians": "16",
    "model.width": "16",
    "model.downs": "1",
    "model.blocks": "0",
    "dino.image_size": "28",
    "dino.weights": "nowhere.npz",
    "discriminator.width": "8",
    "train.batch_size": "4",
}


def run(*flags, fast=True, **fields):
    fields = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    command = [sys.executable, "-m", "gsjax.aot", "--config=configs/photos.py", *flags]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # Less work for the compiler: another program than training's, of the same kind.
    env |= {"JAX_OPTIMIZATION_LEVEL": "O0"} if fast else {}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def train_step(tmp_path_factory):
    """What the command prints and writes of a small train step, state and batch divided."""
    path = tmp_path_factory.mktemp("aot") / "figures.json"
    flags = "--topology=v5e:2x2", f"--json={path}"
    done = run(*flags, model__semantic=False, mesh__fsdp=2)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


@pytest.mark.parametrize(
    ("stage", "printed"),
    [
        ("", "stage middle, 2 of 3\n"),
        ("small", "stage small, 1 of 3\n"),
        ("tiny", "--stage: the run has no stage 'tiny'; there are small, middle, last"),
    ],
)
def test_of_stages_the_largest_or_the_one_that_is_named_is_compiled(capsys, stage, printed):
    config = celeba.get_config()
    config.model.backend = "triton"  # which is refused once the stage is chosen
    configs.add_stage(config, "small", 10, {"train.batch_size": 2})
    configs.add_stage(config, "middle", 10, {"data.image_size": (512, 512)})
    configs.add_stage(config, "last", 10, {})
    with pytest.raises(UserError) as refused:
        aot_run.run(config, "v5e:2x2", *chips.parse("v5e:2x2"), stage=stage)
    assert printed in capsys.readouterr().out + str(refused.value)


@with_compiler
def test_a_train_step_is_compiled_without_data_or_weights(train_step):
    printed, figures = train_step
    assert "model.backend=auto: pallas" in printed
    assert "2 × fsdp 2, 4 images, 1 per chip" in printed
    assert figures["fits"] is True
    assert " %: fits" in printed
    assert figures["hbm_bytes"] == int(15.75 * 2**30)
    assert 0 < figures["peak_bytes"] < 1e9
    assert figures["mesh"] == {"data": 2, "fsdp": 2}
    assert figures["flops"] > 1e6
    assert figures["bytes"] > figures["arguments_bytes"]
    assert set(figures["seconds"]) == {"arithmetic", "memory", "links"}
    assert figures["largest_batch_per_chip"] > 1


@with_compiler
def test_a_divided_state_is_gathered_and_its_gradients_scattered(train_step):
    _, figures = train_step
    assert {"all-gather", "all-reduce", "reduce-scatter"} <= set(figures["collectives"])
    for kind in figures["collectives"].values():
        assert kind["count"] > 0
        assert 0 < kind["sent_bytes"] < 2 * kind["bytes"]
    # All divided parameters are gathered at least once, in four or two bytes.
    divided = figures["state_bytes"] - figures["replicated_bytes"]
    assert figures["collectives"]["all-gather"]["bytes"] > divided / 4


@pytest.fixture(scope="module")
def published():
    config = celeba.get_config()
    return config, build_networks(config, build_dino(config.dino))


@pytest.mark.parametrize("what", ["state", "dino"])
def test_fsdp_divides_the_published_model_by_its_number_of_chips(published, what):
    config, networks = published
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")
    dino = jax.eval_shape(networks.dino.init, jax.random.key(0), image)

    def placed(parts):
        mesh = AbstractMesh((2, parts), ("data", "fsdp"))
        if what == "state":
            return abstract_state(config, networks, mesh)
        return jax.tree.map(
            lambda array, where: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=where),
            dino,
            sharding.of_frozen(dino, mesh),
        )

    whole = report.bytes_per_chip(placed(1))
    assert whole > 3.4e8
    assert report.replicated_bytes(placed(1)) == whole
    for parts in (2, 4, 8, 16):
        arrays = placed(parts)
        kept = report.replicated_bytes(arrays)
        assert report.bytes_per_chip(arrays) - kept == (whole - kept) / parts
        assert kept < 0.01 * whole


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        ("v5e:16x15", "did you mean v5e:16x16?"),
        ("V5E:4x4", "did you mean v5e:4x4?"),
        ("v6e", "GENERATION:SIZE"),
        ("v5e:32x32", "v6e: 1x1, 2x2"),
    ],
)
def test_a_slice_that_is_not_lent_is_refused_with_those_that_are(topology, expected):
    with pytest.raises(UserError, match="--topology") as error:
        chips.parse(topology)
    assert expected in str(error.value)


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(UserError, match=r'pip install "jax\[tpu\]"'):
        chips.check_compiler()


@with_compiler
@pytest.mark.parametrize(
    ("flags", "fields", "expected"),
    [
        (["--topology=v5e:2x3"], {}, "did you mean v5e:2x"),
        (["--topology=v5e:4x4"], {}, "train.batch_size: 4 is not a multiple of 16"),
        (["--topology=v5e:2x2"], {"model__backend": "triton"}, "model.backend: triton is for GPUs"),
        (["--topology=v5e:2x2", "--json=nowhere/x.json"], {}, "--json: there is no folder nowhere"),
    ],
    ids=["slice", "batch", "backend", "folder"],
)
def test_a_mistake_is_told_in_one_line(flags, fields, expected):
    done = run(*flags, **fields)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@with_compiler
@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(4, 1), (1, 4)], ids=str)
def test_the_whole_step_with_dino_fits_as_training_compiles_it(mesh, tmp_path):
    path = tmp_path / "figures.json"
    flags = "--topology=v5e:2x2", f"--json={path}"
    done = run(*flags, fast=False, mesh__data=mesh[0], mesh__fsdp=mesh[1])
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())
    assert figures["fits"]
    assert ("all-gather" in figures["collectives"]) == (mesh[1] > 1)
    assert figures["collectives"]["all-reduce"]["count"] > 0
    # The compiler's layout takes somewhat more than the numbers themselves.
    held = figures["state_bytes"] + figures["frozen_bytes"]
    assert held <= figures["arguments_bytes"] < 1.5 * held


@with_compiler
@pytest.mark.slow
def test_filling_images_exchanges_nothing_and_the_largest_batch_fits(tmp_path):
    path = tmp_path / "figures.json"
    flags = "--topology=v6e:2x2", f"--json={path}", "--inference", "--confirm"
    done = run(*flags, model__semantic=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())
    assert figures["collectives"] == {}
    assert figures["program"] == "inference"
    largest = figures["confirmed"]
    assert largest["batch_per_chip"] == figures["largest_batch_per_chip"] > 1
    assert largest["fits"]


FIGURES = ",".join(f"benchmarks/aot/{name}.json" for name in ("celeba_v5e_2x2", "celeba_v5e_16x16"))


def scale(figures, *flags):
    command = [sys.executable, "-m", "benchmarks.scale", f"--figures={figures}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_tables_of_the_page_on_scale_are_what_the_figures_give():
    page = (ROOT / "docs" / "scale.md").read_text()
    for flags in (["--batch_per_chip=8"], ["--batch=64"], ["--batch=2048"]):
        done = scale(FIGURES, *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout in page


def test_figures_that_are_none_are_refused(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text('{"program": "inference", "fits": true, "collectives": {}}')
    for file, expected in ((path, "no train step"), (ROOT / "LICENSE", "not what"), ("x", "x: No")):
        done = scale(file)
        assert done.returncode == 2
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_a_count_of_chips_is_made_of_the_largest_slices():
    from benchmarks.scale import slices_of

    assert slices_of(chips.CHIPS["v5e"], 1024) == ((16, 16), 4)
    assert slices_of(chips.CHIPS["v5e"], 1) == ((1, 1), 1)
    assert slices_of(chips.CHIPS["v5p"], 1024) == ((8, 8, 16), 1)
    assert slices_of(chips.CHIPS["v5p"], 1) is None
