"""The findings of a report as sentences, and notes on its input."""

import numpy as np

from ctflow.embeddings.diagnosis.metric import SIZES, Metric, size_word
from ctflow.embeddings.diagnosis.moments import mean_paired_distance, repaired_distance
from ctflow.embeddings.diagnosis.order import order_note
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.diagnosis.study import MIN_FOR_INTERVAL, Study, enough_for_intervals
from ctflow.embeddings.names import label_of
from ctflow.embeddings.pairing import RowByRow
from ctflow.embeddings.rows import row_notes


def words(report: Report) -> tuple[str, ...]:
    """The findings as sentences that state their numbers."""
    names = {metric.name for metric in report.metrics}
    said = [_verdict(report), _size(report), *_unmeasured(report), _location(report)]
    if "paired_cosine" in names:
        said += [_pairing(report), _retrieval(report)]
    if "energy" in names:
        said += [_loss(report), _energy(report)]
    return tuple(said)


def _verdict(report: Report) -> str:
    tested = [m for m in report.metrics if m.gap is not None]
    called = [m for m in tested if m.gap]
    level = report.settings["level"]
    if not tested:
        return (
            "Whether there is a gap cannot be tested: no distance has a finite value and null on these rows."
        )
    if called:
        return (
            f"There is a gap: {len(called)} of {len(tested)} distances are beyond their null at family-wise "
            f"level {level:g} ({', '.join(label_of(m.name, report.names) for m in called)})."
        )
    p = min(m.p_value for m in tested)
    return (
        f"No gap found: none of {len(tested)} distances is beyond its null (smallest p = {p:.3f}, "
        f"level {level:g})."
    )


def _size(report: Report) -> str:
    """How large the gap is; `_verdict` says whether there is one."""
    share = report["energy_coefficient"]
    if not any(m.gap for m in report.metrics):
        if not np.isfinite(share.high):
            return f"On these rows the energy coefficient is {share.value:.2g}; it has no interval."
        return (
            f"An undetected gap would be {size_word(share.high)} at most: the energy coefficient is "
            f"{share.value:.2g}, and its 95 % interval ends at {share.high:.2g}."
        )
    interval = f" (95 % interval {share.low:.2g} to {share.high:.2g})" if np.isfinite(share.low) else ""
    a, b = report.names
    limits = ", ".join(f"{word} from {least:g}" for word, least in SIZES.items() if least > 0)
    return (
        f"The gap is {size_word(share.value)}: it makes up {share.value:.2%} of the mean distance between a "
        f"row of {a} and a row of {b}, an energy coefficient of {share.value:.2g}{interval} ({limits}). "
        "A linear discriminant ranks a held-out row of {a} above one of {b} with probability "
        f"{_value(report['linear_separability'])}."
    )


def _value(metric: Metric) -> str:
    return f"{metric.value:.3g}" if np.isfinite(metric.value) else f"(not measurable: {metric.reason})"


def _unmeasured(report: Report) -> list[str]:
    found = [m for m in report.metrics if m.section == "gap" and m.reason]
    if not found:
        return []
    said = "; ".join(f"{label_of(m.name, report.names)}, because {m.reason}" for m in found)
    return [f"Not measurable and left out of the test: {said}."]


def _location(report: Report) -> str:
    centroid, energy = report["centroid_gap"], report["energy_distance"]
    text = f"The means are {centroid.value:.3g} apart"
    if not centroid.reason:
        text += f" ({centroid.null_mean:.3g} ± {centroid.null_sd:.2g} without a gap)"
    text += f"; the energy distance is {energy.value:.3g}"
    if energy.gap:
        left = report["energy_distance_centred"].value
        text += f", and {left:.3g} once both means are moved to 0"
    return text + "."


def _pairing(report: Report) -> str:
    cosine = report["paired_cosine"]
    text = (
        f"Partners have a mean cosine of {cosine.value:.3g}, shuffled partners {cosine.null_mean:.3g} ± "
        f"{cosine.null_sd:.2g}"
    )
    share = report["gap_share"].value
    if report["centroid_gap"].gap and np.isfinite(share):
        text += f"; {share:.0%} of the partners' mean squared distance is a constant shift"
    return text + "."


def _retrieval(report: Report) -> str:
    (a, b), there, back = report.names, report["recall@1_x_to_y"], report["recall@1_y_to_x"]
    return (
        f"Recall@1 is {there.value:.1%} from {a} to {there.rows[1]} rows of {b}, and {back.value:.1%} from "
        f"{b} to {back.rows[1]} rows of {a}; "
        f"by chance it would be {there.null_mean:.2%} and {back.null_mean:.2%}."
    )


def _loss(report: Report) -> str:
    loss = report["in_batch_loss"]
    batch = loss.means.partition(" of these ")[2].partition(",")[0]
    return (
        f"At temperature {report.settings['temperature']:g} the InfoNCE loss of {batch} is "
        f"{loss.value:.4f} nats ({loss.null_mean:.4g} with partners shuffled); it grows with the batch size."
    )


def _energy(report: Report) -> str:
    energy, divergence = report["energy"], report["smoothed_divergence"]
    text = (
        f"The energy J^Sym + log V is {energy.value:.4g} nats: free energies "
        f"{energy.value + divergence.value:.4g} (alignment and each cloud's own spread) less the divergence "
        f"between the clouds, {divergence.value:.4g}"
    )
    if not divergence.reason:
        text += f" ({divergence.null_mean:.2g} ± {divergence.null_sd:.2g} without a gap)"
    return (
        f"{text}. The divergence is how much the gap lowers the loss. These are plug-in values at "
        f"{energy.rows[0]} rows, logarithms of means over the rows: the energy and the free energies rise as "
        "rows are added, so compare them only at equal numbers of rows."
    )


def notes(s: Study) -> tuple[str, ...]:
    """What was changed in the input, what limits the report, and whether partners seem to be partners."""
    found = list(s.pairing.notes)
    found += row_notes(s.x, s.y, s.names)
    # Exchanging all labels does not change a distance, so each value of the null occurs twice.
    if s.num_relabellings * s.settings.level < 2:
        found.append(
            f"the labels of so few rows can be exchanged in only {s.num_relabellings:.0f} ways, so no gap "
            f"can be called at level {s.settings.level:g}"
        )
    if not enough_for_intervals(s.pairing) and not s.pairing.rows_as_groups:
        found.append(
            f"no intervals are given: they need at least {MIN_FOR_INTERVAL} independent "
            f"{'pairs' if s.paired else 'rows of each'}"
        )
    if s.paired:
        found += _of_partners(s)
    if s.settings.logit_bias is not None:
        found.append("logit_bias affects the sigmoid loss only: softmax terms do not depend on it")
    return tuple(found)


def _of_partners(s: Study) -> list[str]:
    """A note if all partners are equal rows, or if partners are no nearer than shuffled ones."""
    apart = float(mean_paired_distance(s.moments, s.units)[0])
    if apart == 0:
        return [f"every row of {s.names[0]} equals its partner in {s.names[1]}: the two clouds are the same"]
    mean, sd = repaired_distance(s.moments)
    by_row = isinstance(s.pairing, RowByRow)
    note = order_note(s.x, s.y, 1 - apart / 2, 1 - mean / 2, sd / 2, by_row=by_row, names=s.names)
    return [] if note is None else [note]
