import io
import json
import pickle
import threading

import msgpack
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from gsjax.data import records
from gsjax.data.sources import UnreadableImage, open_source, require_readable
from gsjax.errors import UserError


def content(i, format="PNG"):
    image = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format)
    return file.getvalue()


def write(path, contents):
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in contents:
        writer.write(record)
    writer.close()
    return path


def open_at(where):
    return open_source(f"array_record:{where}", "train", "data.train", "Get it from the moon.")


def error(where):
    with pytest.raises(UserError) as caught:
        open_at(where)
    return str(caught.value)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three files of two images each, and the same images as files."""
    folder = tmp_path_factory.mktemp("shards")
    for i in range(6):
        (folder / f"{i}.png").write_bytes(content(i))
    for k in range(3):
        made = [records.pack(f"{i}.png", content(i)) for i in (2 * k, 2 * k + 1)]
        write(folder / f"{k}.array_record", made)
    return folder


def test_records_hold_the_same_images_as_the_files(shards):
    source, files = open_at(shards), open_source(f"folder:{shards}", "train", "data.train")
    assert len(source) == len(files) == 6
    for i in range(6):
        np.testing.assert_array_equal(source[i], files[i])
        assert source.name(i) == f"{i}.png in {shards}/{i // 2}.array_record[{i % 2}]"


def test_patterns_choose_files(shards):
    assert len(open_at(f"{shards}/[01].array_record")) == 4
    assert len(open_at(f"{shards}/2.array_record")) == 2
    assert len(open_at(f"file://{shards}/*.array_record")) == 6
    assert open_at(f"{shards}/2.a*")[1].shape == (25, 30, 3)
    assert open_at(shards).identity() != open_at(f"{shards}/[01].a*").identity()


def test_a_pickled_source_reads_in_threads_and_processes(shards):
    source = open_at(shards)
    source[0]
    copy = pickle.loads(pickle.dumps(source))
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: copy[i % 6].shape[0]}))
        for i in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: 20 + i % 6 for i in range(24)}


def test_records_that_are_bare_image_files_are_read(tmp_path):
    write(tmp_path / "a", [content(i, format) for i, format in enumerate(("PNG", "JPEG", "WEBP"))])
    source = open_at(f"{tmp_path}/a*")
    assert [source[i].shape[0] for i in range(3)] == [20, 21, 22]
    assert source.name(1) == f"{tmp_path}/a[1]"


def test_a_record_is_a_map_that_any_language_reads():
    record = records.pack("a.png", b"image")
    assert msgpack.unpackb(record) == {"gsjax": 1, "name": "a.png", "image": b"image"}
    assert next(iter(msgpack.unpackb(record))) == "gsjax"
    assert records.unpack(record) == ("a.png", b"image")


def test_damaged_and_foreign_records_say_why(tmp_path):
    newer = msgpack.packb({"gsjax": 2, "name": "x", "image": b""})
    nameless = msgpack.packb({"gsjax": 1, "title": "x", "image": b""})
    whole = [records.pack("a", content(i)) for i in range(60)]
    path = write(tmp_path / "a.array_record", [newer, nameless, whole[0][:300], b"", *whole])
    data = bytearray(path.read_bytes())
    data[data.index(whole[30]) + 100] ^= 255  # a bit that rotted
    path.write_bytes(data)
    source = open_at(path)
    for i, reason in {0: "version 2", 1: "without a name", 2: "", 3: "empty", 34: "hash"}.items():
        with pytest.raises(UnreadableImage) as caught:
            source[i]
        assert reason in caught.value.reason
        assert caught.value.name.endswith(f"{path}[{i}]")
    assert source[33].shape == (49, 30, 3)
    write(path, [newer, b"text"])
    with pytest.raises(UserError, match=r"none of its 2 images .*\n.*\[0\]: a record of version 2"):
        require_readable(open_at(path))


def test_what_is_missing_or_not_whole_is_named(shards, tmp_path):
    whole = (shards / "0.array_record").read_bytes()
    (tmp_path / "half.array_record").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "none", [])
    cases = {
        "/nowhere/at/all": "'/nowhere/at/all' does not exist; give a folder or a pattern",
        f"{shards}/0.png": f"'{shards}/0.png' is not a folder; give a folder or a pattern",
        f"{shards}/x*": f"no file matches '{shards}/x*'",
        f"{tmp_path}/half*": "half.array_record' is no whole ArrayRecord file: ",
        f"{shards}/*.png": "0.png' is no whole ArrayRecord file: ",
        f"{tmp_path}/none*": "hold no records",
        "s3://bucket/x*": "s3",
    }
    for where, message in cases.items():
        assert message in error(where), where
    assert error("/nowhere").startswith("data.train: ")
    assert "\nGet it from the moon.\nTo use images that lie elsewhere: " in error("/nowhere")


def test_links_and_any_name_of_a_folder_will_do(shards, tmp_path):
    folder = tmp_path / "of [me] and *"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.array_record").symlink_to(shards / f"{k}.array_record")
    index = {
        "shards": [
            {"file": f"{k}.array_record", "bytes": (shards / f"{k}.array_record").stat().st_size}
            for k in range(3)
        ]
    }
    (folder / "index.json").write_text(json.dumps(index))
    assert len(open_at(folder)) == 6
    (folder / "2.array_record").unlink()
    assert f"'{folder}' lacks '2.array_record': run the command" in error(folder)
    (folder / "1.array_record").unlink()
    assert "lacks '1.array_record' and 1 more" in error(folder)
    for name in ("0.array_record", "index.json"):
        (folder / name).unlink()
    assert f"'{folder}' holds no *.array_record file" in error(folder)
