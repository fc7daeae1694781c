"""Finite-batch InfoNCE against its limit: L_N - J - log(N V) and the gradient's scatter, in N.

The loss is that of pairs of clouds, with the positive in the denominator. To first order in 1/N the bias of
its value is E[e^{s⁺/τ}/(NΓ)] - E[Var(e^{s/τ})/(2NΓ²)]: the positive's share of the softmax, minus the bias of
the logarithm of a mean (delta method). The gradient's scatter is ∝ N^{-1/2}. The check of the bias at the
largest N shows that L_N tends to J + log(N V(τ)), with the kernel's volume V.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, sphere, within
from ctflow.storage.tables import columns

TITLE = "finite-batch InfoNCE tends to J + log(N V)"
SOURCE = "delta method; N^{-1/2} of independent draws"
TEMPERATURES = (1.0, 0.5, 0.3)
_ANCHORS = 64


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Compare bias and scatter at three temperatures on S¹ and S²; slopes are fitted over all N."""
    sizes = (64, 256, 1024) if quick else (64, 256, 1024, 4096)
    draws = 48 if quick else 200
    checks, rows = [], []
    for d in (2, 3):
        for tau in TEMPERATURES:
            mine = _rows(d, tau, sizes, draws, seed)
            where = f"{sphere(d)}, τ = {tau:g}"
            last = mine[-1]
            # Estimate of the next order in 1/N from the first one.
            slack = abs(last["predicted_bias"]) * 20 / last["N"] / tau
            checks.append(
                within(
                    f"{where}: L_N − J − log(N V) at N = {last['N']}",
                    last["predicted_bias"],
                    last["bias"],
                    last["bias_error"],
                    slack=slack,
                )
            )
            logs = np.log([row["N"] for row in mine])
            slope = np.polyfit(logs, np.log([row["scatter"] for row in mine]), 1)[0]
            # A scatter of many coordinates from `draws` draws has a relative error of at most 1/√(2·draws).
            error = 1 / np.sqrt(2 * draws) / np.sqrt(((logs - logs.mean()) ** 2).sum())
            checks.append(
                within(f"{where}: exponent of N in the gradient's scatter", -0.5, slope, error, slack=0.01)
            )
            rows += mine
    sample = f"{draws} draws of up to {sizes[-1]:,} negatives"
    return Evidence(checks, {"consistency": columns(rows)}, sample)


@partial(jax.jit, static_argnames="size")
def _values_and_gradients(keys, clouds, coupling, tau, *, size: int):
    """L_N and its gradient, [draws] and [draws, 2·anchors·d], for every key."""

    def one(key):
        options = {"temperature": tau, "num_negatives": size}
        gradients = ct.infonce.gradient(key, clouds, coupling, **options)
        value = ct.infonce.loss(key, clouds, coupling, **options)
        return value, jnp.concatenate([jnp.ravel(g) for g in gradients])

    return jax.lax.map(one, keys)


def _rows(d: int, tau: float, sizes, draws: int, seed: int) -> list[dict]:
    key_x, key_noise, key_draws = jax.random.split(jax.random.fold_in(jax.random.key(seed), d), 3)
    x = ct.sphere.uniform(key_x, _ANCHORS, d)
    y = ct.sphere.normalize(x + 0.3 * jax.random.normal(key_noise, x.shape))
    coupling, clouds = ct.couplings.paired(_ANCHORS, dtype=float), ct.Pair(x, y)
    limit = ct.energies.directional(coupling, temperature=tau)(clouds)
    limit = float(limit + ct.kernels.Exponential(tau).log_volume(d, float))
    kernel = np.exp(np.asarray(x) @ np.asarray(y).T / tau)
    gamma, own = kernel.mean(axis=1), np.diagonal(kernel)
    first_order = (own / gamma).mean() - (kernel.var(axis=1) / gamma**2).mean() / 2
    rows = []
    for size in sizes:
        keys = jax.random.split(jax.random.fold_in(key_draws, size), draws)
        values, gradients = map(np.asarray, _values_and_gradients(keys, clouds, coupling, tau, size=size))
        values = values - limit - np.log(size)
        rows.append(
            {
                "d": d,
                "tau": tau,
                "N": size,
                "predicted_bias": first_order / size,
                "bias": values.mean(),
                "bias_error": values.std(ddof=1) / np.sqrt(draws),
                "scatter": np.sqrt(((gradients - gradients.mean(axis=0)) ** 2).sum() / (draws - 1)),
            }
        )
    return rows
