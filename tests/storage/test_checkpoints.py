"""Checkpoints are whole or not there, and damage is never taken for numbers."""

import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctflow.storage import checkpoints
from tests.running.small_runs import solve


def test_a_folder_in_use_or_with_a_run_is_refused(tmp_path):
    with checkpoints.locked(tmp_path), pytest.raises(ValueError, match="is in use by another run"):
        solve(checkpoint=tmp_path)
    solve(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="already holds a run; continue it with resume=True"):
        solve(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="resume=True needs checkpoint=PATH"):
        solve(resume=True)


def store(folder, **made_of):
    return checkpoints.opened(folder, {"who": "test", **made_of}, resume=True)


ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "c": np.uint32([1, 2])}


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=100)
def test_damage_anywhere_leads_to_the_checkpoint_before(where, bit, cut, tmp_path_factory):
    """A bit flipped or the end cut off, anywhere: a warning and the one before, never wrong numbers."""
    folder = tmp_path_factory.mktemp("damaged")
    with store(folder) as kept:
        for count in (5, 10):
            kept.write(count, {**ARRAYS, "count": np.array(count)})
    path = kept.files()[-1]
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)
    with store(folder) as kept, pytest.warns(RuntimeWarning, match="is damaged"):
        found = kept.load()
    assert found.count == found.arrays["count"] == 5
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_nothing_whole_is_one_clear_error(tmp_path):
    solve(checkpoint=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match="only damaged checkpoints; delete it"):
        solve(checkpoint=tmp_path, resume=True)


def test_the_last_two_are_kept_and_litter_is_cleared(tmp_path):
    (tmp_path / ".000000000001-0.safetensors.abc").touch()
    with store(tmp_path) as kept:
        for count in range(4):
            assert kept.write(count, ARRAYS)
    assert [int(path.name[:12]) for path in sorted(tmp_path.iterdir())] == [2, 3]


def test_a_write_that_fails_is_said_and_tried_again(tmp_path, monkeypatch):
    with store(tmp_path) as kept:
        kept.write(1, ARRAYS)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
            with pytest.warns(RuntimeWarning, match="the one at 1 is kept"):
                assert not kept.write(2, ARRAYS)
        assert [path.name[:12] for path in tmp_path.iterdir()] == ["000000000001"]
        assert kept.write(3, ARRAYS)


def test_whole_runs_leave_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(checkpoint=tmp_path)


def test_checkpoints_that_take_long_are_left_out_for_forty_times_as_long(tmp_path, monkeypatch):
    now, write = [0.0], checkpoints.Store._write

    def slow(self, count, arrays):
        now[0] += 10
        return write(self, count, arrays)

    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoints.Store, "_write", slow)
    written = []
    with store(tmp_path) as kept:
        for count, waited in enumerate((0, 390, 20, 300)):
            now[0] += waited
            written.append(kept.write(count, ARRAYS, now=False))
        assert kept.write(9, ARRAYS)  # the last one is written whatever it takes
    assert written == [True, False, True, False]
    assert [int(path.name[:12]) for path in sorted(tmp_path.iterdir())] == [2, 9]


def test_a_damaged_checkpoint_makes_room_for_the_next_and_a_whole_one_stays(tmp_path):
    with store(tmp_path) as kept:
        for count in (5, 10):
            kept.write(count, ARRAYS)
    newest = kept.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    with store(tmp_path) as kept:
        with pytest.warns(RuntimeWarning, match="is damaged"):
            assert kept.load().count == 5
        kept.write(15, ARRAYS)
    assert [int(path.name[:12]) for path in kept.files()] == [5, 15]
