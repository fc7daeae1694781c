"""Check a built site: links and anchors lead somewhere, pages fit and load nothing, the search finds them.

    python docs/check_site.py docs/_build/html

Without Chromium pages are not opened, and the last line says so.
"""

import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS = (400, 1280)
_DRIVER = "GL Driver Message"  # of WebGL without a graphics card
QUERIES = {"energy distance": "glossary", "critical temperature": "phase-diagram", "resume": "runs"}
"""What a reader may search for, and a page that must be among the results."""


class Links(HTMLParser):
    """The anchors of a page, its links, and the files that it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names, links and loads."""
        found = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in ("script", "img", "iframe") and found.get("src"):
            self.loads.append(str(found["src"]))
        if tag == "link" and found.get("rel") in ("stylesheet", "icon") and found.get("href"):
            self.loads.append(str(found["href"]))


def problems_of_links(pages: dict[Path, Links]) -> list[str]:
    """What leads nowhere, and what is loaded from elsewhere."""
    found = []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme == "data" or (parts.scheme and link in page.links):
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{path}: loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{path}: {link} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{path}: {link} has no such anchor")
    return found


def problems_in_a_browser(site: Path, pages: list[Path], chromium: str) -> list[str]:
    """Messages, requests, pages wider than the screen, searches without the result."""
    from playwright.sync_api import sync_playwright

    found: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda m: None if _DRIVER in m.text else found.append(f"{page.url}: {m.text}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith(("file:", "data:")) else found.append(f"loads {r.url}"),
        )
        for path in pages:
            page.goto(path.as_uri())
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                over = page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                if over > 0:
                    found.append(f"{path}: {over} px wider than a screen of {width} px")
        for words, wanted in QUERIES.items():
            page.goto(f"{(site / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
            page.wait_for_selector("#search-results p.search-summary:has-text('found')")
            links = page.eval_on_selector_all(
                "#search-results ul.search li > a", "all => all.map(a => a.getAttribute('href'))"
            )
            if not any(wanted in link for link in links):
                found.append(f"a search for {words!r} does not find {wanted}, but {links[:5]}")
        browser.close()
    return found


def main(site: Path) -> int:
    """Print what is wrong; 1 if something is."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    pages = {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in paths}
    found = problems_of_links(pages)
    links = sum(len(page.links) for page in pages.values())
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium:
        found += problems_in_a_browser(site.resolve(), list(pages), chromium)
    print("\n".join(found[:50]))
    opened = f"opened at {WIDTHS[0]} and {WIDTHS[1]} px" if chromium else "not opened: there is no Chromium"
    print(f"{len(pages)} pages with {links} links, {opened}: {len(found)} problems")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
