"""Arrays of other libraries: each that NumPy cannot read gets one sentence and the code that helps."""

import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
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
        self._lists[:] = lists

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
TO_NUMPY = "x.detach().cpu().float().numpy()"
HELPED = {
    "grad": (Tensor(ROWS, requires_grad=True), "a torch tensor that requires grad", TO_NUMPY),
    "bfloat16": (Tensor(ROWS, dtype="torch.bfloat16"), "a torch tensor of dtype torch.bfloat16", TO_NUMPY),
    "cuda": (Tensor(ROWS, device="cuda:1"), "a torch tensor on device cuda:1", TO_NUMPY),
    "all": (
        Tensor(ROWS, device="cuda:0", dtype="torch.bfloat16", requires_grad=True),
        "a torch tensor that requires grad, on device cuda:0, of dtype torch.bfloat16",
        TO_NUMPY,
    ),
    "double": (
        Tensor(ROWS, dtype="torch.float64", requires_grad=True),
        "a torch tensor that requires grad",
        "x.detach().cpu().numpy()",
    ),
    "sparse": (
        Tensor(ROWS, layout="torch.sparse_coo"),
        "a torch tensor with layout torch.sparse_coo",
        "x.to_dense().detach().cpu().float().numpy()",
    ),
    "series": (Series(LISTS), "a pandas Series of one list per row", "np.stack(x)"),
    "arrays": (Series(list(ROWS)), "a pandas Series of one list per row", "np.stack(x)"),
    "frame": (
        DataFrame({"id": np.array(["a", "b", "c"], object), "emb": Series(LISTS)}),
        "a pandas DataFrame whose column 'emb' holds a list per row",
        "np.stack(x['emb'])",
    ),
    "objects": (Series(LISTS)._lists, "a numpy ndarray of one list per row", "np.stack(x)"),
    "arrow": (pa.array(LISTS), "a pyarrow ListArray of one list per row", "np.stack(np.asarray(x))"),
    "arrow table": (
        pa.table({"emb": LISTS}),
        "a pyarrow Table whose column 'emb' holds a list per row",
        "np.stack(np.asarray(x['emb']))",
    ),
    "numbers": (ROWS.astype(object), "a numpy ndarray of Python objects", "np.asarray(x, np.float32)"),
    "generator": ((row for row in ROWS), "a generator", "np.stack(list(x))"),
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


@pytest.mark.parametrize("case", HELPED)
def test_one_sentence_names_what_came_and_code_that_works(case):
    given, what, code = HELPED[case]
    with pytest.raises(ValueError, match="x must be") as caught:
        as_embeddings(given, name="x")
    assert str(caught.value) == f"x must be an array [n, d] of unit rows, got {what}; use {code}"
    if case != "generator":
        helped = eval(code, {"np": np, "x": given})
        assert as_embeddings(helped, name="x").shape[1] == len(helped[0]) >= 2


def test_corrections_refuse_in_the_same_words():
    rows = np.random.default_rng(0).standard_normal((30, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    correction = ct.corrections.fit("centring", rows, -rows)
    given, what, code = HELPED["grad"]
    for call in (
        lambda: correction.transform_one("x", given),
        lambda: ct.corrections.fit("centring", given, rows),
    ):
        with pytest.raises(ValueError, match="x must be") as caught:
            call()
        assert str(caught.value) == f"x must be an array [n, d] of unit rows, got {what}; use {code}"


def test_a_list_of_tensors_is_stacked():
    tensors = [Tensor(row, requires_grad=True) for row in ROWS]
    with pytest.raises(
        ValueError, match=r"use torch\.stack\(y\)\.detach\(\)\.cpu\(\)\.float\(\)\.numpy\(\)$"
    ):
        as_embeddings(tensors, name="y")


@pytest.mark.parametrize("path", ["a.npy", Path("folder"), b"a.npy"])
def test_a_path_is_to_be_opened(path):
    for call in (lambda: ct.diagnose(path, ROWS), lambda: as_embeddings(path, name="x")):
        with pytest.raises(ValueError, match=r"^x must be .* got the path '.*'; use .*open_embeddings\(x\)$"):
            call()
    with pytest.raises(ValueError, match=r"^y must be .* use ct\.embeddings\.open_embeddings\(y\)$"):
        ct.diagnose(ROWS, path)


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
