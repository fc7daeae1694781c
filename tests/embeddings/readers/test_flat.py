"""Numbers that lie one after another: few reads, little memory, and every row where it belongs."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctflow.embeddings.readers import flat
from ctflow.embeddings.readers.flat import Layout, read_rows


class Counted(io.BytesIO):
    """A file that counts its reads."""

    reads = total = 0

    def readinto(self, target):
        self.reads += 1
        self.total += len(target)
        return super().readinto(target)


def stored(n, d, dtype, by_columns, offset=7):
    array = np.arange(n * d).reshape(n, d).astype(dtype)
    content = bytes(offset) + array.tobytes("F" if by_columns else "C")
    return array, Counted(content), Layout((n, d), array.dtype, offset, by_columns)


@given(
    n=st.integers(1, 60),
    d=st.integers(1, 9),
    dtype=st.sampled_from(["float16", ">f4", "float64", "int32"]),
    by_columns=st.booleans(),
    gap=st.sampled_from([0, 8, 40, 10**6]),
    lane=st.sampled_from([16, 64, 10**6]),
    block=st.sampled_from([1, 50, 10**6]),
    seed=st.integers(0, 10**6),
)
def test_any_rows_are_found(n, d, dtype, by_columns, gap, lane, block, seed):
    array, file, layout = stored(n, d, dtype, by_columns)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False))
    out = np.full((len(rows), d), -1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat, "_GAP_BYTES", gap)
        patch.setattr(flat, "_LANE_BYTES", lane)
        patch.setattr("ctflow.embeddings.readers.parts.BLOCK_BYTES", block)
        read_rows(file, layout, rows, out)
    np.testing.assert_array_equal(out, array[rows])


@pytest.mark.parametrize(("n", "d", "k"), [(20_000, 12, 150), (50_000, 5, 3000)])
def test_near_rows_of_columns_are_read_with_what_lies_between(n, d, k):
    """A seek per row and column would be k·d reads; a megabyte of a column is one."""
    array, file, layout = stored(n, d, np.float32, by_columns=True)
    rows = np.sort(np.random.default_rng(1).choice(n, k, replace=False))
    out = np.empty((k, d), np.float32)
    read_rows(file, layout, rows, out)
    np.testing.assert_array_equal(out, array[rows])
    assert file.reads <= 2 * d
    assert file.total <= array.nbytes


def test_far_rows_of_columns_are_read_alone():
    """Rows further apart than a seek is worth take no more bytes than they have."""
    array, file, layout = stored(300_000, 3, np.float64, by_columns=True)
    rows = np.array([5, 100_000, 100_001, 299_999])
    out = np.empty((4, 3))
    read_rows(file, layout, rows, out)
    np.testing.assert_array_equal(out, array[rows])
    assert (file.reads, file.total) == (9, rows.size * 3 * 8)


def test_a_file_that_ends_early_is_refused():
    for by_columns in (False, True):
        _, file, layout = stored(10, 3, np.float32, by_columns)
        file.truncate(50)
        with pytest.raises(ValueError, match="it ends early"):
            read_rows(file, layout, np.arange(10), np.empty((10, 3)))
