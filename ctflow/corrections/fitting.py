"""Fit a correction of any method, with a strength that is given or chosen by cross-validation."""

from typing import Any

import numpy as np

from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow.corrections.affine import AFFINE
from ctflow.corrections.correction import METHODS, Correction
from ctflow.corrections.csls import BANK, Csls
from ctflow.corrections.rows import both
from ctflow.corrections.sample import Cloud, Sample, sample_of
from ctflow.corrections.scores import PURPOSES
from ctflow.corrections.strengths import CHOICES, choose, folds
from ctflow.corrections.transport import check_epsilon, transport
from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import UNPAIRED, Pairing, pair_up

SCORINGS = ("csls",)
_NEED_PAIRS = ("procrustes", "cca")


def fit(
    method: str,
    x: Any,
    y: Any,
    *,
    pairs: Any = None,
    purpose: str = "retrieval",
    ridge: float | None = None,
    epsilon: float | None = None,
    normalize: bool = False,
    seed: int = 0,
) -> Correction:
    """Fit a correction on some rows; it can then be applied to any rows.

    `none` changes nothing. `centring` subtracts each modality's mean. `translation` shifts y so that its mean
    becomes the mean of x. `standardisation` gives each coordinate of each modality mean 0 and variance 1;
    `whitening` does so for every direction. `coral` gives y the mean and covariance of x (arXiv 1511.05547).
    `procrustes` turns y about its mean by the orthogonal matrix that matches partners best, and gives it the
    mean of x. `cca` maps both modalities to their d canonical variates, each scaled by its correlation.
    `transport` maps y to x by entropic optimal transport.

    Args:
        method: one of `METHODS`.
        x: unit rows [n, d] of the first modality: an array, or a `ctflow.embeddings.Embeddings`.
        y: unit rows [m, d] of the second.
        pairs: index pairs [p, 2], or a coupling. By default row i pairs with row i if n = m, and there are
            no pairs otherwise. The weight of a row is that of its pairs; without pairs all weights are equal.
        purpose: criterion for choosing a strength that is not given: `retrieval`, `mixed` or `clustering`.
        ridge: added to every variance, as a share of the mean variance; by default the best of 0.001 to 100
            by three-fold cross-validation.
        epsilon: for `transport`, in units of ½‖x - y‖², >= 0.005; by default the best of 0.005 to 0.2.
        normalize: accept rows of any norm > 0.
        seed: for the random folds, and for the rows of `transport`: at most 2000 per modality.

    Raises:
        ValueError: the method or purpose is unknown; `diagnose` would refuse the rows; the widths differ;
            pairs are needed but missing; there are too few pairs to choose a strength; or all rows are one
            point and the method needs them to differ.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(100, 8)), rng.normal(size=(100, 8)) + 0.5
        >>> x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
        >>> centring = ct.corrections.fit("centring", x, y)
        >>> clouds = [(x, y), centring.transform(x, y)]
        >>> gaps = [np.linalg.norm(a.mean(0) - b.mean(0)) for a, b in clouds]
        >>> np.round(gaps, 1).tolist()
        [0.5, 0.0]
    """
    if method in SCORINGS:
        raise ValueError(f"{method} scores pairs and moves no rows; use ct.corrections.{method}(x, y)")
    check_choice("method", method, METHODS)
    check_choice("purpose", purpose, PURPOSES)
    check_strengths(ridge, epsilon)
    check_count("seed", seed, minimum=0)
    first, second = both(x, y, normalize=normalize)
    paired = pairs is not None or len(first) == len(second)
    if method in _NEED_PAIRS and not paired:
        raise ValueError(f"{method} needs pairs=, since x has {len(first)} rows and y has {len(second)}")
    plan = pair_up(first, second, pairs if paired else UNPAIRED)
    strength = given(method, ridge, epsilon)
    if method in CHOICES and strength is None:
        if not paired:
            name = CHOICES[method][0]
            raise ValueError(f"{method} needs {name}=, or pairs= so that {name} can be chosen")
        strength = _chosen(method, first, second, plan, purpose, seed)
    sample = sample_of(first, second, plan.take(np.arange(plan.num_groups)))
    found = fit_sample(method, sample, strength, seed=seed)
    assert isinstance(found, Correction)
    return found


def check_strengths(ridge: float | None, epsilon: float | None) -> None:
    """Raise ValueError if a given strength is out of range."""
    if ridge is not None:
        check_positive("ridge", ridge)
    if epsilon is not None:
        check_epsilon(epsilon)


def given(method: str, ridge: float | None, epsilon: float | None) -> float | None:
    """The strength that the caller gave for a method, if any."""
    return {"ridge": ridge, "epsilon": epsilon}.get(CHOICES[method][0]) if method in CHOICES else None


def _chosen(method: str, x: Embeddings, y: Embeddings, plan: Pairing, purpose: str, seed: int) -> float:
    parts = folds(x, y, plan, np.arange(plan.num_groups), np.random.default_rng(seed))
    return choose(method, parts, purpose, lambda m, s, strength: quick_fit(m, s, strength, seed=seed))


def fit_sample(method: str, sample: Sample, strength: float | None, *, seed: int) -> Correction | Csls:
    """Fit a method of `METHODS` or `SCORINGS` on rows in memory, with a strength if the method has one."""
    rng = np.random.default_rng(seed)
    if method == "csls":
        return Csls(_bank(sample.x, rng), _bank(sample.y, rng), int(strength or 10))
    if method == "transport":
        assert strength is not None
        return Correction(method, None, transport(sample, strength, rng), strength)
    with np.errstate(all="ignore"):  # `Correction` checks that the maps are finite
        return Correction(method, *AFFINE[method](sample, strength or 0.0), strength=strength)


def quick_fit(method: str, sample: Sample, strength: float, *, seed: int) -> Correction | Csls:
    """A cheaper `fit_sample` for cross-validation: transport uses 500 rows and at most 2000 steps."""
    if method != "transport":
        return fit_sample(method, sample, strength, seed=seed)
    part = transport(sample, strength, np.random.default_rng(seed), support=500, max_steps=2000)
    return Correction(method, None, part, strength)


def _bank(cloud: Cloud, rng: np.random.Generator) -> np.ndarray:
    return cloud.rows[np.sort(rng.permutation(len(cloud.rows))[:BANK])]
