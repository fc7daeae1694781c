"""Deterministic energies of clouds: callables `clouds → scalar` that add and scale.

Each part has the sign with which it enters the large-batch InfoNCE energy
J_τ = (1/τ)∫U dq - H_×(q, ρ̃), where ρ̃ = Γ/V is the kernel-smoothed density and
H_×(q, ρ̃) = -∫log ρ̃ dq (arXiv 2601.19597). An energy knows nothing of time; flows move its clouds.
"""

import re
from collections.abc import Iterable
from dataclasses import KW_ONLY
from functools import partial, reduce, wraps
from itertools import chain, count, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow._pytree import check_registered, positive, pytree, static
from ctflow.checks import check_choice, check_count, check_numbers
from ctflow.clouds import WeightedCloud, check_clouds, described, is_pair, mean, points
from ctflow.couplings import Coupling, check_coupling
from ctflow.kernels import Exponential, Kernel
from ctflow.partition import log_partition
from ctflow.partition.plan import check_kernel
from ctflow.potentials import as_potential, check_parameters, evaluate

Scalar = Float[Array, ""]


def _checked(method: Any, name: str) -> Any:
    """An energy's method as it is called from outside: it checks clouds and result; `.bare` does not."""

    @wraps(method)
    def on_checked_clouds(self, clouds):
        found = method(self, _prepared(self, clouds, "clouds"))
        return _scalars(f"{type(self).__name__}.{name}", found)

    setattr(on_checked_clouds, "bare", method)  # noqa: B010
    return on_checked_clouds


def _scalars(name: str, found: Any) -> Any:
    """What a method of an energy returned, once it is a number or, of `terms`, a dict of such."""
    terms = isinstance(found, dict)
    if name.endswith(".terms") and not (terms and found):
        raise ValueError(f"{name} must return a dict of numbers, at least one, got {found!r}")
    for key, value in found.items() if terms else (("", found),):
        kind = getattr(value, "dtype", type(value).__name__)
        real = isinstance(value, int | float) or (
            hasattr(value, "dtype") and jnp.issubdtype(kind, jnp.floating)
        )
        if not real or jnp.shape(value) != ():
            where = f" for {key!r}" if terms else ""
            raise ValueError(
                f"{name} must return one real number{where}, got {kind} of shape {np.shape(value)}; take a "
                "mean over the points, say"
            )
    return found


def _bare(method: Any) -> Any:
    """The method on clouds that have been checked."""
    return getattr(method, "bare", method)


def _sum_of_terms(cls: Any) -> Any:
    """The value of a class that defines terms only: the sum of those, also if they are replaced later."""

    def value(self, clouds):
        """The sum of the terms."""
        try:
            terms = _scalars(f"{cls.__name__}.terms", _bare(cls.terms)(self, clouds))
            return reduce(jnp.add, terms.values())
        except RecursionError:
            raise _calls_itself(cls, "terms", "__call__") from None

    return _checked(value, "__call__")


def _only_term(cls: Any) -> Any:
    """The terms of a class that defines its value only: that one, named after the class."""

    def terms(self, clouds):
        """The energy itself as the only term, named after the class."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        try:
            return {name: _bare(cls.__call__)(self, clouds)}
        except RecursionError:
            raise _calls_itself(cls, "__call__", "terms") from None

    return _checked(terms, "terms")


def _calls_itself(cls: Any, defined: str, other: str) -> TypeError:
    """The error of a class that defines one method by the other, which it does not inherit."""
    return TypeError(
        f"{cls.__name__}.{defined} never ends: it calls self.{other}, which a class that defines {defined} "
        f"anew does not inherit; call super().{other}(clouds), or define both"
    )


class Energy:
    """Base of energies. `energy(clouds)` is a scalar, `energy.terms(clouds)` names what adds up to it.

    Both check the clouds first, in every subclass: shapes, dimension, dtype and how many clouds there are;
    of clouds that are not traced also the numbers (finite, on the sphere).

    A subclass defines `terms` (the energy is then their sum), or `__call__` (the energy is then its only
    term), or both. A class that defines one of them anew does not inherit the other, so that they always
    agree. For `ct.solve` JAX must know the class: decorate it with `pytree`, which makes it a frozen
    dataclass.
    """

    __array_ufunc__ = None  # NumPy's numbers leave arithmetic with energies to them

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        value, terms = (
            method if hasattr(method, "bare") else _checked(method, name)
            for method, name in ((cls.__call__, "__call__"), (cls.terms, "terms"))
        )
        own_value, own_terms = value is not cls.__call__, terms is not cls.terms
        if own_value or own_terms:
            cls.__call__ = value if own_value else _sum_of_terms(cls)
            cls.terms = terms if own_terms else _only_term(cls)

    @partial(_checked, name="__call__")
    def __call__(self, clouds: Any) -> Scalar:
        """The energy of the clouds, in nats.

        Raises:
            ValueError: clouds that are not of the kind this energy is for, or not on the sphere.
        """
        raise NotImplementedError

    @partial(_checked, name="terms")
    def terms(self, clouds: Any) -> dict[str, Scalar]:
        """Named scalars that add up to the energy.

        Raises:
            ValueError: as the energy itself.
        """
        raise NotImplementedError

    def check(self, clouds: Any) -> None:
        """Raise ValueError if the clouds are not of the kind this energy is for."""

    def __add__(self, other: "Energy") -> "Energy":
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum(_parts(self) + _parts(other))

    def __mul__(self, weight: Any) -> "Energy":
        if isinstance(weight, Energy | str):
            return NotImplemented
        if np.ndim(weight) != 0:
            raise ValueError(f"an energy is scaled by one number, got shape {np.shape(weight)}")
        return Scaled(self, weight=weight)

    __rmul__ = __mul__

    def __sub__(self, other: "Energy") -> "Energy":
        return self + (-1.0) * other


def _value(energy: Energy, clouds: Any) -> Scalar:
    """The energy of clouds that have been checked."""
    return _bare(type(energy).__call__)(energy, clouds)


def _terms(energy: Energy, clouds: Any) -> dict[str, Scalar]:
    """Its terms on clouds that have been checked."""
    return _bare(type(energy).terms)(energy, clouds)


def _prepared(energy: Energy, clouds: Any, name: str) -> Any:
    """The clouds as JAX arrays, once the energy's numbers and they are checked: whatever is not traced."""
    kind = type(energy)
    if kind.__call__ is Energy.__call__ and kind.terms is Energy.terms:
        raise NotImplementedError(f"{kind.__name__} must define __call__(clouds) or terms(clouds)")
    check_numbers(energy)
    clouds = check_clouds(name, clouds)
    energy.check(clouds)
    return clouds


def _merged(parts: Iterable[dict[str, Scalar]]) -> dict[str, Scalar]:
    """Terms of several energies; a name that comes again gets a number, and so does that of their sum."""
    merged: dict[str, Scalar] = {}
    for name, value in chain.from_iterable(part.items() for part in parts):
        names = chain([name], (f"{name} ({number})" for number in count(2)))
        merged[next(key for key in names if key not in merged and key != "energy")] = value
    return merged


def report(energy: Energy, clouds: Any) -> dict[str, Scalar]:
    """The energy, as `energy`, and its terms."""
    return {"energy": energy(clouds), **_merged([energy.terms(clouds)])}


def _parts(energy: Energy) -> tuple[Energy, ...]:
    return energy.parts if isinstance(energy, Sum) else (energy,)


@pytree
class Sum(Energy):
    """The sum E_1 + E_2 + … of energies."""

    parts: tuple[Energy, ...]

    def __call__(self, clouds):
        """The sum of the parts."""
        return reduce(jnp.add, (_value(part, clouds) for part in self.parts))

    def terms(self, clouds):
        """The terms of every part; a name that comes again gets a number."""
        return _merged(_terms(part, clouds) for part in self.parts)

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
        return self.weight * _value(self.part, clouds)

    def terms(self, clouds):
        """The part's terms times the weight."""
        return {name: self.weight * value for name, value in _terms(self.part, clouds).items()}

    def check(self, clouds):
        """Check the part."""
        self.part.check(clouds)


def log_density(z: Float[Array, "n d"], cloud: Any, kernel: Kernel) -> Float[Array, " n"]:
    """Smoothed log density of a cloud at points z: log Γ(z_i) - log V, w.r.t. the uniform law."""
    y = points(cloud)
    total = log_partition(z, y, kernel, weights=cloud.weights if isinstance(cloud, WeightedCloud) else None)
    return total - kernel.log_volume(y.shape[1], y.dtype)


def _check_pair(clouds: Any) -> None:
    if not is_pair(clouds):
        raise ValueError(f"this energy is of two clouds: pass ct.Pair(x, y), got {described(clouds)}")


def _check_single(clouds: Any) -> None:
    if isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud):
        raise ValueError(
            f"this energy is of one cloud [n, d], got several: {described(clouds)}; pass one of them, or "
            f"make it an energy of the first: ct.energies.Component(energy, index=0)"
        )


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
        return {"potential": mean(clouds, evaluate(self.potential, points(clouds))) / self.temperature}

    def check(self, clouds):
        """One cloud, and a potential with parameters in range. Its dimension shows when it is evaluated."""
        _check_single(clouds)
        check_parameters(self.potential)


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

    def __post_init__(self):
        check_count("index", self.index, minimum=0)

    def __call__(self, clouds):
        """The part's energy of that cloud."""
        return _value(self.part, clouds[self.index])

    def terms(self, clouds):
        """The part's terms, numbered by the cloud, from 1."""
        return {f"{name}_{self.index + 1}": v for name, v in _terms(self.part, clouds[self.index]).items()}

    def check(self, clouds):
        """Several clouds, and one there that the part is for."""
        several = isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud)
        if not several or self.index >= len(clouds):
            advice = f"index must be <= {len(clouds) - 1}" if several else "pass ct.Pair(x, y)"
            raise ValueError(
                f"this energy is of cloud {self.index} of several, got {described(clouds)}; {advice}"
            )
        self.part.check(clouds[self.index])


@pytree
class Alignment(Energy):
    """(1/τ)∫U_{12} dq_1 = -E_π⟨x_i, y_j⟩/τ, the attraction of positive pairs."""

    coupling: Coupling
    _: KW_ONLY
    temperature: float = positive()

    def terms(self, clouds):
        """`alignment`: -E_π⟨x, y⟩/τ."""
        return {"alignment": -self.coupling.mean_cosine(*points(clouds)) / self.temperature}

    def check(self, clouds):
        """Two clouds that the coupling fits."""
        _check_pair(clouds)
        check_coupling(self.coupling, clouds)


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


@pytree
class LogVolume(Energy):
    """log V of the kernel: no force on any point, but the part of the loss's slope in τ that J leaves out.

    InfoNCE's loss tends to J + log V + log N (arXiv 2601.19597). With the kernel's temperature learned,
    descend J + log V: dJ/dτ alone is not the loss's slope, and descending J in τ does not stop where the
    loss does.
    """

    kernel: Kernel

    def terms(self, clouds):
        """`log_volume`: log V, in nats."""
        z = jax.tree.leaves(points(clouds))[0]
        return {"log_volume": self.kernel.log_volume(z.shape[1], z.dtype)}


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
    """J^Sym = ½(J_{1→2} + J_{2→1}), the large-batch limit of the symmetric InfoNCE loss on two clouds.

    The loss itself tends to J^Sym + log V + log N. Where the temperature is learned, add
    `LogVolume(kernel)`: the slope of J^Sym in τ alone is not that of the loss.
    """

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

    def terms(self, clouds):
        """`alignment`, `negative_cross_entropy_12` and `negative_cross_entropy_21`: they add up to J^Sym.

        J^Sym = alignment - ½H_×(q_1, ρ̃_2) - ½H_×(q_2, ρ̃_1): the second and third term are each half of what
        `CrossEntropy` names so, ½∫log ρ̃_b dq_a.
        """
        return _terms(self._sum(), clouds)

    def free_energies(self, clouds: Any) -> dict[str, Scalar]:
        """The other split of J^Sym: what each cloud is by itself, and what drives the two apart.

        J^Sym = ½(free_energy_12 + free_energy_21) - ½(divergence_12 + divergence_21)

        with free_energy_ab = F̃_ab = alignment + ∫log ρ̃_a dq_a and divergence_ab = D̃(a‖b) =
        ∫log(ρ̃_a/ρ̃_b) dq_a, in nats. Exact at every kernel width (arXiv 2601.19597). Adding
        `SymmetricDivergence` to J^Sym leaves the mean of the free energies.

        Raises:
            ValueError: as the energy itself.
        """
        clouds = _prepared(self, clouds, "clouds")
        alignment = _terms(Alignment(self.coupling, temperature=self.temperature), clouds)["alignment"]
        log_rho = _mean_log_densities(clouds, self.kernel)
        return {
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
        check_kernel(self.kernel)
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
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair, with InfoNCE's own kernel `Exponential(τ)` by default.

    To learn τ, descend `symmetric(coupling, temperature=tau) + LogVolume(Exponential(tau))` in it.
    """
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
    """Check that JAX knows an energy, its numbers, and that the clouds are of its kind.

    Returns:
        The clouds as JAX arrays.
    """
    if not isinstance(energy, Energy):
        raise ValueError(f"energy must be an Energy of ct.energies, got {type(energy).__name__}")
    clouds = _prepared(energy, clouds, name)
    check_registered("energy", energy)
    return clouds
