"""Advice from a comparison of corrections: which ones help a purpose beyond noise, and their costs."""

from typing import NamedTuple

import numpy as np

from ctflow.comparison.measuring import Measure, Outcome
from ctflow.corrections.fitting import SCORINGS
from ctflow.corrections.scores import SIDES, Value, score
from ctflow.corrections.strengths import CHOICES
from ctflow.embeddings.names import LETTERS

# Bounds in standard errors. The bound of a gain is larger, since the largest of several gains is chosen. A
# loss is tested for each measure separately.
_GAIN, _LOSS = 3.0, 2.0
_MEASURES = {
    "recall@1_x_to_y": "recall@1 from {a} to {b}",
    "recall@1_y_to_x": "recall@1 from {b} to {a}",
    "mixed_recall@1_x": "recall@1 of {a} in a corpus of both",
    "mixed_recall@1_y": "recall@1 of {b} in a corpus of both",
    "mixing_x": "the share of {b} among the 10 nearest rows of {a}",
    "mixing_y": "the share of {a} among the 10 nearest rows of {b}",
}
_WHAT = {
    "retrieval": "recall@1 in the other modality, the mean of both directions",
    "mixed": "recall@1 in a corpus of both modalities, the mean of queries of {a} and of {b}",
    "clustering": "1/2 - |mixing - 1/2|, the mean over {a} and {b}",
}


class _Called:
    """Names of the measures, which contain those of the modalities."""

    def __init__(self, names: tuple[str, str]):
        self.names = names

    def __getitem__(self, measure: str) -> str:
        return _MEASURES[measure].format(a=self.names[0], b=self.names[1])

    def what(self, purpose: str) -> str:
        """How a purpose is scored."""
        return _WHAT[purpose].format(a=self.names[0], b=self.names[1])


class Change(NamedTuple):
    """The change from uncorrected rows to rows corrected by a method."""

    outcome: Outcome
    gain: Value
    """Change of the purpose's score."""
    losses: dict[str, Value]
    """Changes of the measures that get worse beyond noise, by column."""

    @property
    def helps(self) -> bool:
        """Whether the gain is beyond noise."""
        return self.gain.mean > 0 and self.gain.mean > _GAIN * self.gain.error

    def loses(self, purpose: str) -> bool:
        """Whether one of the two measures of the purpose gets worse."""
        return any(name in self.losses for name in SIDES[purpose])


def advise(
    outcomes: list[Outcome],
    purpose: str,
    measure: Measure,
    warning: str | None,
    notes: tuple[str, ...],
    chosen: bool,
    names: tuple[str, str] = LETTERS,
) -> tuple[tuple[str, ...], str | None]:
    """Sentences about a comparison, and the recommended method or None.

    Args:
        outcomes: outcomes of all methods, starting with "none".
        purpose: one of `PURPOSES`.
        measure: the held-out rows.
        warning: text if the pairs look wrong; then no method is recommended.
        notes: remarks about the pairing.
        chosen: whether any strength was chosen by cross-validation.
        names: names of the modalities.
    """
    none, *others = outcomes
    called = _Called(names)
    changes = [_change(outcome, none, purpose) for outcome in others if not outcome.failed]
    said = [_start(called, none, purpose, measure), *(f"Note: {note}." for note in notes)]
    recommended = None
    if warning is not None:
        said += [f"Warning: {warning}", "No correction is recommended, since these rows do not look paired."]
    elif changes:
        advice, recommended = _advice(called, changes, none, purpose)
        said += advice
    said += _distances(called, outcomes)
    said += _strengths(others, chosen)
    said += [f"{outcome.method} failed: {outcome.failed}." for outcome in others if outcome.failed]
    return tuple(said), recommended


def _change(outcome: Outcome, none: Outcome, purpose: str) -> Change:
    differences = {name: outcome.values[name] - none.values[name] for name in _MEASURES}
    # Mixing gets worse when it moves away from one half.
    for side in SIDES["clustering"]:
        old, new = (abs(o.values[side].mean - 0.5) for o in (none, outcome))
        lean = -1.0 if outcome.values[side].mean > 0.5 else 1.0
        differences[side] = Value(old - new, lean * differences[side].influence)
    losses = {name: d for name, d in differences.items() if d.mean < 0 and d.mean < -_LOSS * d.error}
    gain = score(outcome.values, purpose) - score(none.values, purpose)
    return Change(outcome, gain, losses)


def _advice(
    called: "_Called", changes: list[Change], none: Outcome, purpose: str
) -> tuple[list[str], str | None]:
    """Recommend the best method that loses no recall, or else neither measure of the purpose."""
    # Clustering needs corrected rows, and a scoring moves none.
    usable = [c for c in changes if purpose != "clustering" or c.outcome.method not in SCORINGS]
    if not usable:
        return ["Clustering needs corrected rows, and no correction that moves rows was measured."], None
    helpful = sorted((c for c in usable if c.helps), key=lambda c: -c.gain.mean)
    if not helpful:
        best = max(usable, key=lambda c: c.gain.mean)
        return [
            "No correction helps beyond noise (3 standard errors). The largest gain is "
            f"{_signed(best.gain)}, for {_label(best.outcome)}. Leave the embeddings unchanged for {purpose}."
        ], None
    good = [c for c in helpful if not _recall_losses(c)] or [c for c in helpful if not c.loses(purpose)]
    if not good:
        said = ["No correction helps without making one of the purpose's two measures worse."]
        return [*said, *(_but(called, c, none) for c in helpful[:2])], None
    best = good[0]
    said = [f"Recommended: {_label(best.outcome)}. {_in_full(called, best, none, purpose)}"]
    if best.outcome.method in SCORINGS:
        name = best.outcome.method
        said.append(f"{name} changes scores and moves no rows; use ct.corrections.{name} to compute scores.")
        moving = [c for c in good if c.outcome.method not in SCORINGS]
        said += [
            f"Best of the corrections that move rows and lower no recall: {_label(c.outcome)}. "
            f"{_in_full(called, c, none, purpose)}"
            for c in moving[:1]
        ]
    more = [c for c in helpful if c.gain.mean > best.gain.mean]
    return [*said, *(_but(called, c, none) for c in more[:2])], best.outcome.method


def _recall_losses(change: Change) -> list[str]:
    return [name for name in change.losses if "recall" in name]


def _start(called: "_Called", none: Outcome, purpose: str, measure: Measure) -> str:
    sides = ", ".join(
        f"{called[name]} {none.values[name].mean:.3f}" for name in _MEASURES if "recall" in name
    )
    mixing = ", ".join(f"{called[name]} {none.values[name].mean:.3f}" for name in SIDES["clustering"])
    a, b = called.names
    chance = " and ".join(f"{value:.2g}" for value in measure.chance)
    return (
        f"Purpose: {purpose}, scored by {called.what(purpose)}. On {len(measure.held.block.pairs)} "
        "held-out pairs "
        f"without a correction: {sides}{f', {mixing}' if purpose == 'clustering' else ''}. "
        f"By chance recall@1 from {a} to {b} and from {b} to {a} would be {chance}."
    )


def _in_full(called: "_Called", change: Change, none: Outcome, purpose: str) -> str:
    """The gain, the two measures of the purpose, the other recalls, and what gets worse."""
    sides = " and ".join(_moves(called, name, change.outcome, none) for name in SIDES[purpose])
    rest = [name for name in _MEASURES if "recall" in name and name not in SIDES[purpose]]
    others = ", ".join(_moves(called, name, change.outcome, none) for name in rest)
    worse = [f"{called[name]} ({_signed(value)})" for name, value in change.losses.items()]
    before, after = (o.row["energy_distance"] for o in (none, change.outcome))
    if _widens(change.outcome, none):
        worse.append(f"the energy distance, from {before:.3g} to {after:.3g}")
    cost = f"What gets worse: {', '.join(worse)}" if worse else "Nothing measured gets worse beyond noise"
    return f"It gains {_signed(change.gain)} (standard error): {sides}. Also, {others}. {cost}."


def _widens(outcome: Outcome, none: Outcome) -> bool:
    """Whether the energy distance grows beyond noise."""
    noise = _LOSS * max(o.row["energy_distance_null_sd"] for o in (outcome, none))
    return outcome.row["energy_distance"] > none.row["energy_distance"] + noise


def _but(called: "_Called", change: Change, none: Outcome) -> str:
    """Why a method with a larger gain is not recommended."""
    lost = " and ".join(_moves(called, name, change.outcome, none) for name in change.losses)
    return f"{_label(change.outcome)} gains {_signed(change.gain)}, but makes this worse: {lost}."


def _distances(called: "_Called", outcomes: list[Outcome]) -> list[str]:
    """The method with the smallest energy distance and its recall, and the methods that increase it."""
    none, *others = [outcome for outcome in outcomes if not outcome.failed]
    start = none.row["energy_distance"]
    best = min((none, *others), key=lambda o: o.row["energy_distance"])
    said = ["No correction makes the energy distance smaller."]
    if best.row["energy_distance"] < start:
        sides = " and ".join(_moves(called, name, best, none) for name in SIDES["retrieval"])
        said = [
            f"{_label(best)} gives the smallest energy distance, {best.row['energy_distance']:.3g}. Without "
            f"a correction it is {start:.3g}; without a gap, {best.row['energy_distance_null']:.2g} ± "
            f"{best.row['energy_distance_null_sd']:.2g}. With this correction, {sides}."
        ]
    wider = [
        f"{_label(o)} increases the energy distance from {start:.3g} to {o.row['energy_distance']:.3g}."
        for o in others
        if _widens(o, none)
    ]
    return [*said, *wider]


def _strengths(outcomes: list[Outcome], chosen: bool) -> list[str]:
    labels = [_label(o) for o in outcomes if o.strength is not None]
    if not labels:
        return []
    how = " (values not given were chosen by cross-validation on the fitting rows)" if chosen else ""
    return [f"Strengths{how}: {', '.join(labels)}."]


def _label(outcome: Outcome) -> str:
    """The method's name, with its strength if it has one."""
    if outcome.strength is None:
        return outcome.method
    return f"{outcome.method} with {CHOICES[outcome.method][0]} {outcome.strength:g}"


def _moves(called: "_Called", name: str, outcome: Outcome, none: Outcome) -> str:
    before, after = none.values[name].mean, outcome.values[name].mean
    verb = "stays at" if np.isclose(before, after, atol=5e-4) else "rises" if after > before else "falls"
    if verb == "stays at":
        return f"{called[name]} stays at {after:.3f}"
    return f"{called[name]} {verb} from {before:.3f} to {after:.3f}"


def _signed(value: Value) -> str:
    return f"{value.mean:+.3f} ± {value.error:.3f}"
