"""The stochastic InfoNCE loss with finitely many negatives; the energies are its large-batch limit."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow._base.annotations import Real
from ctflow._base.checks import check_count, check_key, check_positive, is_concrete
from ctflow.clouds import check_clouds, described, is_pair, points, weights, with_points
from ctflow.couplings import Coupling, check_coupling
from ctflow.energies import InBatch

__all__ = [
    "gradient",
    "in_batch",
    "loss",
]


def loss(
    key: Array,
    clouds: Any,
    coupling: Coupling,
    *,
    temperature: Real,
    num_negatives: int,
    positive_in_denominator: bool = True,
) -> Float[Array, ""]:
    """L_N = E_π[-s⁺/τ + log(e^{s⁺/τ} + Σ_{k<=N} e^{s(x, w_k)/τ})], with negatives w_k drawn from the y cloud.

    The expectation over positive pairs is exact. Each anchor draws its own N negatives, with replacement and
    with the weights of y as probabilities. As N grows, L_N - log N - log V and its gradient tend to those of
    `energies.directional` (arXiv 2601.19597); the positive in the denominator requires N·Γ(x) ≫ e^{1/τ}.

    Args:
        key: a JAX random key.
        clouds: `ct.Pair(x, y)`; x holds the anchors.
        coupling: the law π of positive pairs.
        temperature: τ > 0.
        num_negatives: N >= 1.
        positive_in_denominator: True is the published loss; False leaves out the term e^{s⁺/τ}.

    Raises:
        ValueError: not a Pair, points off the sphere, a coupling that does not fit, numbers out of range.
    """
    check_count("num_negatives", num_negatives)
    check_key("key", key)
    if is_concrete(temperature):
        check_positive("temperature", temperature)
    clouds = _checked(clouds, coupling)
    (x, y), (_, q) = points(clouds), weights(clouds)
    drawn = jax.random.choice(key, y.shape[0], (x.shape[0], num_negatives), p=q)
    scores = jnp.einsum("id,ikd->ik", x, y[drawn], precision="highest") / temperature
    negatives = jax.nn.logsumexp(scores, axis=1)[coupling.rows]
    positives = jnp.sum(x[coupling.rows] * y[coupling.cols], axis=-1) / temperature
    denominator = jnp.logaddexp(negatives, positives) if positive_in_denominator else negatives
    return jnp.sum(jnp.asarray(coupling.weights, x.dtype) * (denominator - positives))


def in_batch(clouds: Any, *, temperature: Real, negatives: str = "other") -> Float[Array, ""]:
    """The loss of one batch of pairs (x_i, y_i), in nats: the energy `ct.energies.InBatch` of these clouds.

    Args:
        clouds: `ct.Pair(x, y)`, n rows each.
        temperature: τ > 0.
        negatives: `other` for CLIP's loss, `all` for SimCLR's.

    Raises:
        ValueError: not a Pair of as many rows each, points off the sphere, numbers out of range.
    """
    return InBatch(temperature=temperature, negatives=negatives)(clouds)


def gradient(key: Array, clouds: Any, coupling: Coupling, **options: Any) -> Any:
    """The tangential gradient of L_N in the points of both clouds, [n, d] each; options as in `loss`."""
    clouds = _checked(clouds, coupling)

    def of_points(moved):
        return loss(key, with_points(clouds, moved), coupling, **options)

    z = points(clouds)
    return jax.tree.map(sphere.project_tangent, z, jax.grad(of_points)(z))


def _checked(clouds: Any, coupling: Coupling) -> Any:
    """Check the Pair and the coupling, and return the Pair as JAX arrays."""
    clouds = check_clouds("clouds", clouds)
    if not is_pair(clouds):
        raise ValueError(f"clouds must be two, ct.Pair(x, y), got {described(clouds)}")
    check_coupling(coupling, clouds)
    return clouds
