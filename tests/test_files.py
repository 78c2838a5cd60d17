"""Folders that are written whole or not at all."""

import resource

import pytest

from gsjax.errors import UserError
from gsjax.files import new_folder, write_atomically


@pytest.mark.parametrize("there", [False, True])
def test_a_new_folder_appears_with_all_that_was_written(tmp_path, there):
    folder = tmp_path / "deep" / "new"
    if there:
        folder.mkdir(parents=True)
    with new_folder(folder) as unfinished:
        (unfinished / "a").write_text("a")
        assert list(folder.iterdir()) == [unfinished] if there else not folder.exists()
    assert (folder / "a").read_text() == "a"
    assert [path.name for path in folder.parent.iterdir()] == ["new"]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["link", "."])
def test_an_empty_folder_is_filled_where_it_is(tmp_path, monkeypatch, name):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    monkeypatch.chdir(tmp_path / "there" if name == "." else tmp_path)
    with new_folder(name) as unfinished:
        (unfinished / "a").write_text("a")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a"]
    assert (tmp_path / "link").is_symlink()


def test_of_a_folder_that_fails_nothing_is_left(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write():
        with new_folder(tmp_path / "new") as unfinished:
            write_atomically(unfinished / "short", b"a")
            write_atomically(unfinished / "long", b"a" * 100)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # as a full disk
        with pytest.raises(UserError, match=r"^--output: cannot write .*new: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["a folder that holds something", "a file", "a dangling link"])
def test_nothing_is_overwritten(tmp_path, there):
    path = tmp_path / "taken"
    if there == "a file":
        path.write_text("mine")
    elif there == "a dangling link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
        (path / "mine").touch()
    with pytest.raises(UserError, match=r"^--output: .*taken exists"), new_folder(path):
        pass


@pytest.mark.parametrize("name", ["", "  "])
def test_a_folder_has_a_name(name):
    with pytest.raises(UserError, match=r"^--output: it is empty"), new_folder(name):
        pass
