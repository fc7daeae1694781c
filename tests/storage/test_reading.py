"""What libraries raise for damaged files becomes one line; a mistake in ctflow stays what it is."""

import numpy as np
import pytest

from ctflow.embeddings import open_embeddings
from ctflow.storage.reading import readable
from tests.embeddings.test_embeddings import ROWS, WRITERS

# A function of each reader that runs while a file is being read.
PARTS = {
    "plain.npy": "flat._fill",
    "columns.npy": "flat._read_lane",
    "stored.npz": "flat._fill",
    "packed.npz": "zipped.read_rows",
    "packed_columns.npz": "zipped.gather",
    "one.safetensors": "safetensors_files._tensor",
    "lists.parquet": "parquet.pages",
    "one.h5": "flat._fill",
    "chunks.h5": "hdf5_chunks.unfiltered",
    "lzf.h5": "hdf5_chunks.gather",
}


@pytest.mark.parametrize("mistake", [AttributeError, NameError, TypeError, AssertionError, IndexError])
@pytest.mark.parametrize("name", PARTS)
def test_a_mistake_in_a_reader_is_no_damaged_file(name, mistake, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise mistake("a mistake")

    WRITERS[name](tmp_path / name, ROWS)
    monkeypatch.setattr(f"ctflow.embeddings.readers.{PARTS[name]}", broken)
    with pytest.raises(mistake, match="a mistake"):
        open_embeddings(tmp_path / name).rows(np.array([0, 1]))


@pytest.mark.parametrize("name", ["lists.parquet", "one.h5", "packed.npz", "one.safetensors", "plain.npy"])
def test_the_original_error_is_chained(name, tmp_path):
    (tmp_path / name).write_bytes(b"junk of more than a few bytes")
    with pytest.raises(ValueError, match="must be a readable") as caught:
        open_embeddings(tmp_path / name)
    assert isinstance(caught.value.__cause__, Exception)
    assert str(caught.value.__cause__).splitlines()[0] in str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "MemoryError"),
        (ValueError("two\nlines"), "two"),
        (EOFError("cut"), "cut"),
    ],
)
def test_one_line_says_what_is_wrong(error, said):
    with pytest.raises(ValueError, match=rf"^a\.npy must be a readable \.npy file \({said}\); check it$"):  # noqa: SIM117
        with readable("a.npy", ".npy file"):
            raise error


def test_errors_of_a_library_are_named_where_it_is_used():
    with pytest.raises(KeyError), readable("a.h5", "HDF5 file"):
        raise KeyError("name")
    with pytest.raises(ValueError, match="name"), readable("a.h5", "HDF5 file", KeyError):
        raise KeyError("name")
