"""Critical temperature and least control of a user's own pairs, on samples of them."""

from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ctflow._base.checks import check_count, check_positive
from ctflow.couplings import Coupling, from_pairs
from ctflow.energies import symmetric
from ctflow.energy import as_energy
from ctflow.stability.control import least_control
from ctflow.stability.critical import critical_temperature
from ctflow.stability.shared import matrix_of


class PairsStability(NamedTuple):
    """When a gap must open for a user's pairs, and the least control, from samples of the pairs.

    Attributes:
        value: τ*, the mean over the samples; 0 if overlap is stable at all temperatures looked at.
        error: the larger of its standard error over the samples and its difference from samples of half the
            size.
        values: τ* of each sample, [s].
        half: mean τ* of samples of half the size.
        strength: λ*, the mean over the samples; NaN if no control was given, infinite if in some sample no
            strength suffices.
        strength_error: like `error`, for λ*.
        strengths: λ* of each sample, [s].
        asymmetry: the share of the pairs' weight that has no mirror image, 0 to 1; they were symmetrised.
        components: number of parts of the first sample between which there are no pairs.
        size: number of items in a sample.
        items: number of items in all.
        temperature: of the control.
    """

    value: float
    error: float
    values: Float[np.ndarray, " s"]
    half: float
    strength: float
    strength_error: float
    strengths: Float[np.ndarray, " s"]
    asymmetry: float
    components: int
    size: int
    items: int
    temperature: float | None

    def __str__(self) -> str:
        if self.value == 0:
            first = "no critical temperature: overlap is stable at all temperatures, no gap is required"
        else:
            first = f"critical temperature of these pairs: {self.value:.3g} ± {self.error:.1g}"
        strength = (
            "no control was given"
            if self.temperature is None
            else f"least strength of the control at τ = {self.temperature:g}: {self.strength:.3g} "
            f"± {self.strength_error:.1g}"
        )
        return (
            f"{first} ({len(self.values)} samples of {self.size} of {self.items} items; "
            f"{self.half:.3g} at half the size)\n"
            f"{strength}\n"
            f"pairs without a mirror image: {self.asymmetry:.1%}; separate components: {self.components}\n"
            "below the critical temperature the loss parts free points; above it, it forces no gap\n"
            "an encoder, which cannot place every input freely, can have a gap for other reasons"
        )


def of_pairs(
    coupling: Coupling,
    d: int,
    *,
    temperature: float | None = None,
    control: Any = None,
    size: int = 48,
    draws: int = 4,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> PairsStability:
    """τ* of a user's pairs in d dimensions and, with a control, λ* at a temperature, on samples of the items.

    The pairs may be one-to-one, several captions of one image, labels (all pairs within a class), or soft
    weights such as a teacher's similarities; see `shareable`. Each sample is a random choice of items with
    the pairs among them.

    What this tells: whether two sets of points that can be placed freely would part under InfoNCE with these
    pairs. It does not tell what an encoder of limited capacity does, nor what a learned temperature does. The
    critical temperature of a sample differs from that of all pairs; compare `value` with `half`.

    Args:
        coupling: the pairs and their weights.
        d: dimension of the points, >= 2.
        temperature: τ of the loss at which the control is to act, > 0.
        control: an energy to add, such as `ct.energies.SymmetricDivergence`.
        size: number of items in a sample, >= 4; all of them if there are fewer.
        draws: number of samples, >= 2.
        seed: for the samples.
        progress: whether to show a progress bar.
        options: of `critical_temperature`; its scan has 8 temperatures here, from one start.

    Raises:
        ValueError: not a coupling; numbers out of range; a control without a temperature or the reverse;
            pairs that `shareable` refuses; as `critical_temperature`.
    """
    if not isinstance(coupling, Coupling):
        raise ValueError(
            "coupling must be a Coupling, such as ct.couplings.from_pairs gives, got "
            f"{type(coupling).__name__}"
        )
    check_count("size", size, minimum=4)
    check_count("draws", draws, minimum=2)
    if (temperature is None) != (control is None):
        raise ValueError("temperature and control belong together: pass both or neither")
    if temperature is not None:
        check_positive("temperature", temperature)
    control = None if control is None else as_energy(control)
    pi, rng = _by_item(matrix_of(coupling)), np.random.default_rng(seed)
    items = pi.shape[0]
    size = min(size, items)
    options = {"scan": 8, "starts": 1, "rtol": 5e-3} | options
    found: dict[int, list[tuple[float, float]]] = {size: [], max(size // 2, 2): []}
    samples: list[Coupling] = []
    with tqdm(total=2 * draws, desc="samples", unit="sample", disable=not progress) as bar:
        for count in found:
            for _ in range(draws):
                samples.append(shareable(_sampled(pi, count, rng))[0])
                found[count].append(_of(samples[-1], d, temperature, control, options))
                bar.update()
    stars, strengths = np.array(found[size]).T
    half, half_strength = (float(np.mean(of)) for of in np.array(found[max(size // 2, 2)]).T)
    components, _ = connected_components(matrix_of(samples[0]))
    return PairsStability(
        float(stars.mean()),
        _error(stars, half),
        stars,
        half,
        float(strengths.mean()),
        _error(strengths, half_strength),
        strengths,
        _asymmetry(pi),
        int(components),
        size,
        items,
        temperature,
    )


def _error(values: np.ndarray, half: float) -> float:
    """The larger of the standard error and the difference from half the size."""
    if not np.isfinite(values).all():
        return np.nan
    return float(max(values.std(ddof=1) / np.sqrt(len(values)), abs(values.mean() - half)))


def _of(
    sample: Coupling, d: int, temperature: float | None, control: Any, options: dict[str, Any]
) -> tuple[float, float]:
    """τ* and λ* of one sample; of matched pairs without computing."""
    pi = matrix_of(sample)
    if pi.nnz == pi.shape[0] == np.count_nonzero(pi.diagonal()):
        return 0.0, np.nan if control is None else 0.0
    star = critical_temperature(sample, d, **options).value
    if control is None or temperature is None:
        return star, np.nan
    energy = symmetric(sample, temperature=temperature)
    return star, least_control(energy, control, d, starts=options["starts"]).value


def shareable(coupling: Coupling) -> tuple[Coupling, float]:
    """Pairs as a symmetric coupling of items, which one cloud can serve on both sides, and their asymmetry.

    - Square and symmetric pairs (labels, symmetric weights) stay as they are.
    - Where every column has one row (captions of images) or every row one column, there is a point for each
      pair, and any two pairs e, e' of the same image are positive: π'(e, e') = w_e w_e'/p_i. Copies of an
      image add up to the same sums as the image, and displacements of the copies against each other are those
      of its captions over again, so overlap is stable under π' exactly where it is under π.
    - Other square pairs, in which row i and column i are the same item, are symmetrised, (π + π')/2.

    Returns:
        The coupling, and the share of the weight that has no mirror image: ½Σ|π - π'|.

    Raises:
        ValueError: rows or columns without a partner; pairs of none of these kinds.
    """
    pi = _by_item(matrix_of(coupling))
    if pi.shape[0] == pi.shape[1]:
        asymmetry = _asymmetry(pi)
        return _coupling((pi + pi.T) / 2 if asymmetry > 1e-6 else pi), asymmetry
    pi = pi.tocoo()  # after `_by_item` every column has one row
    p = np.asarray(pi.sum(axis=1)).ravel()
    spread = scipy.sparse.csr_matrix(
        (pi.data / np.sqrt(p[pi.row]), (np.arange(pi.nnz), pi.row)), shape=(pi.nnz, pi.shape[0])
    )
    return _coupling(spread @ spread.T), 0.0


def _asymmetry(pi: Any) -> float:
    """½Σ|π - π'| of a square matrix; 0 of captions, which need no mirror image."""
    return float(abs(pi - pi.T).sum() / 2) if pi.shape[0] == pi.shape[1] else 0.0


def _by_item(pi: Any) -> Any:
    """The matrix with a row for each item: transposed if rows are captions, diagonal if pairs are matched."""
    for axis, side in ((1, "rows"), (0, "columns")):
        partners = np.asarray((pi > 0).sum(axis=axis)).ravel()
        if (alone := np.flatnonzero(partners == 0)).size:
            raise ValueError(
                f"every item needs a partner: {alone.size} of {len(partners)} {side} have none, the first at "
                f"index {alone[0]}; leave them out"
            )
    one_row, one_column = ((np.asarray((pi > 0).sum(axis=axis)).ravel() == 1).all() for axis in (0, 1))
    if one_row and one_column:
        return scipy.sparse.diags(np.asarray(pi.sum(axis=1)).ravel()).tocsr()
    if pi.shape[0] == pi.shape[1]:
        return pi
    if one_row:
        return pi
    if one_column:
        return pi.T.tocsr()
    raise ValueError(
        f"pairs of {pi.shape[0]} rows and {pi.shape[1]} columns have no shared cloud: each caption must "
        "belong to one image, or row i and column i must be the same item (a square matrix)"
    )


def _sampled(pi: Any, size: int, rng: np.random.Generator) -> Coupling:
    """The pairs among randomly chosen items; items that lose all partners are left out."""
    chosen = np.sort(rng.choice(pi.shape[0], size, replace=False))
    if pi.shape[0] != pi.shape[1]:
        rows = pi[chosen]
        return _coupling(rows[:, np.flatnonzero(np.asarray(rows.sum(axis=0)).ravel() > 0)])
    part = pi[chosen][:, chosen]
    part = (part + part.T) / 2
    kept = np.flatnonzero(np.asarray(part.sum(axis=1)).ravel() > 0)
    if kept.size < 2:
        raise ValueError(
            f"a sample of {size} of {pi.shape[0]} items has no pairs among them; raise size, or leave it out "
            "for pairs that are so sparse"
        )
    return _coupling(part[kept][:, kept])


def _coupling(pi: Any) -> Coupling:
    pi = pi.tocoo()
    weights = pi.data / pi.data.sum()
    with jax.enable_x64(True):
        return from_pairs(pi.row, pi.col, weights, shape=pi.shape, dtype=np.float64)
