"""Files of embeddings: each format gives the rows that were written, each bad one a line that says why."""

import hashlib
import json
import pickle
import subprocess
import sys

import h5py
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ctflow.embeddings import as_embeddings, open_embeddings, open_pair, read_pairs
from ctflow.embeddings.readers import flat


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


ROWS = unit(np.random.default_rng(0).standard_normal((57, 6)))


def write_parquet(path, rows, fixed=False, **options):
    values = pa.array(rows.ravel())
    lists = (
        pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
        if fixed
        else pa.ListArray.from_arrays(np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32), values)
    )
    pq.write_table(
        pa.table({"caption": ["a"] * len(rows), "embedding": lists}), path, row_group_size=10, **options
    )


def write_hdf5(path, rows, **options):
    with h5py.File(path, "w") as file:
        file["labels"] = np.arange(len(rows))
        file.create_dataset("embeddings", data=rows, **options)


WRITERS = {
    "plain.npy": lambda path, rows: np.save(path, rows),
    "columns.npy": lambda path, rows: np.save(path, np.asfortranarray(rows)),
    "big_endian.npy": lambda path, rows: np.save(path, rows.astype(rows.dtype.newbyteorder(">"))),
    "stored.npz": lambda path, rows: np.savez(path, embeddings=rows, labels=np.arange(3)),
    "packed.npz": lambda path, rows: np.savez_compressed(path, embeddings=rows),
    "one.safetensors": lambda path, rows: save_file({"embeddings": rows, "scale": np.ones(1)}, path),
    "lists.parquet": write_parquet,
    "fixed.parquet": lambda path, rows: write_parquet(path, rows, fixed=True),
    "one.h5": write_hdf5,
    "packed_columns.npz": lambda path, rows: np.savez_compressed(path, embeddings=np.asfortranarray(rows)),
    "stored_columns.npz": lambda path, rows: np.savez(path, embeddings=np.asfortranarray(rows)),
    "pages.parquet": lambda path, rows: write_parquet(
        path, rows, compression="gzip", use_dictionary=False, data_page_version="2.0", data_page_size=200
    ),
    "chunks.h5": lambda path, rows: write_hdf5(path, rows, chunks=(13, 4), compression="gzip", shuffle=True),
    "checksums.h5": lambda path, rows: write_hdf5(path, rows, chunks=(13, 4), fletcher32=True),
    "lzf.h5": lambda path, rows: write_hdf5(
        path, rows, chunks=(60, 6), maxshape=(None, 6), compression="lzf"
    ),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_those_that_were_written(name, dtype, tmp_path):
    rows = ROWS.astype(dtype)
    WRITERS[name](tmp_path / name, rows)
    found = open_embeddings(tmp_path / name)
    working = np.float64 if dtype == "float64" else np.float32
    assert (found.shape, found.stored, len(found)) == ((57, 6), np.dtype(dtype), 57)
    index = np.array([3, 50, 3, 0, 56])
    for rows_found, wanted in ((found.rows(slice(5, 20)), rows[5:20]), (found.rows(index), rows[index])):
        assert rows_found.dtype == working
        np.testing.assert_allclose(rows_found, unit(wanted.astype(float)), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(found.rows(np.arange(57)), axis=1), 1, atol=1e-6)


def test_bfloat16_is_promoted(tmp_path):
    raw = ROWS.astype(ml_dtypes.bfloat16)
    header = {"e": {"dtype": "BF16", "shape": [57, 6], "data_offsets": [0, raw.nbytes]}}
    text = json.dumps(header).encode()
    (tmp_path / "b.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw.tobytes())
    found = open_embeddings(tmp_path / "b.safetensors")
    assert found.stored.name == "bfloat16"
    np.testing.assert_allclose(found.rows(slice(None)), unit(raw.astype(float)), atol=1e-6)


def shards(folder, sizes=(20, 1, 0, 30, 6), dtype=np.float32):
    """Shards 0, 1, 2, 9 and 10: as text 10 would come before 2."""
    folder.mkdir(exist_ok=True)
    first = 0
    for number, size in zip((0, 1, 2, 9, 10), sizes, strict=True):
        np.save(folder / f"img_emb_{number}.npy", ROWS[first : first + size].astype(dtype))
        first += size
    return open_embeddings(folder)


INDEX = st.one_of(
    st.slices(57), st.lists(st.integers(0, 56), max_size=40).map(lambda rows: np.array(rows, np.int64))
)


@given(
    index=INDEX, dtype=st.sampled_from(["float16", "float32", "float64"]), block=st.sampled_from([1, 2**23])
)
def test_any_rows_of_any_layout_are_those_of_the_whole(tmp_path_factory, index, dtype, block):
    """Shards, columns, row groups: no layout changes a row, whatever is asked for and in what order."""
    whole = unit(ROWS.astype(dtype).astype(float))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctflow.embeddings.rows._BLOCK_BYTES", block)
        patch.setattr("ctflow.embeddings.readers.parquet._BATCH_BYTES", 100)
        for found in layouts(tmp_path_factory.getbasetemp() / f"layouts_{dtype}", dtype):
            np.testing.assert_allclose(found.rows(index), whole[index], atol=1e-7, err_msg=found.name)


def layouts(folder, dtype):
    """The same rows as shards, in columns, and in the row groups of a file; written once."""
    rows = ROWS.astype(dtype)
    if not folder.exists():
        folder.mkdir()
        shards(folder / "shards", dtype=dtype)
        for name in ("columns.npy", "lists.parquet", "one.h5"):
            WRITERS[name](folder / name, rows)
        (folder / "groups").mkdir()
        write_parquet(folder / "groups" / "part-0.parquet", rows[:31])
        write_parquet(folder / "groups" / "part-1.parquet", rows[31:])
    names = ("shards", "columns.npy", "lists.parquet", "one.h5", "groups")
    return [open_embeddings(folder / name) for name in names]


def test_blocks_do_not_matter(tmp_path, monkeypatch):
    found = shards(tmp_path / "s")
    whole = found.rows(slice(None))
    monkeypatch.setattr("ctflow.embeddings.rows._BLOCK_BYTES", 100)
    np.testing.assert_array_equal(found.rows(slice(None)), whole)


@pytest.mark.parametrize("block", [1, 100, 2**23])
def test_repeated_rows_have_equal_fingerprints(block, tmp_path, monkeypatch):
    """Repeats are found across shards and blocks, and every other row has a fingerprint of its own."""
    monkeypatch.setattr("ctflow.embeddings.rows._BLOCK_BYTES", block)
    source = np.random.default_rng(3).integers(0, 11, 40)
    for number, rows in enumerate(np.split(ROWS[source], [7, 8, 25])):
        np.save(tmp_path / f"{number}.npy", rows)
    found = open_embeddings(tmp_path).fingerprints(slice(None))
    assert (found.dtype, found.shape) == (np.uint64, (40,))
    np.testing.assert_array_equal(found[:, None] == found, source[:, None] == source)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", WRITERS)
def test_fingerprints_depend_on_numbers_only(name, dtype, tmp_path):
    """Neither format, byte order, norms nor the sign of zero matter, nor in what order rows are asked for."""
    rows = 3 * ROWS.astype(dtype)
    rows[5, :3], rows[6] = 0.0, rows[5]
    WRITERS[name](tmp_path / name, rows)
    rows[5, :3] = -0.0
    expected = as_embeddings(rows, name="x").fingerprints(slice(None))
    assert len(set(expected.tolist())) == 56
    assert expected[5] == expected[6]
    found = open_embeddings(tmp_path / name)
    for index in (slice(None), slice(3, 30, 4), np.array([9, 6, 9, 0])):
        np.testing.assert_array_equal(found.fingerprints(index), expected[index])


def test_fingerprints_are_hashes_of_rows_of_any_kind():
    """One value by its definition; rows that `rows` refuses have fingerprints all the same."""
    rows = np.array([[0.5, 2.0], [np.nan, np.inf], [0.5, 2.0]])
    found = as_embeddings(rows, name="x").fingerprints(slice(None))
    digest = hashlib.blake2b(np.array([0.5, 2.0]).tobytes(), digest_size=8).digest()
    assert found[0] == found[2] == int.from_bytes(digest, "little")
    half = as_embeddings(rows.astype(ml_dtypes.bfloat16), name="x").fingerprints(np.array([2, 1, 0]))
    assert half[0] == half[2] != half[1]
    assert len(as_embeddings(rows, name="x").fingerprints(slice(0))) == 0
    with pytest.raises(ValueError, match=r"index of x must lie in \[0, 3\), got 3"):
        as_embeddings(rows, name="x").fingerprints(np.array([3]))


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    """Two rows of a file take two reads of one row each: nothing is mapped, nothing else is loaded."""
    np.save(tmp_path / "a.npy", ROWS)
    read = []
    fill = flat._fill
    monkeypatch.setattr(flat, "_fill", lambda file, target: read.append(len(target)) or fill(file, target))
    open_embeddings(tmp_path / "a.npy").rows(np.array([3, 40]))
    assert read == [48, 48]


def test_a_clip_retrieval_folder_is_a_pair(tmp_path):
    for name in ("img_emb", "text_emb"):
        shards(tmp_path / name)
    x, y = open_pair(tmp_path)
    assert x.shape == y.shape == (57, 6)
    (tmp_path / "text_emb").rename(tmp_path / "texts")
    with pytest.raises(ValueError, match="must hold the folders img_emb and text_emb, but has no text_emb"):
        open_pair(tmp_path)


def test_partners_that_would_not_be_partners_are_refused(tmp_path):
    """A shard lost on each side, of equal size, leaves equal shapes."""
    for name in ("img_emb", "text_emb"):
        shards(tmp_path / name, sizes=(10, 10, 10, 10, 17))
    (tmp_path / "img_emb" / "img_emb_1.npy").unlink()
    with pytest.raises(ValueError, match=r"must pair row by row, got shapes \(47, 6\) and \(57, 6\)"):
        open_pair(tmp_path)
    (tmp_path / "text_emb" / "img_emb_2.npy").unlink()
    with pytest.raises(ValueError, match="must have shards with equal numbers in their names and equal"):
        open_pair(tmp_path)


def test_norms_are_checked_in_the_rounding_of_what_is_stored(tmp_path):
    half = (1.003 * ROWS).astype(np.float16)
    np.save(tmp_path / "half.npy", half)
    np.save(tmp_path / "single.npy", (1.003 * ROWS).astype(np.float32))
    assert open_embeddings(tmp_path / "half.npy").rows(slice(None)).shape == (57, 6)
    with pytest.raises(ValueError, match=r"57 of 57 rows read do not: row 0 has norm 1\.00299998"):
        open_embeddings(tmp_path / "single.npy").rows(slice(None))
    found = open_embeddings(tmp_path / "single.npy", normalize=True)
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-6)
    assert found.norms == pytest.approx((1.003, 1.003), rel=1e-6)


@pytest.mark.parametrize(("dtype", "eps"), [(np.float16, 2**-10), (ml_dtypes.bfloat16, 2**-7)])
@pytest.mark.parametrize("d", [3, 512])
def test_half_precisions_keep_norms_well_within_what_passes(dtype, eps, d):
    """Each rounding, of rows, norms and quotients, costs at most eps / 2; 4 eps pass."""
    rows = np.random.default_rng(1).standard_normal((2000, d)).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    for stored, bound in (
        ((rows / norms).astype(dtype), 0.5 * eps),
        (
            (rows.astype(dtype).astype(np.float32) / norms.astype(dtype).astype(np.float32)).astype(dtype),
            1.6 * eps,
        ),
    ):
        found = as_embeddings(stored, name="x")
        assert found.rows(slice(None)).dtype == np.float32
        assert found.norms is not None
        assert 1 - bound <= found.norms[0] <= found.norms[1] <= 1 + bound
    off = (rows / norms * (1 + 6 * eps)).astype(dtype)
    with pytest.raises(ValueError, match="2000 of 2000 rows read do not"):
        as_embeddings(off, name="x").rows(slice(None))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            np.nan,
            r"must be finite, violated by 2 of 57 rows read: rows 21 \(row 0 of img_emb_9\.npy\), 50; drop",
        ),
        (np.inf, "must be finite, violated by 2 of 57"),
        (0.0, r"must have no zero rows, violated by 2 of 57 rows read: rows 21 "),
    ],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_rows_without_a_direction_are_refused(value, words, normalize, tmp_path):
    shards(tmp_path / "s")
    rows = np.load(tmp_path / "s" / "img_emb_9.npy")
    rows[0] = rows[29] = value
    np.save(tmp_path / "s" / "img_emb_9.npy", rows)
    found = open_embeddings(tmp_path / "s", normalize=normalize)
    assert found.rows(slice(0, 21)).shape == (21, 6)
    with pytest.raises(ValueError, match=words):
        found.rows(slice(None))


def test_arrays_pass_through_and_are_checked():
    found = as_embeddings(ROWS, name="x")
    assert as_embeddings(found, name="y") is found
    doubled = as_embeddings(2 * ROWS, name="x")
    with pytest.raises(ValueError, match="x must have rows of unit norm"):
        doubled.rows(slice(None))
    np.testing.assert_allclose(as_embeddings(doubled, name="y", normalize=True).rows(slice(None)), ROWS)
    assert as_embeddings(jnp.asarray(ROWS, jnp.bfloat16), name="x").rows(slice(2)).dtype == np.float32
    np.testing.assert_allclose(found.rows(np.array([2, 1])), ROWS[[2, 1]], atol=1e-15)
    for bad, words in (
        (ROWS[0], r"x must be 2-D, \[n, d\], got shape \(6,\)"),
        (
            np.ones((4, 3), int),
            "x must hold float16 or bfloat16 or float32 or float64 or int8 or uint8, got int64",
        ),
        (ROWS[:1], r"x must have n >= 2 rows, got shape \(1, 6\)"),
        (ROWS[:, :1], "rows of d >= 2 numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            as_embeddings(bad, name="x")


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20, 1e38])
def test_rows_of_any_size_are_normalised(scale):
    rows = (scale * ROWS).astype(np.float32)
    found = as_embeddings(rows, name="x", normalize=True).rows(slice(None))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, ROWS, atol=1e-6 if scale > 1e-38 else 1e-4)


def bad_files(folder):
    good = ROWS.astype(np.float32)
    np.save(folder / "good.npy", good)
    content = (folder / "good.npy").read_bytes()
    (folder / "torn.npy").write_bytes(content[:-4])
    (folder / "header.npy").write_bytes(content[:40])
    (folder / "empty.npy").write_bytes(b"")
    (folder / "text.npy").write_text("1,2,3\n" * 40)
    (folder / "words.txt").write_text("1 2 3")
    np.save(folder / "objects.npy", np.array([{}, None], object), allow_pickle=True)
    np.save(folder / "complex.npy", good.astype(complex))
    np.save(folder / "bools.npy", good > 0)
    np.save(folder / "flat.npy", good[0])
    np.save(folder / "single.npy", good[:1])
    np.save(folder / "narrow.npy", good[:, :1])
    (folder / "pickle.npy").write_bytes(pickle.dumps(good))
    with open(folder / "twice.npy", "wb") as file:
        np.save(file, good)
        np.save(file, good)
    (folder / "torn.h5").write_bytes(content)
    (folder / "torn.parquet").write_bytes(content)
    pq.write_table(pa.table({"a": ["word"]}), folder / "words.parquet")
    (folder / "root" / "img_emb").mkdir(parents=True)
    (folder / "precisions").mkdir()
    np.save(folder / "precisions" / "0.npy", good)
    np.save(folder / "precisions" / "1.npy", good.astype(np.float64))
    np.save(folder / "cube.npy", good[None])
    np.savez(folder / "two.npz", a=good, b=good)
    (folder / "torn.npz").write_bytes(b"PK\x03\x04 no archive")
    save_file({"a": good, "b": good}, folder / "two.safetensors")
    (folder / "torn.safetensors").write_bytes(b"\xff" * 32)
    (folder / "no_shards").mkdir()
    (folder / "mixed").mkdir()
    np.save(folder / "mixed" / "a.npy", good)
    np.savez(folder / "mixed" / "b.npz", good)
    (folder / "widths").mkdir()
    np.save(folder / "widths" / "0.npy", good)
    np.save(folder / "widths" / "1.npy", unit(good[:, :4]))


BAD = {
    "none.npy": "does not exist",
    "torn.npy": "cut short",
    "header.npy": "header.npy",
    "empty.npy": "an empty file of 0 bytes",
    "text.npy": "text.npy",
    "words.txt": r"must end in one of \.npy, \.npz",
    "objects.npy": "object",
    "complex.npy": "got complex128",
    "bools.npy": "got bool",
    "flat.npy": r"must be 2-D, \[n, d\], got shape \(6,\)",
    "single.npy": r"must have n >= 2 rows, got shape \(1, 6\)",
    "narrow.npy": r"rows of d >= 2 numbers, got shape \(57, 1\)",
    "pickle.npy": r"must be a readable \.npy file",
    "twice.npy": "must hold one array",
    "torn.h5": "must be a readable HDF5 file",
    "torn.parquet": r"must be a readable \.parquet file",
    "words.parquet": "must hold lists of floating-point numbers in column 'a', got string",
    "root": "got img_emb/; give the path of such a file or folder",
    "precisions": "must have the width and dtype of",
    "cube.npy": r"must be 2-D, \[n, d\], got shape \(1, 57, 6\)",
    "two.npz": r"got a \[57, 6\] float32, b .*; name one with column \(--column\)",
    "torn.npz": "torn.npz",
    "two.safetensors": r"got a \[57, 6\] float32, b .*; name one with column \(--column\)",
    "torn.safetensors": "torn.safetensors",
    "no_shards": "got none",
    "mixed": r"got \.npy, \.npz",
    "widths": "must have the width and dtype of",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(name, tmp_path):
    bad_files(tmp_path)
    with pytest.raises(ValueError, match=BAD[name]) as caught:
        open_embeddings(tmp_path / name).rows(slice(None))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_is_named_or_its_absence_said(tmp_path):
    bad_files(tmp_path)
    np.testing.assert_allclose(
        open_embeddings(tmp_path / "two.npz", column="b").rows(slice(3)), ROWS[:3], atol=1e-6
    )
    with pytest.raises(ValueError, match="has no array 'c'; it holds a"):
        open_embeddings(tmp_path / "two.safetensors", column="c")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1.0, 0.0], [1.0, 0.0, 0.0]], "row 1 has length 3, but the first row has 2; drop such rows"),
        ([[1.0, 0.0], [0.0, 1.0], None], "row 2 is null"),
        ([[1.0, 0.0], [None, 1.0]], "row 1 holds a null"),
        ([None, [1.0, 0.0]], "in column 'e': row 0 is null"),
        ([[1, 0], [0, 1]], "got list<.*int64>"),
    ],
)
def test_lists_that_are_no_rows_are_refused(rows, words, tmp_path):
    pq.write_table(pa.table({"e": rows}), tmp_path / "e.parquet")
    with pytest.raises(ValueError, match=f"e.parquet.*{words}"):
        open_embeddings(tmp_path / "e.parquet").rows(slice(None))


@pytest.mark.parametrize(
    ("ending", "module", "extra"), [("parquet", "pyarrow.parquet", "parquet"), ("h5", "h5py", "hdf5")]
)
def test_a_missing_extra_is_named(ending, module, extra, tmp_path, monkeypatch):
    (tmp_path / f"a.{ending}").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'ctflow\[{extra}\]'"):
        open_embeddings(tmp_path / f"a.{ending}")


def test_reading_imports_neither_jax_nor_an_extra():
    modules = "jax", "pyarrow", "h5py", "ml_dtypes"
    code = f"import ctflow.embeddings, sys; print([m for m in {modules} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    "index", [np.array([-1]), np.array([57]), np.array([0.5]), np.array([[1]]), slice(0.5, 2)]
)
def test_rows_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match="index of x must"):
        as_embeddings(ROWS, name="x").rows(index)


def test_pairs_from_files(tmp_path):
    pairs = np.array([[0, 3], [1, 2]])
    np.save(tmp_path / "p.npy", pairs)
    (tmp_path / "p.csv").write_text("image,text\n0,3\n1,2\n")
    (tmp_path / "bare.csv").write_text("0, 3\n1, 2\n")
    for name in ("p.npy", "p.csv", "bare.csv"):
        np.testing.assert_array_equal(read_pairs(tmp_path / name, (2, 4)), pairs)
    (tmp_path / "odd.csv").write_text("0,3\n1\n")
    (tmp_path / "p.json").write_text("[[0, 3], [1, 2]]")
    (tmp_path / "p.json").write_text("[[0, 3]]")
    np.save(tmp_path / "floats.npy", pairs + 0.5)
    for name, shape, words in (
        ("p.npy", (2, 3), r"rows of y in \[0, 3\), violated by 1 of 2 pairs: row 0 holds 3"),
        ("odd.csv", (2, 4), "odd.csv"),
        ("floats.npy", (2, 4), r"must hold integers \[p, 2\], p >= 1, got float64"),
        ("none.csv", (2, 4), "does not exist"),
        ("p.json", (2, 4), r"must end in \.npy, \.csv, \.tsv, \.txt or \.parquet"),
    ):
        with pytest.raises(ValueError, match=words):
            read_pairs(tmp_path / name, shape)
