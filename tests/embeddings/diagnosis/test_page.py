"""The page of a report: what it holds, that names are only text, and that it is the same each time."""

import html
import html.parser
import json

import numpy as np
import pytest

import ctflow as ct
from ctflow.pages.parts import Figure, Section
from tests.draws import paired_rows, unit

pytest.importorskip("plotly", reason="the page needs Plotly")

QUICK = {"n_permutations": 99, "n_bootstrap": 20}
FIGURES = ["along", "cosines", "distances", "plane", "recall", "size", "spectra"]
MARKUP = "<script>alert(1)</script>", "</script><img src=x onerror='alert(2)'>\"`|&amp;%{x}"


def clouds(n=60, d=6):
    x, y = paired_rows(n, d, 0.5, 0)
    return unit(x), unit(y + 2 * np.eye(d)[0])


class Reader(html.parser.HTMLParser):
    """Counts tags, and collects attributes and the JSON of the figures."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.json, self.inside = [], [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = ("id", "figures") in attrs

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.json += data


def test_a_page_answers_the_questions_first():
    report = ct.diagnose(*clouds(), temperature=0.1, names=("image", "text"), **QUICK)
    page = report.to_html()
    places = [page.index(html.escape(line.replace("`", ""))[:60]) for line in report.verdict]
    assert places == sorted(places)
    assert places[-1] < page.index("<section>")
    assert sorted(json.loads(Reader(page).json)) == FIGURES
    for metric in report.metrics:
        assert f"<td>{metric.name}</td>" in page
    worst = int(np.argmin(report.view.partners.cosine))
    rows = page.split("The rows farthest from their partners")[1]
    assert f"<tr><td class=number>{worst}</td><td class=number>{worst}</td>" in rows
    assert "ct.diagnose(image, text, temperature=0.1" in page


def test_the_same_input_gives_the_same_page(tmp_path):
    first, second = (ct.diagnose(*clouds(), **QUICK) for _ in range(2))
    assert first.to_html() == second.to_html()
    first.save(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == second.to_html()


def test_unpaired_rows_have_a_page_without_partners():
    report = ct.diagnose(*clouds(), pairs="unpaired", n_bootstrap=0, n_permutations=99)
    page = report.to_html()
    assert sorted(json.loads(Reader(page).json)) == ["along", "distances", "plane", "size", "spectra"]
    assert "farthest" not in page
    assert "Join partners" not in page


def test_markup_in_names_files_and_notes_stays_text(tmp_path):
    x, y = clouds()
    for name, z in zip(("a<b>c.npy", 'd"&<i>.npy'), (x, y), strict=True):
        np.save(tmp_path / name, z)
    files = [ct.embeddings.open_embeddings(path) for path in sorted(tmp_path.iterdir())]
    report = ct.diagnose(*files, names=MARKUP, **QUICK)
    object.__setattr__(report, "notes", MARKUP)
    report.settings.update(command=MARKUP[1], correct=MARKUP[1])
    page = report.to_html((Section(MARKUP[0], MARKUP, finding=MARKUP[1]),))
    clean = Reader(ct.diagnose(x, y, **QUICK).to_html())
    found = Reader(page)
    assert found.tags.count("script") == clean.tags.count("script") == 3
    assert not {"img", "b", "i"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert html.escape(str(tmp_path / "a<b>c.npy")) in page
    # Figures take some HTML: what they show is escaped once more.
    content = json.loads(found.json)
    assert content["along"]["data"][0]["name"] == "&lt;script&gt;aler…1)&lt;/script&gt;"
    text = json.dumps(content)
    assert "<script" not in text
    assert "<img" not in text
    assert "<" not in found.json


def test_further_sections_come_before_the_details():
    data = [{"type": "scatter", "x": [0, 1], "y": [1, 0]}]
    more = Section(
        "Loss against gap",
        ("Moved.",),
        (Figure("why", data, {}, "A curve."),),
        finding="free rows close half",
    )
    page = ct.diagnose(*clouds(), **QUICK).to_html((more,))
    assert "why" in json.loads(Reader(page).json)
    places = [
        page.index(f"<h2>{title}")
        for title in ("Do partners", "Loss against gap", "How many directions", "The numbers", "Input")
    ]
    assert places == sorted(places)
    assert "; free rows close half.</p>" in page
