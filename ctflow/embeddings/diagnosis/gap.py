"""The sections "gap" and "size" of a report: distances between the two laws, the gap's size and its parts."""

import dataclasses

import numpy as np

from ctflow.embeddings.diagnosis import moments as streamed
from ctflow.embeddings.diagnosis import two_sample
from ctflow.embeddings.diagnosis.metric import SIZES, Metric, published_range
from ctflow.embeddings.diagnosis.resampling import Draws, family_wise
from ctflow.embeddings.diagnosis.study import Study, measured

_LINES = 100
_WIDTHS = {"mmd2_half": 0.5, "mmd2": 1.0, "mmd2_twice": 2.0}
_ROUNDING = 1e-13
# If chance makes up more than this share of a squared value, nonlinear functions of it get no interval.
_CHANCE = 0.1
_NONE = (np.nan, np.nan)


def gap(s: Study, divergence: np.ndarray | None) -> list[Metric]:
    """The distances, tested together at the family-wise level, then the gap's size and parts.

    A distance that is not finite, on the rows or on any relabelling of them, takes no part in the test.

    Args:
        s: the study.
        divergence: the mean smoothed divergence in nats, [columns]; None without a temperature.
    """
    distance = two_sample.distances(s.cosine)
    energy, cross = two_sample.energy_and_cross(distance, s.rows, s.resamples, s.settings.estimator)
    means = s.means()
    square = s.units.draws(np.sum((means[0] - means[1]) ** 2, axis=1) - s.chance_apart())
    found = [*_of_means(s, *means, square), *_of_laws(s, distance, energy), *_along_lines(s)]
    if divergence is not None:
        found.append(
            _one(
                "smoothed_divergence",
                s.resamples.without_bootstrap().draws(divergence),
                rows=s.rows.counts,
                estimator="plug-in",
                grows=True,
                means="½(D̃(1‖2) + D̃(2‖1)), the barrier between the clouds, nats",
                reference="0 without a gap; changes with the number of rows",
            )
        )
    # A gap is a value above its null, except for the cosine of means, where it is a value below.
    family = {
        m.name: d if m.name != "cosine_of_means" else _negative(d)
        for m, d in found
        if not m.reason and (m.name != "smoothed_divergence" or _fields_are_alike(s))
    }
    chances = family_wise(family)
    level = s.settings.level
    called = [
        dataclasses.replace(m, p_value=chances[m.name], gap=chances[m.name] <= level)
        if m.name in chances
        else m
        for m, _ in found
    ]
    return [*called, _size(s, energy, cross), *_parts(s, distance, *means, square)]


def _fields_are_alike(s: Study) -> bool:
    """Whether every relabelling keeps the number of rows over which each cloud's field is a mean.

    With the estimator `v` a row is part of its own field, so the field depends on the number of rows in the
    cloud. Exchanging groups with unequal numbers of rows in x and y changes this number.
    """
    one_to_one = len(s.first_half) == s.rows.counts[0] == s.rows.counts[1]
    return s.settings.estimator == "u" or one_to_one or not s.paired or s.pairing.rows_as_groups


def _one(name: str, draws: Draws, bounds: tuple[float, float] = (-np.inf, np.inf), **fields):
    return measured(name, "gap", draws, bounds, **fields), draws


def _negative(draws: Draws) -> Draws:
    return Draws(-draws.value, -draws.null, -draws.bootstrap)


def _of_means(s: Study, x: np.ndarray, y: np.ndarray, square: Draws) -> list:
    apart = np.linalg.norm(x - y, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        directions = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y)]
    # 1 - cosine as half a squared difference, because rounding would spoil an inner product near 1.
    short = np.sum((directions[0] - directions[1]) ** 2, axis=1) / 2
    # The share of a mean's squared length that is chance. Where it is large, the direction is chance too.
    by_chance = [
        share * float(streamed.within(s.moments, s.units, name)[0]) / float(z[0] @ z[0])
        for name, z, share in zip("xy", (x, y), s.moments.coincidence, strict=True)
        if z[0].any()
    ]
    return [
        _one(
            "centroid_gap",
            s.units.draws(np.where(apart > _ROUNDING, apart, 0)),
            # Chance makes the distance too large; the square from which its part was subtracted is unbiased.
            interval=tuple(np.sqrt(np.maximum(square.interval(0, 4), 0))),
            rows=s.all_rows,
            means="distance of the means",
            reference=f"0 to 2; {published_range('centroid_gap')}",
        ),
        _one(
            "cosine_of_means",
            s.units.draws(1 - np.where(short < _ROUNDING, 0, short)),
            (-1, 1),
            interval=_NONE if max(by_chance, default=1.0) > _CHANCE else None,
            rows=s.all_rows,
            why_not="a mean is 0 and has no direction",
            means="cosine between the means",
            reference="-1 to 1; a gap lies below the null",
        ),
    ]


def _of_laws(s: Study, distance: np.ndarray, energy: np.ndarray) -> list:
    (a, b), rows, resamples, estimator = s.names, s.rows, s.resamples, s.settings.estimator
    median = two_sample.median_cross_distance(distance, rows)
    common = {"rows": rows.counts, "estimator": estimator}
    found = [
        _one(
            "energy_distance",
            resamples.draws(energy),
            **common,
            means=f"2E‖{a} − {b}‖ − E‖{a} − {a}′‖ − E‖{b} − {b}′‖",
            reference=f"<= 4; {published_range('energy_distance')}",
        )
    ]
    kernel = np.exp(distance**2 / (-8 * median**2)) if median > 0 else None
    for name, width in sorted(_WIDTHS.items(), key=lambda item: -item[1]):
        values = np.full(resamples.x.shape[1], np.nan)
        if kernel is not None:
            values = two_sample.mmd_squared(kernel, rows, resamples, estimator)
            # The kernel at half the bandwidth is the fourth power.
            for _ in range(2):
                kernel = np.square(kernel, out=kernel)
        found.append(
            _one(
                name,
                resamples.draws(values),
                **common,
                why_not=f"at least half of the rows of {a} and {b} coincide, so the median distance is 0",
                means=f"MMD², Gaussian kernel of bandwidth {width:g} × the median cross distance",
                reference=f"<= 2; bandwidth {width * median:.3g}",
            )
        )
    return [found[0], *found[:0:-1]]


def _along_lines(s: Study) -> list:
    rows, resamples = s.rows, s.resamples
    lines = two_sample.directions(rows.points.shape[1], _LINES, s.random(2))
    sliced, error = two_sample.sliced_wasserstein(rows, resamples, lines)
    along = resamples.draws(np.where(sliced > _ROUNDING, sliced, 0))
    by_chance = np.mean(along.null**2) / along.value**2 if along.value > 0 else 1.0
    fit, relabelled = two_sample.separator(rows, s.first_half), resamples.without_bootstrap()
    held_out = tuple(int((w[fit.held_out] > 0).sum()) for w in (rows.x, rows.y))
    return [
        _one(
            "sliced_wasserstein",
            along,
            interval=_NONE if by_chance > _CHANCE else along.interval(0, 2, error),
            rows=rows.counts,
            means=f"mean Wasserstein-1 distance along {_LINES} random lines",
            reference="0 to 2",
        ),
        _one(
            "linear_separability",
            # A bootstrap would not refit the direction, so its error would be too small.
            relabelled.draws(two_sample.separability(fit, relabelled)),
            (0, 1),
            grows=True,
            rows=held_out,
            means="area under the ROC curve of a linear discriminant, on held-out groups",
            reference=f"0.5 without a gap, 1 if a plane separates {s.names[0]} and {s.names[1]}",
        ),
    ]


def _size(s: Study, energy: np.ndarray, cross: np.ndarray) -> Metric:
    """The energy coefficient: the size of the gap as a share, which does not grow with the number of rows."""
    a, b = s.names
    share = np.divide(energy, 2 * cross, out=np.zeros_like(cross), where=cross > 0)
    return measured(
        "energy_coefficient",
        "size",
        s.resamples.draws(share),
        (-np.inf, 1),
        rows=s.rows.counts,
        estimator=s.settings.estimator,
        means=f"energy distance as a share of twice the mean distance between {a} and {b}, E/(2E‖{a} − {b}‖)",
        reference="0 without a gap, at most 1; "
        + ", ".join(f"{word} from {least:g}" for word, least in SIZES.items()),
    )


def _parts(s: Study, distance: np.ndarray, x: np.ndarray, y: np.ndarray, square: Draws) -> list[Metric]:
    """What the gap consists of: a shift or a change of shape, in few coordinates or many."""
    rows, estimator, d = s.rows, s.settings.estimator, s.rows.points.shape[1]
    centred = two_sample.centred_distances(rows, distance)
    drawn = s.resamples.without_relabelled()
    shape = two_sample.energy_distance(centred, rows, drawn, estimator)
    power = np.where(np.abs(x - y) > _ROUNDING, x - y, 0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        coordinates = power.sum(axis=1) ** 2 / (power**2).sum(axis=1)
    found = [
        measured(
            "energy_distance_centred",
            "size",
            drawn.draws(shape),
            rows=rows.counts,
            estimator=estimator,
            means="energy distance once both means are moved to 0",
            reference="0 if the gap is a shift",
        ),
        measured(
            "gap_coordinates",
            "size",
            s.units.draws(coordinates),
            (1, d),
            interval=_NONE if (1 - _CHANCE) * power[0].sum() > square.value else None,
            rows=s.all_rows,
            why_not="the means are equal",
            means="number of coordinates that carry the centroid gap, (Σδ²)²/Σδ⁴",
            reference=f"1 to {d}",
        ),
    ]
    if s.paired:
        apart = streamed.mean_paired_distance(s.moments, s.units)
        with np.errstate(invalid="ignore", divide="ignore"):
            shared = power.sum(axis=1) / apart
            without_chance = s.units.draws((power.sum(axis=1) - s.chance_apart()) / apart)
        found.append(
            measured(
                "gap_share",
                "size",
                s.units.draws(shared),
                interval=without_chance.interval(0, 1),
                rows=s.all_rows,
                why_not="all partners coincide",
                means="share of partners' mean squared distance that is a constant shift",
                reference="0 to 1",
            )
        )
    return found
