"""`diagnose`: one report of all numbers about two clouds, with their nulls and intervals."""

import dataclasses
from typing import Any

from tqdm import tqdm

from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis import sections
from ctflow.embeddings.diagnosis.gap import gap
from ctflow.embeddings.diagnosis.moments import moments
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.diagnosis.settings import Settings
from ctflow.embeddings.diagnosis.study import study
from ctflow.embeddings.diagnosis.view import view
from ctflow.embeddings.diagnosis.words import notes, words
from ctflow.embeddings.names import names_in_messages, names_of
from ctflow.embeddings.pairing import pair_up


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
    names: tuple[str, str] | None = None,
    progress: bool = False,
) -> Report:
    """Measure the gap between two modalities: whether there is one, its size, and the uncertainty of both.

    Means, covariances and paired cosines use all rows. Sums over all pairs of rows use a random sample of
    groups; retrieval and the loss use a larger sample. Each number states how many rows it is based on.
    Every distance comes with its null: the values it takes without a gap. For paired rows, each group (a row
    and its partners) exchanges its two modalities with probability ½; unpaired rows exchange their labels;
    for numbers about pairings, the partners are shuffled. The level is family-wise: for two samples of one
    law, the probability that any distance is called a gap is at most `level`. A number that is not finite is
    reported as not measurable and takes no part in the test. The energy coefficient measures the size of the
    gap, and `ctflow.embeddings.diagnosis.metric.SIZES` puts it into words.

    Rows that are repeated exactly are treated as one item with several partners, and a note says so.

    `estimator="v", n_bootstrap=20` is the protocol of the paper's MS-COCO figure: pair-weighted
    V-statistics on 2000 random groups, Gaussian kernels of ½, 1 and 2 times the median cross distance,
    shuffled pairs as control.

    Args:
        x: unit rows [n, d] of one modality: an array, a path, or a `ctflow.embeddings.Embeddings`.
        y: unit rows [m, d] of the other modality.
        pairs: positive pairs: None (row i with row i), `"unpaired"`, index pairs [p, 2] (a row may have
            several partners), or a coupling. The weight of a row is the sum of its pairs' weights.
        temperature: τ >= 1e-9 of the model, for the loss and the paper's terms; CLIP's is
            1/exp(logit_scale), about 0.01.
        groups: the group of each row: labels [n] and [m] in a tuple, or one [n] for both clouds. Rows of one
            group depend on each other. By default, a group holds the rows that pairs connect.
        n_permutations: number of relabellings for the null, at least 99.
        n_bootstrap: number of bootstrap samples for the 95 % intervals: 0 (no intervals) or at least 20. No
            intervals are given for fewer than 20 independent pairs, or unpaired rows of either modality.
        estimator: `u`, unbiased for the laws the rows were drawn from, or `v`, for the rows themselves.
        level: chance of calling a gap where there is none, in [1/(n_permutations + 1), 1).
        max_rows: largest number of groups sampled for sums over all pairs of rows. Memory is about ten
            float64 matrices [2 max_rows, 2 max_rows], 1.1 GB at 2000.
        max_gallery: largest number of groups sampled for retrieval and the in-batch loss.
        logit_bias: SigLIP's bias b, for its sigmoid loss; needs `temperature`.
        normalize: bring rows to unit norm; without it, rows of another norm are refused.
        seed: seed of the samples and resamples, an integer >= 0.
        names: names of the two modalities in everything that is shown, such as `("image", "text")`. By
            default the names of the files or columns; x and y for arrays. Keys such as `cone_x` stay.
        progress: show progress bars on stderr.

    Raises:
        ValueError: `x`, `y`, `pairs` or a setting breaks its rule, which the message states; or there are
            fewer than 10 distinct pairs, or fewer than 2 distinct rows of one modality.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(200, 16))
        >>> y = x + 0.5 * rng.normal(size=(200, 16)) + 0.5  # partners that are shifted
        >>> report = ct.diagnose(x, y, normalize=True, n_bootstrap=0)
        >>> report.detected, round(report["centroid_gap"].value, 2)
        (True, 0.43)
    """
    settings = Settings(
        temperature=temperature,
        logit_bias=logit_bias,
        estimator=estimator,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        level=level,
        max_rows=max_rows,
        max_gallery=max_gallery,
        seed=seed,
    )
    called = names_in_messages(names)
    x, y = (as_embeddings(z, name=name, normalize=normalize) for name, z in zip(called, (x, y), strict=True))
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{x.name} and {y.name} must have rows of one width, got {x.shape[1]} and {y.shape[1]}; "
            "give embeddings of one model"
        )
    names = names_of(x, y, names)
    plan = pair_up(x, y, pairs, groups, names)
    with tqdm(total=plan.num_groups, desc="reading", unit="group", disable=not progress, leave=False) as bar:
        read = moments(x, y, plan, x.shape[1], bar.update)
        bar.set_description("resampling")
        s = study(x, y, plan, read, settings, names)
        found, half = sections.energy_terms(s) if temperature is not None else ({}, {})
        divergence = (found["divergence_12"] + found["divergence_21"]) / 2 if found else None
        metrics = [*gap(s, divergence), *sections.spread(s)]
        if s.paired:
            bar.set_description("retrieval")
            rows = sections.gallery(s)
            metrics += [*sections.pairing(s), *sections.recalls(s, *rows)]
            metrics += [*sections.loss(s, *rows), *sections.energy(s, found, half)] if found else []
        shown = view(s)
    about = {
        "x": x.name,
        "y": y.name,
        "names": names,
        "rows": plan.shape,
        "d": x.shape[1],
        **dataclasses.asdict(settings),
    }
    report = Report(tuple(metrics), (), notes(s), about, shown)
    return dataclasses.replace(report, words=words(report))
