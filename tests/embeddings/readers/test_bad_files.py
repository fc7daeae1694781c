"""Ten bad files or more of each format of text, Arrow and folders: one sentence, nothing written."""

import gzip
import json
import re
import struct
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctflow import cli
from ctflow.embeddings import open_embeddings
from tests.embeddings.readers.test_writers import ARRAYS, LISTS, ROWS, TENSORS, dump, in_lines, stream

MARKUP = "<!doctype html><html><body>404</body></html>\n"
WIDE = pd.DataFrame(ROWS).rename(columns=lambda number: f"e{number}")


def text(content):
    return lambda path: path.write_text(content)


def raw(content):
    return lambda path: path.write_bytes(content)


def cut(write, size):
    """The file without its last bytes."""

    def written(path):
        write(path)
        path.write_bytes(path.read_bytes()[:-size])

    return written


def csv_of(frame, **options):
    return lambda path: frame.to_csv(path, index=False, **options)


def replaced(frame, row, column, value):
    frame = frame.astype(object)
    frame.iat[row, frame.columns.get_loc(column)] = value  # iloc spreads a list in some versions of pandas
    return frame


def parquet_of(table, **options):
    return lambda path: pq.write_table(table, path, **options)


def arrow_of(table):
    return lambda path: stream(path, table)


def bomb(path):
    """A compressed buffer that states a size of 1 TiB."""
    LISTS[["emb"]].to_feather(path)
    content = bytearray(path.read_bytes())
    at = content.find(struct.pack("<q", ROWS.size * 8))
    assert at > 0
    content[at : at + 8] = struct.pack("<q", 1 << 40)
    path.write_bytes(content)


def wild_offsets(path):
    """Offsets of lists that point beyond the numbers."""
    stream(path, pa.table({"emb": pa.array([[0.6] * 8, [0.8] * 8])}))
    offsets = np.array([0, 8, 16], np.int32).tobytes()
    assert path.read_bytes().count(offsets) == 1
    path.write_bytes(path.read_bytes().replace(offsets, np.array([0, 8, 10**6], np.int32).tobytes()))


def saved(state, name="data-00000-of-00001.arrow", write=None):
    """A folder as `datasets.save_to_disk` writes it."""

    def written(path):
        path.mkdir()
        (write or arrow_of(pa.table({"emb": list(ROWS)})))(path / name)
        (path / "dataset_info.json").write_text("{}")
        (path / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))

    return written


def state_of(*names, **others):
    return {"_data_files": [{"filename": name} for name in names], **others}


def splits(path):
    saved(state_of("data-00000-of-00001.arrow"))(path)
    path.rename(path.parent / "train")
    path.mkdir()
    (path.parent / "train").rename(path / "train")
    (path / "dataset_dict.json").write_text('{"splits": ["train"]}')


def linked(path):
    """A data file that is a link out of the folder."""
    saved(state_of("a.arrow"), "a.arrow")(path)
    (path / "a.arrow").rename(path.parent / "other.arrow")
    (path / "a.arrow").symlink_to(path.parent / "other.arrow")


def hive(*writers):
    def written(path):
        for number, write in enumerate(writers):
            (path / f"part={number}").mkdir(parents=True)
            write(path / f"part={number}" / "0.parquet")

    return written


GOOD_SHARD = parquet_of(pa.table({"emb": list(ROWS)}))
DATA = "data-00000-of-00001.arrow"
CSV = {
    "empty.csv": (raw(b""), "an empty file of 0 bytes"),
    "heading.csv": (text("e0,e1\n"), "must have n >= 2 rows, got none"),
    "blank.csv": (text("\n\n\n"), "must have n >= 2 rows, got none"),
    "markup.csv": (text(MARKUP), "must have n >= 2 rows, got none"),
    "markup_lines.csv": (text("<html>\n<p>1</p>\n</html>\n"), "in column '<html>', got text"),
    "zipped.csv": (raw(gzip.compress(b"1,2\n" * 99)), "must be a readable file of separated values"),
    "torn.csv": (cut(csv_of(WIDE), 30), "fields, but the first has 8"),
    "torn_lists.csv": (cut(csv_of(LISTS), 9), "unexpected end of data"),
    "uneven.csv": (text("0.6,0.8\n0.6,0.8,0\n"), "record 2 has 3 fields, but the first has 2"),
    "ragged.csv": (
        csv_of(replaced(LISTS, 7, "emb", [0.5, 0.5])),
        "row 7 has length 2, but the first row has 8",
    ),
    "null.csv": (csv_of(replaced(WIDE, 5, "e3", None)), "row 5 holds null, which is no number; drop"),
    "word.csv": (csv_of(replaced(LISTS, 59, "emb", "none")), "emb [?] text"),
    "late_word.csv": (text("a,b\n" + "0.6,0.8\n" * 99 + "0.6,much\n"), "row 99 holds 'much', which is no"),
    "nested.csv": (
        csv_of(replaced(LISTS, 0, "emb", "[[1.0], [2.0]]")),
        "row 0 holds '[1.0]', which is no number",
    ),
    "printed.csv": (csv_of(replaced(LISTS, 3, "emb", "[0.1 ... 0.2]")), "row 3 is abbreviated with '...'"),
    "twice.csv": (text("a,a\n1.5,2\n"), "columns with different names, got 'a' twice"),
    "words.csv": (text("a,b\nx,y\n"), "got a [?] text, b [?] text"),
    "large_field.csv": (text("a,b\n" + "1" * 200_000 + ",2\n"), "field larger than field limit"),
    "bytes.csv": (raw(bytes(range(256)) * 9), "must be a readable file of separated values"),
    "two_lists.csv": (csv_of(LISTS.assign(b=LISTS.emb)), "got id [?] text, emb [?, ?] float64, b [?, ?]"),
    "nan.csv": (csv_of(replaced(WIDE, 5, "e3", "nan")), "must be finite, violated by 1 of 60"),
    "long.csv": (csv_of(WIDE * 3), "must have rows of unit norm"),
    "empty.tsv": (text("\t\t\n\t\t\n"), "twice; rename one"),
}
JSON = {
    "empty.jsonl": (raw(b""), "an empty file of 0 bytes"),
    "blank.jsonl": (text("\n \n"), "must have n >= 2 rows, got none"),
    "none.json": (text("[]"), "must have n >= 2 rows, got none"),
    "markup.jsonl": (text(MARKUP), "line 1: Expecting value at character 1"),
    "markup.json": (text(MARKUP), "line 1: Expecting value at character 1"),
    "torn.jsonl": (text('{"emb": [0.6, 0.8]}\n{"emb": [0.6,'), "line 2: Expecting value"),
    "torn.json": (cut(lambda path: dump(path, ROWS.tolist()), 9), "it ends early or is damaged"),
    "tail.json": (text("[[0.6, 0.8], [0.6, 0.8]] more"), "there is something after the array"),
    "comma.json": (text("[[0.6, 0.8] [0.6, 0.8]]"), "is not followed by a comma"),
    "deep.json": (text("[" * 100_000), "must be a readable file of JSON"),
    "deep.jsonl": (text("[" * 100_000), "must be a readable file of JSON"),
    "digits.jsonl": (text("[1" + "0" * 5000 + ", 2]"), "must be a readable file of JSON"),
    "bytes.ndjson": (raw(gzip.compress(b"[1, 2]\n" * 99)), "must be a readable file of JSON"),
    "ragged.jsonl": (
        lambda path: in_lines(path, [[0.6, 0.8], [1.0]]),
        "row 1 has length 1, but the first row",
    ),
    "null.jsonl": (
        lambda path: in_lines(path, [{"e": [1.0, 0.0]}, {"e": None}]),
        "must hold lists: row 1 is none",
    ),
    "null_number.jsonl": (
        lambda path: in_lines(path, [[1.0, 0.0], [None, 1.0]]),
        "row 1 holds null, which is",
    ),
    "missing.jsonl": (
        lambda path: in_lines(path, [{"e": [1.0, 0.0]}, {"f": [1.0, 0.0]}]),
        "must hold 'e': record 1 has none",
    ),
    "mixed.jsonl": (
        lambda path: in_lines(path, [{"e": [1.0, 0.0]}, [1.0, 0.0]]),
        "must hold 'e': record 1 has none",
    ),
    "words.jsonl": (
        lambda path: in_lines(path, [{"e": ["a", "b"]}]),
        "must hold lists of numbers in column 'e'",
    ),
    "true.jsonl": (
        lambda path: in_lines(path, [{"e": [True, False]}]),
        "must hold lists of numbers in column",
    ),
    "scalars.jsonl": (text("1\n2\n"), "record 0 is '1'"),
    "columns.json": (lambda path: LISTS.to_json(path), "got one object with all rows inside; write it with"),
    "one_row.json": (lambda path: dump(path, {"image": ROWS[:1].tolist()}), "must have n >= 2 rows"),
    "tables.json": (
        lambda path: dump(path, {"a": ROWS.tolist(), "b": ROWS.tolist()}),
        "got a [60, 8] float64, b [60, 8] float64; name one with column (--column)",
    ),
    "ragged_object.json": (text('{"a": [[0.6, 0.8], [1, 0], [1]]}'), "row 2 has length 1, but the first row"),
    "null_object.json": (text('{"a": [[0.6, 0.8], [1, 0], [1, null]]}'), "row 2 holds null, which is no num"),
    "scalar_object.json": (text('{"a": [[0.6, 0.8], [1, 0], 1]}'), "row 2 of 'a' is no list; drop such rows"),
    "twice_object.json": (
        text('{"a": [[0.6, 0.8], [1, 0]], "a": [[0.6, 0.8], [1, 0]]}'),
        "it holds 'a' twice",
    ),
    "torn_object.json": (text('{"a": [[0.6, 0.8], [1, 0], [0.6'), "it ends early or is damaged"),
    "tail_object.json": (text('{"a": [[0.6, 0.8], [1, 0]]} {}'), "there is something after the object"),
    "words_object.json": (text('{"a": [["b"], ["c"]]}'), "got one object with all rows inside"),
    "deep_object.json": (text('{"a": ' + "[" * 100_000), "must be a readable file of JSON"),
    "cubes.jsonl": (
        lambda path: in_lines(path, [{"e": ROWS[:2].tolist()}] * 3),
        "got one object with all rows",
    ),
    "two.jsonl": (
        lambda path: in_lines(path, [{"a": [1.0, 0.0], "b": [0.0, 1.0]}] * 3),
        "must hold one array",
    ),
    "huge_line.jsonl": (text("[" + "1, " * (6 << 20)), "a line has more than 16777216 characters"),
    "nan.json": (text("[[NaN, 1.0], [1.0, 0.0]]"), "must be finite"),
}
ARROW = {
    "empty.arrow": (raw(b""), "an empty file of 0 bytes"),
    "markup.arrow": (text(MARKUP), "its messages are cut short or damaged"),
    "markup.feather": (text(MARKUP), "its messages are cut short or damaged"),
    "parquet.arrow": (GOOD_SHARD, "its messages are cut short or damaged"),
    "magic.arrow": (raw(b"ARROW1\x00\x00" + bytes(99)), "it is cut short or has no footer"),
    "torn.arrow": (cut(arrow_of(TENSORS), 40), "cut short"),
    "no_end.arrow": (cut(arrow_of(TENSORS), 8), "it is cut short"),
    "torn.feather": (cut(lambda path: ARRAYS.to_feather(path), 20), "it is cut short or has no footer"),
    "old.feather": (raw(b"FEA1" + bytes(99)), "it is of Feather version 1; write it with version 2"),
    "bomb.feather": (bomb, "record batch 0 unpacks to 1 TiB, at most"),
    "offsets.arrow": (wild_offsets, "must be a readable Arrow file"),
    "long_header.arrow": (
        raw(b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(99)),
        "a message has a header of 2147",
    ),
    "none.arrow": (arrow_of(pa.table({"emb": list(ROWS)})[:0]), "must have n >= 2 rows"),
    "words.arrow": (
        arrow_of(pa.table({"a": ["b"]})),
        "lists of floating-point numbers in column 'a', got string",
    ),
    "integers.arrow": (arrow_of(pa.table({"a": [[1, 2]]})), "got list<"),
    "null.arrow": (
        arrow_of(pa.table({"a": [[0.6, 0.8], None]})),
        "column 'a': row 1 is null; drop such rows",
    ),
    "null_number.arrow": (arrow_of(pa.table({"a": [[0.6, 0.8], [None, 1.0]]})), "row 1 holds a null"),
    "ragged.arrow": (
        arrow_of(pa.table({"a": [[0.6, 0.8], [1.0]]})),
        "row 1 has length 1, but the first row has",
    ),
    "cubes.arrow": (arrow_of(pa.table({"a": [ROWS[:2].tolist()] * 3})), "row 0 is a table of 2 lists; drop"),
    "two.arrow": (arrow_of(pa.table({"a": [[0.6, 0.8]], "b": [[0.6, 0.8]]})), "must hold one array"),
    "structures.arrow": (arrow_of(pa.table({"a": [{"b": [0.6, 0.8]}]})), "got struct<b: list<"),
    "wide_null.arrow": (
        arrow_of(pa.table({"e0": [0.6, None], "e1": [0.8, 1.0]})),
        "row 1 holds a null in column 'e0'; drop such rows",
    ),
}
SAVED = {
    "junk": (saved("junk"), "must be a readable state of a data set"),
    "list": (saved("[]"), "it names no files"),
    "no_files": (saved(state_of()), "it names no files"),
    "numbers": (saved({"_data_files": [1, 2]}), "it names no files"),
    "parent": (saved(state_of(f"../{DATA}")), "got the file '../data-00000-of-00001.arrow' elsewhere"),
    "absolute": (
        saved(state_of("/etc/passwd")),
        "got the file '/etc/passwd' elsewhere; no other file is read",
    ),
    "other_kind": (saved(state_of("state.json")), "got the file 'state.json' elsewhere"),
    "link": (linked, "got the file 'a.arrow' elsewhere; no other file is read"),
    "missing": (saved(state_of(DATA, "data-1.arrow")), "must hold data-1.arrow, which state.json names"),
    "chosen": (saved(state_of(DATA, _indices_data_files=[{"filename": "i.arrow"}])), "flatten_indices()"),
    "splits": (splits, "got the splits train; give the path of one, such as "),
    "torn": (saved(state_of(DATA), write=cut(arrow_of(TENSORS), 40)), "cut short"),
    "words": (saved(state_of(DATA), write=arrow_of(pa.table({"a": ["b"]}))), "got string"),
    "nested": (saved("[" * 100_000), "must be a readable state of a data set"),
}
FOLDERS = {
    "empty_hive": (
        lambda path: (path / "a=1").mkdir(parents=True),
        "must hold files with one of the endings",
    ),
    "torn_hive": (hive(GOOD_SHARD, cut(GOOD_SHARD, 20)), "must be a readable .parquet file"),
    "widths_hive": (
        hive(GOOD_SHARD, parquet_of(pa.table({"emb": list(ROWS[:, :4])}))),
        "must have the width",
    ),
    "names_hive": (hive(GOOD_SHARD, parquet_of(pa.table({"a": [["b"]]}))), "got list<"),
    "deep_hive": (
        lambda path: path.joinpath(*(f"k{i}=1" for i in range(12))).mkdir(parents=True),
        "must hold files with one of the endings",
    ),
    "plain_folders": (lambda path: (path / "part").mkdir(parents=True), "got part/; give the path of"),
}
WIDE_TABLES = {
    "null.parquet": (
        parquet_of(pa.table({"e0": [0.6, None], "e1": [0.8, 1.0]})),
        "null in column 'e0'; drop",
    ),
    "one.parquet": (parquet_of(pa.table({"e0": [0.6, 1.0]})), "got double; name another column"),
    "kinds.parquet": (parquet_of(pa.table({"e0": [0.6], "e1": ["a"]})), "got e0 [1] float64, e1 [1] string"),
    "groups.parquet": (
        parquet_of(pa.table({name: [0.6] for name in ("a_0", "a_1", "b_0", "b_1")})),
        "got a [1, 2] float64, b [1, 2] float64; name one with column (--column)",
    ),
    "torn.parquet": (
        cut(parquet_of(pa.table({"e0": [0.6], "e1": [0.8]})), 9),
        "must be a readable .parquet file",
    ),
    "tensors.parquet": (
        parquet_of(pa.table({"t": pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS.reshape(60, 2, 4))})),
        "fixed_shape_tensor",
    ),
}
ELSEWHERE = {
    "a.faiss": (raw(b"IxFI"), "np.save('rows.npy', faiss.read_index("),
    "a.index": (raw(b"IxFI"), "is an index of FAISS; write its rows with np.save("),
    "a.lance": (
        lambda path: path.mkdir(),
        "is a Lance data set; write its rows with pyarrow.parquet.write_table(",
    ),
    "a.pkl": (
        raw(b"cos\nsystem\n(S'touch ran'\ntR."),
        "is a pickle, which could run code and is never loaded",
    ),
}
BAD = CSV | JSON | ARROW | SAVED | FOLDERS | WIDE_TABLES | ELSEWHERE


def test_there_are_ten_of_each():
    assert min(map(len, (CSV, JSON, ARROW, SAVED))) >= 10
    assert len(FOLDERS | WIDE_TABLES) >= 10


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys):
    write, words = BAD[name]
    write(tmp_path / name)
    np.save(tmp_path / "text.npy", ROWS)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        open_embeddings(name).rows(slice(None))
    said = str(caught.value)
    assert name in said
    assert "\n" not in said
    monkeypatch.setattr(sys, "argv", ["ctflow", "diagnose", name, "text.npy", "--unpaired", "--out", "r"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.replace("\r", "\n").strip().splitlines()[-1:]
    assert line.startswith("ctflow diagnose: ")
    assert words in line or "must have rows of one width, got 2 and 8" in line
    assert not captured.out
    assert sorted(tmp_path.rglob("*")) == before


def test_text_takes_no_more_than_an_eighth_of_the_memory(tmp_path, monkeypatch):
    """60 rows of 8 numbers take 3840 bytes: one file fits into half of 8 KiB, two do not."""
    monkeypatch.setattr("ctflow.embeddings.readers.parts.BLOCK_BYTES", 1 << 8)
    (tmp_path / "both").mkdir()
    for path in (tmp_path / "a.csv", tmp_path / "both" / "0.csv", tmp_path / "both" / "1.csv"):
        WIDE.to_csv(path)
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 << 12)
    assert open_embeddings(tmp_path / "a.csv").shape == (60, 8)
    with pytest.raises(
        ValueError, match=r"both: the files together would take 7\.5 KiB, at most .*, 4 KiB, may be"
    ):
        open_embeddings(tmp_path / "both")
    monkeypatch.setattr("ctflow.embeddings.readers.parts.host_bytes", lambda: 8 << 11)
    with pytest.raises(ValueError, match=r"a.csv: its text would take .* KiB, at most an eighth .* np\.save"):
        open_embeddings(tmp_path / "a.csv")
