"""The skeleton of pages: only its own scripts run, numbers are finite, and Plotly is asked for by name."""

import base64
import hashlib
import html
import re

import pytest

from ctflow.pages import bundle, skeleton
from ctflow.pages import figures as fg
from ctflow.pages.parts import Code, Figure, Folded, Page, Section, Table, Toggle


def a_page(*parts):
    return Page("Title", ("Lead & `code <b>`.",), ("a note",), (Section("Part", ("Text",), parts),), "Foot")


@pytest.fixture
def small(monkeypatch):
    """A drawing library of one line."""
    monkeypatch.setattr(skeleton, "plotly_js", lambda: "var Plotly = 1;")


def test_the_policy_lists_the_hash_of_every_script(small):
    page = skeleton.render(a_page(Figure("f", [], {}, "Nothing.")))
    policy = html.unescape(re.search('Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; script-src ")
    scripts = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall("'sha256-([^']*)'", policy) == hashes
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_without_figures_has_no_script():
    page = skeleton.render(a_page(Table(("a",), [("<i>1</i>",)], marked=(0,)), Code("rm 'x' <y>")))
    assert "<script>" not in page
    assert "script-src &#x27;none&#x27;" in page
    assert "<tr class=marked><td>&lt;i&gt;1&lt;/i&gt;</td></tr>" in page
    assert "<pre><code>rm &#x27;x&#x27; &lt;y&gt;</code></pre>" in page
    assert "<p>Lead &amp; <code>code &lt;b&gt;</code>.</p>" in page


def test_figures_in_folded_parts_are_found_and_names_are_unique(small):
    figure = Figure("f-1", [{"x": [1]}], {}, 'A "figure".', toggles=(Toggle("<Join>", (0, 2)),))
    page = skeleton.render(a_page(Folded("More", (figure,))))
    assert '{"f-1":{"data":[{"x":[1]}],"layout":{"height":320}}}' in page
    assert 'data-traces="0 2" aria-pressed="false">&lt;Join&gt;</button>' in page
    assert 'aria-label="A &quot;figure&quot;."' in page
    with pytest.raises(ValueError, match="must have different names, got f-1 twice"):
        a_page(figure, Folded("More", (figure,)))
    with pytest.raises(ValueError, match="name must have lower-case letters"):
        Figure('x" onclick="', [], {}, "")


def test_no_text_ends_the_element_that_holds_the_data():
    text = skeleton.embedded({"<!--": "</script><script>", "a": "&\u2028"})
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="Out of range float"):
        skeleton.embedded([float("nan")])


def test_numbers_are_short_and_texts_are_escaped():
    assert fg.plain([1 / 3, float("nan"), float("-inf"), 1e-9]) == [0.33333, None, None, 1e-9]
    assert fg.safe("<a href='x'>&%{y}") == "&lt;a href='x'&gt;&amp;%&#123;y}"


def test_without_plotly_the_message_says_what_to_install(monkeypatch):
    bundle.plotly_js.cache_clear()
    monkeypatch.setattr(bundle, "find_spec", lambda name: None)
    assert not bundle.can_be_made()
    with pytest.raises(
        ValueError, match=r"needs Plotly, which is not installed; run pip install 'ctflow\[html"
    ):
        skeleton.render(a_page(Figure("f", [], {}, "Nothing.")))
