"""A run says if the images that it is trained on are others than so far."""

import pytest

from gsjax.data.sources import open_source
from gsjax.training.images_seen import FILE, record_images


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    return folder


def note(images, workdir, resumes, caplog):
    caplog.clear()
    record_images(workdir, open_source(f"folder:{images}", "train", "data.train"), resumes)
    return [record.getMessage() for record in caplog.records]


def test_a_folder_that_grew_since_the_run_began_is_told_once(images, tmp_path, caplog):
    assert not note(images, tmp_path, False, caplog)
    assert not note(images, tmp_path, True, caplog)
    (images / "c.png").touch()
    (warning,) = note(images, tmp_path, True, caplog)
    assert warning.startswith("data.train has 3 images now and had 2 in this run so far")
    assert not note(images, tmp_path, True, caplog)
    (images / "c.png").rename(images / "d.png")
    (warning,) = note(images, tmp_path, True, caplog)
    assert warning.startswith("data.train has 3 other images now and had 3 in this run so far")


def test_a_folder_that_was_moved_holds_the_same_images(images, tmp_path, caplog):
    assert not note(images, tmp_path, False, caplog)
    assert not note(images.rename(tmp_path / "elsewhere"), tmp_path, True, caplog)


def test_a_new_run_in_the_workdir_of_another_has_nothing_to_tell(images, tmp_path, caplog):
    note(images, tmp_path, False, caplog)
    (images / "c.png").touch()
    assert not note(images, tmp_path, False, caplog)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "[" * 10**5])
def test_what_cannot_be_read_of_it_is_written_anew(images, tmp_path, caplog, content):
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert not note(images, tmp_path, True, caplog)
    (images / "c.png").touch()
    assert note(images, tmp_path, True, caplog)
