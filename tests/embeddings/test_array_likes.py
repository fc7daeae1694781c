"""Arrays of other libraries: converted, or refused with one sentence and the code that helps."""

import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ctflow as ct
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.array_likes import as_array

ROWS = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [0.0, 1.0, 0.0]], np.float32)


class Tensor:
    """Stands in for PyTorch's, which refuses as this does."""

    def __init__(
        self, rows, *, dtype="torch.float32", device="cpu", requires_grad=False, layout="torch.strided"
    ):
        self.rows, self.dtype, self.device, self.layout = np.asarray(rows), dtype, device, layout
        self.requires_grad = requires_grad

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def __len__(self):
        return len(self.rows)

    def _but(self, **fields):
        now = {name: getattr(self, name) for name in ("dtype", "device", "requires_grad", "layout")}
        return Tensor(self.rows, **(now | fields))

    def detach(self):
        return self._but(requires_grad=False)

    def cpu(self):
        return self._but(device="cpu")

    def float(self):
        return self._but(dtype="torch.float32")

    def to_dense(self):
        return self._but(layout="torch.strided")

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.device != "cpu":
            raise TypeError(f"can't convert {self.device} device type tensor to numpy.")
        if self.dtype == "torch.bfloat16" or self.layout != "torch.strided":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.rows.astype(self.dtype.removeprefix("torch."))


Tensor.__module__ = "torch"


class Series:
    """Stands in for a column of lists of pandas or polars."""

    def __init__(self, lists):
        self._lists = np.empty(len(lists), object)
        for i, row in enumerate(lists):
            self._lists[i] = row

    def __array__(self, dtype=None, copy=None):
        return self._lists

    def __iter__(self):
        return iter(self._lists)

    def __len__(self):
        return len(self._lists)

    def __getitem__(self, at):
        return self._lists[at]


Series.__module__ = "pandas.core.series"


class DataFrame:
    """Stands in for a table of pandas or polars."""

    def __init__(self, columns):
        self.columns, self._table = list(columns), columns

    def __getitem__(self, name):
        return self._table[name]

    def __array__(self, dtype=None, copy=None):
        return np.stack([np.asarray(column) for column in self._table.values()], axis=1)


DataFrame.__module__ = "pandas.core.frame"

LISTS = [row.tolist() for row in ROWS]
WIDE = pd.DataFrame(ROWS, columns=list("abc"))


def arrow_column(rows, size=-1):
    return pd.Series(rows, dtype=pd.ArrowDtype(pa.list_(pa.float32(), size)))


def without(frame, *places):
    """The frame with some values missing."""
    frame = frame.copy()
    for place in places:
        frame.iloc[place] = pd.NA
    return frame


TAKEN = {
    "grad": Tensor(ROWS, requires_grad=True),
    "bfloat16": Tensor(ROWS, dtype="torch.bfloat16"),
    "cuda": Tensor(ROWS, device="cuda:1"),
    "all": Tensor(ROWS, device="cuda:0", dtype="torch.bfloat16", requires_grad=True),
    "double": Tensor(ROWS, dtype="torch.float64", requires_grad=True),
    "tensors": [Tensor(row, requires_grad=True) for row in ROWS],
    "series": Series(LISTS),
    "arrays": Series(list(ROWS)),
    "series of tensors": Series([Tensor(row, device="cuda:0") for row in ROWS]),
    "frame": DataFrame({"emb": Series(LISTS)}),
    "frame with ids": DataFrame({"id": np.array(["a", "b", "c"], object), "emb": Series(LISTS)}),
    "objects": Series(LISTS)._lists,
    "pandas": pd.Series(LISTS),
    "pandas frame": pd.DataFrame({"id": [1, 2, 3], "emb": list(ROWS)}),
    "pandas wide": pd.DataFrame(ROWS),
    "polars": pl.Series(LISTS),
    "polars arrays": pl.Series(ROWS),
    "polars frame": pl.DataFrame({"id": [1, 2, 3], "emb": LISTS}),
    "polars wide": pl.DataFrame(ROWS),
    "nullable": WIDE.astype("Float32"),
    "wider nullable": WIDE.astype("Float64"),
    "pandas of arrow": WIDE.astype("float[pyarrow]"),
    "doubles of arrow": WIDE.astype("double[pyarrow]"),
    "nullable and plain": WIDE.astype({"a": "Float32", "b": "double[pyarrow]"}),
    "lists of arrow": arrow_column(LISTS),
    "arrays of arrow": arrow_column(LISTS, 3),
    "frame of arrow": pa.table({"id": ["a", "b", "c"], "emb": LISTS}).to_pandas(types_mapper=pd.ArrowDtype),
    "arrow": pa.array(LISTS),
    "arrow chunks": pa.chunked_array([LISTS[:1], LISTS[1:]]),
    "arrow tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS),
    "arrow table": pa.table({"emb": LISTS}),
}
HELPED = {
    "sparse": (
        Tensor(ROWS, layout="torch.sparse_coo"),
        "a torch tensor with layout torch.sparse_coo",
        "x.to_dense().detach().cpu().float().numpy()",
    ),
    "two columns": (
        DataFrame({"image": Series(LISTS), "text": Series(LISTS)}),
        "a pandas DataFrame whose columns 'image', 'text' hold lists",
        "x['image'] or another of them",
    ),
    "numbers": (ROWS.astype(object), "a numpy ndarray of Python objects", "np.asarray(x, np.float32)"),
    "generator": ((row for row in ROWS), "a generator", "np.stack(list(x))"),
    "nullable": (
        without(WIDE.astype("Float32"), (1, 1)),
        "a pandas DataFrame with missing values in 1 of 3 rows, the first in row 1",
        "x.dropna()",
    ),
    "pandas of arrow": (
        without(WIDE.astype("double[pyarrow]"), (0, 0)),
        "a pandas DataFrame with missing values in 1 of 3 rows, the first in row 0",
        "x.dropna()",
    ),
    "nullable column": (
        without(WIDE.astype("Float32"), (0, 0), (1, 0)),
        "a pandas DataFrame with missing values in 1 of 3 columns",
        "x.dropna(axis='columns')",
    ),
    "nullable and text": (
        without(WIDE.astype("Float32"), (2, 1)).assign(id=["a", "b", "c"]),
        "a pandas DataFrame with columns that hold no numbers",
        "x.select_dtypes('number').dropna()",
    ),
    "nothing left": (
        without(WIDE.astype("Float32"), (0, 0), (1, 1), (2, 2)),
        "a pandas DataFrame with missing values in 3 of 3 rows",
        "rows without missing values",
    ),
    "lists of arrow": (
        arrow_column([LISTS[0], None, LISTS[2]]),
        "rows of several lengths (row 1 is no list, the first list has length 3)",
        "np.stack([row for row in x if np.size(row) == 3])",
    ),
    "numbers in lists": (
        pd.Series([LISTS[0], [None, 1.0, 0.0], LISTS[2]]),
        "a pandas Series of one list per row",
        "np.stack([row for row in x if None not in row])",
    ),
    "ragged": (
        [[1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0]],
        "rows of several lengths (row 1 has length 3, the first list has length 2)",
        "np.stack([row for row in x if np.size(row) == 2])",
    ),
    "ragged series": (
        Series([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], None]),
        "rows of several lengths (row 2 is no list, the first list has length 3)",
        "np.stack([row for row in x if np.size(row) == 3])",
    ),
    "none first": (
        Series([None, *LISTS]),
        "rows of several lengths (row 0 is no list, the first list has length 3)",
        "np.stack([row for row in x if np.size(row) == 3])",
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_unambiguous_is_taken(case):
    found = as_embeddings(TAKEN[case], name="x")
    np.testing.assert_allclose(found.rows(slice(None)), ROWS, atol=1e-7)


@pytest.mark.parametrize("case", HELPED)
def test_one_sentence_names_what_came_and_code_that_works(case):
    given, what, code = HELPED[case]
    with pytest.raises(ValueError, match="x must be") as caught:
        as_embeddings(given, name="x")
    assert str(caught.value) == f"x must be an array [n, d] of unit rows, got {what}; use {code}"
    if case not in ("generator", "two columns", "nothing left"):
        helped = eval(code, {"np": np, "x": given})
        assert as_embeddings(helped, name="x").shape[1] == np.shape(helped)[1] >= 2


def test_nullable_numbers_keep_their_precision():
    for dtype, stored in (
        ("Float32", "float32"),
        ("Float64", "float64"),
        (pd.ArrowDtype(pa.float16()), "float16"),
    ):
        assert as_embeddings(WIDE.astype(dtype), name="x").stored == stored
    small = pd.DataFrame(np.rint(100 * ROWS)).astype("Int8")
    assert as_embeddings(small, name="x").stored == np.int8
    missing = arrow_column([LISTS[0], [None, 1.0, 0.0], LISTS[2]])
    with pytest.raises(
        ValueError, match=r"^x must be finite, violated by 1 of 3 rows read: row 1; drop them$"
    ):
        as_embeddings(missing, name="x").rows(slice(None))


def test_corrections_refuse_in_the_same_words():
    rows = np.random.default_rng(0).standard_normal((30, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    correction = ct.corrections.fit("centring", rows, -rows)
    given, what, code = HELPED["sparse"]
    for call in (
        lambda: correction.transform_one("x", given),
        lambda: ct.corrections.fit("centring", given, rows),
    ):
        with pytest.raises(ValueError, match="x must be") as caught:
            call()
        assert str(caught.value) == f"x must be an array [n, d] of unit rows, got {what}; use {code}"


def test_paths_are_opened(tmp_path):
    rows = np.random.default_rng(0).standard_normal((30, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    np.save(tmp_path / "image.npy", rows)
    np.save(tmp_path / "long.npy", 2 * rows)
    for path in (tmp_path / "image.npy", str(tmp_path / "image.npy")):
        found = as_embeddings(path, name="x")
        assert (found.name, found.label) == (str(path), "image")
        np.testing.assert_allclose(found.rows(slice(None)), rows, atol=1e-15)
    correction = ct.corrections.fit("centring", tmp_path / "image.npy", -rows)
    moved = correction.transform_one("x", rows)
    np.testing.assert_allclose(correction.transform_one("x", str(tmp_path / "image.npy")), moved)
    with pytest.raises(ValueError, match=r"long.npy must have rows of unit norm"):
        ct.corrections.fit("centring", tmp_path / "long.npy", rows)
    report = ct.diagnose(
        tmp_path / "image.npy", tmp_path / "long.npy", normalize=True, n_bootstrap=0, n_permutations=99
    )
    assert report.settings["x"] == str(tmp_path / "image.npy")
    with pytest.raises(ValueError, match="does not exist; check the path"):
        ct.diagnose(tmp_path / "none.npy", rows)


@pytest.mark.parametrize("name", ["x", "y"])
def test_corrections_return_unit_rows_for_rounded_and_quantised_ones(name):
    """Also on the side that `translation` leaves as it is."""
    rows = np.random.default_rng(0).standard_normal((30, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    correction = ct.corrections.fit("translation", rows, -np.abs(rows) / 1.0)
    small = np.rint(100 * rows)
    for given, dtype in (
        (rows.astype(np.float16).astype(np.float32), np.float32),
        (small.astype(np.int8), np.float32),
        (Tensor(rows, dtype="torch.float64", requires_grad=True), np.float64),
    ):
        moved = correction.transform_one(name, given)
        assert moved.dtype == dtype
        np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(moved, correction.transform_one(name, rows), atol=2e-2)


def test_memory_maps_are_read(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.shares_memory(as_array("x", mapped), mapped)
    np.testing.assert_allclose(as_embeddings(mapped, name="x").rows(slice(None)), ROWS, atol=1e-7)


def test_bytes_are_no_path():
    with pytest.raises(ValueError, match=r"^x must be .* got the path 'a\.npy'; use .*open_embeddings\(x\)$"):
        as_embeddings(b"a.npy", name="x")


def test_real_tensors_are_taken():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor = torch.tensor(ROWS)
    for given in (
        tensor,
        tensor.clone().requires_grad_(),
        torch.nn.Parameter(tensor),
        tensor.bfloat16(),
        tensor.half(),
        tensor.double(),
        list(tensor),
    ):
        np.testing.assert_allclose(as_embeddings(given, name="x").rows(slice(None)), ROWS, atol=5e-3)
    with pytest.raises(ValueError, match=r"layout torch\.sparse_coo; use x\.to_dense\(\)"):
        as_embeddings(tensor.to_sparse(), name="x")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"got None; use ct\.embeddings\.open_embeddings\(path\)"),
        ({"a": ROWS}, "got a dict; use"),
        (object(), "got an object; use"),
        ([[[1.0], [1.0, 2.0]], [3.0, 4.0]], "which NumPy cannot read"),
    ],
)
def test_anything_else_is_named(given, words):
    with pytest.raises(ValueError, match=f"^x must be an array .* {words}"):
        as_array("x", given)


def test_what_numpy_reads_is_taken_as_before():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (ROWS, LISTS, tuple(ROWS), jnp.asarray(ROWS), Tensor(ROWS), [*map(jnp.asarray, ROWS)]):
            np.testing.assert_array_equal(as_array("x", given).astype(np.float32), ROWS)
    assert as_array("x", ROWS) is ROWS
