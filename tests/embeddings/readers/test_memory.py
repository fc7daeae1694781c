"""A small file never takes much memory, whatever it promises: measured as a process of its own peaks."""

import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

MIB = 1 << 20
REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import sys
import numpy as np
import h5py, pyarrow.parquet  # noqa
from ctflow.embeddings import open_embeddings, open_pair

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))

before = peak()
try:
    for found in open_pair(sys.argv[1]) if "both" in sys.argv[1] else [open_embeddings(sys.argv[1])]:
        found.rows(np.array([0, 1, len(found) - 1]))
    said = "read"
except ValueError as error:
    said = str(error)
print(peak() - before, said)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def peak_of(path):
    """MiB beyond those of the imports, and what is said, when three rows of a file are read."""
    line = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], text=True, capture_output=True, check=True, cwd=REPOSITORY
    ).stdout
    grown, _, said = line.partition(" ")
    return int(grown), said.strip()


def zipped(path, by_columns):
    """400 MB of halves as an .npz of 2 MB."""
    header = {"descr": "<f4", "fortran_order": by_columns, "shape": (25 * 10**6, 4)}
    block = np.full(10**6, 0.5, "<f4").tobytes()
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(100):
            file.write(block)


def test_an_npz_takes_as_little_memory_as_its_rows(tmp_path):
    for by_columns in (False, True):
        zipped(tmp_path / "a.npz", by_columns)
        assert (tmp_path / "a.npz").stat().st_size < 4 * MIB
        grown, said = peak_of(tmp_path / "a.npz")
        assert said == "read"
        assert grown < 64, by_columns


def test_a_chunk_that_unpacks_to_more_than_it_may_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("e", (1000, 16), "f4", chunks=(1000, 16), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(400 * MIB), 1))
    grown, said = peak_of(tmp_path / "a.h5")
    assert "a chunk unpacks to more than" in said
    assert grown < 32


def test_a_chunk_that_promises_more_than_it_may_is_refused(tmp_path):
    rows = 400 * MIB // 64
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("e", (rows, 16), "f4", chunks=(rows, 16), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(bytes(400 * MIB), 1))
    grown, said = peak_of(tmp_path / "a.h5")
    assert "a chunk [6553600, 16] of 'e' unpacks to 400 MiB, at most 128 MiB may be unpacked at once" in said
    assert grown < 16


@pytest.mark.parametrize("chunks", [(150_000, 32), (150_000, 5), (64, 32)])
def test_chunks_take_about_one_of_their_bands(chunks, tmp_path):
    """18 MiB of real numbers, in one chunk, in a few by columns, and in small ones."""
    rows = np.random.default_rng(0).standard_normal((150_000, 32), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("e", data=rows, chunks=chunks, compression="gzip", compression_opts=1)
    grown, said = peak_of(tmp_path / "a.h5")
    assert said == "read"
    assert grown < (3.5 * rows.nbytes / MIB if chunks[0] > 64 else 16)


@pytest.mark.parametrize(("chunks", "most"), [((2, 75_000, 32), 80), ((2, 64, 32), 16)])
def test_chunks_of_both_sides_take_about_one_chunk_and_one_band_for_each(chunks, most, tmp_path):
    """36 MiB of real numbers, in one chunk that unpacks to half of it for two bands, and in small chunks."""
    rows = np.random.default_rng(0).standard_normal((2, 150_000, 32), np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file.create_dataset("e", data=rows, chunks=chunks, compression="gzip", compression_opts=1)
    grown, said = peak_of(tmp_path / "both.h5")
    assert said == "read"
    assert grown < most


def test_a_page_that_unpacks_to_more_than_it_may_is_refused(tmp_path):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40 * MIB, np.float32)), 2048)
    options = {"use_dictionary": False, "compression": "gzip", "compression_level": 1}
    pq.write_table(pa.table({"e": lists}), tmp_path / "a.parquet", data_page_size=1 << 30, **options)
    grown, said = peak_of(tmp_path / "a.parquet")
    assert re.search("a page of row group 0 unpacks to 1[56].* MiB, at most 128 MiB", said)
    assert grown < 32


def test_columns_of_a_file_take_little_memory(tmp_path):
    rows = np.asfortranarray(np.full((2 * MIB, 8), 8**-0.5, np.float32))
    np.save(tmp_path / "a.npy", rows)
    grown, said = peak_of(tmp_path / "a.npy")
    assert said == "read"
    assert grown < 24


def test_text_takes_the_memory_of_its_numbers(tmp_path):
    """16 MiB as float64, in a file of 40 MB."""
    rows = np.random.default_rng(0).standard_normal((1 << 13, 256))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with open(tmp_path / "a.jsonl", "w") as file:
        file.writelines(f"{row.tolist()}\n" for row in rows)
    grown, said = peak_of(tmp_path / "a.jsonl")
    assert said == "read"
    assert grown < 16 + 24


def test_a_record_batch_that_states_more_than_it_may_is_refused(tmp_path):
    """160 MiB of zeros, compressed into one batch."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(40 * MIB, np.float32)), 2048)
    pyarrow.feather.write_feather(pa.table({"e": lists}), tmp_path / "a.feather", "zstd", chunksize=1 << 20)
    assert (tmp_path / "a.feather").stat().st_size < MIB
    grown, said = peak_of(tmp_path / "a.feather")
    assert "record batch 0 unpacks to 160 MiB, at most 128 MiB may be unpacked at once" in said
    assert grown < 32
