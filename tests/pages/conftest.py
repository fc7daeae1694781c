"""A headless Chromium for tests of pages, and what every page must do in it."""

import shutil

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as play:
        # Without its sandbox Chromium also starts as root, as in a container.
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def look(browser):
    """Open a page at a width; returns it with all that it says and asks for."""
    pages = []

    def opened(path, width):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        heard = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda asked: heard.append(asked.url) if asked.url != path.as_uri() else None)
        page.goto(path.as_uri())
        last = page.locator(".plot").last.get_attribute("id")
        page.wait_for_selector(f"#{last} .main-svg")
        return page, heard

    yield opened
    for page in pages:
        page.close()


def check_drawn(page):
    """Every figure shows something, and nothing is wider than the screen; returns the figures' names."""
    names = page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.id)")
    for name in names:
        box = page.locator(f"#{name} .main-svg").first.bounding_box()
        assert box["width"] > 280
        assert box["height"] > 150
        drawn = page.locator(f"#{name} .scatterlayer path").evaluate_all(
            "paths => paths.filter(path => path.getBBox().width + path.getBBox().height > 0).length"
        )
        assert drawn > 0, name
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    return names
