"""The result of `why`: numbers, verdicts and sentences, as text, table, JSON or picture."""

import dataclasses
import json
import os
from functools import cached_property
from typing import Any

from ctflow.causes.free import FreeRows, Path
from ctflow.causes.start import Start
from ctflow.causes.words import summary, verdicts, words
from ctflow.embeddings.diagnosis.shift import LossAgainstGap
from ctflow.embeddings.diagnosis.tables import escape_markdown, markdown_table
from ctflow.stability import OwnPairs
from ctflow.storage.tables import aligned, plain_tree, save_as


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why two modalities lie apart. Print it, or use `to_dict`, `to_json`, `to_markdown`, `plot` and `save`.

    Attributes:
        line: the in-batch loss as the gap is closed rigidly.
        free: free rows, at three sizes, the largest last.
        theory: τ* and λ* of the pairs, or the reason why they are not known.
        start: comparison with an early checkpoint, if one was given.
        null: root mean square of a centroid gap that is due to chance.
        notes: remarks on the input.
        settings: names, sizes and settings.
    """

    line: LossAgainstGap
    free: tuple[FreeRows, ...]
    theory: OwnPairs | str
    start: Start | None
    null: float
    notes: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def gap(self) -> float:
        """Centroid gap of the rows, in [0, 2]."""
        return float(self.line.gap[self.line.here])

    @property
    def is_there(self) -> bool:
        """Whether the centroid gap is beyond three times what chance gives."""
        return self.gap > 3 * self.null

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """A few words for the arrangement, free rows, the pairs, and the start if it was given."""
        return verdicts(self)

    @cached_property
    def summary(self) -> tuple[str, ...]:
        """Two or three sentences for readers who read nothing else."""
        return summary(self)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The findings as sentences."""
        return words(self)

    def __str__(self) -> str:
        """Summary and findings, then the loss along the line and the free rows as tables."""
        lines = [*self.summary, "", *self.words, *(f"note: {note}" for note in self.notes)]
        for title, head, cells in self.tables():
            lines += ["", title, *(f"  {line}" for line in aligned(head, cells))]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """The verdicts in one line."""
        said = ", ".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())
        return f"Explanation of a centroid gap of {self.gap:.3g}: {said}"

    def to_markdown(self) -> str:
        """The findings as a list, then the two tables."""
        lines = ["# Why there is a gap", "", escape_markdown(" ".join(self.summary)), ""]
        lines += [f"- {escape_markdown(line)}" for line in (*self.words, *self.notes)]
        for title, head, cells in self.tables():
            lines += ["", f"## {title}", "", *markdown_table(head, cells)]
        return "\n".join([*lines, ""])

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Title, head and cells of the two tables: the line, and free rows."""
        line = self.line
        marks = {line.closed: "closed", line.least: "lowest", line.here: "now"}
        return [
            (
                f"Loss against gap, {line.rows[0]} rows moved rigidly",
                ("gap closed by", "centroid gap", "loss (nats)", ""),
                [
                    (f"{s:.3g}", f"{g:.3f}", f"{v:.4f}", marks.get(k, ""))
                    for k, (s, g, v) in enumerate(zip(line.shift, line.gap, line.loss, strict=True))
                ],
            ),
            (
                "Free rows",
                ("rows", "path", "steps", "centroid gap", "energy distance", "above the bound", "recall@1"),
                [_cells(f, name, path) for f in self.free for name, path in f.paths().items()],
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python, without arrays."""
        theory: Any = self.theory
        content = {
            "verdicts": self.verdicts,
            "summary": self.summary,
            "words": self.words,
            "notes": self.notes,
            "settings": self.settings,
            "gap": self.gap,
            "null": self.null,
            "loss_against_gap": self.line._asdict(),
            "free_rows": [_plain_free(f) for f in self.free],
            "theory": theory if isinstance(theory, str) else theory._asdict(),
            "start": None if self.start is None else self.start._asdict(),
        }
        return plain_tree(content)

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def plot(self) -> Any:
        """A `ctflow.plotting.Picture`: loss against gap, gap against steps, and the dependence on rows."""
        from ctflow.causes.picture import picture

        return picture(self)

    def to_html(self) -> str:
        """One page that loads nothing; needs Plotly (`pip install 'ctflow[html]'`)."""
        from ctflow.causes.sections import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .json, .md, .html or .png, by the path's ending; a failure leaves no partial file."""
        writers = {".json": self.to_json, ".md": self.to_markdown, ".html": self.to_html, ".png": self.plot}
        save_as(path, writers)


def _plain_free(free: FreeRows) -> dict[str, Any]:
    return {
        key: value._asdict() if isinstance(value, Path) else value for key, value in free._asdict().items()
    }


def _above(loss: float, free: FreeRows) -> str:
    """Nats above the bound; rounding in float32 hides what is below 1e-4."""
    above = loss - free.least_loss
    return f"{above:.3g}" if above > 1e-4 else "<1e-4"


def _cells(free: FreeRows, name: str, path: Path) -> tuple[str, ...]:
    return (
        str(free.rows[0]),
        name,
        str(path.step[-1]),
        f"{path.gap[0]:.3f} to {path.gap[-1]:.3f}",
        f"{path.energy_distance[0]:.3g} to {path.energy_distance[1]:.3g}",
        f"{_above(path.loss[0], free)} to {_above(path.loss[-1], free)}",
        f"{path.recall:.3f}",
    )
