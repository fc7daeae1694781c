"""The table of corrections on real embeddings, against scikit-learn, SciPy and NumPy."""

from pathlib import Path

import numpy as np
import pytest

from ctflow.comparison.compare import compare
from tests.comparison.independently import numbers

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
METHODS = ("none", "centring", "translation", "standardisation", "whitening", "coral", "cca", "csls")


def unit(z):
    z = z.astype(float)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def docs():
    """Docstrings and sources of functions, all distinct."""
    x, y = (np.load(DATA / f"python_{name}.npy") for name in ("doc", "code"))
    _, first = np.unique(y, axis=0, return_index=True)
    return unit(x[np.sort(first)]), unit(y[np.sort(first)])


def clip():
    """Images and captions."""
    a = np.load(DATA / "clip.npy")
    return unit(a[0]), unit(a[1])


def digits():
    """Upper and lower halves of handwritten digits."""
    a = np.load(ROOT / "figures" / "digits_clip" / "arrays.npz")
    x, y = (unit(np.concatenate([a[f"{z}_calibration"], a[f"{z}_test"]])) for z in "xy")
    return x, y


SETS = {"docs": docs, "clip": clip, "digits": digits}


def of(name, rows=None):
    if name != "digits" and not DATA.exists():
        pytest.skip(f"the embeddings of {name} are not part of the repository")
    x, y = SETS[name]()
    return x[:rows], y[:rows]


def check(found, x, y, seed=0):
    """Every number of the table of methods that could be recomputed; returns these."""
    held = np.sort(np.random.default_rng(seed).permutation(len(x))[: round(len(x) / 2)])
    rest = np.setdiff1d(np.arange(len(x)), held)
    t, again = found.table, {}
    for i, method in enumerate(t["method"]):
        if method not in METHODS:
            continue
        expected = numbers(method, t["strength"][i], (x[rest], y[rest]), (x[held], y[held]))
        for name, value in expected.items():
            # A query whose best candidates are within rounding may fall either way.
            slack = 1.01 / len(held) if "recall" in name or "mixing" in name else 1e-8
            assert abs(t[name][i] - value) <= slack, (method, name, t[name][i], value)
        again[str(method)] = expected
    return again


# Matrix roots of hundreds of coordinates are taken for the digits only, which have 16.
FEW = ("none", "standardisation", "csls")


@pytest.mark.parametrize(
    ("name", "rows", "purpose", "methods", "best"),
    [
        ("docs", 300, "mixed", (*FEW, "cca"), "any"),
        ("clip", 300, "retrieval", FEW, "any"),
        ("digits", None, "retrieval", METHODS, None),
        ("digits", None, "mixed", METHODS, "csls"),
        ("digits", None, "clustering", METHODS, "cca"),
    ],
)
def test_held_out_numbers_are_those_of_scikit_learn(name, rows, purpose, methods, best):
    x, y = of(name, rows)
    found = compare(x, y, purpose=purpose, methods=methods, n_permutations=10)
    again = check(found, x, y)
    best = found.recommended if best == "any" else best
    assert found.recommended == best
    if best is not None:
        (advice,) = [word for word in found.words if word.startswith("Recommended: ")]
        for column in ("recall@1_x_to_y", "recall@1_y_to_x", "mixed_recall@1_x", "mixed_recall@1_y"):
            assert f"{again[best][column]:.3f}" in advice
