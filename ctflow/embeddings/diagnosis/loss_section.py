"""A section of a page: the in-batch loss as the gap is closed rigidly. No JAX."""

from typing import Any

import numpy as np

from ctflow._base.colors import BLUE
from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.diagnosis.shift import LossAgainstGap, loss_against_gap, with_partners
from ctflow.embeddings.diagnosis.study import unit
from ctflow.embeddings.pairing import UNPAIRED, pair_up
from ctflow.pages import figures as fg
from ctflow.pages.parts import Figure, Section

_ROWS = 500


def loss_section(report: Report, x: Embeddings, y: Embeddings, pairs: Any = None) -> tuple[Section, ...]:
    """For the page of a diagnosis: loss against gap on at most 500 groups of pairs.

    There is no section without a temperature or partners, or where chance explains the distance of the means.

    Args:
        report: the diagnosis of these rows.
        x: rows of the first modality.
        y: rows of the second modality.
        pairs: as for `ct.diagnose`.
    """
    temperature = report.settings["temperature"]
    if (
        temperature is None
        or (isinstance(pairs, str) and pairs == UNPAIRED)
        or not report["centroid_gap"].gap
    ):
        return ()
    plan, rng = pair_up(x, y, pairs), np.random.default_rng([report.settings["seed"], 0])
    block = with_partners(plan.take(plan.sample(_ROWS, rng)))
    line = loss_against_gap(unit(x.rows(block.x)), unit(y.rows(block.y)), block, temperature)
    text = (
        f"Closing the gap by moving whole modalities {line.change} here and takes "
        f"recall@1 from {line.recall[0]:.1%} to {line.recall[1]:.1%}. To see whether "
        f"rows that may rearrange would keep the gap, run `{report.settings.get('why', 'ctflow why')}`.",
    )
    return (line_section(line, temperature, text),)


def line_section(line: LossAgainstGap, temperature: float, text: tuple[str, ...]) -> Section:
    """The loss as the gap is closed rigidly, as a section with one figure."""
    data = [
        fg.curve("in-batch loss", line.gap, line.loss, BLUE),
        _mark("now", line, line.here, "circle"),
        _mark("lowest", line, line.least, "triangle-down-open"),
        _mark("gap closed", line, line.closed, "x"),
    ]
    figure = Figure(
        "loss-against-gap",
        data,
        fg.layout("centroid gap", "in-batch loss (nats)"),
        described=f"The loss is {line.loss[line.here]:.4f} nats now and {line.loss[line.closed]:.4f} with "
        f"the gap closed; the lowest is {line.loss[line.least]:.4f}, at a gap of {line.gap[line.least]:.3f}.",
        caption=f"{line.rows[0]} rows as one batch at temperature {temperature:g}. Both modalities are moved "
        "along the line between their means, and all rows are brought back to the sphere. The gap is "
        "negative where the means have passed each other.",
    )
    return Section("What the loss says about the gap", text, (figure,))


def _mark(name: str, line: LossAgainstGap, at: int, symbol: str) -> dict[str, Any]:
    curve = fg.curve(name, [line.gap[at]], [line.loss[at]], BLUE)
    return curve | {"mode": "markers", "marker": {"size": 11, "symbol": symbol, "color": BLUE}}
