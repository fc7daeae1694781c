"""Norms off 1: accepted where the numbers show the rounding that moved them, and said in a note."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ctflow as ct
from ctflow.embeddings import as_embeddings, open_embeddings
from ctflow.embeddings.names import names_of
from ctflow.embeddings.rows import row_notes

DATA = Path(__file__).parents[3] / "shared" / "data"
RANDOM = np.random.default_rng(0).standard_normal((200, 96))
ROWS = RANDOM / np.linalg.norm(RANDOM, axis=1, keepdims=True)
SINGLE = ROWS.astype(np.float32)


def brain(dtype):
    return ROWS.astype(ml_dtypes.bfloat16).astype(dtype)


def printed(form, rows):
    """The numbers of a text file with this format, read as float64."""
    return np.array([[float(form(number)) for number in row] for row in rows])


ROUNDED = {
    "half as single": (ROWS.astype(np.float16).astype(np.float32), "float16"),
    "half as double": (ROWS.astype(np.float16).astype(np.float64), "float16"),
    "half": (ROWS.astype(np.float16), "float16"),
    "bfloat16": (ROWS.astype(ml_dtypes.bfloat16), "bfloat16"),
    "bfloat16 as half": (brain(np.float16), "float16"),
    "bfloat16 as single": (brain(np.float32), "bfloat16"),
    "bfloat16 as double": (brain(np.float64), "bfloat16"),
    "single as double": (SINGLE.astype(np.float64), "float32"),
    "4 decimals": (ROWS.round(4), "4 decimals"),
    "5 decimals, single": (ROWS.round(5).astype(np.float32), "5 decimals"),
    "6 decimals": (ROWS.round(6), "6 decimals"),
    "6 digits": (printed("%.6g".__mod__, ROWS), "6 digits"),
    "printed single": (printed(str, SINGLE), "9 digits"),
    "printed half": (printed(str, ROWS.astype(np.float16)), "5 digits"),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_rounded_rows_are_brought_to_unit_norm_with_a_note(case):
    rows, why = ROUNDED[case]
    found = as_embeddings(rows, name="image")
    assert found.note() is None
    unit = found.rows(slice(None))
    working = rows.astype(np.float64)
    norms = np.linalg.norm(working, axis=1)
    np.testing.assert_allclose(unit, working / norms[:, None], atol=1e-15 if unit.dtype == float else 1e-7)
    assert found.norms == pytest.approx((norms.min(), norms.max()), abs=1e-12)
    assert np.abs(norms - 1).max() > 1e-9
    note = found.note()
    assert note is not None
    assert note.startswith("rows of image had norms 0.999")
    assert note.endswith(f", the rounding of {why}, and were brought to unit norm")


@pytest.mark.parametrize(
    ("rows", "factor"),
    [
        (SINGLE, 1.0001),
        (SINGLE, 1.003),
        (ROWS, 1 + 1e-7),
        (SINGLE.astype(np.float64), 1.001),
        (brain(np.float32), 1.04),
        (ROWS.round(4), 1.01),
    ],
)
def test_rows_off_by_more_are_refused(rows, factor):
    found = as_embeddings((factor * rows).astype(rows.dtype), name="x")
    with pytest.raises(ValueError, match=r"x must have .* unit norm, but 200 of 200 .*use normalize=True"):
        found.rows(slice(None))


def test_half_precision_numbers_off_by_more_than_it_rounds_are_refused():
    for factor, dtype in ((1.006, np.float16), (1.05, ml_dtypes.bfloat16)):
        rows = (factor * ROWS).astype(dtype).astype(np.float32)
        with pytest.raises(ValueError, match="200 of 200 rows read do not"):
            as_embeddings(rows, name="x").rows(slice(None))


def test_one_row_of_full_precision_among_rounded_ones_is_refused():
    rows = ROWS.astype(np.float16).astype(np.float32)
    rows[7] = 1.0005 * SINGLE[7]
    with pytest.raises(ValueError, match=r"but 1 of 200 rows read do not: row 7 has norm 1\.00049996;"):
        as_embeddings(rows, name="x").rows(slice(None))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    rows = ROWS.astype(np.float16)
    for side in ("image", "text"):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "emb.npy", rows)
    x, y = (open_embeddings(tmp_path / side / "emb.npy") for side in ("image", "text"))
    z = open_embeddings(tmp_path / "image")
    for each in (x, y, z):
        each.rows(slice(None))
    assert names_of(x, y) == ("image", "text")
    assert names_of(x, z) == ("emb", "image")
    assert [note.split()[2] for note in row_notes(x, y, names_of(x, y))] == ["image", "text"]


def test_exact_rows_have_no_note():
    for rows in (ROWS, SINGLE):
        found = as_embeddings(rows, name="x")
        found.rows(slice(None))
        assert found.note() is None


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantised_rows_are_dequantised_with_a_note(dtype):
    """uint8 embeddings are int8 ones plus 128; both are brought to unit norm."""
    small = np.rint(ROWS * 127 / np.abs(ROWS).max())
    rows = (small + (128 if dtype is np.uint8 else 0)).astype(dtype)
    found = as_embeddings(rows, name="image")
    assert (found.stored, found.dtype) == (np.dtype(dtype), np.dtype(np.float32))
    unit = found.rows(slice(None))
    np.testing.assert_allclose(unit, small / np.linalg.norm(small, axis=1, keepdims=True), atol=1e-6)
    assert (unit * ROWS).sum(axis=1).min() > 0.999
    note = found.note()
    assert note is not None
    assert note.startswith(f"rows of image are {np.dtype(dtype).name} and were taken as quantised embeddings")
    assert ("minus 128" in note) == (dtype is np.uint8)
    assert "the file does not say so" in note


def test_reports_and_comparisons_carry_the_notes():
    half = ROWS.astype(np.float16).astype(np.float32)
    report = ct.diagnose(half, np.roll(ROWS, 1, axis=1), n_bootstrap=0, n_permutations=99)
    (note,) = (note for note in report.notes if "norm" in note)
    assert "rows of x had norms 0.999" in note
    assert "the rounding of float16" in note
    from ctflow.comparison.compare import compare

    found = compare(half, ROWS, methods=("centring",), n_permutations=10)
    assert f"Note: {note}." in found.words


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real embeddings in {DATA}")
def test_clip_features_are_read_as_they_are():
    image, text = np.load(DATA / "clip.npy")
    gap = ct.diagnose(image, text, n_bootstrap=0, n_permutations=99)
    assert gap["centroid_gap"].value == pytest.approx(0.851, abs=5e-4)
    assert any("had norms 0.999" in note and "the rounding of float16" in note for note in gap.notes)
