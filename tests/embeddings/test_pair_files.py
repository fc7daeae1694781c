"""Files of pairs, by index and by id, as pandas, polars and other programs write them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctflow.embeddings import read_ids, read_pairs

PAIRS = np.array([[0, 3], [1, 2], [1, 0]])
FRAME = pd.DataFrame(PAIRS, columns=["image", "text"])
X, Y = ["a.jpg", "b, c.jpg"], ["t0", "t1", "t2", "t3"]
NAMED = pd.DataFrame({"image": [X[i] for i in PAIRS[:, 0]], "text": [Y[j] for j in PAIRS[:, 1]]})

INDEX_FILES = {
    "index.csv": lambda path: FRAME.to_csv(path),
    "again.csv": lambda path: FRAME.reset_index().rename(columns={"index": "Unnamed: 0"}).to_csv(path),
    "plain.csv": lambda path: FRAME.to_csv(path, index=False),
    "index.tsv": lambda path: FRAME.to_csv(path, sep="\t"),
    "plain.tsv": lambda path: FRAME.to_csv(path, sep="\t", index=False, header=False),
    "semicolons.csv": lambda path: FRAME.to_csv(path, sep=";"),
    "polars.csv": lambda path: pl.DataFrame(FRAME.to_dict("list")).write_csv(path),
    "pandas.parquet": lambda path: FRAME.set_index(np.array([5, 6, 7])).to_parquet(path),
    "polars.parquet": lambda path: pl.DataFrame(FRAME.to_dict("list")).write_parquet(path),
    "small.parquet": lambda path: FRAME.astype("int16").to_parquet(path),
}


@pytest.mark.parametrize("name", INDEX_FILES)
def test_index_pairs(name, tmp_path):
    INDEX_FILES[name](tmp_path / name)
    found = read_pairs(tmp_path / name, (2, 4))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, PAIRS)


ID_FILES = {
    "index.csv": lambda path: NAMED.to_csv(path),
    "plain.tsv": lambda path: NAMED.to_csv(path, sep="\t", index=False),
    "bare.csv": lambda path: NAMED.to_csv(path, index=False, header=False),
    "pandas.parquet": lambda path: NAMED.to_parquet(path),
    "categories.parquet": lambda path: NAMED.astype("category").to_parquet(path),
    "polars.parquet": lambda path: pl.DataFrame(NAMED.to_dict("list")).write_parquet(path),
}


@pytest.mark.parametrize("name", ID_FILES)
def test_pairs_by_id(name, tmp_path):
    ID_FILES[name](tmp_path / name)
    np.testing.assert_array_equal(read_pairs(tmp_path / name, (2, 4), ids=(X, Y)), PAIRS)


TABLE = pd.DataFrame({"key": Y, "number": range(4), "emb": [[0.6, 0.8]] * 4})


def test_ids_that_name_no_row_or_two_are_refused(tmp_path):
    NAMED.to_csv(tmp_path / "pairs.csv", index=False)
    for ids, words in (
        ((X, Y[:3]), r"must hold ids of y, violated by 1 of 3 pairs: the first is 't3'"),
        ((X[:1], Y), r"must hold ids of x, violated by 2 of 3 pairs: the first is 'b, c.jpg'"),
    ):
        with pytest.raises(ValueError, match=words):
            read_pairs(tmp_path / "pairs.csv", (len(ids[0]), len(ids[1])), ids=ids)
    with pytest.raises(ValueError, match=r"^ids must name all 4 rows of y, got 3 ids; save one per row$"):
        read_pairs(tmp_path / "pairs.csv", (2, 4), ids=(X, Y[:3]))
    twice = pd.concat([TABLE, TABLE[1:2]])
    twice.to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="one row per id in column 'key', got 't1' in rows 1 and 4; drop"):
        read_ids(tmp_path / "twice.parquet", "key")
    with pytest.raises(ValueError, match=r"column 'emb' holds list<.*, must hold text or integers"):
        read_ids(tmp_path / "twice.parquet", "emb")
    np.save(tmp_path / "a.npy", np.eye(3))
    with pytest.raises(ValueError, match=r"a.npy has no column of ids; ids are read from \.parquet, "):
        read_ids(tmp_path / "a.npy", "key")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        (
            "three.csv",
            lambda p: FRAME.assign(score=1).to_csv(p),
            r"two columns.*got image, text, score; drop",
        ),
        ("words.parquet", lambda p: NAMED.to_parquet(p), "these are ids, name the column .* with --ids"),
        ("floats.parquet", lambda p: (FRAME + 0.5).to_parquet(p), "column 'image' holds double, must hold"),
        (
            "nulls.parquet",
            lambda p: pq.write_table(pa.table({"a": [1, None], "b": [0, 1]}), p),
            "two columns",
        ),
        ("none.parquet", lambda p: FRAME[:0].to_parquet(p), "p >= 1, got 0 pairs"),
        (
            "far.csv",
            lambda p: (FRAME + 2).to_csv(p),
            r"rows of x in \[0, 2\), violated by 3 of 3 pairs: row 0",
        ),
        ("junk.parquet", lambda p: p.write_bytes(b"junk" * 9), r"must be a readable \.parquet file"),
        ("uneven.csv", lambda p: p.write_text(",a,b\n0,1,2\n1,2\n"), "record 3 has 2 fields, but the first"),
        ("quote.csv", lambda p: p.write_text(',a,b\n0,"1,2\n'), "unexpected end of data"),
        ("nul.tsv", lambda p: p.write_bytes(b"\ta\tb\n0\t1\x00\t2\n"), "must hold two columns of integers"),
    ],
)
def test_bad_files_of_pairs_are_refused_in_one_line(name, write, words, tmp_path):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}.*{words}") as caught:
        read_pairs(tmp_path / name, (2, 4))
    assert "\n" not in str(caught.value)
