"""One number of a diagnosis, the words for its size, and what published models have."""

import dataclasses
from importlib.resources import files

from ctflow.storage.tables import read_csv

SIZES = {"small": 0.0, "moderate": 0.01, "large": 0.1}
"""Words for the size of a gap, with the least energy coefficient of each."""


def size_word(coefficient: float) -> str:
    """The word of `SIZES` for an energy coefficient; small for one below 0, which is no gap."""
    return [word for word, least in SIZES.items() if coefficient >= least or least == 0][-1]


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number of a report."""

    name: str
    section: str
    value: float
    means: str
    """What it is, in a few words, with its unit."""
    null: str = ""
    """How the null was made: relabelled, re-paired, or in closed form."""
    null_mean: float = float("nan")
    null_sd: float = float("nan")
    low: float = float("nan")
    """Ends of the 95 % interval for the law that the rows were drawn from."""
    high: float = float("nan")
    error: float = float("nan")
    """Standard error over new samples of as many rows, of numbers that change with the number of rows."""
    rows: tuple[int, int] = (0, 0)
    """Number of distinct rows of x and of y it was taken from."""
    estimator: str = ""
    """u, v, plug-in (the logarithm of a sample mean), or nothing where there is one estimator."""
    reference: str = ""
    """Its range, or what it is elsewhere."""
    p_value: float = float("nan")
    """Chance of a value as large anywhere in this section without a gap; for the section "gap" only."""
    gap: bool | None = None
    """Whether it is called a gap; None for numbers that do not say."""
    reason: str = ""
    """Why it, or its null, could not be measured; empty if both could."""


def published_range(column: str) -> str:
    """Least and largest value over the CLIP models of the paper's MS-COCO figure, read off to ± 0.01."""
    table = read_csv(str(files("ctflow.embeddings.diagnosis") / "published_clip_gaps.csv"))
    return f"CLIP models on COCO: {table[column].min():.2f} to {table[column].max():.2f}"
