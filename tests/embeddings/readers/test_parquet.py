"""Parquet: a row group decoded once per call, after the sizes of its pages were looked at."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctflow.embeddings import open_embeddings
from ctflow.embeddings.readers import parquet, parquet_pages, parts
from ctflow.embeddings.readers.parquet import Parquet
from tests.embeddings.test_embeddings import unit, write_parquet

N, D = 211, 9
ROWS = unit(np.random.default_rng(11).standard_normal((N, D)))


@pytest.mark.parametrize("batch", [100, 1 << 22])
def test_a_row_group_is_decoded_once_per_call(batch, tmp_path, monkeypatch):
    """In one call, and in calls that go forward together; a call that goes back starts its group again."""
    monkeypatch.setattr(parquet, "_BATCH_BYTES", batch)
    write_parquet(tmp_path / "a.parquet", ROWS)
    found, decoded = open_embeddings(tmp_path / "a.parquet"), []
    take = Parquet._next
    monkeypatch.setattr(
        Parquet, "_next", lambda part, batches: decoded.append(lists := take(part, batches)) or lists
    )
    index = np.random.default_rng(0).permutation(N)[:150]
    np.testing.assert_allclose(found.rows(index), ROWS[index], atol=1e-15)
    assert sum(map(len, decoded)) <= N
    for first in range(0, N, 33):
        np.testing.assert_allclose(found.rows(slice(first, first + 33)), ROWS[first : first + 33])
    assert sum(map(len, decoded)) <= 2 * N


def test_rows_before_the_last_ones_are_decoded_again(tmp_path, monkeypatch):
    """Four rows a batch, ten in a row group: back within a group, and back to an earlier one."""
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 4 * D * ROWS.itemsize)
    write_parquet(tmp_path / "a.parquet", ROWS)
    found = open_embeddings(tmp_path / "a.parquet")
    for rows in (slice(45, 48), slice(41, 43), slice(4, 8), slice(0, 2)):
        np.testing.assert_allclose(found.rows(rows), ROWS[rows], atol=1e-15)


OPTIONS = {
    "default": {},
    "plain": {"use_dictionary": False},
    "second version": {"data_page_version": "2.0", "use_dictionary": False},
    "packed": {"compression": "zstd"},
    "indexed": {"write_page_index": True, "write_page_checksum": True},
    "no statistics": {"write_statistics": False, "use_dictionary": False},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_the_pages_of_every_column_are_found(options, tmp_path):
    """Values add up to those in the footer, pages to the column's size, dictionaries are told apart."""
    write_parquet(tmp_path / "a.parquet", ROWS, data_page_size=64, write_batch_size=5, **OPTIONS[options])
    metadata = pq.ParquetFile(tmp_path / "a.parquet").metadata
    with open(tmp_path / "a.parquet", "rb") as file:
        for group in range(metadata.num_row_groups):
            for leaf in range(metadata.num_columns):
                column = metadata.row_group(group).column(leaf)
                start = column.dictionary_page_offset or column.data_page_offset
                size = column.total_compressed_size
                found = list(parquet_pages.pages(file, start, size, column.num_values))
                assert sum(page.values for page in found) == column.num_values
                assert 0 < sum(page.unpacked for page in found) <= column.total_uncompressed_size
                assert (found[0].entries > 0) == bool(column.has_dictionary_page)


@pytest.mark.parametrize(
    "content", [b"", b"\x15", b"\x15\x00\x15", bytes([0x19]) * 500, bytes([0xFF]) * 5000]
)
def test_what_is_no_page_header_is_refused(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with open(tmp_path / "a", "rb") as file, pytest.raises((ValueError, RecursionError)):
        list(parquet_pages.pages(file, 0, len(content) + 1, 10))


def huge_first_row(path):
    """A few bytes that stand for a first row of a million numbers, and one more row."""
    values = pa.array(np.zeros(10**6 + 2, np.float32))
    lists = pa.ListArray.from_arrays(np.array([0, 10**6, 10**6 + 2], np.int32), values)
    pq.write_table(pa.table({"e": lists}), path)
    return path


def no_decoding(monkeypatch):
    def decode(*args, **kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(Parquet, "_next", decode)


def test_rows_that_would_fill_the_memory_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = huge_first_row(tmp_path / "a.parquet")
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="row 1 has length 2, but the first row has 1000000"):
        open_embeddings(path).rows(slice(None))
    no_decoding(monkeypatch)
    monkeypatch.setattr(parts, "host_bytes", lambda: 8 * 10**6 * 8)
    with pytest.raises(
        ValueError, match=r"a\.parquet: row group 0 unpacks to 7\.63 MiB, at most 7\.63 MiB may"
    ):
        open_embeddings(path)


def test_pages_that_would_fill_the_memory_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    rows = np.tile(ROWS, (1000, 1)).astype(np.float32)
    flat = {"use_dictionary": False, "compression": "gzip", "row_group_size": len(rows)}
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), D)
    pq.write_table(pa.table({"e": lists}), tmp_path / "a.parquet", data_page_size=1 << 30, **flat)
    pq.write_table(pa.table({"e": lists}), tmp_path / "b.parquet", data_page_size=1 << 14, **flat)
    monkeypatch.setattr(parts, "_ALWAYS_BYTES", 1 << 18)
    monkeypatch.setattr(parts, "_RATIO", 4)
    np.testing.assert_allclose(open_embeddings(tmp_path / "b.parquet").rows(slice(5)), ROWS[:5], atol=1e-6)
    no_decoding(monkeypatch)
    with pytest.raises(ValueError, match=r"a\.parquet: a page of row group 0 unpacks to .* [KM]iB, at most"):
        open_embeddings(tmp_path / "a.parquet")


SMALL_PAGES = {"use_dictionary": False, "data_page_size": 1000, "write_batch_size": 10}


def test_large_row_groups_of_real_rows_are_read(tmp_path, monkeypatch):
    """A row group that exceeds an eighth of the memory is decoded bit by bit if its file is as large."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), D)
    pq.write_table(pa.table({"e": lists}), tmp_path / "a.parquet", **SMALL_PAGES)
    monkeypatch.setattr(parts, "host_bytes", lambda: 8 * 3000)
    monkeypatch.setattr(parts, "_RATIO", 3)
    np.testing.assert_allclose(open_embeddings(tmp_path / "a.parquet").rows(slice(None)), ROWS, atol=1e-15)


def test_a_page_larger_than_its_column_is_refused(tmp_path):
    """Arrow makes room for what a page header promises before it reads."""
    write_parquet(tmp_path / "a.parquet", ROWS, use_dictionary=False)
    content = (tmp_path / "a.parquet").read_bytes()
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(1)
    at = column.data_page_offset
    assert content[at : at + 3 : 2] == b"\x15\x15"  # fields 1 and 2, numbers
    header = bytes([0x15, 0, 0x15]) + b"\xfe\xff\xff\xff\x0f" + bytes([0x15]) + b"\xfe\xff\xff\xff\x0f"
    (tmp_path / "b.parquet").write_bytes(content[:at] + header + content[at + len(header) :])
    with pytest.raises(ValueError, match=r"b\.parquet must be a readable \.parquet file \(a page"):
        open_embeddings(tmp_path / "b.parquet")


def test_a_footer_that_names_another_file_is_refused(tmp_path):
    """As the file `_metadata` of a folder does, whose columns are in the files beside it."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), D)
    table, collected = pa.table({"e": lists}), []
    pq.write_table(table, tmp_path / "other.parquet", metadata_collector=collected)
    collected[0].set_file_path("other.parquet")
    pq.write_metadata(table.schema, tmp_path / "a.parquet", metadata_collector=collected)
    with pytest.raises(ValueError, match="must hold its numbers itself, got column 'e' in another file"):
        open_embeddings(tmp_path / "a.parquet")


def test_the_column_is_found_behind_others(tmp_path):
    """Structures and maps take several columns of the file each."""
    table = pa.table(
        {
            "point": [{"x": 1, "y": {"z": 2.0, "w": [1]}}] * N,
            "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int32())),
            "e": ROWS.tolist(),
            "last": [1] * N,
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    found = open_embeddings(tmp_path / "a.parquet", column="e")
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-15)
    leaf = found._parts[0]._leaves[0]
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(leaf)
    assert column.path_in_schema.startswith("e.")


def test_gzip_is_what_it_was():
    """The ratio that bounds pages is far above that of real rows."""
    assert 4 * len(gzip.compress(ROWS.astype(np.float32).tobytes())) > ROWS.size * 4
