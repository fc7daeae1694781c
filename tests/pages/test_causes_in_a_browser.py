"""The pages of `why` and `track` in headless Chromium."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.pages.bundle import can_be_made
from tests.draws import paired_rows, unit
from tests.pages.conftest import check_drawn

pytestmark = [pytest.mark.long, pytest.mark.skipif(not can_be_made(), reason="the page needs Plotly")]
NAMES = "<b>image</b>", "</script><script>alert(1)</script>"


def rows(shift):
    x, y = paired_rows(120, 8, 0.4, 0)
    return unit(x), unit(y + shift * np.eye(8)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pages")
    ct.why(*rows(2), temperature=0.2, max_free=40, names=NAMES, start=rows(1)).save(place / "why.html")
    ct.track([rows(shift) for shift in (0, 1, 2)], temperature=0.2, names=NAMES).save(place / "track.html")
    return place


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize(("name", "figures"), [("why", 3), ("track", 9)])
def test_figures_are_drawn_names_are_text_and_nothing_is_loaded(look, folder, name, figures, width):
    page, heard = look(folder / f"{name}.html", width)
    assert len(check_drawn(page)) == figures
    assert "<b>image</b>" in page.locator("h1").text_content()
    assert heard == []
