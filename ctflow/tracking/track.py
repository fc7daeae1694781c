"""`track`: gap, retrieval, loss and spread of each checkpoint of a training run."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ctflow._base.checks import check_count, check_positive
from ctflow.couplings import from_pairs
from ctflow.embeddings import Embeddings, as_embeddings
from ctflow.embeddings.diagnosis.diagnose import diagnose
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.names import LETTERS, check_names
from ctflow.embeddings.pairing import UNPAIRED, Pairing, is_counted, pairing
from ctflow.tracking.series import Place, places, steps_of
from ctflow.tracking.trace import Trace, table

QUICK = {"max_rows": 400, "max_gallery": 1000, "n_permutations": 99, "n_bootstrap": 0, "level": 0.01}
"""Settings of `ct.diagnose` for a quick look at a checkpoint."""
_QUICK_ROWS = 2000


def track(
    checkpoints: Sequence[Any],
    *,
    steps: Sequence[int] | None = None,
    temperature: float | None = None,
    pairs: Any = None,
    columns: tuple[str, str] | None = None,
    full: bool = False,
    normalize: bool = False,
    names: tuple[str, str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Trace:
    """Diagnose every checkpoint of a training run on the same rows, quickly, with bands of chance.

    The quick mode takes 2000 groups of pairs, the same for each checkpoint, and well under a second for each.
    Numbers that depend on the number of rows (loss, recall, effective rank) are those of the rows it took.

    Args:
        checkpoints: paths, as for `ctflow track` (a file or folder of one checkpoint, or a folder of many,
            ordered by the numbers in their names), or pairs (x [n, d], y [m, d]) of arrays or embeddings.
            All must have the same n and m.
        steps: the training step of each checkpoint; increasing. By default the last number in each name, or
            the position.
        temperature: τ > 0 of the loss; without it no loss is computed. For a temperature that is learned,
            give that of the last checkpoint: the losses are then those of one temperature.
        pairs: as in `ct.diagnose`.
        columns: names of both arrays in files that hold several.
        full: use all rows and the default settings of `ct.diagnose`, with intervals.
        normalize: bring rows to unit norm; without it, rows of another norm are refused.
        names: names of the modalities in what is shown; by default `columns`, or x and y.
        seed: seed of the samples, an integer >= 0.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: there is no checkpoint; a checkpoint cannot be opened, or has another number of rows than
            the first; `steps` do not increase; or a setting is out of range.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> rng = np.random.default_rng(0)
        >>> x, noise = rng.normal(size=(2, 200, 16))
        >>> checkpoints = [(x, x + noise + shift) for shift in (2.0, 1.0, 0.0)]
        >>> trace = ct.track(checkpoints, steps=[0, 100, 200], normalize=True)
        >>> trace.table["centroid_gap"].round(1).tolist()
        [0.9, 0.6, 0.1]
    """
    check_count("seed", seed, minimum=0)
    if temperature is not None:
        check_positive("temperature", temperature)
    labels = check_names(names or columns or LETTERS)
    series = _series(checkpoints)
    called = [name for name, _ in series]
    taken = _checked_steps(steps, called)
    sample, shape = None, None
    reports: list[Report] = []
    for name, what in tqdm(series, desc="track", unit="checkpoint", disable=not progress, leave=False):
        x, y = _opened(name, what, columns, normalize)
        if shape is None:
            shape = len(x), len(y)
            sample = None if full else _sample(pairing(*shape, pairs), pairs, seed)
        elif shape != (len(x), len(y)):
            raise ValueError(
                f"{name} must have the rows of {called[0]}, {shape[0]} and {shape[1]}, got {len(x)} and "
                f"{len(y)}"
            )
        options: dict[str, Any] = {"temperature": temperature, "seed": seed, "names": labels}
        if sample is None:
            reports.append(diagnose(x, y, pairs=pairs, **options))
        else:
            rows = (
                as_embeddings(x.rows(sample[0]), name=x.name),
                as_embeddings(y.rows(sample[1]), name=y.name),
            )
            reports.append(diagnose(*rows, pairs=sample[2], **options, **QUICK))
    settings = {
        "rows": shape,
        "names": labels,
        "temperature": temperature,
        "full": full,
        "seed": seed,
    }
    return Trace(np.asarray(taken), tuple(called), table(reports), tuple(reports), settings)


def _series(checkpoints: Any) -> list[tuple[str, Any]]:
    """Names and places, or pairs of arrays, of all checkpoints."""
    if isinstance(checkpoints, str | os.PathLike):
        checkpoints = [checkpoints]
    given = list(checkpoints)
    if not given:
        raise ValueError("checkpoints must hold at least one path or pair (x, y), got none")
    if all(isinstance(one, str | os.PathLike) for one in given):
        return [(place.name, place) for place in places(given)]
    for k, one in enumerate(given):
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise ValueError(
                f"checkpoints must be paths, or pairs (x, y) of rows, got {type(one).__name__} at {k}"
            )
    return [(f"checkpoint {k}", tuple(one)) for k, one in enumerate(given)]


def _opened(
    name: str, what: Any, columns: tuple[str, str] | None, normalize: bool
) -> tuple[Embeddings, Embeddings]:
    if isinstance(what, Place):
        return what.open(columns, normalize)
    x, y = (
        as_embeddings(z, name=f"{side} of {name}", normalize=normalize)
        for side, z in zip("xy", what, strict=True)
    )
    return x, y


def _checked_steps(steps: Any, names: list[str]) -> list[int]:
    if steps is None:
        return steps_of(names)
    given = np.asarray(steps)
    if given.shape != (len(names),) or not (np.diff(given.astype(float)) > 0).all():
        raise ValueError(
            f"steps must be one increasing number for each of {len(names)} checkpoints, got {list(steps)}"
        )
    return given.tolist()


def _sample(plan: Pairing, pairs: Any, seed: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Rows of x and of y, and their pairs, of at most 2000 groups."""
    if plan.num_groups <= _QUICK_ROWS:
        return np.arange(plan.shape[0]), np.arange(plan.shape[1]), pairs
    block = plan.take(plan.sample(_QUICK_ROWS, np.random.default_rng(seed)))
    if not plan.paired:
        return block.x, block.y, UNPAIRED
    if is_counted(block):
        return block.x, block.y, block.pairs
    weights = block.pair_weight / block.pair_weight.sum()
    i, j = block.pairs.T
    return block.x, block.y, from_pairs(i, j, weights, shape=(len(block.x), len(block.y)))
