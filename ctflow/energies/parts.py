"""The parts of the energies: alignment, smoothed entropies and cross-entropies, divergence."""

from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_choice
from ctflow._base.pytree import converted, positive, static
from ctflow.clouds import WeightedCloud, described, is_pair, mean, points, weights
from ctflow.couplings import Coupling, check_coupling
from ctflow.energy import (
    Energy,
    Scalar,
)
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition import log_partition, mean_log_partition, mean_log_partitions
from ctflow.partition.plan import check_sums
from ctflow.potentials import as_potential, check_parameters, evaluate


def log_density(z: Float[AnyArray, "n d"], cloud: Any, kernel: Kernel, **options: Any) -> Float[Array, " n"]:
    """Log density of a cloud, smoothed by the kernel, with respect to the uniform law: log Γ(z_i) - log V.

    Args:
        z: points [n, d].
        cloud: the cloud.
        kernel: a kernel of `ct.kernels`.
        options: `exclude_self`, `method`, `rtol` and others of `ct.log_partition`.
    """
    y = points(cloud)
    values = log_partition(z, y, kernel, weights=_own_weights(cloud), **options)
    return values - kernel.log_volume(y.shape[1], y.dtype)


def mean_kernel(kernel: Kernel, a: Any, b: Any) -> Scalar:
    """E κ(x, y) for independent x of cloud a and y of cloud b; all pairs count, a point with itself too."""
    x = points(a)
    y = x if b is a else points(b)
    return mean(a, jnp.exp(log_partition(x, y, kernel, weights=_own_weights(b))))


def _own_weights(cloud: Any) -> Any:
    """The weights of a `WeightedCloud`, None for other clouds."""
    return cloud.weights if isinstance(cloud, WeightedCloud) else None


def check_pair(clouds: Any) -> None:
    """Raise ValueError unless there are two clouds."""
    if not is_pair(clouds):
        raise ValueError(f"this energy is of two clouds: pass ct.Pair(x, y), got {described(clouds)}")


def _check_single(clouds: Any) -> None:
    if isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud):
        raise ValueError(
            f"this energy is of one cloud [n, d], got several: {described(clouds)}; pass one of them, or "
            f"make it an energy of the first: ct.energies.Component(energy, index=0)"
        )


class Potential(Energy):
    """(1/τ)∫U dq, the alignment energy of one cloud in a potential.

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 1.0])
        >>> energy = ct.energies.Potential(up, temperature=0.5)
        >>> float(energy(jnp.array([[0.0, 1.0], [1.0, 0.0]])))
        -1.0
    """

    potential: Any = converted(converter=as_potential)
    _: KW_ONLY
    temperature: Real = positive()

    def terms(self, clouds):
        """`potential`: (1/τ)∫U dq."""
        return {"potential": mean(clouds, evaluate(self.potential, points(clouds))) / self.temperature}

    def check(self, clouds):
        """Raise ValueError unless there is one cloud and the potential's parameters are in range."""
        _check_single(clouds)
        check_parameters(self.potential)


class _Smoothed(Energy):
    """Base of energies of smoothed densities: their kernel, and how sums over it are taken."""

    kernel: Kernel = converted(converter=as_kernel)
    _: KW_ONLY
    method: str = static(default="auto")
    rtol: float | None = static(default=None)

    def __post_init__(self):
        check_sums(self.method, self.rtol)

    def _mean_log_density(self, a: Any, b: Any, **options: Any) -> Scalar:
        """∫log ρ̃_b dq_a."""
        options |= {"method": self.method, "rtol": self.rtol, "weights": (_own_weights(a), _own_weights(b))}
        found = mean_log_partition(x := points(a), points(b), self.kernel, **options)
        return found - self.kernel.log_volume(x.shape[1], x.dtype)

    def _mean_log_densities_between(self, clouds: Any) -> dict[str, Scalar]:
        """∫log ρ̃_2 dq_1 and ∫log ρ̃_1 dq_2, keyed `12` and `21`, from one pass over the pairs."""
        (x, y), w = points(clouds), tuple(map(_own_weights, clouds))
        means = mean_log_partitions(x, y, self.kernel, weights=w, method=self.method, rtol=self.rtol)
        log_volume = self.kernel.log_volume(x.shape[1], x.dtype)
        return {direction: found - log_volume for direction, found in zip(("12", "21"), means, strict=True)}

    def _mean_log_densities(self, clouds: Any) -> dict[str, Scalar]:
        """∫log ρ̃_b dq_a for every ordered pair of two clouds, keyed `ab`."""
        own = {a + a: self._mean_log_density(cloud, cloud) for a, cloud in zip("12", clouds, strict=True)}
        return own | self._mean_log_densities_between(clouds)


class SmoothedEntropy(_Smoothed):
    """∫log ρ̃ dq = -H_×(q, ρ̃): minus the entropy of one cloud, smoothed by the kernel (the "blob" method).

    Args:
        kernel: smooths the cloud.
        exclude_self: whether each point's density leaves out the point itself, as the denominator of SimCLR's
            loss leaves out the anchor (arXiv 2002.05709).
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.
    """

    exclude_self: bool = static(default=False)

    def terms(self, clouds):
        """`negative_entropy`: ∫log ρ̃ dq."""
        return {"negative_entropy": self._mean_log_density(clouds, clouds, exclude_self=self.exclude_self)}

    def check(self, clouds):
        """Raise ValueError unless there is one cloud."""
        _check_single(clouds)


class PooledEntropy(_Smoothed):
    """∫log ρ̃ dm = -H_×(m, ρ̃) of the pooled law m = ½(q_1 + q_2): every point is kept from all others.

    Args:
        kernel: smooths the pooled law.
        exclude_self: whether each point's density leaves out the point itself.
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.
    """

    exclude_self: bool = static(default=False)

    def terms(self, clouds):
        """`negative_entropy`: ∫log ρ̃ dm."""
        pool = jnp.concatenate(points(clouds))
        if any(isinstance(cloud, WeightedCloud) for cloud in clouds) or len({len(z) for z in clouds}) > 1:
            pool = WeightedCloud(pool, jnp.concatenate([weights(cloud) for cloud in clouds]) / 2)
        return {"negative_entropy": self._mean_log_density(pool, pool, exclude_self=self.exclude_self)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


class Alignment(Energy):
    """(1/τ)∫U_{12} dq_1 = -E_π⟨x_i, y_j⟩/τ, the attraction of positive pairs."""

    coupling: Coupling
    _: KW_ONLY
    temperature: Real = positive()

    def terms(self, clouds):
        """`alignment`: -E_π⟨x, y⟩/τ."""
        return {"alignment": -self.coupling.mean_cosine(*points(clouds)) / self.temperature}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds that the coupling fits."""
        check_pair(clouds)
        check_coupling(self.coupling, clouds)


class CrossEntropy(_Smoothed):
    """∫log ρ̃_b dq_a = -H_×(q_a, ρ̃_b): cloud a is pushed out of where cloud b is dense.

    Args:
        kernel: smooths cloud b.
        direction: `12` for a = x, b = y; `21` for the other way; `both` for the sum of the two, from one
            pass over the pairs.
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.
    """

    direction: str = static(default="12")

    def __post_init__(self):
        super().__post_init__()
        check_choice("direction", self.direction, ("12", "21", "both"))

    def terms(self, clouds):
        """`negative_cross_entropy_ab`: ∫log ρ̃_b dq_a."""
        if self.direction == "both":
            found = self._mean_log_densities_between(clouds)
            return {f"negative_cross_entropy_{direction}": value for direction, value in found.items()}
        a, b = clouds if self.direction == "12" else reversed(clouds)
        return {f"negative_cross_entropy_{self.direction}": self._mean_log_density(a, b)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)


class LogVolume(Energy):
    """log V of the kernel: it moves no point, but is the part of the loss's slope in τ that J leaves out.

    InfoNCE's loss tends to J + log V + log N (arXiv 2601.19597). With the kernel's temperature learned,
    descend J + log V: dJ/dτ alone is not the loss's slope, and descending J in τ does not stop where the
    loss does.
    """

    kernel: Kernel = converted(converter=as_kernel)

    def terms(self, clouds):
        """`log_volume`: log V, in nats."""
        z = jax.tree.leaves(points(clouds))[0]
        return {"log_volume": self.kernel.log_volume(z.shape[1], z.dtype)}


class SymmetricDivergence(_Smoothed):
    """½[D̃(1‖2) + D̃(2‖1)] with D̃(a‖b) = ∫log(ρ̃_a/ρ̃_b) dq_a: adding it holds two clouds together.

    Args:
        kernel: smooths both clouds.
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> x = ct.sphere.uniform(jax.random.key(0), n=50, d=3)
        >>> divergence = ct.energies.SymmetricDivergence(ct.kernels.Exponential(0.2))
        >>> float(divergence(ct.Pair(x, x))), bool(divergence(ct.Pair(x, -x)) > 0)
        (0.0, True)
        >>> loss = ct.energies.symmetric(ct.couplings.paired(50), temperature=0.2)
        >>> held_together = loss + 0.1 * divergence
    """

    def terms(self, clouds):
        """`symmetric_divergence`: ½[D̃(1‖2) + D̃(2‖1)]."""
        log_rho = self._mean_log_densities(clouds)
        return {"symmetric_divergence": (log_rho["11"] - log_rho["12"] + log_rho["22"] - log_rho["21"]) / 2}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        check_pair(clouds)
