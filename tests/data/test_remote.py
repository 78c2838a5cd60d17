"""Buckets are stood in for by fsspec's memory://, which every call reaches in the same way."""

import fsspec
import numpy as np
import pytest

from gsjax.data import pipeline
from gsjax.data.sources import UnreadableImage, open_source
from gsjax.errors import UserError
from tests.data.test_pipeline import assert_same, config_for, take
from tests.data.test_records import content


@pytest.fixture
def bucket():
    """Four images, one of them hidden, a file that is none, and a list, under memory://bucket."""
    files = fsspec.filesystem("memory")
    names = ["b/2.png", "a/1.PNG", "0.png", ".hidden/3.png"]
    for i, name in enumerate(names):
        files.pipe_file(f"/bucket/{name}", content(i))
    files.pipe_file(
        "/bucket/notes.txt", b"# mine\n0.png\n\na/1.PNG\nmemory://bucket/b/2.png\nx.png"
    )
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def error(spec):
    with pytest.raises(UserError) as caught:
        open_source(spec, "train", "data.train")
    return str(caught.value)


def test_a_folder_is_recursive_sorted_and_without_hidden_files(bucket):
    for folder in (bucket, f"{bucket}/"):
        source = open_source(f"folder:{folder}", "train", "data.train")
        names = [source.name(i).rpartition("bucket/")[2] for i in range(len(source))]
        assert names == ["0.png", "a/1.PNG", "b/2.png"]
        assert [source[i].shape[0] for i in range(3)] == [22, 21, 20]


def test_list_paths_are_relative_to_the_list(bucket):
    source = open_source(f"list:{bucket}/notes.txt", "train", "data.train")
    assert [source[i].shape[0] for i in range(3)] == [22, 21, 20]
    with pytest.raises(UnreadableImage, match=r"bucket/x\.png: the file does not exist"):
        source[3]


def test_a_list_on_the_disk_may_name_files_in_buckets(bucket, tmp_path):
    (tmp_path / "list.txt").write_text(f"{bucket}/0.png\nhere.png\n")
    (tmp_path / "here.png").write_bytes(content(2))
    source = open_source(f"list:{tmp_path}/list.txt", "train", "data.train")
    np.testing.assert_array_equal(source[0], source[1])


def test_training_batches_are_those_of_the_disk(bucket, tmp_path):
    for i, name in enumerate(["b/2.png", "a/1.PNG", "0.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content(i))
    specs = (f"folder:{bucket}", f"folder:{tmp_path}")
    batches = [take(pipeline.training_batches(config_for(spec)), 3) for spec in specs]
    assert_same(*batches)


def test_errors_say_what_is_missing(bucket):
    assert "data.train: the folder 'memory://nowhere' holds no images" in error(
        "folder:memory://nowhere"
    )
    assert "the list 'memory://bucket/none.txt' does not exist" in error(f"list:{bucket}/none.txt")
    assert "'memory://bucket/*': ArrayRecord files are read from the disk or gs:// only" in error(
        f"array_record:{bucket}/*"
    )
    assert "data.train: nope://x: it cannot be opened: Protocol not known: nope" in error(
        "folder:nope://x"
    )
    assert "data.train: az://x: it cannot be opened: Install adlfs" in error("folder:az://x")
