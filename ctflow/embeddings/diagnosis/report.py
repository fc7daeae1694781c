"""The result of a diagnosis: numbers with their nulls and intervals, and the findings in plain words."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ctflow.embeddings.diagnosis import tables
from ctflow.embeddings.diagnosis.metric import Metric
from ctflow.embeddings.diagnosis.verdict import verdict
from ctflow.embeddings.diagnosis.view import View
from ctflow.embeddings.names import LETTERS
from ctflow.storage.tables import plain_tree, save_as

if TYPE_CHECKING:
    from ctflow.pages.skeleton import Section


@dataclasses.dataclass(frozen=True)
class Report:
    """A diagnosis: `print` it, `save` it, `plot` it, or convert it with `to_dict`, `to_frame` and others.

    `report["centroid_gap"]` is one number. Keys such as `cone_x` do not depend on the modalities' names.
    """

    metrics: tuple[Metric, ...]
    words: tuple[str, ...]
    """The findings in plain words."""
    notes: tuple[str, ...]
    """Remarks on the input that affect how the numbers are read."""
    settings: dict[str, Any]
    view: View | None = dataclasses.field(default=None, repr=False, compare=False)
    """What pictures and pages show of the rows."""

    def __getitem__(self, name):
        """The metric of that name."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"no metric {name!r}; there are {', '.join(m.name for m in self.metrics)}")

    @property
    def names(self) -> tuple[str, str]:
        """Names of the two modalities."""
        a, b = self.settings.get("names", LETTERS)
        return a, b

    @property
    def detected(self) -> bool:
        """Whether a gap is detected: whether any distance is beyond its null."""
        return any(m.gap for m in self.metrics)

    @property
    def verdict(self) -> tuple[str, str, str]:
        """Three sentences: is there a gap, how large is it, does it hurt and what to do."""
        return verdict(self)

    def __repr__(self) -> str:
        """What was measured, and the verdict, in at most ten lines."""
        n, m = self.settings["rows"]
        a, b = self.names
        head = (
            f"Report: {len(self.metrics)} numbers of {n} rows of {a} and {m} rows of {b} in "
            f"{self.settings['d']} dimensions"
        )
        lines = [head, *(f"  {line}" for line in (*self.verdict, *(f"note: {n}" for n in self.notes)))]
        more = [f"  and {len(lines) - 9} more"] if len(lines) > 10 else []
        return "\n".join(lines[: 10 - len(more)] + more)

    def __str__(self):
        """The verdict, the notes, and about eight numbers; `to_markdown` has all."""
        return tables.as_text(self)

    def _repr_html_(self) -> str:
        return tables.as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The whole report in plain Python types; NaN and infinity become None."""
        return plain_tree(
            {
                "verdict": self.verdict,
                "words": self.words,
                "notes": self.notes,
                "settings": self.settings,
                "metrics": [dataclasses.asdict(metric) for metric in self.metrics],
            }
        )

    def to_json(self) -> str:
        """The whole report as JSON; NaN and infinity become null."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def to_frame(self) -> Any:
        """A pandas frame with one row per number, indexed by its key.

        Raises:
            ValueError: pandas is not installed.
        """
        return tables.as_frame(self)

    def to_markdown(self) -> str:
        """The report as a Markdown page: the verdict, the findings, then one table per section."""
        return tables.as_markdown(self)

    def to_html(self, extra: Sequence["Section"] = ()) -> str:
        """The report as one self-contained page with interactive figures; needs the extra `html` (Plotly).

        Args:
            extra: further sections (`ctflow.pages.skeleton.Section`), shown after those on the partners.

        Raises:
            ValueError: Plotly is not installed.
        """
        from ctflow.embeddings.diagnosis.page import page

        return page(self, extra)

    def plot(self, ax: Any = None, panel: str = "size") -> Any:
        """Draw the report.

        Args:
            ax: matplotlib axes for one panel, which are returned; by default a `ctflow.plotting.Picture` of
                all panels is made.
            panel: the panel to draw into `ax`: `size`, `clouds`, `distances`, or for pairs `recall`.

        Raises:
            ValueError: there is no such panel.
        """
        from ctflow.embeddings.diagnosis.plot import draw_panel, picture

        return picture(self) if ax is None else draw_panel(self, ax, panel)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as .json, .md, .html or .png, by the path's ending, completely or not at all.

        Raises:
            ValueError: the path has another ending, or it is .html and Plotly is not installed.
        """
        writers = {".json": self.to_json, ".md": self.to_markdown, ".html": self.to_html, ".png": self.plot}
        save_as(path, writers)
