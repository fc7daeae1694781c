"""The findings about the causes of a gap as sentences that never claim more than was measured."""

from typing import TYPE_CHECKING

import numpy as np

from ctflow.causes.free import DONE
from ctflow.causes.start import SAME

if TYPE_CHECKING:
    from ctflow.causes.explanation import Explanation

HELD, NEUTRAL, FROM_START = "held by the loss", "neutral", "there from the start"
_NEARLY = 0.9
_AGREE = 0.15
_CHANCE = 3.0
_NATS = 1e-3


def verdicts(e: "Explanation") -> dict[str, str]:
    """A verdict for the arrangement of the rows, for free rows, for the pairs, and for the start.

    The words for a share of the gap are: at least 0.9, between, and at most 0.1. Shares at the three sizes
    that differ by more than 0.15 decide nothing.
    """
    if not e.is_there:
        return dict.fromkeys(("arrangement", "free rows"), "no gap beyond chance")
    found = {"arrangement": _arrangement(e), "free rows": _free(e), "pairs": _pairs(e)}
    if e.start is not None:
        found["start"] = _start(e)
    return found


def _arrangement(e: "Explanation") -> str:
    left = e.line.gap[e.line.least] / e.line.gap[e.line.here]
    if left >= _NEARLY:
        return HELD
    return f"not {HELD}" if left <= 1 - _NEARLY else f"partly {HELD}"


def _free(e: "Explanation") -> str:
    kept = np.array([f.kept for f in e.free])
    if not np.isfinite(kept).all() or np.ptp(kept) > _AGREE:
        return f"not decidable on {max(f.rows[0] for f in e.free)} rows"
    share = kept[np.argmax([f.rows[0] for f in e.free])]
    if share >= _NEARLY:
        return NEUTRAL
    return f"not {NEUTRAL}: the loss closes it" if share <= 1 - _NEARLY else f"partly {NEUTRAL}"


def _pairs(e: "Explanation") -> str:
    theory = e.theory
    if isinstance(theory, str):
        return "not decidable for these pairs"
    tau = e.settings["temperature"]
    if theory.matched or theory.without == len(theory.draws) or tau > theory.value + 2 * theory.error:
        return "no gap required"
    if theory.strength is not None and theory.strength.value > 0 and tau < theory.value - 2 * theory.error:
        return "a gap must open"
    return "not decidable this near to the critical temperature"


def _start(e: "Explanation") -> str:
    start = e.start
    if start.gap <= _CHANCE * start.null:
        return "opened in training"
    if not np.isfinite(start.cosine):
        return "a gap was there, its direction is not comparable"
    if start.cosine < SAME:
        return "a gap was there, in another direction"
    return FROM_START if start.share >= _NEARLY else f"partly {FROM_START}"


def words(e: "Explanation") -> tuple[str, ...]:
    """The findings as sentences, each with its numbers and the number of rows."""
    if not e.is_there:
        return (_nothing(e),)
    said = [_of_line(e), _of_free(e), _of_control(e), _of_pairs(e)]
    if e.start is not None:
        said.append(_of_start(e))
    return (*said, "Free rows are no encoders: what free rows can do, an encoder may not be able to do.")


def _nothing(e: "Explanation") -> str:
    return (
        f"There is no gap to explain: the means are {e.gap:.3g} apart, and chance alone gives {e.null:.2g} on "
        f"{e.settings['rows'][0]} rows."
    )


def _of_line(e: "Explanation") -> str:
    line, verdict = e.line, e.verdicts["arrangement"]
    best = line.gap[line.least]
    lowest = "where it is" if line.least == line.here else f"at a centroid gap of {best:.3g}"
    change = f"closing it costs {line.price:.3g} nats" if line.price > 0 else (
        f"closing it gains {-line.price:.3g} nats"
    )
    text = (
        f"As the rows are arranged, the gap is {verdict}: moved rigidly along the line between the means, the "
        f"in-batch loss of {e.line_rows[0]} rows is lowest {lowest} (the gap is {line.gap[line.here]:.3g}, its "
        f"loss {line.loss[line.here]:.4f} nats"
    )
    if line.least != line.here:
        text += f", the lowest {line.loss[line.least]:.4f}"
    here, closed, _ = line.recall
    return f"{text}), and {change} and takes recall@1 from {here:.1%} to {closed:.1%}."


def _of_free(e: "Explanation") -> str:
    largest = e.free[-1]
    shares = ", ".join(f"{f.kept:.1%} at {f.rows[0]} rows" for f in e.free)
    if not all(np.isfinite(f.kept) for f in e.free):
        return (
            f"For free rows it is {e.verdicts['free rows']}: the gradient flow did not lose {DONE:.0%} of the "
            "loss that can be lost within its steps."
        )
    text = (
        f"For free rows the gap is {e.verdicts['free rows']}: when the gradient flow has lost {DONE:.0%} of the "
        f"loss that can be lost, this much of the gap is left: {shares}. Adam at a learning rate of 0.01 ends "
        f"with a centroid gap of {largest.adam.gap[-1]:.3g}"
    )
    excess = largest.reached - largest.least_loss
    bound = "at the lowest loss that any rows can have"
    if excess > _NATS:
        bound = f"{excess:.2g} nats above a bound that no rows can go below"
    return f"{text}, {bound}."


def _of_control(e: "Explanation") -> str:
    f = e.free[-1]
    price = f"the same loss to {_NATS:g} nats"
    if abs(f.price) > _NATS:
        price = f"a loss {abs(f.price):.2g} nats {'higher' if f.price > 0 else 'lower'}"
    return (
        f"A control, {f.strength:.3g} times the divergence between the clouds added to the loss, leaves free "
        f"rows with a centroid gap of {f.controlled.gap[-1]:.2g} instead of {f.adam.gap[-1]:.2g}, at {price} "
        f"and recall@1 {f.controlled.recall:.1%} instead of {f.adam.recall:.1%} ({f.rows[0]} rows)."
    )


def _of_pairs(e: "Explanation") -> str:
    if isinstance(e.theory, str):
        return f"The theory says nothing about these pairs: {e.theory}."
    onset, control = str(e.theory).splitlines()[:2]
    return f"The pairs: {e.verdicts['pairs']} ({onset}; {control})."


def _of_start(e: "Explanation") -> str:
    start = e.start
    direction = "in another number of dimensions"
    if np.isfinite(start.cosine):
        direction = f"cosine {start.cosine:.2f} with the direction of the gap now"
    return (
        f"The start: {e.verdicts['start']}. The means were {start.gap:.3g} apart ({start.null:.2g} by chance), "
        f"{start.share:.0%} of the {start.now:.3g} now; {direction}."
    )
