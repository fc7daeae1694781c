"""The section "gap" of a report: distances between the two laws, and what the distance is made of."""

import dataclasses

import numpy as np

from ctflow.diagnostics import moments as streamed
from ctflow.diagnostics import two_sample
from ctflow.diagnostics.report import Metric, published_range
from ctflow.diagnostics.resampling import Draws, family_wise
from ctflow.diagnostics.study import Study, measured, without_null

_DIRECTIONS = 100
_WIDTHS = {"mmd2_half": 0.5, "mmd2": 1.0, "mmd2_twice": 2.0}


def gap(s: Study, divergence: np.ndarray | None) -> list[Metric]:
    """Distances tested together at the family-wise level, then the parts of the gap.

    Args:
        s: the study.
        divergence: the mean smoothed divergence in nats, [columns], if a temperature is known.
    """
    found = [*_of_means(s), *_of_laws(s), *_along_lines(s)]
    if divergence is not None:
        found.append(
            _one(
                "smoothed_divergence",
                s.resamples.draws(divergence),
                rows=s.rows.counts,
                estimator=s.options["estimator"],
                means="½(D̃(1‖2) + D̃(2‖1)), the barrier between the clouds, nats",
                reference="0 without a gap",
            )
        )
    # A gap is a value above its null; of the cosine of means, one below.
    family = {m.name: d if m.name != "cosine_of_means" else _negative(d) for m, d in found}
    chances = family_wise(family)
    level = s.options["level"]
    called = [dataclasses.replace(m, p_value=chances[m.name], gap=chances[m.name] <= level) for m, _ in found]
    return [*called, *_parts(s)]


def _one(name: str, draws: Draws, bounds: tuple[float, float] = (-np.inf, np.inf), **fields):
    return measured(name, "gap", draws, bounds, **fields), draws


def _negative(draws: Draws) -> Draws:
    return Draws(-draws.value, -draws.null, -draws.bootstrap)


def _of_means(s: Study) -> list:
    x, y = streamed.means(s.moments, s.units)
    cosine = np.einsum("cd,cd->c", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return [
        _one(
            "centroid_gap",
            s.units.draws(np.linalg.norm(x - y, axis=1)),
            (0, 2),
            rows=s.all_rows,
            means="distance of the means",
            reference=f"0 to 2; {published_range('centroid_gap')}",
        ),
        _one(
            "cosine_of_means",
            s.units.draws(cosine),
            (-1, 1),
            rows=s.all_rows,
            means="cosine between the means",
            reference="-1 to 1; a gap lies below the null",
        ),
    ]


def _of_laws(s: Study) -> list:
    rows, resamples, estimator = s.rows, s.resamples, s.options["estimator"]
    distance = two_sample.distances(s.cosine)
    median = two_sample.median_cross_distance(distance, rows)
    common = {"rows": rows.counts, "estimator": estimator}
    found = [
        _one(
            "energy_distance",
            resamples.draws(two_sample.energy_distance(distance, rows, resamples, estimator)),
            **common,
            means="2E|x-y| - E|x-x'| - E|y-y'|",
            reference=f"<= 4; {published_range('energy_distance')}",
        )
    ]
    for name, width in _WIDTHS.items():
        b = width * median
        found.append(
            _one(
                name,
                resamples.draws(two_sample.mmd_squared(distance, b, rows, resamples, estimator)),
                **common,
                means=f"MMD², Gaussian kernel of bandwidth {width:g} x the median cross distance",
                reference=f"<= 2; bandwidth {b:.3g}",
            )
        )
    return found


def _along_lines(s: Study) -> list:
    rows, resamples = s.rows, s.resamples
    directions = s.random(2).standard_normal((_DIRECTIONS, rows.points.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    fit = two_sample.separator(rows, s.random(3))
    held_out = tuple(int((w[fit.held_out] > 0).sum()) for w in (rows.x, rows.y))
    return [
        _one(
            "sliced_wasserstein",
            resamples.draws(two_sample.sliced_wasserstein(rows, resamples, directions)),
            (0, 2),
            rows=rows.counts,
            means=f"mean Wasserstein-1 distance along {_DIRECTIONS} random lines",
            reference="0 to 2",
        ),
        _one(
            "linear_separability",
            resamples.draws(two_sample.separability(fit, resamples)),
            (0, 1),
            rows=held_out,
            means="area under the ROC curve of a linear discriminant, on groups held out",
            reference="0.5 without a gap, 1 if a plane parts them",
        ),
    ]


def _parts(s: Study) -> list[Metric]:
    """What the gap is made of: location or shape, few coordinates or many."""
    rows, estimator, d = s.rows, s.options["estimator"], s.rows.points.shape[1]
    distance = two_sample.centred_distances(rows, two_sample.distances(s.cosine))
    shape = two_sample.energy_distance(distance, rows, s.resamples, estimator)
    x, y = streamed.means(s.moments, s.units)
    power = (x - y) ** 2
    coordinates = power.sum(axis=1) ** 2 / (power**2).sum(axis=1)
    found = [
        _one(
            "energy_distance_centred",
            without_null(s.resamples.draws(shape)),
            rows=rows.counts,
            estimator=estimator,
            means="energy distance once both means are moved to 0",
            reference="0 if the gap is a shift",
        ),
        _one(
            "gap_coordinates",
            s.units.draws(coordinates),
            (1, d),
            rows=s.all_rows,
            means="number of coordinates that carry the centroid gap, (Σδ²)²/Σδ⁴",
            reference=f"1 to {d}",
        ),
    ]
    if s.paired:
        apart = 2 - 2 * streamed.mean_paired_cosine(s.moments, s.units)
        found.append(
            _one(
                "gap_share",
                s.units.draws(power.sum(axis=1) / apart),
                (0, 1),
                rows=s.all_rows,
                means="share of partners' mean squared distance that is a constant shift",
                reference="0 to 1",
            )
        )
    return [metric for metric, _ in found]
