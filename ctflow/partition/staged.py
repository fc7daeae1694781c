"""Kernels that carry the plan of their sums into compiled functions, and one attempt of a sum at a time."""

from collections.abc import Callable
from dataclasses import KW_ONLY, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ctflow._base.checks import check_count, is_concrete
from ctflow._base.pytree import static
from ctflow.kernels import Exponential, Kernel
from ctflow.partition.harmonics import DEGREE_STEP
from ctflow.partition.plan import EVALUATIONS, attempts_in, worthwhile_degrees
from ctflow.partition.scaling import is_bounded


class Planned(Kernel):
    """A kernel together with the degrees and options of its sums, chosen beforehand.

    Under `jax.jit` a temperature is a tracer, so no degree can be derived from it. This wrapper carries the
    degrees instead. `solve` and `evolve` wrap every kernel of an energy by themselves.

    Args:
        kernel: the kernel itself.
        degrees: degree in the points' dtype and in float64, multiples of 8, or None for exact sums.
        rtol: as in `log_partition`.
        mesh: as in `log_partition`.
        only: the number of the only attempt of a spectral sum: 0 in the points' dtype, then in float64, then
            exact. An attempt without a proof is NaN, which the caller must notice. By default all attempts
            are in the program, each used where the one before is not proven.
        bounded: whether the kernel is monotone in the cosine and the range of log κ small enough that
            an exact sum needs only one exponential per pair (for `Exponential`, τ > 0.025 in float32 and
            τ > 0.0032 in float64). A range that turns out larger gives NaN, which the caller must notice.
    """

    kernel: Kernel
    _: KW_ONLY
    degrees: tuple[int, int] | None = static(default=None)
    rtol: float | None = static(default=None)
    mesh: Mesh | None = static(default=None)
    only: int | None = static(default=None)
    bounded: bool = static(default=False)

    def __post_init__(self):
        if self.only is not None:
            check_count("only", self.only, minimum=0)
        for degree in self.degrees or ():
            check_count("degrees", degree, minimum=DEGREE_STEP)
            if degree % DEGREE_STEP:
                raise ValueError(f"degrees must be multiples of {DEGREE_STEP}, got {self.degrees}")

    def log_kernel(self, cosine):
        """Log κ of the wrapped kernel."""
        return self.kernel.log_kernel(cosine)

    def log_volume(self, d, dtype=None):
        """Log V of the wrapped kernel."""
        return self.kernel.log_volume(d, dtype)

    def degree_coefficients(self, d, max_degree):
        """Eigenvalues of the wrapped kernel."""
        return self.kernel.degree_coefficients(d, max_degree)


def exponential(temperature: Any, *, lowest: float, dtype: Any) -> Planned:
    """`Exponential(τ)` for a traced τ that is never below `lowest`, so that exact sums know its range.

    Below it, a sum over points of this dtype may be NaN.
    """
    return Planned(Exponential(temperature), bounded=is_bounded(Exponential(lowest), dtype))


def planned(
    tree: Any, n: int, d: int, dtype: Any, *, mesh: Mesh | None = None, evaluations: int = EVALUATIONS
) -> Any:
    """Wrap each kernel of the tree (an energy) in `Planned`, for sums over clouds [n, d].

    Args:
        tree: a pytree with kernels in it.
        n: number of points of the largest cloud.
        d: dimension of the ambient space.
        dtype: of the points.
        mesh: as in `log_partition`.
        evaluations: how often the sums will be taken; harmonics must be worth their compilation.
    """

    def plan(node: Any) -> Any:
        if not isinstance(node, Kernel) or isinstance(node, Planned):
            return node
        chosen = worthwhile_degrees(node, n, n, d, dtype, None, mesh is not None, evaluations)
        degrees, bounded = None if chosen is None else chosen[:2], is_bounded(node, dtype)
        return Planned(node, degrees=degrees, mesh=mesh, bounded=bounded)

    return jax.tree.map(plan, tree, is_leaf=_is_kernel)


def exactly(tree: Any, dtype: Any) -> Any:
    """Wrap each kernel of the tree (an energy) so that its sums are exact, as second derivatives are."""

    def plan(node: Any) -> Any:
        if not isinstance(node, Kernel):
            return node
        kernel = unplanned(node)
        return Planned(kernel, bounded=is_bounded(kernel, dtype))

    return jax.tree.map(plan, tree, is_leaf=_is_kernel)


def unplanned(kernel: Kernel) -> Kernel:
    """The kernel itself, without the plan that it may carry."""
    return kernel.kernel if isinstance(kernel, Planned) else kernel


def stages(energy: Any, dtype: Any) -> list[Any]:
    """The energy with one attempt of every spectral sum after the other in place of all: the last is exact.

    A sum whose attempt is not proven is NaN. The list is the energy itself if it has no spectral sums.
    """
    if not any(map(_has_attempts, jax.tree.leaves(energy, is_leaf=_is_kernel))):
        return [energy]

    def at(number: int) -> Any:
        return jax.tree.map(
            lambda node: replace(node, only=number) if _has_attempts(node) else node,
            energy,
            is_leaf=_is_kernel,
        )

    return [at(number) for number in range(len(attempts_in(dtype)) + 1)]


def _has_attempts(node: Any) -> bool:
    """Whether this is a kernel whose sums are attempted in harmonics, in a program with all attempts."""
    return isinstance(node, Planned) and node.degrees is not None and node.only is None


def proven(program: Callable[..., Any], energy: Any, clouds: Any) -> Any:
    """`program(energy, clouds)`, where an attempt of its sums is compiled only if the one before fails."""
    if not is_concrete(energy, clouds):
        return program(energy, clouds)
    found = None
    for stage in stages(energy, jax.tree.leaves(clouds)[0].dtype):
        found = program(stage, clouds)
        if all_finite(found):
            break
    return found


def all_finite(tree: Any) -> bool:
    """Whether all numbers of a tree of arrays are finite."""

    def finite(leaf: Any) -> bool:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:  # divided among processes
            return bool(jnp.isfinite(leaf).all())
        return bool(np.isfinite(leaf).all())  # on the host, where nothing need be compiled

    return all(map(finite, jax.tree.leaves(tree)))


def _is_kernel(node: Any) -> bool:
    return isinstance(node, Kernel)
