"""`why`: what the loss, free rows and the start of training say about a gap."""

from typing import Any

import numpy as np
from tqdm import tqdm

from ctflow._base.checks import check_count, check_positive
from ctflow.causes.batch import batch_of, block_of, rows_of
from ctflow.causes.explanation import Explanation
from ctflow.causes.free import MOST_STEPS, FreeRows, free_rows
from ctflow.causes.own import strength_of, theory_of
from ctflow.causes.start import difference, start_of
from ctflow.corrections.rows import both
from ctflow.embeddings import Embeddings, as_embeddings
from ctflow.embeddings.diagnosis.shift import MOST_LOSSES, loss_against_gap
from ctflow.embeddings.names import names_in_messages, names_of
from ctflow.embeddings.pairing import UNPAIRED, Pairing, pair_up
from ctflow.embeddings.rows import row_notes

_LEAST_TEMPERATURE = 1e-3
_LEAST_ROWS = 40
_SHARES = (4, 2, 1)


def why(
    x: Any,
    y: Any,
    *,
    temperature: float,
    pairs: Any = None,
    start: tuple[Any, Any] | None = None,
    max_rows: int = 5000,
    max_free: int = 1000,
    strength: float | None = None,
    normalize: bool = False,
    names: tuple[str, str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Explanation:
    """Why two modalities lie apart: does the loss hold the gap, is it neutral, was it there from the start?

    Four answers are given, each with the number of rows that it is based on:

    - **Loss against gap.** The in-batch loss as both modalities are moved towards each other along the line
      between their means and brought back to the sphere (arXiv 2203.02053). Rows keep their arrangement.
    - **Free rows.** Particles set out from the rows and descend J^Sym with the same pairs and temperature,
      without an encoder (arXiv 2601.19597). What is left of the gap when 99 % of the loss that can be lost is
      lost by the gradient flow is neutral to the loss. How far Adam closes a neutral gap depends on its
      learning rate, so it is shown beside it. The same is done with a control: λ times the divergence between
      the clouds.
    - **The pairs.** The critical temperature τ* of the pairs and the least control λ* (`ct.stability`): below
      τ* free points cannot rest in overlap.
    - **The start.** The gap of an early checkpoint, if it is given.

    Free rows are no encoders: a gap that is neutral to the loss may be kept by an encoder for other reasons.
    Few rows in many dimensions fit any pairs, so the share that is neutral is given at three sizes.

    Args:
        x: unit rows [n, d] of one modality: an array, or a `ctflow.embeddings.Embeddings`.
        y: unit rows [m, d] of the other modality.
        temperature: τ >= 1e-3 of the model's loss; CLIP's is 1/exp(logit_scale), about 0.01.
        pairs: positive pairs, as in `ct.diagnose`: None (row i with row i), index pairs [p, 2], a coupling.
        start: the same rows at an early checkpoint, (x [n, d'], y [m, d']).
        max_rows: largest number of groups of pairs in the loss against the gap, >= 40.
        max_free: largest number of groups of pairs among the free rows, >= 40. Time grows as its square.
        strength: λ > 0 of the control. By default a tenth above λ*, or 0.01 where no control is needed.
        normalize: bring rows to unit norm; without it, rows of another norm are refused.
        names: names of the modalities in what is shown; by default those of the files or columns.
        seed: seed of the samples, an integer >= 0.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: `x`, `y`, `pairs`, `start` or a setting breaks its rule; rows without partners; or fewer
            than 40 independent groups of pairs.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(60, 8))
        >>> y = x + 0.3 * rng.normal(size=(60, 8)) + 0.5
        >>> explanation = ct.why(x, y, temperature=0.2, max_free=40, normalize=True)
        >>> explanation.is_there
        True
        >>> explanation.verdicts["arrangement"], explanation.verdicts["pairs"]
        ('not held by the loss', 'no gap required')
    """
    check_positive("temperature", temperature)
    if temperature < _LEAST_TEMPERATURE:
        raise ValueError(
            f"temperature must be >= {_LEAST_TEMPERATURE:g}, since rounding of the cosines distorts the loss "
            f"below it, got {temperature:g}"
        )
    check_count("max_rows", max_rows, minimum=_LEAST_ROWS)
    check_count("max_free", max_free, minimum=_LEAST_ROWS)
    check_count("seed", seed, minimum=0)
    if strength is not None:
        check_positive("strength", strength)
    x, y = both(x, y, normalize=normalize, names=names_in_messages(names))
    names = names_of(x, y, names)
    plan = _paired(x, y, pairs, names)
    early = None if start is None else _early(start, (x, y), normalize)
    block = block_of(plan, max_rows, np.random.default_rng([seed, 0]))
    rows = rows_of(x, y, block)
    null = difference(*rows, block)[1]
    began = None if early is None else start_of(early, (x, y), block)
    coupling = batch_of(x, y, block, temperature).energy.coupling
    theory = theory_of(coupling, x.shape[1], temperature, seed=seed, progress=progress)
    strength = strength_of(theory) if strength is None else strength
    most = max(plan.items) if plan.rows_as_groups else plan.num_groups
    sizes = [min(max_free, most) // share for share in _SHARES]
    free: list[FreeRows] = []
    with tqdm(
        total=MOST_LOSSES + len(sizes) * MOST_STEPS,
        desc="why",
        unit="step",
        disable=not progress,
        leave=False,
    ) as bar:
        line = loss_against_gap(*rows, block, temperature, bar.update)
        del rows
        for k, size in enumerate(sizes):
            some = block_of(plan, size, np.random.default_rng([seed, 1]))
            free.append(free_rows(batch_of(x, y, some, temperature), strength, bar.update))
            bar.update(MOST_LOSSES + (k + 1) * MOST_STEPS - bar.n)
    settings = {
        "x": x.name,
        "y": y.name,
        "names": names,
        "rows": plan.shape,
        "d": x.shape[1],
        "temperature": temperature,
        "max_rows": max_rows,
        "max_free": max_free,
        "seed": seed,
    }
    notes = (*plan.notes, *row_notes(x, y, names))
    return Explanation(line, tuple(free), theory, began, null, notes, settings)


def _paired(x: Embeddings, y: Embeddings, pairs: Any, names: tuple[str, str]) -> Pairing:
    """The pairs of the rows; ValueError if there are none, or too few."""
    if isinstance(pairs, str) and pairs == UNPAIRED:
        raise ValueError("pairs must say which rows are partners, got unpaired rows: they have no loss")
    plan = pair_up(x, y, pairs, names=names)
    if plan.num_groups < _LEAST_ROWS:
        raise ValueError(
            f"{x.name} and {y.name} must have at least {_LEAST_ROWS} independent pairs, got "
            f"{plan.num_groups}; give more"
        )
    return plan


def _early(start: Any, now: tuple[Embeddings, Embeddings], normalize: bool) -> tuple[Embeddings, Embeddings]:
    """The rows of an early checkpoint."""
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise ValueError(f"start must be the rows of both modalities, (x, y), got {type(start).__name__}")
    x, y = (
        as_embeddings(z, name=f"start of {then.name}", normalize=normalize)
        for z, then in zip(start, now, strict=True)
    )
    return x, y
