"""Folders whose files are all written or none."""

import os

import pytest

from ctflow.storage.folders import all_or_none, locked


def write(folder, *names):
    for name in names:
        (folder / name).write_text(f"new {name}")


def fail(out, error):
    with all_or_none(out) as folder:
        write(folder, "one", "two")
        raise error


def test_all_files_take_their_places(tmp_path):
    out = tmp_path / "a" / "b"
    with all_or_none(out) as folder:
        write(folder, "one", "two")
        assert [path.name for path in out.iterdir()] == [folder.name]
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]
    assert (out / "two").read_text() == "new two"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_none_is_left_if_anything_fails(tmp_path, error):
    out = tmp_path / "a" / "b"
    with pytest.raises(error):
        fail(out, error)
    assert os.listdir(tmp_path) == []
    out.mkdir(parents=True)
    (out / "one").write_text("old")
    with pytest.raises(error):
        fail(out, error)
    assert os.listdir(out) == ["one"]
    assert (out / "one").read_text() == "old"


def test_a_folder_in_the_place_of_a_file_moves_nothing(tmp_path):
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match="two is a folder"), all_or_none(tmp_path) as folder:
        write(folder, "one", "two")
    assert os.listdir(tmp_path) == ["two"]


def test_one_process_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="in use by another run"), all_or_none(tmp_path):
        pass
