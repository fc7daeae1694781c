"""Deterministic energies of clouds: callables `clouds → scalar` that add and scale.

Each part has the sign with which it enters the large-batch InfoNCE energy
J_τ = (1/τ)∫U dq - H_×(q, ρ̃), where ρ̃ = Γ/V is the kernel-smoothed density and
H_×(q, ρ̃) = -∫log ρ̃ dq (arXiv 2601.19597). An energy knows nothing of time; flows move its clouds.
"""

from dataclasses import KW_ONLY
from functools import reduce
from itertools import product
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._pytree import positive, pytree, static
from ctflow.checks import check_choice, check_numbers
from ctflow.clouds import Pair, WeightedCloud, check_clouds, mean, points, weights
from ctflow.couplings import Coupling, check_coupling
from ctflow.kernels import Exponential, Kernel
from ctflow.partition import log_partition
from ctflow.potentials import as_potential, check_potential

Scalar = Float[Array, ""]


class Energy:
    """Base of energies. `energy(clouds)` is a scalar; `energy.terms(clouds)` names what it is made of."""

    def __call__(self, clouds: Any) -> Scalar:
        """The energy of the clouds, in nats."""
        return reduce(jnp.add, self.terms(clouds).values())

    def terms(self, clouds: Any) -> dict[str, Scalar]:
        """Named scalars. They add up to the energy, unless a class says otherwise."""
        raise NotImplementedError

    def check(self, clouds: Any) -> None:
        """Raise ValueError if the clouds are not of the kind this energy is for."""

    def __add__(self, other: "Energy") -> "Energy":
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum(_parts(self) + _parts(other))

    def __mul__(self, weight: Any) -> "Energy":
        return NotImplemented if isinstance(weight, Energy) else Scaled(self, weight=weight)

    __rmul__ = __mul__

    def __sub__(self, other: "Energy") -> "Energy":
        return self + (-1.0) * other


def _parts(energy: Energy) -> tuple[Energy, ...]:
    return energy.parts if isinstance(energy, Sum) else (energy,)


@pytree
class Sum(Energy):
    """The sum E_1 + E_2 + … of energies."""

    parts: tuple[Energy, ...]

    def __call__(self, clouds):
        """The sum of the parts."""
        return reduce(jnp.add, (part(clouds) for part in self.parts))

    def terms(self, clouds):
        """The terms of every part, as each part defines them; a name that comes again gets a number."""
        merged: dict[str, Scalar] = {}
        for part in self.parts:
            for name, value in part.terms(clouds).items():
                count = sum(key == name or key.startswith(f"{name} (") for key in merged)
                merged[f"{name} ({count + 1})" if count else name] = value
        return merged

    def check(self, clouds):
        """Check every part."""
        for part in self.parts:
            part.check(clouds)


@pytree
class Scaled(Energy):
    """weight · E, terms scaled alike."""

    part: Energy
    _: KW_ONLY
    weight: float

    def __call__(self, clouds):
        """The part's energy times the weight."""
        return self.weight * self.part(clouds)

    def terms(self, clouds):
        """The part's terms times the weight."""
        return {name: self.weight * value for name, value in self.part.terms(clouds).items()}

    def check(self, clouds):
        """Check the part."""
        self.part.check(clouds)


def log_density(z: Float[Array, "n d"], cloud: Any, kernel: Kernel) -> Float[Array, " n"]:
    """Smoothed log density of a cloud at points z: log Γ(z_i) - log V, w.r.t. the uniform law."""
    y = points(cloud)
    total = log_partition(z, y, kernel, weights=cloud.weights if isinstance(cloud, WeightedCloud) else None)
    return total - kernel.log_volume(y.shape[1], y.dtype)


def _check_pair(clouds: Any) -> None:
    if not (isinstance(clouds, Pair) or (type(clouds) is tuple and len(clouds) == 2)):
        raise ValueError(f"this energy is of two clouds: pass ct.Pair(x, y), got {type(clouds).__name__}")


def _check_single(clouds: Any) -> None:
    if isinstance(clouds, Pair) or type(clouds) is tuple:
        raise ValueError("this energy is of one cloud [n, d], got several")


@pytree
class Potential(Energy):
    """(1/τ)∫U dq, the alignment energy of one cloud in a potential."""

    potential: Any
    _: KW_ONLY
    temperature: float = positive()

    def __post_init__(self):
        object.__setattr__(self, "potential", as_potential(self.potential))

    def terms(self, clouds):
        """`potential`: (1/τ)∫U dq."""
        return {"potential": mean(clouds, self.potential(points(clouds))) / self.temperature}

    def check(self, clouds):
        """One cloud, and a potential of its dimension."""
        _check_single(clouds)
        check_potential(self.potential, points(clouds).shape[1])


@pytree
class SmoothedEntropy(Energy):
    """∫log ρ̃ dq = -H_×(q, ρ̃): minus the entropy of one cloud, smoothed by the kernel (the "blob" method)."""

    kernel: Kernel

    def terms(self, clouds):
        """`negative_entropy`: ∫log ρ̃ dq."""
        return {"negative_entropy": mean(clouds, log_density(points(clouds), clouds, self.kernel))}

    def check(self, clouds):
        """One cloud."""
        _check_single(clouds)


@pytree
class Component(Energy):
    """A single-cloud energy of one cloud among several: E(clouds[index])."""

    part: Energy
    _: KW_ONLY
    index: int = static()

    def __call__(self, clouds):
        """The part's energy of that cloud."""
        return self.part(clouds[self.index])

    def terms(self, clouds):
        """The part's terms, numbered by the cloud, from 1."""
        return {f"{name}_{self.index + 1}": v for name, v in self.part.terms(clouds[self.index]).items()}

    def check(self, clouds):
        """Several clouds, and one there that the part is for."""
        if not (isinstance(clouds, Pair) or type(clouds) is tuple) or not 0 <= self.index < len(clouds):
            raise ValueError(f"this energy is of cloud {self.index} of several, got {type(clouds).__name__}")
        self.part.check(clouds[self.index])


@pytree
class Alignment(Energy):
    """(1/τ)∫U_{12} dq_1 = -E_π⟨x_i, y_j⟩/τ, the attraction of positive pairs."""

    coupling: Coupling
    _: KW_ONLY
    temperature: float = positive()

    def terms(self, clouds):
        """`alignment`: -E_π⟨x, y⟩/τ."""
        self.check(clouds)
        return {"alignment": -self.coupling.mean_cosine(*points(clouds)) / self.temperature}

    def check(self, clouds):
        """Two clouds that the coupling fits."""
        _check_pair(clouds)
        (x, y), (p, q) = points(clouds), weights(clouds)
        check_coupling(self.coupling, x.shape[0], y.shape[0], p, q)


@pytree
class CrossEntropy(Energy):
    """∫log ρ̃_b dq_a = -H_×(q_a, ρ̃_b): cloud a is pushed out of where cloud b is dense.

    Args:
        kernel: smooths cloud b.
        direction: `12` for a = x, b = y; `21` for the other way.
    """

    kernel: Kernel
    _: KW_ONLY
    direction: str = static(default="12")

    def __post_init__(self):
        check_choice("direction", self.direction, ("12", "21"))

    def terms(self, clouds):
        """`negative_cross_entropy_ab`: ∫log ρ̃_b dq_a."""
        a, b = clouds if self.direction == "12" else reversed(clouds)
        value = mean(a, log_density(points(a), b, self.kernel))
        return {f"negative_cross_entropy_{self.direction}": value}

    def check(self, clouds):
        """Two clouds."""
        _check_pair(clouds)


def _mean_log_densities(clouds: Any, kernel: Kernel) -> dict[str, Scalar]:
    """∫log ρ̃_b dq_a for every pair of clouds, keyed `ab`."""
    named = dict(zip("12", clouds, strict=True))
    return {
        a + b: mean(named[a], log_density(points(named[a]), named[b], kernel)) for a, b in product("12", "12")
    }


@pytree
class SymmetricDivergence(Energy):
    """½[D̃(1‖2) + D̃(2‖1)] with D̃(a‖b) = ∫log(ρ̃_a/ρ̃_b) dq_a: adding it holds two clouds together."""

    kernel: Kernel

    def terms(self, clouds):
        """`symmetric_divergence`: ½[D̃(1‖2) + D̃(2‖1)]."""
        log_rho = _mean_log_densities(clouds, self.kernel)
        return {"symmetric_divergence": (log_rho["11"] - log_rho["12"] + log_rho["22"] - log_rho["21"]) / 2}

    def check(self, clouds):
        """Two clouds."""
        _check_pair(clouds)


@pytree
class Symmetric(Energy):
    """J^Sym = ½(J_{1→2} + J_{2→1}), the large-batch limit of the symmetric InfoNCE loss on two clouds."""

    coupling: Coupling
    _: KW_ONLY
    temperature: float = positive()
    kernel: Kernel

    def _sum(self) -> Energy:
        return (
            Alignment(self.coupling, temperature=self.temperature)
            + 0.5 * CrossEntropy(self.kernel, direction="12")
            + 0.5 * CrossEntropy(self.kernel, direction="21")
        )

    def __call__(self, clouds):
        """J^Sym in nats."""
        return self._sum()(clouds)

    def terms(self, clouds):
        """What J^Sym is made of, each quantity as defined, in two splits that both give J^Sym.

        J^Sym = alignment - ½(cross_entropy_12 + cross_entropy_21)
              = ½(free_energy_12 + free_energy_21) - ½(divergence_12 + divergence_21)

        with cross_entropy_ab = H_×(q_a, ρ̃_b), free_energy_ab = F̃_ab = alignment + ∫log ρ̃_a dq_a and
        divergence_ab = D̃(a‖b) = ∫log(ρ̃_a/ρ̃_b) dq_a. Exact at every kernel width.
        """
        alignment = Alignment(self.coupling, temperature=self.temperature)(clouds)
        log_rho = _mean_log_densities(clouds, self.kernel)
        return {
            "alignment": alignment,
            "cross_entropy_12": -log_rho["12"],
            "cross_entropy_21": -log_rho["21"],
            "free_energy_12": alignment + log_rho["11"],
            "free_energy_21": alignment + log_rho["22"],
            "divergence_12": log_rho["11"] - log_rho["12"],
            "divergence_21": log_rho["22"] - log_rho["21"],
        }

    def check(self, clouds):
        """Two clouds that the coupling fits."""
        self._sum().check(clouds)

    def lower_bound(self, d: int, dtype=None) -> Scalar:
        """-I(π) - log V <= J^Sym for every pair of clouds on S^{d-1}, I(π) the mutual information.

        Exact for the `Exponential` kernel at the energy's own temperature.
        """
        information = jnp.asarray(self.coupling.mutual_information(), dtype)
        return -information - self.kernel.log_volume(d, dtype)


def unimodal(potential: Any, *, temperature: float, kernel: Kernel | None = None) -> Energy:
    """J_τ(q) = (1/τ)∫U dq - H_×(q, ρ̃), the large-batch energy of one modality.

    Args:
        potential: U, of `ct.potentials` or any function of one point [d].
        temperature: τ > 0.
        kernel: smooths the cloud; `Exponential(τ)`, InfoNCE's own, by default. The sharper it is, the
            closer the equilibrium is to the Gibbs measure exp(-U/τ), as long as particles fill it.
    """
    kernel = Exponential(temperature) if kernel is None else kernel
    return Potential(potential, temperature=temperature) + SmoothedEntropy(kernel)


def directional(
    coupling: Coupling, *, temperature: float, direction: str = "12", kernel: Kernel | None = None
) -> Energy:
    """J_{1→2} = (1/τ)∫U_{12} dq_1 - H_×(q_1, ρ̃_2) on a Pair (`direction="21"`: anchors in y)."""
    kernel = Exponential(temperature) if kernel is None else kernel
    return Alignment(coupling, temperature=temperature) + CrossEntropy(kernel, direction=direction)


def symmetric(coupling: Coupling, *, temperature: float, kernel: Kernel | None = None) -> Symmetric:
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair, with InfoNCE's own kernel `Exponential(τ)` by default."""
    kernel = Exponential(temperature) if kernel is None else kernel
    return Symmetric(coupling, temperature=temperature, kernel=kernel)


def symmetric_in_fields(
    potential_12: Any, potential_21: Any, *, temperature: float, kernel: Kernel | None = None
) -> Energy:
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair with fixed fields U_12(z), U_21(w) in place of a coupling."""
    kernel = Exponential(temperature) if kernel is None else kernel
    fields = (Potential(u, temperature=temperature) for u in (potential_12, potential_21))
    first, second = (0.5 * Component(field, index=i) for i, field in enumerate(fields))
    return (
        first
        + second
        + 0.5 * CrossEntropy(kernel, direction="12")
        + 0.5 * CrossEntropy(kernel, direction="21")
    )


def check_energy(energy: Any, clouds: Any, *, name: str = "start") -> Any:
    """Check an energy's numbers and that the clouds are of its kind; returns the clouds as JAX arrays."""
    if not isinstance(energy, Energy):
        raise ValueError(f"energy must be an Energy of ct.energies, got {type(energy).__name__}")
    check_numbers(energy)
    clouds = check_clouds(name, clouds)
    energy.check(clouds)
    return clouds
