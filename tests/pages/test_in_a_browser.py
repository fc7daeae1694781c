"""A report's page in headless Chromium: drawn, quiet, alone, and usable on a phone, a desk and paper."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.comparison.section import corrections_section
from ctflow.embeddings import as_embeddings
from ctflow.pages.bundle import can_be_made
from tests.draws import paired_rows, unit
from tests.pages.conftest import check_drawn

MARKUP = "<img src=x onerror='alert(1)'>", "</script><script>alert(2)</script>"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not can_be_made(), reason="the page needs Plotly"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page of 160 pairs whose names and notes are markup, with corrections."""
    x, y = paired_rows(160, 8, 0.4, 0)
    x, y = unit(x), unit(y + 3 * np.eye(8)[0])
    rows = [as_embeddings(z, name=name) for name, z in zip(MARKUP, (x, y), strict=True)]
    report = ct.diagnose(*rows, names=MARKUP, temperature=0.1, n_permutations=99, n_bootstrap=20)
    object.__setattr__(report, "notes", MARKUP)
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.to_html(corrections_section(report, *rows)), encoding="utf-8")
    return file


@pytest.fixture(params=[400, 1400])
def opened(request, look, path):
    """The page at one width, and what it said and asked for."""
    return look(path, request.param)


def test_every_figure_is_drawn_and_nothing_is_loaded_or_said(opened):
    page, heard = opened
    assert len(check_drawn(page)) == 8
    # None of the buttons over a figure leads to another site.
    titles = page.eval_on_selector_all("#plane .modebar-btn", "all => all.map(b => b.dataset.title)")
    assert titles == ["Zoom", "Pan", "Reset axes", "Download plot as a PNG"]
    # What plotly.js makes of an escaped name is the name.
    assert page.locator("#along .legendtext").first.text_content().startswith("<img src=x")
    assert heard == []


def test_pointing_at_a_row_shows_its_number_and_partners_are_joined_on_demand(opened):
    page, heard = opened
    point = page.locator("#plane .trace .point").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.wait_for_selector("#plane .hoverlayer .hovertext")
    text = page.locator("#plane .hoverlayer .hovertext").first.text_content()
    for word in ("row ", "partner: row", "cosine", "rank"):
        assert word in text
    traces = page.locator("#plane .scatterlayer .trace")
    assert traces.count() == 2
    button = page.get_by_role("button", name="Join partners")
    button.click()
    page.wait_for_function("document.querySelectorAll('#plane .scatterlayer .trace').length === 3")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    page.wait_for_function("document.querySelectorAll('#plane .scatterlayer .trace').length === 2")
    assert heard == []


def test_on_paper_folded_parts_are_open_and_figures_fit(browser, path):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("#spectra .main-svg")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    widths = page.eval_on_selector_all(".plot .main-svg", "all => all.map(svg => svg.clientWidth)")
    assert max(widths) <= 660
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf()) > 50_000
    page.close()


def test_a_foreign_script_does_not_run(browser, path, tmp_path):
    """If markup got past the escaping, the page's policy would still stop it."""
    page = browser.new_page()
    inside = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'><h1>"
    other = tmp_path / "other.html"
    other.write_text(path.read_text(encoding="utf-8").replace("<h1>", inside), encoding="utf-8")
    page.goto(other.as_uri())
    page.wait_for_selector("#spectra .main-svg")
    assert page.evaluate("window.ran") is None
    page.close()
