"""The result of a diagnosis: numbers with their nulls and intervals, and the findings in plain words."""

import dataclasses
import json
import os
from typing import Any

import numpy as np

from ctflow import io
from ctflow.embeddings.diagnosis.metric import Metric

SECTIONS = {
    "gap": "Is there a gap?",
    "size": "How large is it, and what is it made of?",
    "pairing": "How close are the partners?",
    "spread": "How each modality spreads",
    "retrieval": "Retrieval",
    "energy": "The loss and the paper's terms",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """A diagnosis. Print it, write it with `save`, or convert it with `to_json`, `to_markdown` or `plot`."""

    metrics: tuple[Metric, ...]
    words: tuple[str, ...]
    """The findings in plain words."""
    notes: tuple[str, ...]
    """Remarks on the input that affect how the numbers are read."""
    settings: dict[str, Any]

    def __getitem__(self, name):
        """The metric of that name."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}")

    def __repr__(self) -> str:
        """What was measured, and the findings, in ten lines; `print` shows all numbers."""
        n, m = self.settings["rows"]
        head = f"Report: {len(self.metrics)} numbers of {n} and {m} rows in {self.settings['d']} dimensions"
        lines = [head, *(f"  {line}" for line in (*self.words, *(f"note: {note}" for note in self.notes)))]
        more = [f"  and {len(lines) - 9} more"] if len(lines) > 10 else []
        return "\n".join(lines[: 10 - len(more)] + more)

    def to_json(self) -> str:
        """The whole report as JSON; NaN and infinity become null."""
        content = {
            "words": self.words,
            "notes": self.notes,
            "settings": self.settings,
            "metrics": [dataclasses.asdict(metric) for metric in self.metrics],
        }
        return json.dumps(_finite(content), indent=1) + "\n"

    def to_markdown(self) -> str:
        """The report as a Markdown page: the findings, then one table per section."""
        lines = ["# Modality gap", ""]
        lines += [f"- {line}" for line in (*self.words, *self.notes)]
        for section, title in SECTIONS.items():
            chosen = [m for m in self.metrics if m.section == section]
            if chosen:
                rows = [_HEAD, ("---",) * len(_HEAD), *map(_cells, chosen)]
                lines += ["", f"## {title}", "", *(f"| {' | '.join(row)} |" for row in rows)]
        return "\n".join([*lines, "", _LEGEND, ""])

    def __str__(self):
        """The report as text for a terminal: the findings, then one table per section."""
        lines = [*self.words, *(f"note: {note}" for note in self.notes)]
        for section, title in SECTIONS.items():
            chosen = [_cells(m) for m in self.metrics if m.section == section]
            if chosen:
                widths = [max(map(len, column)) for column in zip(_HEAD, *chosen, strict=True)]
                lines += ["", title]
                for row in (_HEAD, *chosen):
                    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                    lines.append("  " + "  ".join(cells).rstrip())
        return "\n".join([*lines, "", _LEGEND])

    def plot(self) -> Any:
        """A `ctflow.plotting.Picture`: the gap's size, distances with their nulls, recall with errors."""
        from ctflow.embeddings.diagnosis.plot import picture

        return picture(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as .json, .md or .png, by the path's ending; a failure leaves no partial file."""
        ending = os.path.splitext(os.fspath(path))[1]
        if ending == ".png":
            self.plot().save(path)
            return
        if ending not in WRITERS:
            raise ValueError(f"path must end in .json, .md or .png, got {os.fspath(path)!r}")
        with io.atomic(path) as file:
            file.write(WRITERS[ending](self).encode())


WRITERS = {".json": Report.to_json, ".md": Report.to_markdown}
_HEAD = (
    "number",
    "value",
    "95 % interval, or ± error",
    "null (mean ± sd)",
    "gap?",
    "rows",
    "est.",
    "range or reference",
)
_LEGEND = (
    "null: the number without a gap (labels of the two modalities exchanged) or, for numbers about pairings, "
    "with partners shuffled. gap?: tested in the first table, at one family-wise level. est.: u is unbiased "
    "for the laws that the rows were drawn from; v is for these rows themselves; plug-in is the logarithm of "
    "a mean over the rows. An interval is for the laws. A number that changes with the number of rows has no "
    "interval, at most a standard error (±) over other samples with as many rows: compare it only at equal "
    "numbers of rows."
)


def _cells(metric: Metric) -> tuple[str, ...]:
    interval = f"[{_number(metric.low)}, {_number(metric.high)}]" if np.isfinite(metric.low) else ""
    if np.isfinite(metric.error):
        interval = f"± {metric.error:.2g}"
    null = ""
    if np.isfinite(metric.null_mean):
        null = f"{_number(metric.null_mean)} ± {_number(metric.null_sd)}"
    called = "" if metric.gap is None else f"{'yes' if metric.gap else 'no'} (p = {metric.p_value:.3f})"
    n, m = metric.rows
    return (
        metric.name,
        _number(metric.value) if np.isfinite(metric.value) else "not measurable",
        interval,
        null,
        called,
        f"{n}" if n == m else f"{n}, {m}",
        metric.estimator,
        f"not measurable: {metric.reason}" if metric.reason else metric.reference,
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def _finite(content: Any) -> Any:
    """The same content with None for NaN and infinity, which JSON cannot represent."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float | np.floating):
        return float(content) if np.isfinite(content) else None
    return content.item() if isinstance(content, np.generic) else content
