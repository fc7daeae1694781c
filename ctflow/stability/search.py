"""The onset of instability and the least control of one coupling, quickly enough for many samples."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ctflow.clouds import WeightedCloud, as_dtype, points
from ctflow.stability.control import least_control
from ctflow.stability.shared import SharedEquilibrium, check_rests, precise_clouds, shared_equilibrium
from ctflow.stability.sharing import Shareable
from ctflow.stability.spectrum import Modes, modes


class Search(NamedTuple):
    """The onset of instability and the least control of one coupling."""

    d: int
    loss: Callable[..., Any]
    high: float
    low: float
    scan: int
    rtol: float
    tolerance: float
    options: dict[str, Any]

    def onset(self, sample: Shareable) -> tuple[float, float]:
        """τ*, or 0; and the lowest temperature that was looked at and was no doubt stable, or unstable."""
        near, tau, stable = None, self.high, [(self.high, np.inf)]
        while True:
            shared, lowest = self._at(sample, tau, near)
            if lowest is None:
                return 0.0, stable[-1][0]
            if not lowest.stable:
                break
            near = shared.cloud
            stable.append((tau, float(lowest.value[0])))
            if tau <= self.low:
                return 0.0, tau
            tau = self._next(*stable[-2:])
        if near is None:
            raise ValueError(
                f"overlap is unstable at the highest temperature, {tau:g}, already; raise temperatures[1]"
            )
        above, below = stable[-1][0], tau
        while above - below > self.rtol * above:
            middle = (above * below) ** 0.5
            shared, lowest = self._at(sample, middle, near)
            if lowest is None or lowest.stable:
                near, above = shared.cloud, middle
            else:
                below = middle
        return (above + below) / 2, below

    def _next(self, before: tuple[float, float], here: tuple[float, float]) -> float:
        """The next lower temperature: a step, or less if the lowest curvature would be 0 within it.

        Far below τ* shared clouds span more dimensions, so curvatures take longer.
        """
        (tau0, curvature0), (tau, curvature) = before, here
        step = (self.low / self.high) ** (1 / (self.scan - 1))
        if tau < tau0 and curvature < curvature0:
            zero = (tau / tau0) ** (curvature / (curvature0 - curvature))
            step = min(max(step, 0.98 * zero), step**0.25)
        return max(tau * step, self.low)

    def strength(self, sample: Shareable, temperature: float, control: Any) -> float:
        """λ* of the control."""
        shared = self._shared(sample, temperature, None, starts=3)
        check_rests(shared)
        energy = self.loss(sample.coupling, temperature=temperature)
        narrow = self._narrow(energy, shared)
        options = {"tolerance": self.tolerance, "rtol": self.rtol}
        k = points(narrow.cloud).shape[1]
        found = least_control(energy, control, k, shared=narrow, **options)
        if not found.stays and narrow is not shared:
            found = least_control(energy, control, self.d, shared=shared, **options)
        return found.value

    def _shared(self, sample: Shareable, tau: float, near: Any, starts: int = 1) -> SharedEquilibrium:
        """The shared cloud, in at most one dimension more than it has points: others stay empty."""
        more = {"starts": starts} | self.options | ({} if near is None else {"start": near})
        n = sample.coupling.shape[0]
        return shared_equilibrium(self.loss(sample.coupling, temperature=tau), min(self.d, n + 1), **more)

    def _at(self, sample: Shareable, tau: float, near: Any) -> tuple[SharedEquilibrium, Modes | None]:
        """The shared cloud and its lowest antiphase curvature; None if rounding hides its sign."""
        shared = self._shared(sample, tau, near)
        check_rests(shared)
        energy = self.loss(sample.coupling, temperature=tau)
        narrow = self._narrow(energy, shared)
        with jax.enable_x64(True):
            lowest = modes(
                as_dtype(energy, jnp.float64), precise_clouds(narrow), 1, "antiphase", tolerance=1e9
            )
        moving = lowest.speed > self.tolerance * abs(lowest.fastest)
        return shared, None if moving else lowest

    def _narrow(self, energy: Any, shared: SharedEquilibrium) -> SharedEquilibrium:
        """The shared cloud in the dimensions that it spans, and at least one more for all others."""
        z = np.asarray(points(shared.cloud))
        left, lengths, _ = np.linalg.svd(z, full_matrices=False)
        rank = int(np.sum(lengths > 1e-3 * lengths[0]))
        k = 4
        while k < rank + 1:  # few different k, since each is compiled anew
            k *= 4
        if 2 * k > z.shape[1]:
            return shared
        flat = np.zeros((len(z), k))
        flat[:, :rank] = left[:, :rank] * lengths[:rank]
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        start = shared.cloud._replace(points=flat) if isinstance(shared.cloud, WeightedCloud) else flat
        if np.all(lengths[rank:] <= 1e-6 * lengths[0]):
            return shared._replace(cloud=start)
        options = {name: value for name, value in self.options.items() if name not in ("start", "starts")}
        return shared_equilibrium(energy, k, **options, start=start, starts=0)
