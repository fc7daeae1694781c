"""Corrections that bring two modalities closer after training: fitted on some rows, applied to any rows.

A correction maps each modality to unit rows on the same sphere. All corrections but one are affine maps
followed by normalisation; `transport` is the entropic optimal transport map. A scoring, `csls`, leaves the
rows unchanged and changes the score of a query with a candidate. Measure the gains and costs of both on rows
that were not used for fitting, with `ctflow.comparison.compare`. Nothing here needs JAX.
"""

from ctflow.corrections.correction import Correction, load
from ctflow.corrections.csls import Csls, csls
from ctflow.corrections.fitting import METHODS, SCORINGS, fit
from ctflow.corrections.maps import Affine, Barycentric
from ctflow.corrections.transport import MIN_EPSILON, sinkhorn

__all__ = [
    "METHODS",
    "MIN_EPSILON",
    "SCORINGS",
    "Affine",
    "Barycentric",
    "Correction",
    "Csls",
    "csls",
    "fit",
    "load",
    "sinkhorn",
]
