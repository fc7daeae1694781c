"""The large-batch limits of the losses, made of their parts, and the loss of one batch."""

import math
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp

from ctflow._base.annotations import Real
from ctflow._base.checks import check_choice, check_numbers, check_positive, is_concrete
from ctflow._base.pytree import assign, positive, pytree, static
from ctflow.clouds import WeightedCloud, described, points
from ctflow.couplings import Coupling, check_coupling
from ctflow.energies.parts import (
    Alignment,
    CrossEntropy,
    PooledEntropy,
    Potential,
    SmoothedEntropy,
    check_pair,
    mean_kernel,
)
from ctflow.energy import (
    Component,
    Energy,
    Scalar,
    prepared,
    terms_of,
)
from ctflow.kernels import Exponential, Kernel, Softplus, as_kernel
from ctflow.partition import mean_log_partition, mean_log_partitions
from ctflow.partition.plan import check_kernel, check_sums
from ctflow.partition.staged import unplanned


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
        check_pair(clouds)
        x, y = points(clouds)
        if x.shape[0] != y.shape[0] or any(isinstance(cloud, WeightedCloud) for cloud in clouds):
            raise ValueError(
                "a batch is two clouds of n paired rows without weights, got "
                f"{described(clouds)}; for other couplings and weights use ct.energies.symmetric"
            )


class Sigmoid(Energy):
    """The expected loss of SigLIP (arXiv 2303.15343) on a batch of N + 1 pairs.

    E_π log(1 + e^{-u}) + N·E log(1 + e^u) with u = ⟨x, y⟩/τ + b: positive pairs from π in the first term,
    independent x and y in the second. Every pair of a batch enters the loss by itself, so this is the exact
    mean at every N, not a limit. At the bias b = β - log N it tends to -E_π⟨x, y⟩/τ - β + e^β E e^{⟨x,y⟩/τ}
    + log N for large N; the best β then leaves -E_π⟨x, y⟩/τ + log E e^{⟨x,y⟩/τ} + 1 + log N.

    Args:
        coupling: the law π of positive pairs.
        temperature: τ > 0.
        bias: b, any real number.
        negatives: N > 0, negative pairs for each positive one.
    """

    coupling: Coupling
    _: KW_ONLY
    temperature: Real = positive()
    bias: Real
    negatives: Real = positive()

    def terms(self, clouds):
        """`positives` and `negatives`: the two expectations, in nats per positive pair."""

        def missed(cosine):
            return jax.nn.softplus(-(cosine / self.temperature + self.bias))

        charged = mean_kernel(Softplus(self.temperature, self.bias), *clouds)
        return {
            "positives": self.coupling.mean_of(missed, *points(clouds)),
            "negatives": self.negatives * charged,
        }

    def check(self, clouds):
        """Raise ValueError unless there are two clouds that the coupling fits."""
        check_pair(clouds)
        check_coupling(self.coupling, clouds)


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

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> energy = ct.energies.unimodal(up, temperature=0.5)
        >>> cloud = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
        >>> {name: round(float(term), 3) for name, term in energy.terms(cloud).items()}
        {'potential': 0.0, 'negative_entropy': 0.73}
    """
    kernel = Exponential(temperature) if kernel is None else kernel
    return Potential(potential, temperature=temperature) + SmoothedEntropy(kernel, exclude_self=exclude_self)


def directional(
    coupling: Coupling, *, temperature: Real, direction: str = "12", kernel: Kernel | None = None
) -> Energy:
    """J_{1→2} = (1/τ)∫U_{12} dq_1 - H_×(q_1, ρ̃_2) on a Pair (`direction="21"`: anchors in y)."""
    kernel = Exponential(temperature) if kernel is None else kernel
    return Alignment(coupling, temperature=temperature) + CrossEntropy(kernel, direction=direction)


def pooled(
    coupling: Coupling, *, temperature: Real, kernel: Kernel | None = None, exclude_self: bool = False
) -> Energy:
    """The large-batch limit of SimCLR's loss (arXiv 2002.05709) on two views; both give negatives.

    -E_π⟨x, y⟩/τ + ∫log ρ̃ dm with the pooled law m = ½(q_1 + q_2). It carries no divergence of the two views,
    so it does not part their levels. For n matched pairs and `exclude_self=True`, adding log V + log(2n - 1)
    makes it the loss itself, `InBatch(negatives="all")`.

    Args:
        coupling: the law of positive pairs.
        temperature: τ > 0.
        kernel: smooths the pooled law; `Exponential(τ)`, InfoNCE's own, by default.
        exclude_self: whether the denominator leaves out the anchor, as SimCLR's does.
    """
    kernel = Exponential(temperature) if kernel is None else kernel
    entropy = PooledEntropy(kernel, exclude_self=exclude_self)
    return Alignment(coupling, temperature=temperature) + entropy


def symmetric(coupling: Coupling, *, temperature: Real, kernel: Kernel | None = None) -> Symmetric:
    """J^Sym = ½(J_{1→2} + J_{2→1}) on a Pair, with InfoNCE's own kernel `Exponential(τ)` by default.

    To learn τ, descend `symmetric(coupling, temperature=tau) + LogVolume(Exponential(tau))` in it.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> x = ct.sphere.uniform(jax.random.key(0), n=50, d=3)
        >>> energy = ct.energies.symmetric(ct.couplings.paired(50), temperature=0.2)
        >>> round(float(energy.terms(ct.Pair(x, x))["alignment"]), 3)  # all cosines: 1
        -5.0
        >>> bool(energy(ct.Pair(x, x)) < energy(ct.Pair(x, -x)))
        True
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
