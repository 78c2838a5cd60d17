"""Files mutated at random: each is read to finite values, or refused in one line.

Nothing in them is run, nothing is written, none takes long.
"""

import functools
import json
import random
import resource
import shutil
import signal
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from gsjax import convert
from gsjax.config import saved
from gsjax.convert import vit
from gsjax.convert.state_dicts import read_state_dict
from gsjax.errors import UserError
from gsjax.inpainting.network import Network
from gsjax.models.build import build_networks
from gsjax.models.dino import DinoViT
from gsjax.trained import checkpoints, packed
from gsjax.trained.dino import load_dino
from gsjax.trained.load import load_trained, read_generator
from tests.quick import jit
from tests.tiny import make_config
from tests.weights import random_variables

pytestmark = pytest.mark.slow
ROUNDS = 500
SECONDS = 10  # of the processor that reading may take
HUNG = 600  # seconds by the clock, on a machine with other work
BYTES = 2**30  # that reading may take beyond what was there, in all cases together
# What code in a file would do. Reading compiles nothing and starts nothing.
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.remove", "os.mkdir")
# What fields and keys are replaced by.
VALUES = (
    *(None, True, -1, 0, 1, 7, 0.5, 2**31, 10**14, 10**400, float("nan"), float("-inf"), ""),
    *("x", "random", "../x", "\n", "/dev/zero", "os.system", [], [1], [[8, 8]], {}, {"a": {}}),
    *([8, 8], [0, 0], [64, "x"], [float("nan")] * 2, "²", "9" * 4000, "a/" * 2000, "params/a"),
)
_called: list[str] | None = None


def _hear(event, arguments):
    if _called is not None and event.startswith(FORBIDDEN):
        _called.append(event)


sys.addaudithook(_hear)  # which cannot be taken back; outside of a case it does nothing


@pytest.fixture(scope="module")
def made():
    """A config without DINO, its generator and its variables."""
    config = make_config()
    config.model.semantic = False
    generator = build_networks(config).generator
    image = np.zeros((1, 24, 32, 3), np.float32)
    return config, random_variables(generator.init, image, None, image[..., :1])


@pytest.fixture(scope="module")
def dino():
    """The state dict of a tiny DINO, as published."""
    module = DinoViT(width=32, depth=1, heads=2, mlp_width=64, grid=(2, 2))
    variables = random_variables(module.init, np.zeros((1, 28, 28, 3), np.float32))
    return vit.to_state_dict(module, variables)


@functools.lru_cache
def _program(module):
    return jit(lambda variables, image, known: module.apply(variables, image, None, known).image)


def _read_inpainter(folder):
    config, variables = read_generator(folder)
    load_dino(config)
    return config, variables


def _paint(folder, config, variables):
    """What an inpainter that could be read draws is finite, or refused."""
    height, width = config.data.image_size
    if config.model.semantic or height * width > 2**12:
        return  # it takes too long here
    image = np.zeros((1, height, width, 3), np.float32)
    drawn = _program(build_networks(config).generator)(variables, image, image[..., :1])
    if not np.isfinite(drawn).all():  # the weights are finite, and large
        with pytest.raises(UserError, match="paint values that are NaN or infinite"):
            Network(*load_trained(folder)).paint([(image[0], image[0, ..., :1])], 1)


def _convert(path):
    module, variables = convert.dino(read_state_dict(path))
    return module, variables


def _all_finite(path, module, variables):
    assert all(np.isfinite(array).all() for array in jax.tree.leaves(variables))


def _bytes(rng, path):
    """Changes, removes or adds some bytes of a file, mostly near its beginning or end."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 30))):
        end = rng.choice((64, 1000, len(content) or 1))
        at = min(rng.randrange(end), len(content))
        at = len(content) - at if rng.random() < 0.3 else at
        kind = rng.randrange(5)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            content[at : at + 1] = rng.choice((b"\0", b"\xff", b"9", b"[", b"{", b"\\", b'"'))
        elif kind == 2:
            del content[at : at + rng.choice((1, 8, 1000))]
        elif kind == 3:
            content[at:at] = content[at : at + rng.choice((1, 8, 1000))]
        else:
            content[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, b"9" * 8))
    path.write_bytes(content)


def _fields(rng, fields):
    """Replaces, removes or adds values somewhere in nested dicts and lists."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        group = fields
        while True:
            inner = [value for value in group.values() if isinstance(value, dict) and value]
            if not inner or rng.random() < 0.3:
                break
            group = rng.choice(inner)
        name, kind = rng.choice([*group] or ["x"]), rng.randrange(6)
        if kind == 0:
            group.pop(name, None)
        elif kind == 1:
            group[str(rng.choice(VALUES))] = rng.choice(VALUES)
        elif kind == 2:
            for _ in range(rng.choice((3, 40, 500))):
                group[name] = rng.choice(([group.get(name)], {"a": group.get(name)}))
        else:
            group[name] = rng.choice(VALUES)
    return fields


def _json(rng, path):
    try:
        path.write_text(json.dumps(_fields(rng, json.loads(path.read_text()))))
    except (ValueError, RecursionError):
        _bytes(rng, path)


def _arrays(rng, arrays):
    """Renames, removes, adds and changes arrays."""
    arrays = dict(arrays)
    for _ in range(rng.choice((1, 1, 2, 5))):
        key, kind = rng.choice([*arrays] or ["x"]), rng.randrange(8)
        array = arrays.get(key, np.ones(1, np.float32))
        if kind == 0:
            arrays.pop(key, None)
        elif kind == 1:
            arrays[str(rng.choice((*VALUES, key + ".x", key + "/x")))] = arrays.pop(key, array)
        elif kind == 2:
            arrays[key] = array.ravel()[: rng.randrange(array.size + 1)].copy()
        elif kind == 3:
            arrays[key] = array.astype(rng.choice((np.float16, np.float64, np.int64, bool)))
        elif kind == 4:
            arrays[key] = array.reshape(array.shape + (1,) * rng.randrange(5))
        elif kind == 5:
            arrays[key] = np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)
        elif kind == 6:
            arrays[key] = array * rng.choice((0.0, -1.0, 1e4, 1e300))
        else:
            arrays[f"blocks.{rng.choice(('1', '255', '9' * 5000, '٣'))}.x"] = array
    return arrays


def _save_torch(arrays, path):
    torch = pytest.importorskip("torch", reason="writes the file")
    tensors = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
    torch.save(tensors, path)


def _refused_or_read(read, path):
    """Returns what `read` returns; None if it refuses the file in one line."""
    global _called
    _called, found, message = [], None, ""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(HUNG)
    try:
        found = read(path)
    except UserError as error:
        message = str(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        called, _called = _called, None
    assert message.isprintable()
    assert len(message) < 2000
    assert not called
    return found


def _mutate(make, read, use):
    """Reads the mutated file whose path `make(rng)` returns, many times, and uses it."""
    used = 0
    for seed in range(ROUNDS):
        path = make(random.Random(seed))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = _refused_or_read(read, path)
        used += 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if found is not None:
            use(path, *found)
    assert used < BYTES


@pytest.fixture(autouse=True)
def _overdue():
    def overdue(*_):
        raise AssertionError("reading takes too long")

    before = {number: signal.signal(number, overdue) for number in (signal.SIGALRM, signal.SIGPROF)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_packed_folder_of_any_content_is_read_or_refused_in_one_line(made, tmp_path):
    config, variables = made
    packed.write_packed(tmp_path / "packed", config, variables)
    path = tmp_path / "mutated"

    def make(rng):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tmp_path / "packed", path)
        file = path / rng.choice((packed.FILE, "config.json", "config.json"))
        mutate = _json if file.suffix == ".json" and rng.random() < 0.8 else _bytes
        mutate(rng, file)
        return path

    _mutate(make, _read_inpainter, _paint)


def test_a_run_folder_of_any_content_is_read_or_refused_in_one_line(made, tmp_path):
    config, variables = made
    with checkpoints.open_manager(tmp_path / "run" / "checkpoints", keep=2) as manager:
        for step in (2, 4):
            checkpoints.save(manager, step, {"generator": variables, "average": variables})
    saved.write_config(tmp_path / "run", config)
    path = tmp_path / "mutated"

    def make(rng):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tmp_path / "run", path)
        files = sorted(file for file in (path / "checkpoints" / "4").rglob("*") if file.is_file())
        metadata = [file for file in files if file.name.endswith("_METADATA")]
        kind = rng.randrange(10)
        if kind == 0:
            rng.choice(files).unlink()
        elif kind == 1:
            file = rng.choice(files)
            shutil.copy(rng.choice(files), path / "other")
            (path / "other").replace(file)
        elif kind < 5:
            _json(rng, rng.choice(metadata))
        elif kind < 6:
            _json(rng, path / "config.json")
        else:
            _bytes(rng, rng.choice(files))
        return path

    _mutate(make, _read_inpainter, _paint)


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_a_file_to_convert_of_any_content_is_read_or_refused_in_one_line(dino, tmp_path, suffix):
    save = {
        ".pth": _save_torch,
        ".npz": lambda arrays, path: np.savez(path, **arrays),
        ".safetensors": save_file,
    }[suffix]
    path = tmp_path / f"mutated{suffix}"
    save(dino, tmp_path / f"whole{suffix}")

    def make(rng):
        if rng.random() < 0.5:
            try:
                save(_arrays(rng, dino), path)
                return path
            except Exception:  # not every key can be written; then bytes are changed
                pass
        shutil.copy(tmp_path / f"whole{suffix}", path)
        _bytes(rng, path)
        return path

    _mutate(make, _convert, _all_finite)
