"""How a report is shown: short in a terminal, as a table in a notebook, as plain data, as one panel."""

import html.parser
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

import ctflow as ct
from tests.draws import paired_rows, unit

QUICK = {"n_permutations": 99, "n_bootstrap": 20}


def clouds(shift, n=80, d=6, noise=0.5, seed=0):
    x, y = paired_rows(n, d, noise, seed)
    return unit(x), unit(y + shift * np.eye(d)[0])


@pytest.fixture(scope="module")
def report():
    return ct.diagnose(*clouds(4.0), temperature=0.1, names=("image", "text"), **QUICK)


def test_a_report_prints_short(report):
    lines = str(report).splitlines()
    assert tuple(lines[:3]) == report.verdict
    assert len(lines) == 3 + 1 + 1 + 8 + 1 + 1
    assert "to_markdown()" in lines[-1]
    shown = repr(report).splitlines()
    assert len(shown) == 4
    assert shown[1].strip() == report.verdict[0]
    many = ct.diagnose(*clouds(4.0), **QUICK)
    object.__setattr__(many, "notes", tuple(f"note {k}" for k in range(20)))
    assert len(repr(many).splitlines()) == 10
    assert repr(many).endswith("and 15 more")


def test_the_verdict_answers_three_questions(report):
    there, large, hurts = report.verdict
    assert there.startswith("There is a gap: 9 of 9 distances between image and text")
    share = report["energy_coefficient"].value
    assert large.startswith(f"It is large: the energy coefficient is {share:.2g}")
    assert f"the means are {report['centroid_gap'].value:.2g} apart" in large
    ratio = report["centroid_gap"].value / report.view.typical_distance
    assert f"{ratio:.2g} times the typical distance" in large
    assert hurts.startswith("Search suffers if ")
    assert f"{report.view.partners.mixed[0]:.1%} of cases (image → text)" in hurts
    assert "compare(x, y)` measures what corrections gain and cost" in hurts


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("close", "Search hardly suffers if "),
        ("none", "There is no gap to correct"),
        ("shuffled", "Check the pairs first"),
        ("unpaired", "cannot be said without partners: give pairs"),
        ("unpaired, none", "Without partners, retrieval is not measured"),
    ],
)
def test_what_to_do_depends_on_the_rows(case, words):
    pairs = "unpaired" if "unpaired" in case else None
    if case == "close":  # a detectable shift that is small beside the distance between rows
        x, y = clouds(0.1, n=200, d=32, noise=0.02)
    else:
        x, y = clouds(0.0 if "none" in case else 4.0)
    if case == "none":
        x, y = clouds(0.0, seed=1)
    if case == "shuffled":
        y = np.roll(y, 7, axis=0)
    report = ct.diagnose(x, y, pairs=pairs, **QUICK)
    assert report.detected == ("none" not in case)
    assert words in report.verdict[2]


class Reader(html.parser.HTMLParser):
    """Collects tags and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_a_notebook_shows_an_escaped_table():
    name = "<script>alert(1)</script>"
    found = ct.diagnose(*clouds(4.0), names=(name, "a'b\"c"), **QUICK)
    reader = Reader()
    reader.feed(found._repr_html_())
    assert "script" not in reader.tags
    assert reader.tags.count("table") == 1 + 5
    assert any(name in text for text in reader.text)
    assert "color:" not in found._repr_html_().replace("background", "")
    assert "<script" not in found.to_markdown()


def test_plain_data(report):
    content = report.to_dict()
    assert json.loads(report.to_json()) == content
    assert content["verdict"] == list(report.verdict)
    assert content["settings"]["names"] == ["image", "text"]
    assert type(content["metrics"][0]["value"]) is float
    assert content["metrics"][0]["p_value"] == report.metrics[0].p_value


def test_a_frame_has_one_row_per_number(report):
    pytest.importorskip("pandas", reason="to_frame needs pandas")
    frame = report.to_frame()
    assert list(frame.index) == [m.name for m in report.metrics]
    assert frame.loc["cone_y", "label"] == "cone text"
    assert frame.loc["cone_y", "value"] == report["cone_y"].value
    assert frame.loc["recall@1_x_to_y", "rows_y"] == 80


def test_a_frame_without_pandas_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ValueError, match="to_frame needs pandas, which is not installed; run pip install"):
        report.to_frame()


def test_a_panel_is_drawn_into_given_axes(report):
    for panel in ("size", "clouds", "distances", "recall"):
        ax = Figure().add_subplot()
        assert report.plot(ax=ax, panel=panel) is ax
        assert ax.has_data()
    assert "large" in report.plot(ax=Figure().add_subplot()).get_title()
    with pytest.raises(ValueError, match="panel must be one of clouds, size, distances, recall"):
        report.plot(ax=Figure().add_subplot(), panel="all")
    unpaired = ct.diagnose(*clouds(4.0), pairs="unpaired", **QUICK)
    with pytest.raises(ValueError, match="panel must not be 'recall' for unpaired rows"):
        unpaired.plot(ax=Figure().add_subplot(), panel="recall")


def test_the_picture_shows_the_gap_beside_the_typical_distance(report):
    (clouds_ax, size_ax, *_) = report.plot().figure.axes
    said = [text.get_text() for text in clouds_ax.texts]
    assert any(text.startswith(f"means {report['centroid_gap'].value:.2g} apart (") for text in said)
    assert f"two rows of one modality: {report.view.typical_distance:.2g}" in said
    assert [text.get_text() for text in clouds_ax.get_legend().get_texts()] == ["image", "text"]
    assert {"small", "moderate", "large"} <= {text.get_text() for text in size_ax.texts}


def test_the_verdict_counts_the_rows_of_both_sides():
    rng = np.random.default_rng(0)
    images = unit(rng.standard_normal((40, 6)))
    captions = unit(np.repeat(images, 3, axis=0) + 0.3 * rng.standard_normal((120, 6)) + 2 * np.eye(6)[0])
    pairs = np.column_stack([np.repeat(np.arange(40), 3), np.arange(120)])
    report = ct.diagnose(images, captions, pairs=pairs, names=("image", "text"), **QUICK)
    assert "if only 120 rows of text and 40 of image are searched; " in report.verdict[2]
