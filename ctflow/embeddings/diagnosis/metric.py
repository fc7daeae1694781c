"""One number of a diagnosis, the words for the size of a gap, and the gaps of published models."""

import dataclasses
from importlib.resources import files

from ctflow.storage.tables import read_csv

SIZES = {"small": 0.0, "moderate": 0.01, "large": 0.1}
"""Words for the size of a gap, each with the smallest energy coefficient that it describes."""


def size_word(coefficient: float) -> str:
    """The word of `SIZES` for an energy coefficient; an estimate below 0 is called small."""
    return [word for word, least in SIZES.items() if coefficient >= least or least == 0][-1]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number of a report."""

    name: str
    section: str
    value: float
    means: str
    """A short definition, with the unit."""
    null: str = ""
    """How the null was made: relabelled, re-paired (partners shuffled), or empty without one."""
    null_mean: float = float("nan")
    null_sd: float = float("nan")
    low: float = float("nan")
    """Lower end of the 95 % interval for the laws that the rows were drawn from; `high` is the upper end."""
    high: float = float("nan")
    error: float = float("nan")
    """Standard error over new samples with as many rows; for numbers that change with the number of rows."""
    rows: tuple[int, int] = (0, 0)
    """Numbers of distinct rows of x and of y that the number is based on."""
    estimator: str = ""
    """u, v or plug-in (the logarithm of a sample mean); empty if there is only one estimator."""
    reference: str = ""
    """The range, or values to compare with."""
    p_value: float = float("nan")
    """Family-wise p-value of "no gap"; in the section "gap" only."""
    gap: bool | None = None
    """Whether the number shows a gap at the family-wise level; None if it was not tested."""
    reason: str = ""
    """Why the number or its null could not be measured; empty if both could."""


def published_range(column: str) -> str:
    """Smallest and largest value over the CLIP models in the paper's MS-COCO figure, read off to ± 0.01."""
    table = read_csv(str(files("ctflow.embeddings.diagnosis") / "published_clip_gaps.csv"))
    return f"CLIP models on COCO: {table[column].min():.2f} to {table[column].max():.2f}"
