"""The section on corrections of a report's page."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.comparison.section import corrections_section
from ctflow.corrections.correction import METHODS
from ctflow.corrections.fitting import SCORINGS
from ctflow.embeddings import as_embeddings
from tests.draws import paired_rows, unit

QUICK = {"n_permutations": 99, "n_bootstrap": 0}


def clouds(n=160, d=8):
    x, y = paired_rows(n, d, 0.4, 0)
    return [as_embeddings(z, name=k) for k, z in (("x", unit(x)), ("y", unit(y + 3 * np.eye(d)[0])))]


def test_gains_and_costs_are_those_of_the_comparison():
    x, y = clouds()
    report = ct.diagnose(x, y, names=("image", "text"), **QUICK)
    (section,) = corrections_section(report, x, y)
    figure, table, folded = section.parts
    assert ("translation", "shifts text so that its mean becomes that of image") in folded.parts[0].rows
    rows = {row[0]: row for row in table.rows}
    assert set(rows) == {*METHODS, *SCORINGS} - {"cca"}
    assert section.text[-1] == "For more rows, other purposes and cca, run `ctflow correct`."
    assert section.text[-2].startswith("To use it, ")
    assert table.head[2] == "recall@1 image → text"
    before, after = (float(rows[name][4].split()[0]) for name in ("none", "centring"))
    assert rows["centring"][4] == f"{after:.3f} ({after - before:+.3f})"
    recommended = table.rows[table.marked[0]][0]
    assert f"{recommended} is recommended" in section.finding
    assert "among 80 held-out pairs" in section.finding
    assert any(line.startswith(f"Recommended: {recommended}") for line in section.text)
    # In the figure the mean of both directions; the energy distance left falls from top to bottom.
    place = figure.data[1]["y"].index("centring")
    sides = [float(rows["centring"][k].split()[0]) for k in (4, 5)]
    assert figure.data[1]["x"][place] == pytest.approx(np.mean(sides), abs=1e-3)
    left = [float(rows[name][1]) for name in figure.data[0]["y"]]
    assert left == sorted(left)


def test_unpaired_rows_have_no_section_and_few_rows_say_why():
    x, y = clouds()
    assert corrections_section(ct.diagnose(x, y, pairs="unpaired", **QUICK), x, y, "unpaired") == ()
    few = [as_embeddings(z.rows(slice(0, 30)), name=k) for k, z in (("x", x), ("y", y))]
    (section,) = corrections_section(ct.diagnose(*few, **QUICK), *few)
    assert "Corrections were not compared: 30 independent groups of pairs are too few" in section.text[0]
