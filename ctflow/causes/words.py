"""The findings about the causes of a gap as sentences that never claim more than was measured."""

from typing import TYPE_CHECKING

import numpy as np

from ctflow.causes.free import ADAM_RATE, DONE, NOTHING
from ctflow.causes.start import SAME, Start

if TYPE_CHECKING:
    from ctflow.causes.explanation import Explanation

HELD, NEUTRAL, FROM_START = "held by the loss", "neutral", "there from the start"
_NEARLY = 0.9
_AGREE = 0.15
_CHANCE = 3.0


def verdicts(e: "Explanation") -> dict[str, str]:
    """A verdict for the arrangement of the rows, for free rows, for the pairs, and for the start.

    The words for a share of the gap are: at least 0.9, between, and at most 0.1. Shares at the three sizes
    that differ by more than 0.15 decide nothing.
    """
    if not e.is_there:
        return dict.fromkeys(("arrangement", "free rows"), "no gap beyond chance")
    found = {"arrangement": _arrangement(e), "free rows": _free(e), "pairs": _pairs(e)}
    if e.start is not None:
        found["start"] = _start(e.start)
    return found


def _arrangement(e: "Explanation") -> str:
    if max(e.line.gain, abs(e.line.price)) <= NOTHING:
        return NEUTRAL
    left = e.line.gap[e.line.least] / e.line.gap[e.line.here]
    if left >= _NEARLY:
        return HELD
    return f"not {HELD}" if left <= 1 - _NEARLY else f"partly {HELD}"


def _free(e: "Explanation") -> str:
    kept = np.array([f.kept for f in e.free])
    if not np.isfinite(kept).all() or np.ptp(kept) > _AGREE:
        return f"not decidable on {e.free[-1].rows[0]} rows"
    if kept[-1] >= _NEARLY:
        return NEUTRAL
    return f"not {NEUTRAL}: the loss closes it" if kept[-1] <= 1 - _NEARLY else f"partly {NEUTRAL}"


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


def _start(start: Start) -> str:
    if start.gap <= _CHANCE * start.null:
        return "opened in training"
    if not np.isfinite(start.cosine):
        return "a gap was there, its direction cannot be compared"
    if start.cosine < SAME:
        return "a gap was there, in another direction"
    return FROM_START if start.share >= _NEARLY else f"partly {FROM_START}"


def words(e: "Explanation") -> tuple[str, ...]:
    """The findings as sentences, each with its numbers and the number of rows."""
    if not e.is_there:
        return (
            f"There is no gap to explain: the means are {e.gap:.3g} apart, and chance alone gives "
            f"{e.null:.2g} on {e.line_rows[0]} rows.",
        )
    said = [_of_line(e), _of_free(e), _of_control(e), _of_pairs(e)]
    if e.start is not None:
        said.append(_of_start(e.start, e.verdicts["start"]))
    return (*said, "Free rows are no encoders: what free rows can do, an encoder may not be able to do.")


def _of_line(e: "Explanation") -> str:
    line, verdict, n = e.line, e.verdicts["arrangement"], e.line_rows[0]
    if verdict == NEUTRAL:
        return (
            "As the rows are arranged, the gap is neutral: closing it rigidly along the line between the "
            f"means changes the in-batch loss of {n} rows, {line.loss[line.here]:.4f} nats, by less than "
            f"{NOTHING:g}."
        )
    here, closed, _ = line.recall
    change = "costs" if line.price > 0 else "gains"
    lowest = "where they are"
    if line.least != line.here:
        lowest = f"at a gap of {line.gap[line.least]:.3g}, {line.loss[line.least]:.4f} nats"
    return (
        f"As the rows are arranged, the gap is {verdict}: the centroid gap is {line.gap[line.here]:.3g} and "
        f"the in-batch loss of {n} rows {line.loss[line.here]:.4f} nats; moved rigidly along the line "
        f"between the means, their loss is lowest {lowest}. Closing the gap that way {change} "
        f"{abs(line.price):.3g} nats and takes recall@1 from {here:.1%} to {closed:.1%}."
    )


def _of_free(e: "Explanation") -> str:
    largest, verdict = e.free[-1], e.verdicts["free rows"]
    shares = ", ".join(f"{f.kept:.1%} at {f.rows[0]} rows" for f in e.free)
    if not all(np.isfinite(f.kept) for f in e.free):
        return (
            f"For free rows it is {verdict}: the gradient flow did not lose {DONE:.0%} of the loss that can "
            "be lost within its steps."
        )
    if all(f.adam.loss[0] - f.reached <= NOTHING for f in e.free):
        return (
            f"For free rows the gap is {verdict}: within {NOTHING:g} nats the rows have the lowest loss "
            "already, so that nothing is gained by closing it."
        )
    excess = largest.reached - largest.least_loss
    bound = "at the lowest loss that any rows can have"
    if excess > NOTHING:
        bound = f"{excess:.2g} nats above a bound that no rows can go below"
    return (
        f"For free rows the gap is {verdict}: when the gradient flow has lost {DONE:.0%} of the loss that "
        f"can be lost, this much of the gap is left: {shares}. Adam at a learning rate of {ADAM_RATE:g} ends "
        f"with a centroid gap of {largest.adam.gap[-1]:.2g}, {bound}."
    )


def _of_control(e: "Explanation") -> str:
    f = e.free[-1]
    price = f"the same loss to {NOTHING:g} nats"
    if abs(f.price) > NOTHING:
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


def _of_start(start: Start, verdict: str) -> str:
    direction = "in another number of dimensions"
    if np.isfinite(start.cosine):
        direction = f"cosine {start.cosine:.2f} with the direction of the gap now"
    return (
        f"The start: {verdict}. The means were {start.gap:.3g} apart ({start.null:.2g} by chance), "
        f"{start.share:.0%} of the {start.now:.3g} now; {direction}."
    )
