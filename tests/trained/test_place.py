"""What is at a path: runs, whose best and last generator differ, checkpoints, folders, names."""

import pytest

from gsjax.errors import UserError
from gsjax.trained import packed
from gsjax.trained.place import BUNDLED, locate


@pytest.fixture
def run(tmp_path):
    for checkpoint in ("checkpoints/3", "checkpoints/20", "best/10"):
        (tmp_path / "run" / checkpoint / "state").mkdir(parents=True)
    return tmp_path / "run"


def test_a_runs_best_generator_and_its_last_are_two(run):
    assert locate(run, "best") == (run / "best" / "10", run, False)
    assert locate(run, "last") == (run / "checkpoints" / "20", run, False)
    (run / "best" / "10").rename(run / "best" / "corrupt_10")
    assert locate(run, "best") == locate(run, "last")


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_path_inside_a_run_means_what_is_there(run, which):
    assert locate(run / "best", which).folder == run / "best" / "10"
    assert locate(run / "checkpoints", which).folder == run / "checkpoints" / "20"
    assert locate(run / "checkpoints" / "3", which) == (run / "checkpoints" / "3", run, False)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_name_is_a_packed_folder(name):
    place = locate(name, "best")
    assert place.packed
    assert (place.folder / packed.FILE).is_file()
    assert place == locate(place.folder, "last")


def test_nothing_there_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        locate(tmp_path / "nowhere", "last")
