"""Moving two modalities towards each other after training: fitted on some rows, applied to any.

A correction maps each modality to unit rows of the same sphere. All but one are affine maps, brought back to
the sphere; `transport` is the entropic optimal transport map. A scoring, `csls`, leaves the rows as they are
and changes the score of a query and a candidate. What either gains or costs must be looked at on rows it was
not fitted on: `ctflow.comparison.compare`. Nothing here needs JAX.
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
