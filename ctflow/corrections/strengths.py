"""Choice of a method's regularisation strength by cross-validation."""

from collections.abc import Callable, Sequence

import numpy as np

from ctflow.corrections.correction import Correction
from ctflow.corrections.csls import Csls
from ctflow.corrections.sample import Sample, sample_of
from ctflow.corrections.scores import Held, held_of, measured, moved, score
from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import Block, Pairing

RIDGES = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
EPSILONS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
NEIGHBOURS = (50, 20, 10, 5, 2)
# Ordered from strong to weak: among equally good values the first is chosen.
CHOICES: dict[str, tuple[str, Sequence[float]]] = {
    "standardisation": ("ridge", RIDGES),
    "whitening": ("ridge", RIDGES),
    "coral": ("ridge", RIDGES),
    "cca": ("ridge", RIDGES),
    "transport": ("epsilon", EPSILONS),
    "csls": ("neighbours", NEIGHBOURS),
}
"""The methods with a strength: its name and the values that are tried."""

FOLDS = 3
MIN_GROUPS = 20
_VALIDATED = 400

Fitter = Callable[[str, Sample, float], Correction | Csls]


class Fold:
    """Rows for fitting, and other rows for validation."""

    def __init__(self, x: Embeddings, y: Embeddings, fitted: Block, validated: Block):
        self.sample: Sample = sample_of(x, y, fitted)
        self.held: Held = held_of(x, y, validated)


def folds(
    x: Embeddings, y: Embeddings, plan: Pairing, groups: np.ndarray, rng: np.random.Generator
) -> list[Fold]:
    """Split the groups at random into three parts; each part validates what is fitted on the other two.

    At most 400 groups per part are used for validation.

    Raises:
        ValueError: there are fewer than 20 groups.
    """
    if len(groups) < MIN_GROUPS:
        raise ValueError(
            f"choosing a strength needs >= {MIN_GROUPS} independent groups of pairs, got {len(groups)}; "
            "give more pairs, or give ridge and epsilon"
        )
    parts = np.array_split(rng.permutation(groups), FOLDS)
    found = []
    for i, part in enumerate(parts):
        others = np.sort(np.concatenate(parts[:i] + parts[i + 1 :]))
        found.append(Fold(x, y, plan.take(others), plan.take(np.sort(part[:_VALIDATED]))))
    return found


def choose(method: str, parts: list[Fold], purpose: str, fitter: Fitter) -> float:
    """The strength with the largest mean score on the validation rows of the folds.

    Args:
        method: one of `CHOICES`.
        parts: the result of `folds`.
        purpose: the criterion, one of `ctflow.corrections.scores.PURPOSES`.
        fitter: function of (method, sample, strength) that fits the method.

    Raises:
        ValueError: every strength failed on some fold; the message is that of the last failure.
    """
    totals: dict[float, float] = {}
    said = "no value was tried"
    for strength in CHOICES[method][1]:
        try:
            found = [_validated(fitter(method, part.sample, strength), part.held, purpose) for part in parts]
        except ValueError as error:
            said = str(error)
            continue
        totals[strength] = float(np.mean(found))
    if not totals:
        raise ValueError(said)
    return max(totals, key=lambda strength: totals[strength])


def _validated(fitted: Correction | Csls, held: Held, purpose: str) -> float:
    return score(measured(moved(fitted, held).scores, held), purpose).mean
