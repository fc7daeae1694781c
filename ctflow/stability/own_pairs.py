"""When a gap must open for pairs of your own, and the least control against it, on random samples."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ctflow._base.checks import check_count, check_positive
from ctflow.couplings import Coupling
from ctflow.energies import symmetric
from ctflow.stability.search import Search
from ctflow.stability.sharing import (
    checked_matrix,
    parts,
    parts_of,
    sample_of,
    shareable,
    single_side,
)

_HALVES = 6  # the least sample of which both halves hold three items


class Estimate(NamedTuple):
    """A number estimated from random samples, with its error.

    Attributes:
        value: mean over the samples.
        error: standard error of the mean and an estimate of its bias from the size, as a root sum of squares.
        draws: the number of each sample, [draws].
        half: mean over the halves of all samples; NaN if there was no sampling.
        spread: the standard error of the mean alone.
    """

    value: float
    error: float
    draws: np.ndarray
    half: float
    spread: float


class OwnPairs(NamedTuple):
    """The result of `of_pairs`: τ* and the least strength λ* of a control, with the errors of sampling.

    Attributes:
        value: τ*, the mean over the samples; 0 if overlap is stable at all temperatures.
        error: its standard error over the samples and the estimate of its bias from their size, as a root sum
            of squares.
        draws: τ* of each sample, [draws]. A sample without onset counts as the lowest temperature that was
            looked at, which is then an upper bound.
        half: the mean of τ* over the halves of the samples, 0 if none has an onset; NaN if nothing was
            sampled.
        spread: the standard error of the mean alone.
        without: number of samples that have no onset.
        lowest: the lowest temperature down to which samples without onset were looked at.
        strength: λ* at `temperature`; None if it was not asked for.
        temperature: that of `strength`.
        matched: whether the pairs are one-to-one, captions or whole classes: `value` is then known to be 0.
        asymmetry: ½Σ|π_ij - π_ji|, the share of the coupling that was symmetrised.
        parts: number of connected parts of the coupling.
        sample_parts: mean number of connected parts of a sample.
        n: number of items.
        size: number of items in a sample.
        d: the dimension.
    """

    value: float
    error: float
    draws: np.ndarray
    half: float
    spread: float
    without: int
    lowest: float
    strength: Estimate | None
    temperature: float | None
    matched: bool
    asymmetry: float
    parts: int
    sample_parts: float
    n: int
    size: int
    d: int

    def __str__(self) -> str:
        return "\n".join(
            [
                self._onset(),
                self._control(),
                self._sample(),
                self._symmetry(),
                "this is about free points, placed anywhere: an encoder of limited capacity may be held back "
                "by more than the loss; a gap at a temperature above τ* is not forced by the loss",
            ]
        )

    def _onset(self) -> str:
        if self.matched:
            return (
                "critical temperature: 0; matched pairs: overlap is stable at every temperature, "
                "no gap is required"
            )
        where, drawn = f"in {self.d} dimensions", len(self.draws)
        if self.without == drawn:
            return f"no critical temperature {where}: overlap is stable down to {self.lowest:.3g}"
        some = (
            f"; {self.without} of {drawn} samples have none down to {self.lowest:.3g} and count as that"
            if self.without
            else ""
        )
        return (
            f"critical temperature {where}: {self.value:.3g} ± {self.error:.1g}; just below it overlap "
            f"is unstable and a gap opens{some}"
        )

    def _control(self) -> str:
        if self.strength is None:
            return "least control: not asked for; give temperature= and control="
        endless = int(np.isinf(self.strength.draws).sum())
        if endless:
            return (
                f"least control at temperature {self.temperature:g}: no strength suffices in {endless} of "
                f"{len(self.strength.draws)} samples"
            )
        if self.strength.value == 0:
            return f"least control at temperature {self.temperature:g}: none is needed, overlap is stable"
        half = "" if np.isnan(self.strength.half) else f", {self.strength.half:.3g} at half the size"
        if free := int((self.strength.draws == 0).sum()):
            half += f"; none is needed in {free} of {len(self.strength.draws)} samples, which count as 0"
        return (
            f"least control at temperature {self.temperature:g}: {self.strength.value:.3g} ± "
            f"{self.strength.error:.1g}{half}"
        )

    def _sample(self) -> str:
        if self.matched:
            return f"nothing was sampled: {self.n} items in {self.parts} groups of positives, all apart"
        if self.size == self.n:
            return f"all {self.n} items were taken: no error of sampling"
        half = f"{self.half:.3g}" if self.half > 0 else "none"
        return (
            f"{len(self.draws)} samples of {self.size} of {self.n} items: standard error {self.spread:.1g}; "
            f"at half the size {half}, and the error includes this dependence"
        )

    def _symmetry(self) -> str:
        words = "the coupling is symmetric"
        if self.asymmetry > 1e-3:
            words = (
                f"{100 * self.asymmetry:.2g} % of the coupling is not symmetric and was averaged away; that "
                "part moves the modalities apart at every temperature"
            )
        if self.matched or max(self.parts, self.sample_parts) == 1:
            return words
        words += f"; it falls into {self.parts} connected part{'s' * (self.parts > 1)}"
        if self.sample_parts > 1.5 * self.parts:
            words += f", its samples into {self.sample_parts:.3g}: nearer to matched pairs; raise size"
        return words


def of_pairs(
    coupling: Coupling,
    d: int,
    *,
    temperature: float | None = None,
    control: Any = None,
    size: int | None = None,
    draws: int = 4,
    seed: int = 0,
    progress: bool = True,
    loss: Callable[..., Any] = symmetric,
    temperatures: Sequence[float] = (0.05, 2.0),
    scan: int = 24,
    rtol: float = 0.01,
    tolerance: float = 1e-3,
    **options: Any,
) -> OwnPairs:
    """The critical temperature τ* of your own pairs in d dimensions, and the least strength of a control.

    Just below τ* free points cannot rest in overlap: a gap must open. Above τ* the loss forces none. At lower
    temperatures overlap may be stable again, and then the least strength there is 0. This is about
    points that can be placed anywhere on the sphere S^{d-1}. It does not say that an encoder has no gap
    above τ*, because an encoder of limited capacity, or one that has not been trained to the end, may be held
    back by more than the loss; and below τ* it does not say how wide the gap is. Stability is local: a parted
    state of lower energy may lie beside a stable overlap.

    The coupling may be one-to-one pairs, several captions per image, all pairs of a class, or soft weights
    [n, n], such as a teacher's similarities, where row i and column i are the same item. For the first three
    τ* = 0, and nothing is computed. This is proved for shared clouds at which every point is as likely a
    negative as its weight, Σ_i p_i softmax_i(s/τ)_j = p_j. Without that condition it was found in all of 144
    settings tried: 4, 8, 12 items of random weights, with 1 or 2 captions each, d = 2, 3, 5, and temperatures
    from 0.12 to 1 (`test_overlap_of_matched_pairs_is_stable_with_unequal_weights_too` repeats some).

    For soft weights τ* is found for `draws` samples of `size` items, as `sampled` draws them, and for the two
    halves of each. With T(m) for the mean over samples of m items, the bias of T(m) is taken to be
    proportional to 1/m - 1/n, so that it is about (T(m) - T(m/2))(1 - m/n). The error holds this and the
    standard error over the samples. It is no bound: samples of few items do not see structure that is finer
    than their spacing, nor do their halves.

    The search for τ* begins at the highest temperature and ends at the first at which overlap is unstable.
    An interval narrower than a step of the scan can be missed, and those at lower temperatures are not looked
    for; `critical_temperature` lists them. The search also ends where all curvatures vanish within the
    accuracy of the shared cloud. Curvatures are computed in the dimensions that the shared cloud spans and
    one more, which stands for all others. So loss and control must be functions of the cosines.

    Args:
        coupling: your law of positive pairs, of `ct.couplings`.
        d: dimension of the embeddings, >= 2.
        temperature: τ > 0 for the least control; with `control`.
        control: the energy C of two clouds whose least strength λ* is sought; with `temperature`.
        size: number of items in a sample, at least 6, or all; by default 64, or all if there are fewer.
        draws: number of samples, >= 2. Without effect if all items are taken.
        seed: of the samples, an integer >= 0.
        progress: show a progress bar on stderr.
        loss: the energy as a function `loss(coupling, temperature=τ)`.
        temperatures: the lowest and the highest τ to look at, > 0.
        scan: number of temperatures of the scan, >= 2; more are added where the onset seems near.
        rtol: relative accuracy of τ* in each sample, > 0.
        tolerance: as in `modes`.
        options: of `shared_equilibrium`; the default of `starts` is 1 for τ*, beside the shared cloud of the
            temperature before, and 3 for λ*.

    Raises:
        ValueError: as `shareable` and `shared_equilibrium`; a number out of range; temperature without
            control or control without temperature; overlap unstable at the highest temperature.
    """
    pi = checked_matrix(coupling)
    check_count("d", d, minimum=2)
    check_count("draws", draws, minimum=2)
    check_count("seed", seed, minimum=0)
    check_count("scan", scan, minimum=2)
    check_positive("rtol", rtol)
    low, high = temperatures
    check_positive("temperatures", low)
    if not low < high:
        raise ValueError(f"temperatures must be (lowest, highest), got {tuple(temperatures)}")
    if (temperature is None) != (control is None):
        given, other = ("control", "temperature") if temperature is None else ("temperature", "control")
        raise ValueError(
            f"{other} is required beside {given}: the least strength is that of a control at a temperature"
        )
    if temperature is not None:
        check_positive("temperature", temperature)
    side, found = single_side(pi), parts_of(pi)
    n = pi.shape[side or 0]
    size = _size(size, n)
    if found.matched and loss is symmetric:
        none = Estimate(0.0, 0.0, np.zeros(0), np.nan, 0.0)
        return OwnPairs(
            *none,
            without=0,
            lowest=0.0,
            strength=None if control is None else none,
            temperature=temperature,
            matched=True,
            asymmetry=0.0,
            parts=found.number,
            sample_parts=found.number,
            n=n,
            size=n,
            d=d,
        )
    search = Search(d, loss, float(high), float(low), scan, rtol, tolerance, options)
    whole = shareable(coupling)
    rng = np.random.default_rng(seed)
    samples, halves = [whole], []
    if size < n:
        chosen = [rng.permutation(n)[:size] for _ in range(draws)]
        samples = [sample_of(pi, side, np.sort(items)) for items in chosen]
        halves = [sample_of(pi, side, np.sort(h)) for items in chosen for h in np.array_split(items, 2)]
    onsets, strengths = [], []
    with tqdm(
        total=len(samples + halves), desc="stability", unit="sample", disable=not progress, leave=False
    ) as bar:
        for sample in [*samples, *halves]:
            onsets.append(search.onset(sample))
            if temperature is not None:
                strengths.append(search.strength(sample, temperature, control))
            bar.update()
    count, share = len(samples), 1 - size / n
    values = [max(onset, lowest) for onset, lowest in onsets]
    without = [lowest for onset, lowest in onsets[:count] if onset == 0]
    value = _estimate(values, count, share, rtol)
    if len(without) == count:  # an upper bound is no estimate
        half = value.half if any(onset for onset, _ in onsets[count:]) else 0 * value.half
        value = value._replace(value=0.0, error=max(without), half=half)
    return OwnPairs(
        *value,
        without=len(without),
        lowest=max(without, default=float(low)),
        strength=_estimate(strengths, count, share, rtol) if strengths else None,
        temperature=temperature,
        matched=False,
        asymmetry=whole.asymmetry,
        parts=found.number,
        sample_parts=float(np.mean([parts(sample.coupling).number for sample in samples])),
        n=n,
        size=size,
        d=d,
    )


def _size(size: int | None, n: int) -> int:
    if n < 3:
        raise ValueError(f"coupling must have at least 3 items, got {n}")
    if size is None:
        return min(64, n)
    check_count("size", size, minimum=min(_HALVES, n))
    if size > n:
        raise ValueError(f"size must be <= {n}, the number of items, got {size}")
    return int(size)


def _estimate(values: list[float], count: int, share: float, rtol: float) -> Estimate:
    """The mean of the first `count` values with its error; the others are those of the halves."""
    draws, halves = np.array(values[:count]), np.array(values[count:])
    mean = float(draws.mean())
    if not len(halves) or not np.isfinite(values).all():
        error = rtol * mean if np.isfinite(mean) else np.nan
        return Estimate(mean, error, draws, float(halves.mean()) if len(halves) else np.nan, 0.0)
    half, spread = float(halves.mean()), float(draws.std(ddof=1)) / count**0.5
    return Estimate(mean, float(np.hypot(spread, share * (mean - half))), draws, half, spread)
