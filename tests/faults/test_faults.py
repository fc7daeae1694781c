"""Real processes killed at any moment, real disks that fill, two writers: nothing is lost or half there."""

import hashlib
import resource
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.faults import killed_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole():
    """The run that nobody interrupts."""
    return killed_run.run(None)


def same(found, whole):
    jax.tree.map(np.testing.assert_array_equal, found[:4], whole[:4])


def check_files(folder):
    """Every file under a final name is whole; returns how many there are."""
    names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in names:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        assert path.name == f"{path.name[:12]}-{digest}.safetensors"
    return len(names)


def start(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.killed_run", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_again_and_again(folder, whole, count):
    """Kill at seeded random moments, and after each go on with a copy to the end; how often it mattered."""
    rng, hit, times = np.random.default_rng(0), 0, 0
    while times < count:
        process = start(folder)
        time.sleep(rng.uniform(0.5, 5.0))
        process.kill()
        output = process.communicate()[0]
        if folder.exists():
            hit += any(path.name.startswith(".") for path in folder.iterdir())
            assert check_files(folder) <= 3  # the third, if killed before the oldest went
            shutil.copytree(folder, copy := folder.with_name(f"copy_{times}"))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                same(killed_run.run(copy), whole)
            shutil.rmtree(copy)
        times += "finished" not in output
        if "finished" in output:
            shutil.rmtree(folder)
    return hit


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, whole):
    kill_again_and_again(tmp_path / "run", whole, 1)


@pytest.mark.slow
def test_fifty_kills_and_some_of_them_within_a_save(tmp_path, whole):
    assert kill_again_and_again(tmp_path / "run", whole, 50) > 0


def test_a_second_process_is_refused_and_the_first_not_disturbed(tmp_path, whole):
    process = start(tmp_path / "run")
    while not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir()):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="is in use by another run; wait for it, or choose another folder"):
        killed_run.run(tmp_path / "run")
    assert process.communicate()[0] == "finished\n"
    same(killed_run.run(tmp_path / "run"), whole)


@contextmanager
def files_of_at_most(size):
    """A limit on the size of files, which works without a disk to fill."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_costs_a_warning_not_the_run(tmp_path, whole, monkeypatch):
    monkeypatch.setattr("ctflow.storage.checkpoints._SHARE", float("inf"))
    with (
        files_of_at_most(2**20),
        pytest.warns(RuntimeWarning, match=r"\(File too large\): the one at \d+ is kept"),
    ):
        same(killed_run.run(tmp_path / "run"), whole)
    assert check_files(tmp_path / "run") == 2
    assert all(path.stat().st_size <= 2**20 for path in (tmp_path / "run").iterdir())
    same(killed_run.run(tmp_path / "run"), whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_keeps_the_last_good_checkpoint_and_says_so(small_disk, whole, monkeypatch):
    monkeypatch.setattr("ctflow.storage.checkpoints._SHARE", float("inf"))
    message = r"no checkpoint could be written at \d+ .*\(No space left on device\): the one at \d+ is kept"
    with pytest.warns(RuntimeWarning, match=message):
        same(killed_run.run(small_disk / "run"), whole)
    assert check_files(small_disk / "run") == 2
    with pytest.warns(RuntimeWarning, match="No space left"):
        same(killed_run.run(small_disk / "run"), whole)


def test_the_bytes_do_not_depend_on_the_number_of_host_devices(whole):
    flags = "--xla_force_host_platform_device_count=8"
    code = (
        "import hashlib, jax; jax.config.update('jax_enable_x64', True)\n"
        "from tests.faults import killed_run\n"
        "print(len(jax.devices()), hashlib.sha256(bytes(memoryview(killed_run.run(None).saved))).hexdigest())"
    )
    done = subprocess.run(
        ["env", f"XLA_FLAGS={flags}", sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    devices, digest = done.stdout.split()
    assert devices == "8"
    assert digest == hashlib.sha256(bytes(memoryview(whole.saved))).hexdigest()
