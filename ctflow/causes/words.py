"""The findings about the causes of a gap as sentences that never claim more than was measured."""

from typing import TYPE_CHECKING

import numpy as np

from ctflow.causes.free import ADAM_RATE, DONE, ENOUGH, NOTHING, STAGES
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
    none = "no centroid gap beyond chance"
    arrangement, free = (_arrangement(e), _free(e)) if e.is_there else (none, none)
    found = {"arrangement": arrangement, "free rows": free, "pairs": _pairs(e)}
    return found if e.start is None else found | {"start": _start(e.start)}


def _arrangement(e: "Explanation") -> str:
    if max(e.line.gain, abs(e.line.price)) <= NOTHING:
        return NEUTRAL
    if e.line.loss[e.line.here] >= e.line.equal:
        return "not decidable: the loss is no lower than that of equal cosines"
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


def summary(e: "Explanation") -> tuple[str, ...]:
    """What a reader should take away: the gap, what the loss does to free rows, and to rows as they are."""
    x, y = e.settings["names"]
    size = f"The means of {x} and {y} are {e.gap:.3g} apart ({e.null:.2g} by chance)."
    if not e.is_there:
        return (size, "That is no centroid gap beyond chance, so there is nothing to explain.")
    return (size, _free_in_short(e), _in_short(e), _NEXT)


_NEXT = (
    "To train without a gap, add a penalty such as the divergence to the loss; what corrections of finished "
    "embeddings gain and cost is measured by `ctflow correct`."
)


def _free_in_short(e: "Explanation") -> str:
    f, verdict = e.free[-1], e.verdicts["free rows"]
    alone = "rows that move on their own, without an encoder,"
    if verdict.startswith("not decidable"):
        return f"Whether {alone} would keep the gap is {verdict}."
    if verdict == NEUTRAL:
        price = "at no cost in loss" if f.price <= NOTHING else f"for {f.price:.2g} nats"
        return (
            f"The gap is neutral to the loss of these pairs: on {f.rows[0]} of them, {alone} keep "
            f"{f.kept:.1%} of it while they lose the loss, and a penalty ({f.strength:.3g} times the "
            f"divergence between the modalities) takes it from {f.controlled.gap[0]:.2g} to "
            f"{f.controlled.gap[-1]:.2g} {price}."
        )
    other = "something other than the loss of these pairs, such as the encoders or too little training"
    if verdict.startswith("not"):
        return f"{alone.capitalize()} lose the gap together with the loss, so {other}, keeps it."
    kept = f"{alone.capitalize()} keep {f.kept:.0%} of the gap while they lose the loss"
    return f"{kept}; {other}, keeps the rest."


def _in_short(e: "Explanation") -> str:
    line, verdict = e.line, e.verdicts["arrangement"]
    moved = "closing it by moving whole modalities"
    if verdict == NEUTRAL:
        return f"For the rows as they are arranged now, {moved} does not change the loss."
    if verdict.startswith("not decidable"):
        return (
            "As the rows are arranged now, the loss is no lower than for equal cosines and decides nothing."
        )
    if verdict == HELD:
        return (
            f"As the rows are arranged now, {moved} {line.change}: they are arranged around the gap (held by "
            "the loss)."
        )
    lowest = f"the loss is lowest at a gap of {line.gap[line.least]:.2g}"
    return f"As the rows are arranged now, {lowest}, and {moved} {line.change} ({verdict})."


def words(e: "Explanation") -> tuple[str, ...]:
    """The findings as sentences, each with its numbers and the number of rows."""
    said = [_of_line(e), _of_free(e)] if e.is_there else [_no_centroid_gap(e)]
    said += [_of_control(e), _of_pairs(e)]
    if e.start is not None:
        said.append(_of_start(e.start, e.verdicts["start"]))
    return (*said, "Free rows are no encoders: what free rows can do, an encoder may not be able to do.")


def _no_centroid_gap(e: "Explanation") -> str:
    x, y = e.settings["names"]
    return (
        f"The means of {x} and {y} are {e.gap:.3g} apart, and chance alone gives {e.null:.2g} on "
        f"{e.line.rows[0]} rows: there is no centroid gap to explain. Their energy distance is "
        f"{e.free[-1].adam.energy_distance[0]:.3g}; whether the clouds differ otherwise is what a diagnosis "
        "tests."
    )


def _of_line(e: "Explanation") -> str:
    line, verdict, n = e.line, e.verdicts["arrangement"], e.line.rows[0]
    x, y = e.settings["names"]
    if verdict == NEUTRAL:
        return (
            "As the rows are arranged, the gap is neutral: closing it rigidly along the line between the "
            f"means changes the in-batch loss of {n} rows, {line.loss[line.here]:.4f} nats, by less than "
            f"{NOTHING:g}."
        )
    here, closed, _ = line.recall
    lowest = "where they are"
    if line.least != line.here:
        lowest = f"at a gap of {line.gap[line.least]:.3g}, {line.loss[line.least]:.4f} nats"
    if line.loss[line.here] >= line.equal:
        return (
            f"As the rows are arranged, the in-batch loss of {n} rows, {line.loss[line.here]:.4f} nats, is "
            f"no lower than that of equal cosines, {line.equal:.4f}: any gap that makes cosines more alike "
            "lowers it, which says nothing about the pairs."
        )
    return (
        f"As the rows are arranged, the gap is {verdict}: the centroid gap between {x} and {y} is "
        f"{line.gap[line.here]:.3g} and the in-batch loss of {n} rows {line.loss[line.here]:.4f} nats; "
        f"moved rigidly along the line between the means, their loss is lowest {lowest}. Closing the gap "
        f"that way {line.change} and takes recall@1 from {here:.1%} to {closed:.1%}."
    )


def _of_free(e: "Explanation") -> str:
    largest, verdict = e.free[-1], e.verdicts["free rows"]
    shares = ", ".join(f"{f.kept:.1%} at {f.rows[0]} rows" for f in e.free)
    if not all(np.isfinite(f.kept) for f in e.free):
        return (
            f"For free rows it is {verdict}: the gradient flow did not lose {ENOUGH:.0%} of the loss that "
            "can be lost within its steps."
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
        f"For free rows the gap is {verdict}: when the gradient flow has lost {_lost(e)} of the loss that "
        f"can be lost, this much of the gap is left: {shares}. Adam at a learning rate of {ADAM_RATE:g} ends "
        f"with a centroid gap of {largest.adam.gap[-1]:.2g}, {bound}."
    )


def _lost(e: "Explanation") -> str:
    """The share of the loss after which gaps were read off; the flow ended short of it at some sizes."""
    last = max(int(f.flow.step[-1]) for f in e.free)
    return f"{DONE:.0%}" if last < sum(steps for _, steps in STAGES) else f"{ENOUGH:.0%} to {DONE:.0%}"


def _of_control(e: "Explanation") -> str:
    f = e.free[-1]
    price, recall = f"the same loss to {NOTHING:g} nats", f"the same recall@1, {f.adam.recall:.1%}"
    if f.controlled.recall != f.adam.recall:
        recall = f"recall@1 {f.controlled.recall:.1%} instead of {f.adam.recall:.1%}"
    if abs(f.price) > NOTHING:
        price = f"a loss {abs(f.price):.2g} nats {'higher' if f.price > 0 else 'lower'}"
    return (
        f"A penalty of {f.strength:.3g} times the divergence between the clouds, added to the loss, leaves "
        f"free rows with a centroid gap of {f.controlled.gap[-1]:.2g} instead of {f.adam.gap[-1]:.2g} and an "
        f"energy distance of {f.controlled.energy_distance[1]:.2g} instead of "
        f"{f.adam.energy_distance[1]:.2g}, at {price} and {recall} ({f.rows[0]} rows)."
    )


def _of_pairs(e: "Explanation") -> str:
    if isinstance(e.theory, str):
        return f"The theory says nothing about these pairs: {e.theory}."
    if e.theory.matched:
        return (
            "In theory, pairs like these (one-to-one, captions or whole classes) require no gap: overlap is "
            "stable at every temperature."
        )
    onset, control, sample, symmetry, _ = theory_lines(e)
    return f"The pairs: {e.verdicts['pairs']}. {onset} {control} {sample} {symmetry}"


def theory_lines(e: "Explanation") -> list[str]:
    """What theory says about the pairs, as sentences: onset, control, sample, symmetry, scope."""
    lines = [f"No theory: {e.theory}"] if isinstance(e.theory, str) else str(e.theory).splitlines()
    return [f"{line[0].upper()}{line[1:]}." for line in lines]


def _of_start(start: Start, verdict: str) -> str:
    direction = "in another number of dimensions"
    if np.isfinite(start.cosine):
        direction = f"cosine {start.cosine:.2f} with the direction of the gap now"
    return (
        f"The start: {verdict}. The means were {start.gap:.3g} apart ({start.null:.2g} by chance), "
        f"{start.share:.0%} of the {start.now:.3g} now; {direction}."
    )
