"""SigLIP's loss and its stability at a ring: closed forms, consistency, and the level that a bias fixes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.claims import ring
from tests.draws import uniform

N, SIGMA = 24, 1.0


def coupling(sigma=SIGMA):
    return ct.couplings.from_matrix(ring.law(N, sigma), dtype=np.float64)


def flat_ring():
    angle = 2 * np.pi * np.arange(N) / N
    z = jnp.asarray(np.stack([np.cos(angle), np.sin(angle), np.zeros(N)], axis=1))
    return angle, ct.Pair(z, z)


def batch_loss(x, y, tau, bias):
    """SigLIP's loss as published: a sum over all pairs of the batch, over its size."""
    u = np.asarray(x) @ np.asarray(y).T / tau + bias
    sign = 2 * np.eye(len(x)) - 1
    return np.log1p(np.exp(-sign * u)).sum() / len(x)


def test_the_sigmoid_loss_is_the_mean_of_the_published_one_over_batches():
    x, y = (uniform(seed, N, 5) for seed in (0, 1))
    tau, bias, size = 0.2, -1.5, 4
    energy = energies.Sigmoid(coupling(), temperature=tau, bias=bias, negatives=size - 1)
    rng, law = np.random.default_rng(0), ring.law(N, SIGMA)
    drawn = rng.choice(N * N, size=(20_000, size), p=law.ravel())
    losses = np.array([batch_loss(x[i // N], y[i % N], tau, bias) for i in np.asarray(drawn[:4000])])
    error = losses.std() / np.sqrt(len(losses))
    assert abs(losses.mean() - float(energy(ct.Pair(x, y)))) < 4 * error
    assert error < 0.02 * losses.mean()


def test_its_limit_of_many_negatives_is_a_log_of_one_mean():
    x, y = (uniform(seed, N, 3) for seed in (0, 1))
    tau, many = 0.3, 1e9
    score = np.asarray(x) @ np.asarray(y).T / tau
    beta = -np.log(np.exp(score).mean())  # the best one
    energy = energies.Sigmoid(coupling(), temperature=tau, bias=beta - np.log(many), negatives=many)
    limit = -(ring.law(N, SIGMA) * score).sum() + np.log(np.exp(score).mean()) + 1 + np.log(many)
    np.testing.assert_allclose(energy(ct.Pair(x, y)), limit, rtol=1e-7)


@pytest.mark.parametrize(
    ("tau", "bias", "negatives"), [(0.3, -2.0, 7.0), (0.6, -1.0, 3.0), (0.2, -4.0, 31.0)]
)
def test_rates_of_the_sigmoid_loss_at_the_flat_ring(tau, bias, negatives):
    """Out of plane, a wave m in antiphase has curvature -(ĝ_1 + ĝ_m), ĝ_m = Σ ∂E/∂s_ij cos m(θ_i - θ_j)."""
    angle, clouds = flat_ring()
    apart = angle[:, None] - angle
    u = np.cos(apart) / tau + bias
    slope = (negatives / N**2 / (1 + np.exp(-u)) - ring.law(N, SIGMA) / (1 + np.exp(u))) / tau
    g = [(slope * np.cos(m * apart)).sum() for m in range(N // 2)]
    predicted = [-(g[1] + each) for each in g]
    energy = energies.Sigmoid(coupling(), temperature=tau, bias=bias, negatives=negatives)
    every = ct.stability.modes(energy, clouds, k=N * 2, kind="antiphase")
    out = np.abs(every.mode.x[:, :, 2]).max(axis=1) > 1e-6
    found = np.unique(np.round(every.value[out], 9))
    for value in predicted:
        assert np.abs(found - value).min() < 1e-7, (value, found)


@pytest.mark.parametrize("bias", [-3.0, None], ids=["fixed", "best"])
def test_a_fixed_bias_fixes_the_level_that_infonce_leaves_free(bias):
    """On the ring at low τ InfoNCE's best shared cloud has one neutral direction; a best bias has it too."""
    tau, negatives = 0.4, 15.0
    infonce = energies.symmetric(coupling(), temperature=tau)
    shared = ct.stability.shared_equilibrium(infonce, 3)
    assert ct.stability.modes(infonce, shared.clouds, k=4, kind="antiphase").neutral == 1

    def best_bias(clouds):
        """The large-batch limit with the best bias."""
        x, y = clouds
        return -coupling().mean_cosine(x, y) / tau + jax.nn.logsumexp(x @ y.T / tau)

    energy = (
        best_bias
        if bias is None
        else energies.Sigmoid(coupling(), temperature=tau, bias=bias, negatives=negatives)
    )
    shared = ct.stability.shared_equilibrium(energy, 3, n=N)
    found = ct.stability.modes(energy, shared.clouds, k=4, kind="antiphase")
    assert found.neutral == (1 if bias is None else 0)
