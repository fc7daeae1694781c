"""A report in plain words, and what its reader must know about the input."""

import numpy as np

from ctflow.diagnostics.moments import mean_paired_cosine, repaired_cosine
from ctflow.diagnostics.report import Report
from ctflow.diagnostics.study import Study

_LOOK = 2048
_STRONG = 4.0


def words(report: Report) -> tuple[str, ...]:
    """The findings, each sentence with its numbers."""
    names = {metric.name for metric in report.metrics}
    said = [_verdict(report), _location(report)]
    if "paired_cosine" in names:
        said += [_pairing(report), _retrieval(report)]
    if "energy" in names:
        said.append(_energy(report))
    return tuple(said)


def _verdict(report: Report) -> str:
    tested = [m for m in report.metrics if m.gap is not None]
    called = [m for m in tested if m.gap]
    level = report.settings["level"]
    if called:
        return (
            f"There is a gap: {len(called)} of {len(tested)} distances are beyond their null at family-wise "
            f"level {level:g} ({', '.join(m.name for m in called)})."
        )
    p = min(m.p_value for m in tested)
    return (
        f"No gap found: none of {len(tested)} distances is beyond its null (smallest p = {p:.3f}, "
        f"level {level:g})."
    )


def _location(report: Report) -> str:
    centroid, energy = report["centroid_gap"], report["energy_distance"]
    text = (
        f"The means are {centroid.value:.3g} apart, {centroid.null_mean:.3g} ± {centroid.null_sd:.2g} "
        f"without a gap; the energy distance is {energy.value:.3g}"
    )
    if energy.gap:
        left = report["energy_distance_centred"].value
        text += f", and {left:.3g} once both means are moved to 0"
    return text + "."


def _pairing(report: Report) -> str:
    cosine = report["paired_cosine"]
    text = (
        f"Partners have cosine {cosine.value:.3g}, shuffled partners {cosine.null_mean:.3g} ± "
        f"{cosine.null_sd:.2g}"
    )
    if report["centroid_gap"].gap:
        share = report["gap_share"].value
        text += f"; {share:.0%} of the partners' mean squared distance is a constant shift"
    return text + "."


def _retrieval(report: Report) -> str:
    there, back = report["recall@1_x_to_y"], report["recall@1_y_to_x"]
    return (
        f"The nearest of {there.rows[1]} is a partner for {there.value:.1%} of x and, of {back.rows[1]}, "
        f"for {back.value:.1%} of y; by chance {there.null_mean:.2%} and {back.null_mean:.2%}."
    )


def _energy(report: Report) -> str:
    energy, divergence = report["energy"], report["smoothed_divergence"]
    return (
        f"At temperature {report.settings['temperature']:g} the energy J^Sym + log V is {energy.value:.4g} "
        f"nats: free energies {energy.value + divergence.value:.4g} (alignment and each cloud's own spread) "
        f"less the divergence between the clouds, {divergence.value:.4g} ({divergence.null_mean:.2g} ± "
        f"{divergence.null_sd:.2g} without a gap). The divergence is what the loss gains by the gap."
    )


def notes(s: Study) -> tuple[str, ...]:
    """What was done to the input, and whether its rows seem to belong together."""
    found = list(s.pairing.notes)
    for z in (s.x, s.y):
        low, high = z.norms or (1, 1)
        # Rows are refused off the sphere, by more than the rounding of half precision, unless asked for.
        if max(1 - low, high - 1) > 0.05:
            found.append(f"rows of {z.name} were brought to unit norm; they had {low:.4g} to {high:.4g}")
    if s.paired:
        found += _misaligned(s)
    if s.options["logit_bias"] is not None:
        found.append("a bias of the logits moves the sigmoid loss only: softmax terms do not depend on it")
    return tuple(found)


def _misaligned(s: Study) -> list[str]:
    """Whether partners are no nearer than strangers, and if so whether one file is ahead of the other."""
    cosine = mean_paired_cosine(s.moments, s.units)[0]
    mean, sd = repaired_cosine(s.moments)
    if cosine > mean + _STRONG * sd:
        return []
    text = (
        f"rows that should be partners are no nearer than shuffled ones (mean cosine {cosine:.4g}, "
        f"shuffled {mean:.4g} ± {sd:.2g}): are the files in the same order?"
    )
    n, m = s.all_rows
    count = np.arange(min(n, m, _LOOK))
    table = s.x.rows(count) @ s.y.rows(count).T
    offsets = np.arange(-len(count) + 32, len(count) - 31) if len(count) > 64 else np.zeros(0, int)
    scores = [np.sqrt(len(line)) * (line.mean() - mean) for line in (np.diagonal(table, k) for k in offsets)]
    if scores and max(scores) > 8 * max(float(table.std()), 1e-12):
        k = offsets[int(np.argmax(scores))]
        text += f" Row i of x looks like the partner of row i {'+' if k > 0 else '-'} {abs(k)} of y."
    return [text]
