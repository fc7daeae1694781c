"""The base of energies: a value and terms that agree, checks of the clouds, and arithmetic of energies."""

import re
from collections.abc import Iterable
from dataclasses import KW_ONLY
from functools import partial, reduce, wraps
from itertools import chain, count
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow._base.annotations import Real
from ctflow._base.checks import check_count, check_numbers
from ctflow._base.pytree import Registered, check_registered, static
from ctflow.clouds import Clouds, Pair, WeightedCloud, check_clouds, described

Scalar = Float[Array, ""]


def _checked(method: Any, name: str) -> Any:
    """An energy's method with checks of clouds and result around it; `bare` is the method itself."""

    @wraps(method)
    def on_checked_clouds(self, clouds):
        found = method(self, prepared(self, clouds, "clouds"))
        return _scalars(f"{type(self).__name__}.{name}", found)

    setattr(on_checked_clouds, "bare", method)  # noqa: B010
    return on_checked_clouds


def _scalars(name: str, found: Any) -> Any:
    """Return what a method returned, or raise unless it is a number or, for `terms`, a dict of them."""
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
    """The method without its checks."""
    return getattr(method, "bare", method)


def _sum_of_terms(cls: Any) -> Any:
    """A `__call__` for a class that defines `terms` only: the sum of the terms."""

    def value(self, clouds):
        """The sum of the terms."""
        try:
            terms = _scalars(f"{cls.__name__}.terms", _bare(cls.terms)(self, clouds))
            return reduce(jnp.add, terms.values())
        except RecursionError:
            raise _calls_itself(cls, "terms", "__call__") from None

    setattr(value, "sums_terms", True)  # noqa: B010
    return _checked(value, "__call__")


def _only_term(cls: Any) -> Any:
    """The `terms` of a class that defines `__call__` only: its value, named after the class."""

    def terms(self, clouds):
        """The energy itself as the only term, named after the class."""
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        try:
            return {name: _bare(cls.__call__)(self, clouds)}
        except RecursionError:
            raise _calls_itself(cls, "__call__", "terms") from None

    return _checked(terms, "terms")


def _calls_itself(cls: Any, defined: str, other: str) -> TypeError:
    """The error of a class whose two methods call each other without end."""
    return TypeError(
        f"{cls.__name__}.{defined} never ends: it calls self.{other}, which a class that defines {defined} "
        f"anew does not inherit; call super().{other}(clouds), or define both"
    )


class Energy(Registered, abstract=True):
    """Base class of energies. `energy(clouds)` is a scalar, `energy.terms(clouds)` names what adds up to it.

    Both check the clouds first, in every subclass: number of clouds, shapes, dimension and dtype; and, where
    they are not traced, that all points are finite and on the sphere.

    A subclass defines `terms` (its value is then their sum), or `__call__` (its only term is then its value),
    or both. A class that redefines one of them does not inherit the other, so that they always agree. A
    subclass is a frozen dataclass registered with JAX: its annotated fields are its numbers, and fields of
    `ct.static()` are not differentiated. Energies can be added, subtracted, negated, and scaled by a number.
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
            if "_value_and_terms" not in cls.__dict__:  # one that is inherited knows the inherited methods
                cls._value_and_terms = Energy._value_and_terms

    @partial(_checked, name="__call__")
    def __call__(self, clouds: Clouds) -> Scalar:
        """The energy of the clouds, in nats.

        Raises:
            ValueError: the energy does not accept such clouds, or they are not on the sphere.
        """
        raise NotImplementedError

    @partial(_checked, name="terms")
    def terms(self, clouds: Clouds) -> dict[str, Scalar]:
        """Named scalars that add up to the energy.

        Raises:
            ValueError: as the energy itself.
        """
        raise NotImplementedError

    def check(self, clouds: Any) -> None:
        """Raise ValueError if this energy does not accept such clouds."""

    def _value_and_terms(self, clouds: Any) -> tuple[Any, dict[str, Any]]:
        """Both, for checked clouds; a value that is the sum of the terms is not computed anew."""
        terms = terms_of(self, clouds)
        if getattr(_bare(type(self).__call__), "sums_terms", False):
            return reduce(jnp.add, _scalars(f"{type(self).__name__}.terms", terms).values()), terms
        return value_of(self, clouds), terms

    def __add__(self, other: Any) -> "Energy":
        if not isinstance(other, Energy) and not _is_function(other):
            return NotImplemented
        return Sum(_parts(self) + _parts(as_energy(other)))

    def __radd__(self, other: Any) -> "Energy":
        if isinstance(other, int) and other == 0:  # what the built-in sum starts from
            return self
        return as_energy(other) + self if _is_function(other) else NotImplemented

    def __mul__(self, weight: Any) -> "Energy":
        if isinstance(weight, Energy | str):
            return NotImplemented
        if np.ndim(weight) != 0:
            raise ValueError(f"an energy is scaled by one number, got shape {np.shape(weight)}")
        return Scaled(self, weight=weight)

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> "Energy":
        if isinstance(divisor, Energy | str):
            return NotImplemented
        return self * (1 / divisor)

    def __neg__(self) -> "Energy":
        return -1.0 * self

    def __sub__(self, other: Any) -> "Energy":
        if not isinstance(other, Energy) and not _is_function(other):
            return NotImplemented
        return self + -as_energy(other)

    def __rsub__(self, other: Any) -> "Energy":
        return as_energy(other) - self if _is_function(other) else NotImplemented


class Function(Energy):
    """A plain function of the clouds as an energy; its only term has the function's name."""

    fn: Any = static()

    def terms(self, clouds):
        """The value of the function, under its name."""
        name = getattr(self.fn, "__name__", "function")
        return {"function" if name == "<lambda>" else name: self.fn(clouds)}


def _is_function(other: Any) -> bool:
    return callable(other) and not isinstance(other, type | Energy)


def as_energy(energy: Any) -> Any:
    """Pass energies through and wrap any other function of the clouds in `Function`.

    Raises:
        ValueError: an object of ctflow that is callable but no energy, such as a potential or a kernel.
    """
    if isinstance(energy, Registered) and not isinstance(energy, Energy):
        raise ValueError(
            f"energy must be an energy or a function of the clouds, got {type(energy).__name__}; a potential "
            "becomes one by ct.energies.Potential(potential, temperature=...)"
        )
    return Function(energy) if _is_function(energy) else energy


def value_of(energy: Energy, clouds: Any) -> Any:
    """The energy of clouds that have been checked, as the method returns it."""
    return _bare(type(energy).__call__)(energy, clouds)


def terms_of(energy: Energy, clouds: Any) -> Any:
    """The terms of clouds that have been checked, as the method returns them."""
    return _bare(type(energy).terms)(energy, clouds)


def prepared(energy: Energy, clouds: Any, name: str) -> Any:
    """Check the energy's numbers and the clouds, and return the clouds as JAX arrays; tracers pass."""
    kind = type(energy)
    if kind.__call__ is Energy.__call__ and kind.terms is Energy.terms:
        raise NotImplementedError(f"{kind.__name__} must define __call__(clouds) or terms(clouds)")
    check_numbers(energy)
    clouds = check_clouds(name, clouds)
    energy.check(clouds)
    return clouds


def _merged(parts: Iterable[dict[str, Scalar]]) -> dict[str, Scalar]:
    """The terms of several energies; repeated names, and the name `energy`, get a number."""
    merged: dict[str, Scalar] = {}
    for name, value in chain.from_iterable(part.items() for part in parts):
        names = chain([name], (f"{name} ({number})" for number in count(2)))
        merged[next(key for key in names if key not in merged and key != "energy")] = value
    return merged


def report(energy: Energy, clouds: Any) -> dict[str, Scalar]:
    """The energy, as `energy`, and its terms."""
    value, terms = energy._value_and_terms(prepared(energy, clouds, "clouds"))
    name = type(energy).__name__
    return {"energy": _scalars(f"{name}.__call__", value), **_merged([_scalars(f"{name}.terms", terms)])}


def _parts(energy: Energy) -> tuple[Energy, ...]:
    return energy.parts if isinstance(energy, Sum) else (energy,)


class Sum(Energy):
    """The sum E_1 + E_2 + … of energies."""

    parts: tuple[Energy, ...]

    def __call__(self, clouds):
        """The sum of the parts."""
        return reduce(jnp.add, (value_of(part, clouds) for part in self.parts))

    def terms(self, clouds):
        """The terms of every part; repeated names get a number."""
        return _merged(terms_of(part, clouds) for part in self.parts)

    def _value_and_terms(self, clouds):
        values, terms = zip(*(part._value_and_terms(clouds) for part in self.parts), strict=True)
        return reduce(jnp.add, values), _merged(terms)

    def check(self, clouds):
        """Check every part."""
        for part in self.parts:
            part.check(clouds)


class Scaled(Energy):
    """weight · E; its terms are scaled by the same weight."""

    part: Energy
    _: KW_ONLY
    weight: Real

    def __call__(self, clouds):
        """The part's energy times the weight."""
        return self.weight * value_of(self.part, clouds)

    def terms(self, clouds):
        """The part's terms times the weight."""
        return self._scaled(terms_of(self.part, clouds))

    def _value_and_terms(self, clouds):
        value, terms = self.part._value_and_terms(clouds)
        return self.weight * value, self._scaled(terms)

    def _scaled(self, terms: dict[str, Any]) -> dict[str, Any]:
        return {name: self.weight * value for name, value in terms.items()}

    def check(self, clouds):
        """Check the part."""
        self.part.check(clouds)


def _check_several(clouds: Any, *indices: int) -> None:
    several = isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud)
    if not several or max(indices) >= len(clouds):
        advice = f"index must be <= {len(clouds) - 1}" if several else "pass ct.Pair(x, y)"
        which = " and ".join(map(str, indices))
        raise ValueError(f"this energy is of cloud {which} of several, got {described(clouds)}; {advice}")


class Component(Energy):
    """A single-cloud energy of one cloud among several: E(clouds[index])."""

    part: Energy
    _: KW_ONLY
    index: int = static()

    def __post_init__(self):
        check_count("index", self.index, minimum=0)

    def __call__(self, clouds):
        """The part's energy of that cloud."""
        return value_of(self.part, clouds[self.index])

    def terms(self, clouds):
        """The part's terms, numbered by the cloud, from 1."""
        return self._numbered(terms_of(self.part, clouds[self.index]))

    def _value_and_terms(self, clouds):
        value, terms = self.part._value_and_terms(clouds[self.index])
        return value, self._numbered(terms)

    def _numbered(self, terms: dict[str, Any]) -> dict[str, Any]:
        return {f"{name}_{self.index + 1}": value for name, value in terms.items()}

    def check(self, clouds):
        """Raise ValueError unless there is such a cloud and the part accepts it."""
        _check_several(clouds, self.index)
        self.part.check(clouds[self.index])


class Between(Energy):
    """An energy of two clouds between any two of several: E(clouds[first], clouds[second])."""

    part: Energy
    _: KW_ONLY
    first: int = static()
    second: int = static()

    def __post_init__(self):
        check_count("first", self.first, minimum=0)
        check_count("second", self.second, minimum=0)

    def _pair(self, clouds):
        return Pair(clouds[self.first], clouds[self.second])

    def __call__(self, clouds):
        """The part's energy of those two clouds."""
        return value_of(self.part, self._pair(clouds))

    def terms(self, clouds):
        """The part's terms, numbered by the clouds, from 1."""
        return self._numbered(terms_of(self.part, self._pair(clouds)))

    def _value_and_terms(self, clouds):
        value, terms = self.part._value_and_terms(self._pair(clouds))
        return value, self._numbered(terms)

    def _numbered(self, terms: dict[str, Any]) -> dict[str, Any]:
        numbers = f"{self.first + 1}{self.second + 1}"
        return {f"{name}_of_{numbers}": value for name, value in terms.items()}

    def check(self, clouds):
        """Raise ValueError unless there are two such clouds and the part accepts them."""
        _check_several(clouds, self.first, self.second)
        self.part.check(self._pair(clouds))


def check_energy(energy: Any, clouds: Any, *, name: str = "start") -> Any:
    """Check that an energy is registered with JAX, has numbers in range, and accepts the clouds.

    Returns:
        The clouds as JAX arrays.
    """
    if not isinstance(energy, Energy):
        kind = type(energy).__name__
        if isinstance(energy, type):
            kind = f"the class {energy.__name__} itself; call it with its settings"
        raise ValueError(f"energy must be an Energy of ct.energies or a function of the clouds, got {kind}")
    clouds = prepared(energy, clouds, name)
    check_registered("energy", energy)
    return clouds
