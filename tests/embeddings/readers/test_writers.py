"""Files of the programs that people use: each is read as the rows that its real writer was given."""

import csv
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from ctflow.embeddings import open_embeddings, open_pair
from tests.embeddings.test_embeddings import unit, write_hdf5

ROWS = unit(np.random.default_rng(0).standard_normal((60, 8))).astype(np.float32)
OTHER = unit(np.random.default_rng(1).standard_normal((60, 8))).astype(np.float32)
ORDER = np.array([59, 3, 3, 17])
NAMES = [f"a{i}" for i in range(60)]
LISTS = pd.DataFrame({"id": NAMES, "emb": ROWS.tolist()})
ARRAYS = pd.DataFrame({"id": range(60), "emb": list(ROWS)})
WIDE = pd.DataFrame(ROWS, columns=[f"dim_{i}" for i in range(8)])
MIXED = WIDE.assign(caption='a, "b"\nc', score=0.5, label=3)
POLARS = pl.DataFrame({"id": NAMES, "emb": ROWS})
TENSORS = pa.table({"emb": pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS)})
ONE_ROW_TENSORS = pa.table({"emb": pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS[:, None])})


def stream(path, table, **options):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, **options)


def dictionary(path):
    rows = [{"image_id": i, "embedding": row} for i, row in enumerate(ROWS.tolist())]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["image_id", "embedding"])
        writer.writeheader()
        writer.writerows(rows)


def dump(path, content, **options):
    path.write_text(json.dumps(content, **options))


def in_lines(path, records):
    path.write_text("\n".join(map(json.dumps, records)) + "\n")


def hive(path):
    ARRAYS.assign(year=np.arange(60) // 30 + 2023, half="a").to_parquet(path, partition_cols=["year", "half"])


def numbered_hive(path):
    for number in (9, 10):
        (path / f"part={number}").mkdir(parents=True)
        rows = slice(0, 25) if number == 9 else slice(25, 60)
        pq.write_table(pa.table({"emb": list(ROWS[rows])}), path / f"part={number}" / "data_0.parquet")
    (path / "_SUCCESS").touch()


TEXT = {
    "lists.csv": lambda path: LISTS.to_csv(path),
    "arrays.csv": lambda path: ARRAYS.to_csv(path, index=False),
    "wide.csv": lambda path: pd.DataFrame(ROWS).to_csv(path),
    "no_index.csv": lambda path: pd.DataFrame(ROWS).to_csv(path, index=False),
    "bare.csv": lambda path: pd.DataFrame(ROWS).to_csv(path, index=False, header=False),
    "named_index.csv": lambda path: WIDE.rename_axis("row").to_csv(path),
    "mixed.csv": lambda path: MIXED.to_csv(path),
    "semicolons.csv": lambda path: WIDE.to_csv(path, sep=";"),
    "shuffled.csv": lambda path: WIDE[WIDE.columns[::-1]].to_csv(path),
    "wide.tsv": lambda path: WIDE.to_csv(path, sep="\t"),
    "dictionary.csv": dictionary,
    "polars.csv": lambda path: pl.DataFrame(ROWS).write_csv(path),
    "savetxt.csv": lambda path: np.savetxt(path, ROWS, delimiter=","),
    "six.csv": lambda path: np.savetxt(path, ROWS, delimiter=",", fmt="%.6f", header="a,b,c,d,e,f,g,h"),
    "pandas.jsonl": lambda path: LISTS.to_json(path, orient="records", lines=True),
    "wide.jsonl": lambda path: MIXED.to_json(path, orient="records", lines=True),
    "pandas.json": lambda path: LISTS.to_json(path, orient="records"),
    "polars.ndjson": lambda path: POLARS.write_ndjson(path),
    "polars.json": lambda path: POLARS.write_json(path),
    "lists.json": lambda path: dump(path, ROWS.tolist()),
    "records.json": lambda path: dump(path, LISTS.to_dict("records"), indent=1),
    "member.json": lambda path: dump(path, {"model": "a", "ids": NAMES, "rows": ROWS.tolist()}, indent=1),
    "split.json": lambda path: WIDE.to_json(path, orient="split"),
    "lines.json": lambda path: in_lines(path, [{"vector": [row]} for row in ROWS.tolist()]),
    "lists.jsonl": lambda path: in_lines(path, ROWS.tolist()),
    "nested.jsonl": lambda path: in_lines(path, [{"text": "a", "vector": [row]} for row in ROWS.tolist()]),
}
BINARY = {
    "lz4.feather": lambda path: LISTS.to_feather(path),
    "zstd.feather": lambda path: ARRAYS.to_feather(path, compression="zstd"),
    "chunks.feather": lambda path: ARRAYS.to_feather(path, compression="uncompressed", chunksize=25),
    "categories.feather": lambda path: ARRAYS.assign(kind=pd.Categorical(["a", "b"] * 30)).to_feather(path),
    "wide.feather": lambda path: MIXED.to_feather(path),
    "polars.arrow": lambda path: POLARS.write_ipc(path),
    "zstd.arrow": lambda path: POLARS.write_ipc(path, compression="zstd"),
    "polars_stream.arrow": lambda path: POLARS.write_ipc_stream(path),
    "categories.arrow": lambda path: POLARS.with_columns(pl.col("id").cast(pl.Categorical)).write_ipc(path),
    "stream.arrow": lambda path: stream(path, pa.Table.from_pandas(ARRAYS), max_chunksize=17),
    "tensors.arrow": lambda path: stream(path, TENSORS),
    "tensors.parquet": lambda path: pq.write_table(TENSORS, path, row_group_size=20),
    "one_row_tensors.parquet": lambda path: pq.write_table(ONE_ROW_TENSORS, path),
    "pandas.parquet": lambda path: ARRAYS.to_parquet(path),
    "nested.parquet": lambda path: pq.write_table(pa.table({"emb": ROWS[:, None].tolist()}), path),
    "polars.parquet": lambda path: POLARS.write_parquet(path),
    "wide.parquet": lambda path: MIXED.to_parquet(path),
    "numbers.parquet": lambda path: pd.DataFrame(ROWS).rename(columns=str).to_parquet(path),
    "scores.parquet": lambda path: WIDE.assign(a=0.5, b=np.float64(2), emb=list(ROWS)).to_parquet(path),
    "dots.parquet": lambda path: WIDE.rename(columns=lambda name: name.replace("_", ".")).to_parquet(path),
    "polars_wide.parquet": lambda path: pl.DataFrame(ROWS).write_parquet(path, row_group_size=20),
    "hive": hive,
    "numbered_hive": numbered_hive,
}


@pytest.mark.parametrize("name", TEXT | BINARY)
def test_rows_are_those_that_were_written(name, tmp_path):
    (TEXT | BINARY)[name](tmp_path / name)
    found = open_embeddings(tmp_path / name)
    close = 1e-7 if name != "six.csv" else 2e-6
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=close)
    np.testing.assert_allclose(found.rows(ORDER), ROWS[ORDER], atol=close)
    precise = name in TEXT or name == "nested.parquet" or name == "lz4.feather"
    assert found.stored == (np.float64 if precise else np.float32)


def test_columns_of_several_groups_are_told_apart_by_their_stem(tmp_path):
    """Also where the scores have the smaller dtype; columns without numbers in their names are one group."""
    scores = pd.DataFrame({"score_1": [0.5] * 60, "score_2": [0.5] * 60}, dtype=np.float32)
    pd.concat([WIDE.astype(float), scores], axis=1).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"got .*score \[60, 2\] float32, dim \[60, 8\] float64; name one"):
        open_embeddings(tmp_path / "a.parquet")
    found = open_embeddings(tmp_path / "a.parquet", column="dim")
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-7)
    letters = WIDE.set_axis(list("abcdefgh"), axis=1).astype({"c": float}).assign(id=NAMES)
    letters.to_parquet(tmp_path / "b.parquet")
    found = open_embeddings(tmp_path / "b.parquet")
    assert found.stored == np.float64
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-7)


def test_blocks_of_text_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr("ctflow.embeddings.readers.parts.BLOCK_BYTES", 7 * 64)
    monkeypatch.setattr("ctflow.embeddings.readers.json_text.CHUNK", 50)
    for name in ("wide.csv", "lists.json", "member.json", "polars.ndjson"):
        TEXT[name](tmp_path / name)
        found = open_embeddings(tmp_path / name)
        np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-7)
        np.testing.assert_allclose(found.rows(ORDER), ROWS[ORDER], atol=1e-7)


def test_columns_that_only_hold_integers_belong_to_their_group(tmp_path):
    """pandas writes 0.0 in a column of objects, and the JSON of other programs holds 0."""
    rows = ROWS.copy()
    rows[:, 3] = 0
    rows = unit(rows)
    in_lines(tmp_path / "a.jsonl", [{f"e{i}": v or 0 for i, v in enumerate(row)} for row in rows.tolist()])
    lines = [",".join(str(value) if value else "0" for value in row) for row in rows.tolist()]
    (tmp_path / "a.csv").write_text("\n".join([",".join(f"e{i}" for i in range(8)), *lines]))
    (tmp_path / "bare.csv").write_text("\n".join(lines))
    for name in ("a.jsonl", "a.csv", "bare.csv"):
        np.testing.assert_allclose(open_embeddings(tmp_path / name).rows(slice(None)), rows, atol=1e-7)


SIDES = {
    "lists.csv": lambda path: pd.DataFrame({"image": ROWS.tolist(), "text": OTHER.tolist()}).to_csv(path),
    "wide.csv": lambda path: both_wide().to_csv(path),
    "wide.parquet": lambda path: both_wide().to_parquet(path),
    "wide.jsonl": lambda path: both_wide().to_json(path, orient="records", lines=True),
    "lists.jsonl": lambda path: in_lines(
        path, [{"image": x, "text": y} for x, y in zip(ROWS.tolist(), OTHER.tolist(), strict=True)]
    ),
    "members.json": lambda path: dump(
        path, {"image": ROWS.tolist(), "ids": NAMES, "none": [], "text": OTHER.tolist(), "model": {"a": [1]}}
    ),
    "lists.feather": lambda path: pd.DataFrame({"image": list(ROWS), "text": list(OTHER)}).to_feather(path),
}


def both_wide():
    names = [f"{side}_{i}" for side in ("image", "text") for i in range(8)]
    return pd.DataFrame(np.hstack([ROWS, OTHER]), columns=names).assign(id=NAMES)


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("columns", [None, ("text", "image")])
def test_both_modalities_of_a_table(name, columns, tmp_path):
    SIDES[name](tmp_path / name)
    x, y = open_pair(tmp_path / name, columns=columns)
    for z, rows in zip((x, y), (ROWS, OTHER) if columns is None else (OTHER, ROWS), strict=True):
        np.testing.assert_allclose(z.rows(slice(None)), rows, atol=1e-7)
    assert (x.label, y.label) == (columns or ("image", "text"))


SMALL = np.rint(ROWS * 127 / np.abs(ROWS).max())
QUANTISED = {
    "a.npy": lambda path, rows: np.save(path, rows),
    "a.npz": lambda path, rows: np.savez_compressed(path, rows=rows, ids=np.arange(60)),
    "a.h5": lambda path, rows: write_hdf5(path, rows, chunks=(13, 4), compression="gzip"),
    "a.safetensors": lambda path, rows: save_file({"rows": rows}, path),
    "list.parquet": lambda path, rows: pq.write_table(pa.table({"emb": list(rows)}), path),
    "wide.parquet": lambda path, rows: pd.DataFrame(rows).rename(columns=str).to_parquet(path),
    "a.feather": lambda path, rows: pd.DataFrame({"emb": list(rows)}).to_feather(path),
    "a.csv": lambda path, rows: pd.DataFrame(rows).to_csv(path),
    "a.jsonl": lambda path, rows: in_lines(path, [{"emb": row} for row in rows.tolist()]),
}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_rows_of_every_format(name, dtype, tmp_path):
    QUANTISED[name](tmp_path / name, (SMALL + (128 if dtype == "uint8" else 0)).astype(dtype))
    found = open_embeddings(tmp_path / name)
    np.testing.assert_allclose(found.rows(slice(None)), unit(SMALL), atol=1e-6)
    assert found.stored.name == dtype
    assert "quantised" in (found.note() or "")
