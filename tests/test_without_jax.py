"""What a serving process does: load a correction and move rows where JAX is not installed."""

import subprocess
import sys

import numpy as np
import pytest

from ctflow.corrections import METHODS, fit

BLOCKED = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib"):
            raise ImportError(f"{name} is blocked")


sys.meta_path.insert(0, Blocker())
import numpy as np
"""


def unit(z):
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def here(tmp_path):
    rng = np.random.default_rng(0)
    common = rng.standard_normal((80, 6))
    x, y = (unit(common + 0.5 * rng.standard_normal((80, 6)) + shift) for shift in (0, 1))
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    for name, z in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", z)
    for method in METHODS:
        fit(method, x, y, ridge=0.1, epsilon=0.1).save(tmp_path / f"{method}.safetensors")
    return tmp_path


def test_the_blocker_blocks(tmp_path):
    assert "blocked" in run("try:\n    import jax\nexcept ImportError as e:\n    print(e)", tmp_path)


def test_corrections_are_loaded_applied_fitted_and_compared(here):
    code = """
import ctflow as ct
from ctflow.comparison.compare import compare
rows = np.load("rows.npz")
out = {}
for method in ct.corrections.METHODS:
    correction = ct.corrections.load(f"{method}.safetensors")
    out[method] = np.concatenate(correction.transform(rows["x"], rows["y"]))
    assert correction.transform_one("x", rows["x"][0]).shape == (6,)
fitted = ct.corrections.fit("cca", rows["x"], rows["y"])
fitted.save("again.safetensors")
found = compare(rows["x"], rows["y"], n_permutations=5)
ct.io.write_csv("table.csv", found.table)
ct.corrections.csls(rows["x"], rows["y"])
np.savez("moved.npz", **out)
print(len(found.table["method"]))
"""
    assert int(run(code, here)) == len(METHODS) + 1
    rows, moved = np.load(here / "rows.npz"), np.load(here / "moved.npz")
    for method in METHODS:
        expected = fit(method, rows["x"], rows["y"], ridge=0.1, epsilon=0.1).transform(rows["x"], rows["y"])
        np.testing.assert_allclose(moved[method], np.concatenate(expected), atol=1e-6)


def test_the_command_corrects_without_jax(here):
    code = """
sys.argv = ["ctflow", "correct", "x.npy", "y.npy", "--method", "coral", "--out", "out"]
from ctflow.cli import main
main()
"""
    assert "rows corrected by coral" in run(code, here)
    assert np.isfinite(np.load(here / "out" / "y.npy")).all()
