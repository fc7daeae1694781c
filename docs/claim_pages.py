"""One page per claim, written before a build: what is compared, its figure, and every committed number."""

import csv
from pathlib import Path

from ctflow.claims import CLAIMS, module_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "figures" / "theory"
_SIGNS = {"at least": "≥", "at most": "≤"}


def write_pages(folder: Path) -> None:
    """Write a page for each claim into the folder, and leave pages that would be the same alone."""
    with (RESULTS / "claims.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    folder.mkdir(exist_ok=True)
    for name in CLAIMS:
        text = page(name, [row for row in rows if row["claim"] == name])
        path = folder / file_name(name)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def file_name(name: str) -> str:
    """The file of a claim's page; names sort in the order of the claims."""
    return f"{1 + CLAIMS.index(name):02d}-{name.replace('_', '-')}.md"


def page(name: str, rows: list[dict[str, str]]) -> str:
    """The page of a claim, in MyST."""
    module = module_of(name)
    held = sum(row["verdict"] == "holds" for row in rows)
    sources = dict.fromkeys(row["source"] for row in rows)
    if not rows:
        raise ValueError(f"{RESULTS / 'claims.csv'} has no numbers of the claim {name}")
    return "\n".join(
        [
            f"# {_headline(name, module.TITLE)}",
            "",
            module.__doc__.strip(),
            "",
            f"**{held} of {len(rows)} numbers hold.** Predicted by: {'; '.join(sources)}.",
            "",
            f"```sh\nctflow verify --only {name}\n```",
            "",
            f"![{module.TITLE}](../../figures/theory/{name}.png)",
            "",
            "## Numbers",
            "",
            "The full round, with seed 0. *Predicted* is a bound where it begins with ≤ or ≥.",
            "",
            "| quantity | predicted | simulated | ± | rule | verdict |",
            "| --- | --- | --- | --- | --- | --- |",
            *(_row(row) for row in rows),
            "",
        ]
    )


def _headline(name: str, title: str) -> str:
    return f"{title[0].upper()}{title[1:]} (`{name}`)"


def _row(row: dict[str, str]) -> str:
    predicted = _number(row["predicted"]) or f"{_SIGNS[row['rule']]} {_number(row['bound'])}"
    cells = (
        row["quantity"],
        predicted,
        _number(row["simulated"]),
        _number(row["error"]),
        row["rule"],
        row["verdict"],
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(text: str) -> str:
    value = float(text)
    return "" if value != value else f"{value:.4g}"
