"""Folders and files that the library datasets writes."""

import numpy as np
import pytest

from ctflow.embeddings import open_embeddings, open_pair
from tests.embeddings.readers.test_writers import NAMES, OTHER, ROWS

datasets = pytest.importorskip("datasets", reason="datasets is not installed (dependency group formats)")

LISTS = datasets.Dataset.from_dict({"id": NAMES, "emb": ROWS.tolist()})
SINGLE = datasets.Features({"emb": datasets.List(datasets.Value("float32"))})
ARRAYS = datasets.Features({"emb": datasets.Array2D((1, 8), "float32")})
TABLES = {"emb": ROWS[:, None].tolist()}


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


SAVED = {
    "lists": lambda path: LISTS.save_to_disk(path),
    "shards": lambda path: LISTS.save_to_disk(path, num_shards=11),
    "single": lambda path: LISTS.select_columns("emb").cast(SINGLE).save_to_disk(path),
    "array": lambda path: datasets.Dataset.from_dict(TABLES, features=ARRAYS).save_to_disk(path),
    "chosen": lambda path: LISTS.select(range(59, -1, -1)).save_to_disk(path),
    "array.parquet": lambda path: datasets.Dataset.from_dict(TABLES, features=ARRAYS).to_parquet(path),
    "lists.parquet": lambda path: LISTS.to_parquet(path),
    "lists.jsonl": lambda path: LISTS.to_json(path),
    "lists.csv": lambda path: LISTS.to_csv(path),
}


@pytest.mark.parametrize("name", SAVED)
def test_data_sets_are_read(name, tmp_path):
    SAVED[name](tmp_path / name)
    rows = ROWS if name != "chosen" else ROWS[::-1]
    found = open_embeddings(tmp_path / name)
    np.testing.assert_allclose(found.rows(slice(None)), rows, atol=1e-7)
    np.testing.assert_allclose(found.rows(np.array([59, 0, 7])), rows[[59, 0, 7]], atol=1e-7)


def test_both_modalities_of_a_data_set(tmp_path):
    both = datasets.Dataset.from_dict({"image": ROWS.tolist(), "text": OTHER.tolist()})
    both.save_to_disk(tmp_path / "both", num_shards=3)
    x, y = open_pair(tmp_path / "both")
    np.testing.assert_allclose(x.rows(slice(None)), ROWS, atol=1e-7)
    np.testing.assert_allclose(y.rows(slice(None)), OTHER, atol=1e-7)
    assert (x.label, y.label) == ("image", "text")


def test_a_split_is_to_be_named(tmp_path):
    datasets.DatasetDict({"train": LISTS, "test": LISTS}).save_to_disk(tmp_path / "splits")
    with pytest.raises(
        ValueError, match=r"got the splits test, train; give the path of one, such as .*test$"
    ):
        open_embeddings(tmp_path / "splits")
    assert open_embeddings(tmp_path / "splits" / "train").shape == (60, 8)
