"""Runs that memory or disk cannot hold are refused before they start."""

import os
import shutil

import numpy as np
import pytest

import ctflow as ct
from ctflow._base.resources import processors
from tests.running.small_runs import solve


def test_a_run_that_cannot_fit_is_refused_with_the_numbers(monkeypatch, capsys):
    monkeypatch.setattr("ctflow._base.resources.total_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match=r"needs about .* KiB of memory, but there is only 1e\+03 B"):
        solve()
    assert solve(force=True, progress=True).status is ct.Status.FINISHED
    assert "of memory" in capsys.readouterr().err


def test_checkpoints_that_the_disk_cannot_hold_are_refused_before_the_run(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    for call in (solve, lambda **options: ct.sweep(lambda x: x**2, np.arange(200.0), **options)):
        with pytest.raises(MemoryError, match=r"checkpoints .* KiB of disk, but there is only 1e\+03 B"):
            call(checkpoint=tmp_path / "run")
        assert not any((tmp_path / "run").iterdir())
    assert solve(checkpoint=tmp_path / "run", force=True).status is ct.Status.FINISHED


@pytest.mark.parametrize(
    ("given", "used"), [("1", 1), ("3", 3), ("", None), ("0", None), ("-2", None), ("two", None)]
)
def test_a_share_of_the_cores_is_a_whole_number_or_is_not_given(monkeypatch, given, used):
    monkeypatch.setenv("NPROC", given)
    assert processors() == (os.cpu_count() if used is None else used)
