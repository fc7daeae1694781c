"""Affine corrections, built from means, covariances and rotations."""

from collections.abc import Callable

import numpy as np

from ctflow.corrections.maps import Affine
from ctflow.corrections.sample import Cloud, Sample

Maps = tuple[Affine | None, Affine | None]


def centring(s: Sample, ridge: float) -> Maps:
    """Subtract each modality's mean."""
    return _each(s, "centring", lambda z: np.eye(len(z.mean)))


def translation(s: Sample, ridge: float) -> Maps:
    """Shift y so that its mean becomes the mean of x."""
    return None, Affine(s.y.mean, np.eye(len(s.y.mean)), s.x.mean)


def standardisation(s: Sample, ridge: float) -> Maps:
    """Give each coordinate of each modality mean 0 and variance 1."""
    return _each(s, "standardisation", lambda z: np.diag(1 / np.sqrt(z.variance + ridge * z.variance.mean())))


def whitening(s: Sample, ridge: float) -> Maps:
    """Give every direction of each modality mean 0 and variance 1."""
    return _each(s, "whitening", lambda z: z.power(-0.5, ridge))


def coral(s: Sample, ridge: float) -> Maps:
    """Give y the mean and covariance of x (arXiv 1511.05547)."""
    _check(s, "coral")
    return None, Affine(s.y.mean, s.y.power(-0.5, ridge) @ s.x.power(0.5, ridge), s.x.mean)


def procrustes(s: Sample, ridge: float) -> Maps:
    """Turn y about its mean to match its partners best, then give it the mean of x (Schönemann 1966)."""
    _check(s, "procrustes")
    left, _, right = np.linalg.svd(s.cross.T)
    return None, Affine(s.y.mean, left @ right, s.x.mean)


def cca(s: Sample, ridge: float) -> Maps:
    """Map both modalities to their canonical variates, each scaled by its canonical correlation.

    Let U S Vᵀ be the singular value decomposition of C_xx^{-1/2} C_xy C_yy^{-1/2}, where the ridge is added
    to C_xx and C_yy. The maps are x ↦ (x - x̄) C_xx^{-1/2} U S and y ↦ (y - ȳ) C_yy^{-1/2} V S: regularised
    canonical correlation analysis (Vinod 1976). Because of the factor S, all d variates can be kept: those
    without correlation vanish (arXiv 1212.4522, which uses S⁴).
    """
    _check(s, "cca")
    roots = [z.power(-0.5, ridge) for z in (s.x, s.y)]
    left, correlations, right = np.linalg.svd(roots[0] @ s.cross @ roots[1])
    zero = np.zeros(len(correlations))
    x, y = (
        Affine(z.mean, root @ turn * correlations, zero)
        for z, root, turn in ((s.x, roots[0], left), (s.y, roots[1], right.T))
    )
    return x, y


AFFINE: dict[str, Callable[[Sample, float], Maps]] = {
    "none": lambda s, ridge: (None, None),
    "centring": centring,
    "translation": translation,
    "standardisation": standardisation,
    "whitening": whitening,
    "coral": coral,
    "procrustes": procrustes,
    "cca": cca,
}


def _each(s: Sample, method: str, matrix: Callable[[Cloud], np.ndarray]) -> Maps:
    """Centre each modality on its mean, then apply a matrix made from its own moments."""
    _check(s, method)
    x, y = (Affine(z.mean, matrix(z), np.zeros(len(z.mean))) for z in (s.x, s.y))
    return x, y


def _check(s: Sample, method: str) -> None:
    for cloud in (s.x, s.y):
        cloud.check_spread(method)
