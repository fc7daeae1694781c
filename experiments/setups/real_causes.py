"""What the loss says about the gap of a real model: moved rigidly, and with its rows set free (`ct.why`)."""

from typing import Any

import numpy as np

from ctflow.causes.batch import block_of, rows_of
from ctflow.causes.why import why
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis.shift import LossAgainstGap, loss_against_gap
from ctflow.embeddings.pairing import pair_up
from experiments.setups.real_models import Config, Rows

_Table = list[dict[str, Any]]


def causes(config: Config, rows: Rows, temperature: float) -> dict[str, _Table]:
    """The loss along the line between the means, the paths of free rows, and the verdicts.

    Args:
        config: settings; `max_free` rows are set free.
        rows: the rows of a source.
        temperature: τ of its model; the line is measured at `line_temperatures` too.
    """
    found = why(
        rows.x,
        rows.y,
        temperature=temperature,
        max_rows=config.max_sums,
        max_free=config.max_free,
        seed=config.seed,
    )
    lines = {temperature: found.line}
    for tau in config.line_temperatures:
        if tau != temperature:
            lines[tau] = _line(config, rows, tau)
    return {
        "loss_against_gap": [row for tau in sorted(lines) for row in _of_line(tau, lines[tau])],
        "free_rows": [row for free in found.free for row in _of_paths(free)],
        "causes": [_verdict(found, temperature)],
    }


def _line(config: Config, rows: Rows, tau: float) -> LossAgainstGap:
    x, y = (as_embeddings(z, name=name) for name, z in (("x", rows.x), ("y", rows.y)))
    block = block_of(pair_up(x, y), config.max_sums, np.random.default_rng([config.seed, 0]))
    return loss_against_gap(*rows_of(x, y, block), block, tau)


def _of_line(tau: float, line: LossAgainstGap) -> _Table:
    marks = {line.closed: "closed", line.least: "lowest"}
    if line.least == line.here:
        marks[line.here] = "now and lowest"
    else:
        marks[line.here] = "now"
    return [
        {"temperature": tau, "shift": shift, "gap": gap, "loss": loss, "mark": marks.get(k, "")}
        for k, (shift, gap, loss) in enumerate(zip(line.shift, line.gap, line.loss, strict=True))
    ]


def _of_paths(free: Any) -> _Table:
    paths = {"gradient flow": free.flow, "Adam": free.adam, "Adam with control": free.controlled}
    return [
        {
            "rows": free.rows[0],
            "path": name,
            "step": int(step),
            "gap": gap,
            "above_bound": loss - free.least_loss,
            "strength": free.strength if name == "Adam with control" else 0.0,
        }
        for name, path in paths.items()
        for step, gap, loss in zip(path.step, path.gap, path.loss, strict=True)
    ]


def _verdict(found: Any, temperature: float) -> dict[str, Any]:
    """One row: gaps, losses and recall before and after, and the words of `ct.why`."""
    line, free = found.line, found.free[-1]
    return {
        "temperature": temperature,
        "rows": free.rows[0],
        "gap": found.gap,
        "loss": line.loss[line.here],
        "loss_closed": line.loss[line.closed],
        "gap_of_lowest": line.gap[line.least],
        "loss_lowest": line.loss[line.least],
        "recall": line.recall[0],
        "recall_closed": line.recall[1],
        "bound": free.least_loss,
        "gap_free": free.flow.gap[-1],
        "share_kept": free.kept,
        "gap_free_adam": free.adam.gap[-1],
        "loss_free_adam": free.adam.loss[-1],
        "strength": free.strength,
        "gap_controlled": free.controlled.gap[-1],
        "loss_controlled": free.controlled.loss[-1],
        "recall_free": free.adam.recall,
        "recall_controlled": free.controlled.recall,
        **{f"verdict_{name}": words.replace(",", ";") for name, words in found.verdicts.items()},
    }
