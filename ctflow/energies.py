"""Deterministic energies of clouds: callables `clouds → scalar` that add and scale.

Each part has the sign with which it enters the large-batch InfoNCE energy
J_τ = (1/τ)∫U dq - H_×(q, ρ̃), where ρ̃ = Γ/V is the kernel-smoothed density and
H_×(q, ρ̃) = -∫log ρ̃ dq (arXiv 2601.19597). Energies do not depend on time; flows move the clouds.
"""

import math
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_choice, check_numbers, check_positive, is_concrete
from ctflow._base.pytree import assign, converted, positive, pytree, static
from ctflow.clouds import WeightedCloud, described, is_pair, mean, points
from ctflow.couplings import Coupling, check_coupling
from ctflow.energy import (
    Between,
    Component,
    Energy,
    Function,
    Scalar,
    Scaled,
    Sum,
    as_energy,
    check_energy,
    prepared,
    terms_of,
)
from ctflow.kernels import Exponential, Kernel, as_kernel
from ctflow.partition import log_partition, mean_log_partition, mean_log_partitions
from ctflow.partition.plan import check_kernel, check_sums
from ctflow.partition.staged import unplanned
from ctflow.potentials import as_potential, check_parameters, evaluate

__all__ = [
    "Alignment",
    "Between",
    "Component",
    "CrossEntropy",
    "Energy",
    "Function",
    "InBatch",
    "LogVolume",
    "Potential",
    "Scaled",
    "SmoothedEntropy",
    "Sum",
    "Symmetric",
    "SymmetricDivergence",
    "as_energy",
    "check_energy",
    "directional",
    "log_density",
    "positive",
    "pytree",
    "static",
    "symmetric",
    "symmetric_in_fields",
    "unimodal",
]


def log_density(z: Float[AnyArray, "n d"], cloud: Any, kernel: Kernel, **options: Any) -> Float[Array, " n"]:
    """Smoothed log density of a cloud at points z: log Γ(z_i) - log V, w.r.t. the uniform law.

    Args:
        z: points [n, d].
        cloud: the cloud.
        kernel: a kernel of `ct.kernels`.
        options: `exclude_self`, `method`, `rtol` and others of `ct.log_partition`.
    """
    y = points(cloud)
    values = log_partition(z, y, kernel, weights=_own_weights(cloud), **options)
    return values - kernel.log_volume(y.shape[1], y.dtype)


def _own_weights(cloud: Any) -> Any:
    """The weights of a `WeightedCloud`, None for other clouds."""
    return cloud.weights if isinstance(cloud, WeightedCloud) else None


def _check_pair(clouds: Any) -> None:
    if not is_pair(clouds):
        raise ValueError(f"this energy is of two clouds: pass ct.Pair(x, y), got {described(clouds)}")


def _check_single(clouds: Any) -> None:
    if isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud):
        raise ValueError(
            f"this energy is of one cloud [n, d], got several: {described(clouds)}; pass one of them, or "
            f"make it an energy of the first: ct.energies.Component(energy, index=0)"
        )


class Potential(Energy):
    """(1/τ)∫U dq, the alignment energy of one cloud in a potential."""

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
        _check_pair(clouds)
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
        _check_pair(clouds)


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
    """

    def terms(self, clouds):
        """`symmetric_divergence`: ½[D̃(1‖2) + D̃(2‖1)]."""
        log_rho = self._mean_log_densities(clouds)
        return {"symmetric_divergence": (log_rho["11"] - log_rho["12"] + log_rho["22"] - log_rho["21"]) / 2}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds."""
        _check_pair(clouds)


@pytree
class Symmetric(Energy):
    """J^Sym = ½(J_{1→2} + J_{2→1}), the large-batch limit of the symmetric InfoNCE loss on two clouds.

    The loss itself tends to J^Sym + log V + log N. Where the temperature is learned, add
    `LogVolume(kernel)`: the slope of J^Sym in τ alone is not that of the loss.

    Args:
        coupling: the law of positive pairs.
        temperature: τ > 0 of the alignment; the kernel's own by default. A τ that is the kernel's is stored
            once, so that `jax.grad`, sweeps and `dataclasses.replace(energy, kernel=...)` change it in both.
        kernel: smooths both clouds; `Exponential(τ)`, InfoNCE's own, by default.
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.

    Raises:
        ValueError: neither a temperature nor a kernel that has one; one out of range.
    """

    coupling: Coupling
    kernel: Kernel
    own_temperature: Real | None = positive(optional=True)
    method: str = static()
    rtol: float | None = static()

    def __init__(
        self,
        coupling: Coupling,
        *,
        temperature: Any = None,
        kernel: Any = None,
        own_temperature: Any = None,
        method: str = "auto",
        rtol: float | None = None,
    ):
        own = own_temperature if temperature is None else temperature
        if own is not None and is_concrete(own):
            check_positive("temperature", own)
        if kernel is None:
            kernel, own = Exponential(own if own is not None else jnp.nan), None
        kernel = as_kernel(kernel)
        if own is None and not hasattr(unplanned(kernel), "temperature"):
            raise ValueError("temperature is required beside a kernel that has none, got None")
        check_sums(method, rtol)
        assign(self, coupling=coupling, kernel=kernel, own_temperature=own, method=method, rtol=rtol)
        check_numbers(self)

    @property
    def temperature(self) -> Any:
        """τ of the alignment."""
        own: Any = unplanned(self.kernel)
        return own.temperature if self.own_temperature is None else self.own_temperature

    def _cross_entropies(self) -> CrossEntropy:
        return CrossEntropy(self.kernel, direction="both", method=self.method, rtol=self.rtol)

    def _sum(self) -> Energy:
        return Alignment(self.coupling, temperature=self.temperature) + 0.5 * self._cross_entropies()

    def terms(self, clouds):
        """`alignment`, `negative_cross_entropy_12` and `negative_cross_entropy_21`: they add up to J^Sym.

        J^Sym = alignment - ½H_×(q_1, ρ̃_2) - ½H_×(q_2, ρ̃_1). The second and third term are each half of the
        term of `CrossEntropy` with the same name: ½∫log ρ̃_b dq_a.
        """
        return terms_of(self._sum(), clouds)

    def free_energies(self, clouds: Any) -> dict[str, Scalar]:
        """The other split of J^Sym: a free energy per cloud, minus the divergences that part the clouds.

        J^Sym = ½(free_energy_12 + free_energy_21) - ½(divergence_12 + divergence_21)

        with free_energy_ab = F̃_ab = alignment + ∫log ρ̃_a dq_a and divergence_ab = D̃(a‖b) =
        ∫log(ρ̃_a/ρ̃_b) dq_a, in nats. Exact at every kernel width (arXiv 2601.19597). Adding
        `SymmetricDivergence` to J^Sym leaves the mean of the free energies.

        Raises:
            ValueError: as for the energy itself.
        """
        clouds = prepared(self, clouds, "clouds")
        alignment = terms_of(Alignment(self.coupling, temperature=self.temperature), clouds)["alignment"]
        log_rho = self._cross_entropies()._mean_log_densities(clouds)
        return {
            "free_energy_12": alignment + log_rho["11"],
            "free_energy_21": alignment + log_rho["22"],
            "divergence_12": log_rho["11"] - log_rho["12"],
            "divergence_21": log_rho["22"] - log_rho["21"],
        }

    def check(self, clouds):
        """Raise ValueError unless there are two clouds that the coupling fits."""
        self._sum().check(clouds)

    def lower_bound(self, d: int, dtype=None) -> Scalar:
        """-I(π) - log V <= J^Sym for every pair of clouds on S^{d-1}, I(π) the mutual information.

        Exact for the `Exponential` kernel at the energy's own temperature.
        """
        check_kernel(self.kernel)
        information = jnp.asarray(self.coupling.mutual_information(), dtype)
        return -information - self.kernel.log_volume(d, dtype)


class InBatch(Energy):
    """The InfoNCE loss of one batch of pairs (x_i, y_i): every other row of the batch is a negative.

    With `negatives="other"` it is CLIP's loss (arXiv 2103.00020), the mean over both directions of
    -⟨x_i, y_i⟩/τ + log Σ_j e^{⟨x_i, y_j⟩/τ}. It equals J^Sym + log V + log n for the paired coupling and the
    kernel `Exponential(τ)`. With `negatives="all"` it is SimCLR's (arXiv 2002.05709): each of the 2n rows is
    an anchor, against all rows but itself. On a CPU the scores of more than 1024 rows are never stored.

    Args:
        temperature: τ > 0.
        negatives: `other`, the rows of the other cloud, or `all`, the rows of both.
        method: of the sums, as in `ct.log_partition`.
        rtol: of the sums, as in `ct.log_partition`.
    """

    _: KW_ONLY
    temperature: Real = positive()
    negatives: str = static(default="other")
    method: str = static(default="auto")
    rtol: float | None = static(default=None)

    def __post_init__(self):
        check_choice("negatives", self.negatives, ("other", "all"))
        check_sums(self.method, self.rtol)

    def terms(self, clouds):
        """`alignment`, and for `other` `log_sum_12` and `log_sum_21`, for `all` `log_sum`: means, in nats."""
        (x, y), options = clouds, {"method": self.method, "rtol": self.rtol}
        n, kernel = x.shape[0], Exponential(self.temperature)
        alignment = {"alignment": -jnp.mean(jnp.sum(x * y, axis=1)) / self.temperature}
        if self.negatives == "all":
            z = jnp.concatenate([x, y])
            others = mean_log_partition(z, z, kernel, exclude_self=True, **options)
            return alignment | {"log_sum": others + math.log(2 * n - 1)}
        sums = mean_log_partitions(x, y, kernel, **options)
        names = "log_sum_12", "log_sum_21"
        return alignment | {name: (mean + math.log(n)) / 2 for name, mean in zip(names, sums, strict=True)}

    def check(self, clouds):
        """Raise ValueError unless there are two clouds of as many points, of equal weight."""
        _check_pair(clouds)
        x, y = points(clouds)
        if x.shape[0] != y.shape[0] or any(isinstance(cloud, WeightedCloud) for cloud in clouds):
            raise ValueError(
                "a batch is two clouds of n paired rows without weights, got "
                f"{described(clouds)}; for other couplings and weights use ct.energies.symmetric"
            )


def unimodal(
    potential: Any, *, temperature: Real, kernel: Kernel | None = None, exclude_self: bool = False
) -> Energy:
    """J_τ(q) = (1/τ)∫U dq - H_×(q, ρ̃), the large-batch energy of one modality.

    Args:
        potential: U, of `ct.potentials` or any function of one point [d].
        temperature: τ > 0.
        kernel: smooths the cloud; `Exponential(τ)`, InfoNCE's own, by default. The sharper it is, the
            closer the equilibrium is to the Gibbs measure exp(-U/τ), as long as particles fill it.
        exclude_self: whether each point's density leaves out the point itself, as in SimCLR's loss.
    """
    kernel = Exponential(temperature) if kernel is None else kernel
    return Potential(potential, temperature=temperature) + SmoothedEntropy(kernel, exclude_self=exclude_self)


def directional(
    coupling: Coupling, *, temperature: Real, direction: str = "12", kernel: Kernel | None = None
) -> Energy:
    """J_{1→2} = (1/τ)∫U_{12} dq_1 - H_×(q_1, ρ̃_2) on a Pair (`direction="21"`: anchors in y)."""
    kernel = Exponential(temperature) if kernel is None else kernel
    return Alignment(coupling, temperature=temperature) + CrossEntropy(kernel, direction=direction)


def symmetric(coupling: Coupling, *, temperature: Real, kernel: Kernel | None = None) -> Symmetric:
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair, with InfoNCE's own kernel `Exponential(τ)` by default.

    To learn τ, descend `symmetric(coupling, temperature=tau) + LogVolume(Exponential(tau))` in it.
    """
    return Symmetric(coupling, temperature=temperature, kernel=kernel)


def symmetric_in_fields(
    potential_12: Any, potential_21: Any, *, temperature: Real, kernel: Kernel | None = None
) -> Energy:
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair with fixed fields U_12(z), U_21(w) in place of a coupling."""
    kernel = Exponential(temperature) if kernel is None else kernel
    fields = (Potential(u, temperature=temperature) for u in (potential_12, potential_21))
    first, second = (0.5 * Component(field, index=i) for i, field in enumerate(fields))
    return first + second + 0.5 * CrossEntropy(kernel, direction="both")
