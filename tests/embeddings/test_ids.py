"""Ids of rows in every format: columns, dictionaries and arrays, and what is none."""

import json
import zlib

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from safetensors.numpy import save_file

from ctflow.embeddings import read_ids

Y = ["t0", "t1", "t2", "t3"]
TABLE = pd.DataFrame({"key": Y, "number": range(4), "emb": [[0.6, 0.8]] * 4})
ID_COLUMNS = {
    "a.parquet": lambda path: TABLE.to_parquet(path, row_group_size=2),
    "a.feather": lambda path: pyarrow.feather.write_feather(pa.Table.from_pandas(TABLE), path),
    "a.arrow": lambda path: pl.DataFrame(TABLE.to_dict("list")).write_ipc(path),
    "a.csv": lambda path: TABLE.to_csv(path),
    "a.tsv": lambda path: TABLE.to_csv(path, sep="\t"),
    "a.jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "a.ndjson": lambda path: pl.DataFrame(TABLE.to_dict("list")).write_ndjson(path),
    "a.json": lambda path: TABLE.to_json(path, orient="records"),
}


CATEGORIES = TABLE.astype({"key": "category", "number": "category"})


def categories_of(*dictionaries):
    """A stream of one record batch for each dictionary."""

    def written(path):
        schema = pa.schema({"other": pa.dictionary("i1", "i8"), "key": pa.dictionary("i2", "string")})
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True, compression="zstd")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema, options=options) as writer:
            for entries, indices in dictionaries:
                key = pa.DictionaryArray.from_arrays(pa.array(indices, "i2"), entries)
                other = pa.DictionaryArray.from_arrays(pa.array([0] * len(indices), "i1"), pa.array([7]))
                writer.write_batch(pa.record_batch([other, key], schema=schema))

    return written


ENCODED = {
    "a.parquet": lambda path: CATEGORIES.to_parquet(path, row_group_size=3),
    "a.feather": lambda path: CATEGORIES.to_feather(path, compression="zstd"),
    "chunks.feather": lambda path: CATEGORIES.to_feather(path, chunksize=3),
    "polars.arrow": lambda path: pl.from_pandas(CATEGORIES).write_ipc(path),
    "polars.parquet": lambda path: pl.from_pandas(CATEGORIES).write_parquet(path),
    "one.arrow": categories_of((Y[::-1], [3, 2, 1, 0])),
    "replaced.arrow": categories_of((Y[:2], [0, 1]), (Y[2:], [0, 1])),
    "delta.arrow": categories_of((Y[:2], [0, 1]), (Y, [2, 3])),
}


@pytest.mark.parametrize("name", ENCODED)
def test_ids_in_dictionaries(name, tmp_path):
    ENCODED[name](tmp_path / name)
    assert read_ids(tmp_path / name, "key") == Y
    if "number" in name or name.endswith("feather"):
        assert read_ids(tmp_path / name, "number") == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("entries", "indices", "words"),
    [
        (Y, [0, None, 1], r"must hold integers or short text, got None in row 1"),
        (["a" * 1001, *Y], [1, 0], r"short text, got 'aaa.* in row 1"),
        (Y, [0, 0], "must have one row per id in column 'key', got 't0' in rows 0 and 1"),
    ],
)
def test_bad_ids_in_dictionaries_are_refused(entries, indices, words, tmp_path):
    categories_of((entries, indices))(tmp_path / "a.arrow")
    with pytest.raises(ValueError, match=rf"a\.arrow.*{words}"):
        read_ids(tmp_path / "a.arrow", "key")


def test_a_long_dictionary_is_refused(tmp_path, monkeypatch):
    """And a long entry that many rows share takes no memory for each of them."""
    categories_of((["a" * 10**6, "b"], [0] * 10**4))(tmp_path / "a.arrow")
    with pytest.raises(ValueError, match=r"short text, got 'aaa.* in row 0"):
        read_ids(tmp_path / "a.arrow", "key")
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 * 10**5)
    with pytest.raises(
        ValueError, match=r"a dictionary unpacks to .* KiB, at most 97\.7 KiB may be unpacked"
    ):
        read_ids(tmp_path / "a.arrow", "key")


@pytest.mark.parametrize("encoded", [False, True])
def test_many_views_of_one_text_are_refused(encoded, tmp_path, monkeypatch):
    view = np.array([900, 0, 0, 0], "<i4").tobytes()[:4] + b"aaaa" + bytes(8)
    buffers = [None, pa.py_buffer(view * 10**4), pa.py_buffer(b"a" * 900)]
    views = pa.Array.from_buffers(pa.string_view(), 10**4, buffers)
    if encoded:
        views = pa.DictionaryArray.from_arrays(pa.array([0, 1]), views)
    schema = pa.schema({"key": views.type})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_batch(pa.record_batch([views], schema=schema))
    assert (tmp_path / "a.arrow").stat().st_size < 2 * 10**5
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 * 10**6)
    what = "a dictionary" if encoded else "the ids"
    with pytest.raises(ValueError, match=rf"a\.arrow: {what} would take 8\.58 MiB, at most an eighth"):
        read_ids(tmp_path / "a.arrow", "key")


def of_hdf5(ids, **options):
    def written(path):
        with h5py.File(path, "w") as file:
            file["emb"] = np.full((len(ids), 2), 0.5**0.5)
            file.create_dataset("meta/key", data=ids, **options)
            file["key"] = h5py.SoftLink("/meta/key")

    return written


def of_npz(ids, save=np.savez):
    return lambda path: save(path, emb=np.full((len(ids), 2), 0.5**0.5), key=ids)


KEYS, NUMBERS = ["t0", "t1", "tµ", "b, c.jpg"], [5, 2**40, 0, -3]
PACKED = {"chunks": (3,), "compression": "gzip", "shuffle": True}
ID_ARRAYS = {
    "text.npz": (of_npz(np.array(KEYS)), KEYS),
    "packed.npz": (of_npz(np.array(KEYS), np.savez_compressed), KEYS),
    "bytes.npz": (of_npz(np.array([key.encode() for key in KEYS])), KEYS),
    "integers.npz": (of_npz(np.array(NUMBERS)), NUMBERS),
    "big.npz": (of_npz(np.array(NUMBERS, ">i8")), NUMBERS),
    "text.h5": (of_hdf5(KEYS), KEYS),
    "packed.h5": (of_hdf5(KEYS, **PACKED), KEYS),
    "bytes.hdf5": (of_hdf5([key.encode() for key in KEYS]), KEYS),
    "fixed.h5": (of_hdf5(np.array([key.encode() for key in KEYS])), KEYS),
    "fixed_packed.h5": (of_hdf5(np.array([key.encode() for key in KEYS]), **PACKED), KEYS),
    "integers.hdf": (of_hdf5(NUMBERS), NUMBERS),
    "packed.he5": (of_hdf5(NUMBERS, fletcher32=True, **PACKED), NUMBERS),
    "lzf.h5": (of_hdf5(NUMBERS, chunks=(2,), compression="lzf"), NUMBERS),
    "a.safetensors": (lambda path: save_file({"emb": np.eye(4), "key": np.array(NUMBERS)}, path), NUMBERS),
    "small.safetensors": (
        lambda path: save_file({"emb": np.eye(2), "key": np.array([3, 1], np.uint16)}, path),
        [3, 1],
    ),
}


@pytest.mark.parametrize("name", ID_ARRAYS)
def test_ids_in_arrays(name, tmp_path):
    write, ids = ID_ARRAYS[name]
    write(tmp_path / name)
    assert read_ids(tmp_path / name, "key") == [str(each) for each in ids]
    with pytest.raises(ValueError, match=rf"{name} has no array 'none'; it holds .*key \[[24]\]"):
        read_ids(tmp_path / name, "none")
    with pytest.raises(ValueError, match=rf"{name} must hold ids as an array \[n\] of integers or text"):
        read_ids(tmp_path / name, "emb")


def external(path):
    with h5py.File(path, "w") as file:
        file["key"] = h5py.ExternalLink("other.h5", "/key")


BAD_ARRAYS = {
    "objects.npz": (
        of_npz(np.array(KEYS, object)),
        r"got pickled objects, never loaded; save np\.array\(ids, d",
    ),
    "torn.npz": (lambda path: path.write_bytes(b"PK junk"), r"must be a readable \.npz file"),
    "floats.npz": (
        of_npz(np.array([0.5, 1.5])),
        r"integers or text in 'key', got float64 \[2\]; name another",
    ),
    "flags.npz": (of_npz(np.array([True, False])), "got bool"),
    "latin.npz": (of_npz(np.array(["ü".encode("latin-1")] * 2)), r"must be a readable \.npz file .*utf-8"),
    "empty.npz": (of_npz(np.array(["", "a"])), "must hold integers or short text, got '' in row 0"),
    "external.h5": (external, "must hold its numbers itself, got 'key', an external link"),
    "long.h5": (
        of_hdf5(["a" * 4001, *KEYS]),
        "short text in 'meta/key', got 4001 bytes in row 0; name another",
    ),
    "lzf.h5": (of_hdf5(KEYS, chunks=(3,), compression="lzf"), "compressed by another filter than gzip"),
    "flags.h5": (of_hdf5([True, False]), "got bool"),
    "latin.h5": (of_hdf5(np.array(["ü".encode("latin-1")] * 2)), "must be a readable HDF5 file .*utf-8"),
    "twice.h5": (of_hdf5([1, 1]), "one row per id in column 'key', got '1' in rows 0 and 1; drop one"),
    "a.safetensors": (lambda path: save_file({"key": np.eye(2)}, path), r"got float64 \[2, 2\]"),
    "torn.safetensors": (
        lambda path: path.write_bytes(b"12345678"),
        r"must be a readable \.safetensors file",
    ),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_of_ids_are_refused_in_one_sentence(name, tmp_path):
    write, words = BAD_ARRAYS[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}.*{words}") as caught:
        read_ids(tmp_path / name, "key")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ids", [KEYS, NUMBERS])
def test_chunks_of_ids_unpack_to_no_more_than_they_may(ids, tmp_path, monkeypatch):
    of_hdf5(ids, **PACKED)(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["key"].id.write_direct_chunk((0,), zlib.compress(bytes(10**6)))
    with pytest.raises(ValueError, match="a chunk unpacks to more than"):
        read_ids(tmp_path / "a.h5", "key")
    of_hdf5(ids)(tmp_path / "b.h5")
    of_npz(np.array(ids))(tmp_path / "b.npz")
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 * 100)
    for name in ("b.h5", "b.npz"):
        with pytest.raises(
            ValueError, match=rf"{name}: the ids '.*key' would take .*; save the ids as integers"
        ):
            read_ids(tmp_path / name, "key")


@pytest.mark.parametrize("name", ID_COLUMNS)
def test_ids_of_rows(name, tmp_path):
    ID_COLUMNS[name](tmp_path / name)
    assert read_ids(tmp_path / name, "key") == Y
    assert read_ids(tmp_path / name, "number") == ["0", "1", "2", "3"]
    with pytest.raises(ValueError, match=rf"{name}.*none"):
        read_ids(tmp_path / name, "none")


def test_ids_of_shards_are_in_the_order_of_rows(tmp_path):
    for number, rows in enumerate((slice(0, 3), slice(3, 4))):
        TABLE[rows].to_parquet(tmp_path / f"{number + 9}.parquet")
    assert read_ids(tmp_path, "key") == Y


def test_many_references_to_one_text_are_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        ids = file.create_dataset("key", (1000,), h5py.string_dtype(), chunks=(1000,))
        ids[0] = "a" * 3000
        raw = ids.id.read_direct_chunk((0,))[1]
        ids.id.write_direct_chunk((0,), raw[:16] * 1000)
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 * 10**6)
    with pytest.raises(ValueError, match=r"a\.h5: the ids 'key' would take 2\.9.* MiB, at most an eighth"):
        read_ids(tmp_path / "a.h5", "key")


def test_ids_in_one_json_object(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"key": NUMBERS, "emb": [[0.6, 0.8]] * 4, "text": KEYS}))
    assert read_ids(tmp_path / "a.json", "text") == KEYS
    assert read_ids(tmp_path / "a.json", "key") == [str(each) for each in NUMBERS]
    with pytest.raises(ValueError, match=r"a\.json has no array 'none'; it holds key \[4\]"):
        read_ids(tmp_path / "a.json", "none")
    with pytest.raises(ValueError, match=r"must hold integers or short text, got \[0\.6, 0\.8\] in row 0"):
        read_ids(tmp_path / "a.json", "emb")


def test_json_ids_must_be_in_every_record(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"key": "a"}) + "\n" + json.dumps({"other": 1}))
    with pytest.raises(ValueError, match=r"must have 'key' in every record"):
        read_ids(tmp_path / "a.jsonl", "key")
