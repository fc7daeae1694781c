"""The verdict of a report in three sentences: is there a gap, how large is it, what should be done."""

from typing import TYPE_CHECKING

import numpy as np

from ctflow.embeddings.diagnosis.metric import SIZES, size_word
from ctflow.embeddings.diagnosis.order import STRONG

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

# A search in a corpus of both modalities that keeps less than this share of its recall@1 is called hurt.
_KEPT = 0.8
_PYTHON = "ct.compare(x, y)"


def verdict(report: "Report") -> tuple[str, str, str]:
    """Three sentences; each states the numbers it rests on."""
    return is_there(report), how_large(report), what_to_do(report)


def is_there(report: "Report") -> str:
    """Whether a gap is detected, with the number of distances that show it."""
    a, b = report.names
    tested = [m for m in report.metrics if m.gap is not None]
    called = [m for m in tested if m.gap]
    level = report.settings["level"]
    if not tested:
        return (
            f"Whether there is a gap between {a} and {b} cannot be tested: no distance has a finite value "
            "and null on these rows."
        )
    if called:
        return (
            f"There is a gap: {len(called)} of {len(tested)} distances between {a} and {b} are larger than "
            f"chance gives without a gap (family-wise level {level:g})."
        )
    p = min(m.p_value for m in tested)
    return (
        f"No gap found: none of {len(tested)} distances between {a} and {b} is larger than chance gives "
        f"without a gap (smallest p = {p:.3f}, level {level:g})."
    )


def how_large(report: "Report") -> str:
    """The size of the gap, or the largest that could have gone undetected."""
    share, centroid = report["energy_coefficient"], report["centroid_gap"]
    if not report.detected:
        if not np.isfinite(share.high):
            return f"On these rows the energy coefficient is {share.value:.2g}; it has no interval."
        return (
            f"An undetected gap would be {size_word(share.high)} at most: the energy coefficient is "
            f"{share.value:.2g}, and its 95 % interval ends at {share.high:.2g}."
        )
    interval = f"95 % interval {share.low:.2g} to {share.high:.2g}; " if np.isfinite(share.low) else ""
    limits = ", ".join(f"{word} from {least:g}" for word, least in SIZES.items() if least > 0)
    text = (
        f"It is {size_word(share.value)}: the energy coefficient is {share.value:.2g} ({interval}{limits}), "
        f"and the means are {centroid.value:.2g} apart"
    )
    if report.view is not None and report.view.typical_distance > 0:
        text += (
            f", {centroid.value / report.view.typical_distance:.2g} times the typical distance between two "
            "rows of one modality"
        )
    return f"{text}."


def what_to_do(report: "Report", finding: str = "") -> str:
    """Whether the gap hurts search, and the next step.

    Args:
        report: the diagnosis.
        finding: what a comparison of corrections found, instead of the command for one.
    """
    view = report.view
    if view is None or view.partners is None:
        return (
            "Whether it hurts cannot be said without partners: give pairs to measure retrieval."
            if report.detected
            else "Without partners, retrieval is not measured: give pairs to measure it."
        )
    cosine = report["paired_cosine"]
    if cosine.value <= cosine.null_mean + STRONG * cosine.null_sd:
        return (
            "Check the pairs first: partners are no nearer to each other than shuffled rows, so retrieval "
            "and corrections say nothing yet."
        )
    (a, b), across, mixed = report.names, view.partners.across, view.partners.mixed
    n, m = map(len, view.rows)
    alone = f"{n} rows of the other modality" if n == m else f"{m} rows of {b} and {n} of {a}"
    shared = f"if {a} and {b} share one index, so that a query meets rows of its own modality too"
    numbers = (
        f"its partner comes first in {mixed[0]:.1%} of cases ({a} → {b}) and {mixed[1]:.1%} ({b} → {a}), "
        f"against {across[0]:.1%} and {across[1]:.1%} if only {alone} are searched"
    )
    if not report.detected:
        return f"There is no gap to correct: {shared}, {numbers}."
    step = finding or f"`{report.settings.get('correct', _PYTHON)}` measures what corrections gain and cost"
    if np.mean(mixed) < _KEPT * np.mean(across):
        return f"Search suffers {shared}: {numbers}; {step}."
    return f"Search hardly suffers {shared}: {numbers}; {step}."
