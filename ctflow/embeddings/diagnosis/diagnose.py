"""`diagnose`: every number about two clouds, with its null and its interval, in one report."""

import dataclasses
from numbers import Real
from typing import Any

import numpy as np
from tqdm import tqdm

from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis import sections
from ctflow.embeddings.diagnosis.gap import gap
from ctflow.embeddings.diagnosis.moments import moments
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.diagnosis.study import study
from ctflow.embeddings.diagnosis.words import notes, words
from ctflow.embeddings.pairing import pair_up

_LEAST_TEMPERATURE = 1e-9
_LEAST_BOOTSTRAP = 20


def diagnose(
    x: Any,
    y: Any,
    *,
    pairs: Any = None,
    temperature: float | None = None,
    groups: Any = None,
    n_permutations: int = 200,
    n_bootstrap: int = 200,
    estimator: str = "u",
    level: float = 0.01,
    max_rows: int = 2000,
    max_gallery: int = 10_000,
    logit_bias: float | None = None,
    normalize: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Measure the gap between two modalities: whether there is one, how large it is, and how sure that is.

    Means, covariances and paired cosines are of all rows. Sums over all pairs of rows are of a random sample
    of groups, and retrieval and the loss of a larger one; each number says of how many rows it is. Every
    distance has the value it would take without a gap: for paired rows, the two measures of each group (a
    row and its partners) change places by the toss of a coin; unpaired rows take each other's labels; for
    pairings, the partners are shuffled. A gap is called at a family-wise level: on two samples of one law no
    number is called one, in at least 1 - `level` of the cases. What is not finite is reported as not
    measurable and is no evidence. The size of a gap is its energy coefficient, in words of
    `ctflow.embeddings.diagnosis.metric.SIZES`.

    Rows that are repeated exactly are one item with several partners; a note says so.

    `estimator="v", n_bootstrap=20` is the protocol of the paper's MS-COCO figure: pair-weighted
    V-statistics on 2000 random groups, Gaussian kernels of ½, 1 and 2 times the median cross distance,
    shuffled pairs as control.

    Args:
        x: unit rows [n, d] of one modality: an array, or a `ctflow.embeddings.Embeddings`.
        y: unit rows [m, d] of the other.
        pairs: positive pairs: None (row i with row i), `"unpaired"`, index pairs [p, 2] (a row may have
            several partners), or a coupling. A row weighs what its pairs weigh.
        temperature: τ >= 1e-9 of the model, for the loss and the paper's terms; CLIP's is
            1/exp(logit_scale), about 0.01.
        groups: the group of each row, labels [n] and [m] in a tuple, or [n] for both; rows of one group
            depend on each other. By default, the rows that pairs join.
        n_permutations: clouds without a gap to compare with; at least 99.
        n_bootstrap: new samples for the 95 % intervals; 0 for none. Fewer than 20 independent pairs, or rows
            of either modality, get no intervals.
        estimator: `u`, unbiased for the laws the rows were drawn from, or `v`, for the rows themselves.
        level: chance to call a gap where there is none, in (0, 1).
        max_rows: groups sampled for sums over all pairs of rows; memory is some ten
            float64 matrices of 2 max_rows squared, 1.1 GB at 2000.
        max_gallery: groups sampled for retrieval and the in-batch loss.
        logit_bias: SigLIP's bias b, for its sigmoid loss; needs `temperature`.
        normalize: bring rows to unit norm; rows of another norm are refused otherwise.
        seed: of samples and resamples.
        progress: show progress bars on stderr.

    Raises:
        ValueError: what `x`, `y`, `pairs` or a setting must be, and is not; fewer than 10 distinct pairs, or
            than 2 distinct rows of one modality.
    """
    _check_settings(temperature, n_permutations, n_bootstrap, estimator, level, logit_bias)
    check_count("max_rows", max_rows, minimum=2)
    check_count("max_gallery", max_gallery, minimum=2)
    check_count("seed", seed, minimum=0)
    x, y = (as_embeddings(z, name=name, normalize=normalize) for name, z in (("x", x), ("y", y)))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must have rows of one width, got {x.shape[1]} and {y.shape[1]}")
    plan = pair_up(x, y, pairs, groups)
    options = {
        "temperature": temperature,
        "logit_bias": logit_bias,
        "estimator": estimator,
        "n_permutations": n_permutations,
        "n_bootstrap": n_bootstrap,
        "level": level,
        "max_rows": max_rows,
        "max_gallery": max_gallery,
        "seed": seed,
    }
    with tqdm(total=plan.num_groups, desc="reading", unit="group", disable=not progress, leave=False) as bar:
        read = moments(x, y, plan, x.shape[1], bar.update)
        bar.set_description("resampling")
        s = study(x, y, plan, read, options)
        found, half = sections.energy_terms(s) if temperature is not None else ({}, {})
        divergence = (found["divergence_12"] + found["divergence_21"]) / 2 if found else None
        metrics = [*gap(s, divergence), *sections.spread(s)]
        if s.paired:
            bar.set_description("retrieval")
            rows = sections.gallery(s)
            metrics += [*sections.pairing(s), *sections.recalls(s, *rows)]
            metrics += [*sections.loss(s, *rows), *sections.energy(s, found, half)] if found else []
    settings = {"x": x.name, "y": y.name, "rows": plan.shape, "d": x.shape[1], **options}
    report = Report(tuple(metrics), (), notes(s), settings)
    return dataclasses.replace(report, words=words(report))


def _check_settings(temperature, n_permutations, n_bootstrap, estimator, level, logit_bias) -> None:
    check_choice("estimator", estimator, ("u", "v"))
    check_count("n_permutations", n_permutations, minimum=99)
    check_count("n_bootstrap", n_bootstrap, minimum=0)
    if 0 < n_bootstrap < _LEAST_BOOTSTRAP:
        raise ValueError(f"n_bootstrap must be 0 or >= {_LEAST_BOOTSTRAP}, got {n_bootstrap}")
    lowest = 1 / (n_permutations + 1)
    if not isinstance(level, Real) or not lowest <= level < 1:
        raise ValueError(f"level must lie in [1/(n_permutations + 1), 1) = [{lowest:.3g}, 1), got {level!r}")
    if temperature is not None:
        check_positive("temperature", temperature)
        if temperature < _LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature must be >= {_LEAST_TEMPERATURE:g}, below which rounding of the cosines shows "
                f"in the terms, got {temperature:g}"
            )
    if logit_bias is not None and (
        temperature is None or not isinstance(logit_bias, Real) or not np.isfinite(float(logit_bias))
    ):
        raise ValueError(f"logit_bias must be finite and needs a temperature, got {logit_bias!r}")
