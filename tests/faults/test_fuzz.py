"""Damaged files and random words: a ValueError or an exit code, within seconds, and nothing written."""

import os
import signal

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ctflow import corrections, experiment, io
from ctflow.embeddings import open_embeddings, read_ids, read_pairs
from tests.embeddings.test_embeddings import ROWS, WRITERS
from tests.faults import bad_words

SECONDS = 5
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def embeddings(path):
    open_embeddings(path).rows(np.array([0, 1]))


def ids(path):
    read_ids(path, "ids")


def write_ids(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("ids", data=[*"abcdefgh"], chunks=(3,), compression="gzip", shuffle=True)


def clouds(path):
    io.load_clouds(path)


def result(path):
    experiment.load(path.parent)


READERS = {
    **{name: (embeddings, lambda path, write=write: write(path, ROWS)) for name, write in WRITERS.items()},
    "pairs.csv": (lambda p: read_pairs(p, (57, 57)), lambda p: p.write_text("0,1\n2,3\n4,5\n")),
    "rows.csv": (embeddings, lambda p: np.savetxt(p, ROWS, delimiter=",")),
    "rows.jsonl": (embeddings, lambda p: p.write_text("\n".join(str(row) for row in ROWS.tolist()))),
    "rows.json": (embeddings, lambda p: p.write_text(str(ROWS.tolist()))),
    "object.json": (embeddings, lambda p: p.write_text(f'{{"a": {ROWS.tolist()}, "b": ["c", "d"]}}')),
    "ids.npz": (ids, lambda p: np.savez(p, ids=np.arange(9), rows=ROWS)),
    "ids.h5": (ids, write_ids),
    "ids.safetensors": (ids, lambda p: save_file({"ids": np.arange(9), "rows": ROWS}, p)),
    "ids.feather": (ids, lambda p: pd.DataFrame({"ids": pd.Categorical([*"abcdefgh"])}).to_feather(p)),
    "pairs.tsv": (lambda p: read_pairs(p, (57, 57)), lambda p: p.write_text("\ta\tb\n0\t1\t2\n1\t3\t4\n")),
    "pairs.parquet": (
        lambda p: read_pairs(p, (57, 57)),
        lambda p: pq.write_table(pa.table({"a": [0, 2, 4], "b": [1, 3, 5]}), p),
    ),
    "pairs.npy": (lambda p: read_pairs(p, (57, 57)), lambda p: np.save(p, np.array([[0, 1], [2, 3]]))),
    "clouds.safetensors": (clouds, lambda p: io.save_clouds(p, ROWS / np.linalg.norm(ROWS, axis=1)[:, None])),
    "correction.safetensors": (
        corrections.load,
        lambda p: corrections.fit("centring", ROWS, -ROWS, normalize=True).save(p),
    ),
    "run.json": (result, lambda p: io.write_json(p, {"facts": {"a": 1}})),
    "arrays.npz": (result, lambda p: io.write_arrays(p, {"a": ROWS})),
    "table.csv": (result, lambda p: io.write_csv(p, {"a": [1, 2], "b": ["x", "y"]})),
}
NAMES = sorted(READERS)


class Originals(dict):
    """Files by name, which are not printed with a failure."""

    def __repr__(self):
        return "originals"


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A good file of each kind, as bytes."""
    folder = tmp_path_factory.mktemp("good")
    for name, (_, write) in READERS.items():
        write(folder / name)
    return Originals({name: (folder / name).read_bytes() for name in NAMES})


CHANGE = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "repeat", "number"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
)
# A header, or a whole text, of one mark again and again: what a parser may follow too deep.
NESTED = st.tuples(st.sampled_from(b'-+~([{"0,'), st.integers(1, 9990))
DAMAGE = st.one_of(
    st.binary(max_size=64).map(lambda content: ("instead", content)),
    NESTED.map(lambda nested: ("nested", nested)),
    st.lists(CHANGE, min_size=1, max_size=4).map(lambda changes: ("changed", changes)),
)


def damaged(content, damage):
    kind, how = damage
    if kind == "instead":
        return how
    if kind == "nested":
        text = bytes([how[0]]) * how[1]
        if content.startswith(b"\x93NUMPY"):
            return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        head = int.from_bytes(content[:8], "little") < len(content)  # as .safetensors begins
        return len(text).to_bytes(8, "little") + text if head else text
    for change, where, new in how:
        # Half of the places lie in the first kilobyte, where headers are.
        size = len(content) if where < 0.5 else min(len(content), 1000)
        at = int(2 * where % 1 * size)
        if change == "flip":
            content = content[:at] + bytes([b ^ new[0] for b in content[at : at + 1]]) + content[at + 1 :]
        elif change == "cut":
            content = content[:at]
        elif change == "insert":
            content = content[:at] + new + content[at:]
        elif change == "repeat":
            content = content[:at] + content[at : at + 64] + content[at:]
        else:
            content = content[:at] + new + content[at + len(new) :]
    return content


def within_seconds(call):
    """Run with an alarm: a hang is a failure of its own."""

    def hang(signum, frame):
        raise HangError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        return call()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class HangError(BaseException):
    """Past every `except Exception`."""


def refusal(read, path):
    """What a reader says of a file it refuses, by the only error it may raise."""
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return None


def check_reader(name, content, originals, folder):
    for other in ("run.json", "arrays.npz", "table.csv") if READERS[name][0] is result else ():
        (folder / other).write_bytes(originals[other])
    path = folder / name
    path.write_bytes(content)
    before = sorted(os.listdir(folder))
    said = within_seconds(lambda: refusal(READERS[name][0], path))
    assert said is None or (said and "\n" not in said)
    assert sorted(os.listdir(folder)) == before
    path.unlink()


WORDS = [
    *("ctflow", "diagnose", "correct", "explain", "version", "image.npy", "text.npy", "nan.npy", "two.npz"),
    *("--out", "--seed", "--level", "--temperature", "--column", "--pairs", "--unpaired", "--normalize"),
    *(
        "--m",
        "--d",
        "--method",
        "--devices",
        "--help",
        "0",
        "-1",
        "1e400",
        "nan",
        "10",
        "99999999999999999999",
    ),
    *("../x", "/dev/null", "", "é", "\x00", "--", "-", "=", "a_file", "shards", "pairs.npy", "{}", "$(x)"),
]
LINE = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6)), max_size=6)


def check_words(command, words, files):
    before = sorted(os.listdir(files))
    code, said = within_seconds(lambda: bad_words.call_words(command, words))
    assert code in (0, 1, 2)
    assert "Traceback" not in said
    assert sorted(os.listdir(files)) == before


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    bad_words.write_files(folder)
    for name in ("image.npy", "text.npy"):  # every line is bad, so that none starts a long run
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    return folder


@given(name=st.sampled_from(NAMES), damage=DAMAGE)
@settings(max_examples=380, suppress_health_check=QUIET)
def test_readers_refuse_damaged_files(name, damage, originals, tmp_path):
    check_reader(name, damaged(originals[name], damage), originals, tmp_path)


# A good line makes `why` run for long.
QUICK = tuple(command for command in bad_words.COMMANDS if command != "why")


@given(command=st.sampled_from(QUICK), words=LINE)
@settings(max_examples=120, suppress_health_check=QUIET)
def test_random_words_end_with_a_code(command, words, files, monkeypatch):
    monkeypatch.chdir(files)
    check_words(command, words, files)


@pytest.mark.slow
@given(name=st.sampled_from(NAMES), damage=DAMAGE)
@settings(max_examples=17_000, suppress_health_check=QUIET)
def test_readers_refuse_many_damaged_files(name, damage, originals, tmp_path):
    check_reader(name, damaged(originals[name], damage), originals, tmp_path)


@pytest.mark.slow
@given(command=st.sampled_from(QUICK), words=LINE)
@settings(max_examples=3_000, suppress_health_check=QUIET)
def test_many_random_words_end_with_a_code(command, words, files, monkeypatch):
    monkeypatch.chdir(files)
    check_words(command, words, files)
