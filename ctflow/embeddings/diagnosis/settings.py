"""The settings of a diagnosis, checked when they are made."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ctflow._base.checks import check_choice, check_count, check_positive

_LEAST_TEMPERATURE = 1e-9
_LEAST_BOOTSTRAP = 20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `ct.diagnose` is told, apart from the rows; its docstring says what each setting does.

    Raises:
        ValueError: a setting is out of range.
    """

    temperature: Any
    logit_bias: Any
    estimator: str
    n_permutations: int
    n_bootstrap: int
    level: float
    max_rows: int
    max_gallery: int
    seed: int

    def __post_init__(self):
        check_count("max_rows", self.max_rows, minimum=2)
        check_count("max_gallery", self.max_gallery, minimum=2)
        check_count("seed", self.seed, minimum=0)
        check_choice("estimator", self.estimator, ("u", "v"))
        check_count("n_permutations", self.n_permutations, minimum=99)
        check_count("n_bootstrap", self.n_bootstrap, minimum=0)
        if 0 < self.n_bootstrap < _LEAST_BOOTSTRAP:
            raise ValueError(f"n_bootstrap must be 0 or >= {_LEAST_BOOTSTRAP}, got {self.n_bootstrap}")
        lowest = 1 / (self.n_permutations + 1)
        if not isinstance(self.level, Real) or not lowest <= self.level < 1:
            raise ValueError(
                f"level must lie in [1/(n_permutations + 1), 1) = [{lowest:.3g}, 1), got {self.level!r}"
            )
        if self.temperature is not None:
            check_positive("temperature", self.temperature)
            if self.temperature < _LEAST_TEMPERATURE:
                raise ValueError(
                    f"temperature must be >= {_LEAST_TEMPERATURE:g}, since rounding of the cosines distorts "
                    f"the terms below it, got {self.temperature:g}"
                )
        bias = self.logit_bias
        if bias is not None and (
            self.temperature is None or not isinstance(bias, Real) or not np.isfinite(float(bias))
        ):
            raise ValueError(f"logit_bias must be finite and needs a temperature, got {bias!r}")
