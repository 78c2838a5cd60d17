"""Data sets that TFDS itself builds, read without TensorFlow.

TFDS needs no TensorFlow to write ArrayRecord files either.
"""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from gsjax.data import pipeline, records
from gsjax.data.sources import UnreadableImage, open_source
from gsjax.errors import UserError
from tests.data.test_pipeline import assert_same, config_for, take
from tests.data.test_records import write
from tests.runs import SMALL, environment

ROOT = Path(__file__).parents[2]
FEATURES = {
    "waves": {"image": tfds.features.Image(shape=(None, None, 3)), "label": np.int64},
    "pairs": {
        "left": tfds.features.Image(shape=(None, None, 3)),
        "right": tfds.features.Image(shape=(None, None, 3)),
    },
    "words": {"text": tfds.features.Text()},
}


def image_file(i):
    """An image file whose EXIF says to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = np.random.default_rng(i).integers(0, 256, (24 + i, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def value(name, i):
    return {"label": i, "text": str(i)}.get(name, io.BytesIO(image_file(i)))


def build(title, folder, file_format="array_record"):
    features = FEATURES[title]

    class Set(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = title
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(6), "validation": self._generate_examples(2)}

        def _generate_examples(self, count=0):
            for i in range(count):
                yield i, {feature: value(feature, i) for feature in features}

    Set(data_dir=folder, file_format=file_format).download_and_prepare()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name in FEATURES:
        build(name, folder)
    return folder


@pytest.fixture
def data_dir(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def files(folder, tmp_path):
    """A list of the images of the train split as files, in the order of the data set."""
    source = open_source(f"tfds:{folder}/waves/1.0.0", "train", "data.train")
    for i in range(len(source)):
        (tmp_path / f"{i}.jpg").write_bytes(source.encoded(i))
    return tmp_path


def open_set(where, split="train"):
    return open_source(f"tfds:{where}", split, "data.train")


def error(where, split="train"):
    with pytest.raises(UserError) as caught:
        open_set(where, split)
    return str(caught.value)


def test_a_data_set_has_the_images_it_was_built_from(folder, files):
    source = open_set(f"{folder}/waves/1.0.0")
    assert sorted(source.encoded(i) for i in range(6)) == sorted(map(image_file, range(6)))
    other = open_source(f"folder:{files}", "train", "data.train")
    for i in range(6):
        np.testing.assert_array_equal(source[i], other[i])
    assert source[0].shape[0] == 40  # turned upright
    assert source.name(3) == "tfds:waves/1.0.0:train[3]"


def test_training_batches_are_those_of_the_folder(folder, files):
    specs = (f"tfds:{folder}/waves/1.0.0:train", f"folder:{files}")
    configs = [config_for(spec, data__crop="random") for spec in specs]
    assert_same(*[take(pipeline.training_batches(config), 4) for config in configs])


def test_names_versions_and_splits_are_understood(data_dir):
    assert len(open_set("waves")) == 6
    assert len(open_set("waves", "validation")) == 2
    assert len(open_set("waves:validation")) == 2
    assert len(open_set("waves:1.0.0")) == 6
    assert len(open_set("waves:1.0.0:train[:50%]")) == 3
    assert len(open_set("waves:train[1:3]+validation")) == 4
    assert len(open_set(f"{data_dir}/waves/1.0.0:validation")) == 2


def test_a_pickled_source_reads_the_same(folder):
    source = open_set(f"{folder}/waves/1.0.0")
    copy = pickle.loads(pickle.dumps(source))
    assert [copy.encoded(i) for i in range(6)] == [source.encoded(i) for i in range(6)]


def test_what_is_missing_is_named_with_its_remedy(data_dir, tmp_path):
    assert f"'celeb' is not in {data_dir}" in error("celeb")
    assert "tfds build celeb --file_format=array_record" in error("celeb")
    assert "has no split 'test'; there are train, validation" in error("waves:test")
    assert "cannot be read" in error("waves:train[:x]")
    assert "has several images (left, right), none called 'image'" in error("pairs")
    assert "has no image; its features are text" in error("words")
    assert f"the folder '{tmp_path}' is not a TFDS data set" in error(tmp_path)


def test_another_form_than_array_record_is_refused(folder, tmp_path):
    for name in ("dataset_info.json", "features.json"):
        text = (folder / "waves" / "1.0.0" / name).read_text()
        (tmp_path / name).write_text(text.replace("array_record", "tfrecord"))
    assert "waves/1.0.0 is built as tfrecord; training reads it as ArrayRecord: " in error(tmp_path)
    assert "tfds build waves --file_format=array_record" in error(tmp_path)


@pytest.fixture
def trap(tmp_path):
    """A TensorFlow that notes when it is imported: its folder, and the note."""
    package = tmp_path / "lib" / "tensorflow"
    package.mkdir(parents=True)
    note = tmp_path / "imported"
    (package / "__init__.py").write_text(f"open({str(note)!r}, 'w')\nraise ImportError('met')")
    return package.parent, note


@pytest.fixture
def fields(folder, files, tmp_path):
    """Config fields of a small run that trains on a TFDS set and validates on records."""
    (tmp_path / "shards").mkdir()
    images = sorted(files.glob("*.jpg"))
    made = [records.pack(path.name, path.read_bytes()) for path in images]
    write(tmp_path / "shards" / "a.array_record", made)
    return SMALL | {
        "data.train": f"tfds:{folder}/waves/1.0.0",
        "data.validation": f"array_record:{tmp_path}/shards",
        "data.workers": "1",
        "train.steps": "1",
        "validate.images": "4",
    }


def run(arguments, trap, tmp_path):
    path = {"PYTHONPATH": f"{ROOT}:{trap[0]}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment(tmp_path / "cache") | path,
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def test_training_reads_data_without_tensorflow(fields, trap, tmp_path):
    script = tmp_path / "feed.py"
    script.write_text(
        "if __name__ == '__main__':  # the workers import it as well\n"
        "    from configs.photos import get_config\n"
        "    from gsjax.training.preparation import load_validation_data\n"
        "    from gsjax.training.checks import check_config\n"
        "    from gsjax.training.feed import Feed\n"
        "    config = get_config()\n"
        f"    config.data.train = {fields['data.train']!r}\n"
        f"    config.data.validation = {fields['data.validation']!r}\n"
        "    config.data.workers = 1\n"
        "    sources = check_config(config)\n"
        "    feed = Feed(config, sources.training, 0)\n"
        "    shape = next(feed)['image'].shape\n"
        "    feed.close()\n"
        "    print(shape, len(load_validation_data(config, sources.validation)))\n"
    )
    result = run([script], trap, tmp_path)
    assert result.stdout == "(8, 64, 64, 3) 6\n", result.stderr
    assert not trap[1].exists()


@pytest.mark.slow
def test_a_whole_run_imports_no_tensorflow(fields, trap, tmp_path):
    flags = ["--config=configs/photos.py", f"--workdir={tmp_path}/run"]
    flags += [f"--config.{name}={value}" for name, value in fields.items()]
    result = run(["-m", "gsjax.main", *flags], trap, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("done: 1 steps in ")
    assert not trap[1].exists()


def test_a_damaged_record_is_an_unreadable_image(folder, tmp_path):
    copy = tmp_path / "1.0.0"
    copy.mkdir()
    for file in (folder / "waves" / "1.0.0").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (shard,) = copy.glob("*train.array_record*")
    data = bytearray(shard.read_bytes())
    data[9000] ^= 255  # inside one of the six images
    shard.write_bytes(data)
    source = open_set(copy)
    unreadable = {}
    for i in range(6):
        try:
            source[i]
        except UnreadableImage as e:
            unreadable[i] = e
    ((i, failure),) = unreadable.items()
    assert failure.name == f"tfds:waves/1.0.0:train[{i}]"
    assert "hash mismatch" in failure.reason
