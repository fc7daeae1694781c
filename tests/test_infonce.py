import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import ctflow as ct
from ctflow import infonce
from tests.draws import uniform


def setting(tau=0.5, n=30):
    kx, ky = jax.random.split(jax.random.key(0))
    pair = ct.Pair(ct.sphere.uniform(kx, n, 3), ct.sphere.uniform(ky, n, 3))
    pi = ct.couplings.misaligned(jax.random.key(1), np.linspace(-2, 2, n), sigma=0.4)
    return pair, pi, {"temperature": tau}


def test_loss_is_the_published_one_written_out():
    pair, pi, options = setting(n=4)
    pi = ct.couplings.paired(4)
    key, tau = jax.random.key(3), options["temperature"]
    drawn = np.asarray(jax.random.choice(key, 4, (4, 5), p=jnp.full(4, 0.25)))
    x, y = (np.asarray(z) for z in pair)
    losses = []
    for i in range(4):
        positive = np.exp(x[i] @ y[i] / tau)
        negatives = sum(np.exp(x[i] @ y[j] / tau) for j in drawn[i])
        losses.append(-np.log(positive / (positive + negatives)))
    got = infonce.loss(key, pair, pi, num_negatives=5, **options)
    np.testing.assert_allclose(got, np.mean(losses), rtol=1e-12)


def test_value_tends_to_the_energy_plus_log_n_and_log_volume():
    pair, pi, options = setting()
    limit = float(ct.energies.directional(pi, **options)(pair) + ct.kernels.Exponential(0.5).log_volume(3))
    keys = jax.random.split(jax.random.key(2), 200)
    errors = []
    for n in (64, 1024):
        values = jax.lax.map(
            lambda key, n=n: infonce.loss(key, pair, pi, num_negatives=n, **options), keys
        ) - np.log(n)
        mean, error = float(values.mean()), float(values.std() / np.sqrt(len(keys)))
        errors.append(mean - limit)
    # Positive-term bias and Jensen's are both of order 1/N.
    assert abs(errors[1]) < 4 * error + 1.5 * abs(errors[0]) * 64 / 1024


@pytest.mark.parametrize("positive", [True, False])
def test_gradient_tends_to_the_energys(positive):
    pair, pi, options = setting()
    exact = jax.tree.map(
        ct.sphere.project_tangent, pair, jax.grad(ct.energies.directional(pi, **options))(pair)
    )
    keys = jax.random.split(jax.random.key(2), 50)

    def error(num_negatives):
        each = jax.lax.map(
            lambda key: infonce.gradient(
                key, pair, pi, num_negatives=num_negatives, positive_in_denominator=positive, **options
            ),
            keys,
        )
        # Mean square over keys: sampling error ∝ 1/N.
        return sum(
            float(jnp.mean(jnp.sum((g - e[None]) ** 2, axis=(1, 2))))
            for g, e in zip(each, exact, strict=True)
        )

    coarse, fine = error(64), error(1024)
    np.testing.assert_allclose(coarse / fine, 16, rtol=0.5)


def test_a_near_identical_positive_outweighs_many_negatives_at_low_temperature():
    # On S^63 at τ = 0.1, e^{1/τ} = 22026 against N·V = 128·2.2 for the negatives.
    n, d, tau, count = 2048, 64, 0.1, 128
    x = ct.sphere.uniform(jax.random.key(0), n, d, jnp.float32)
    pair, pi = ct.Pair(x, x), ct.couplings.paired(n, dtype=jnp.float32)
    options = {"temperature": tau, "num_negatives": count}
    with_positive = infonce.loss(jax.random.key(1), pair, pi, **options)
    without = infonce.loss(jax.random.key(1), pair, pi, positive_in_denominator=False, **options)
    volume = float(jnp.exp(ct.kernels.Exponential(tau).log_volume(d)))
    alone = np.log1p(np.exp(1 / tau) / (count * volume))
    # A negative is the anchor itself with chance 1/n, and then outweighs the others too.
    expected = alone * (1 - 1 / n) ** count
    np.testing.assert_allclose(float(with_positive - without), expected, rtol=0.1)


@pytest.mark.parametrize("function", [infonce.loss, infonce.gradient])
def test_clouds_are_checked_by_value_and_gradient_alike(function):
    pair, pi, options = setting(n=4)
    wrong = {
        "clouds must be two, ct.Pair\\(x, y\\), got one cloud \\[4, 3\\]": pair.x,
        "clouds must be two, ct.Pair\\(x, y\\), got a tuple of 3 clouds": (*pair, pair.x),
        "clouds.x must have rows of unit norm": ct.Pair(1.01 * pair.x, pair.y),
        "must have shape \\(4, 3\\), the sizes of the clouds, got \\(4, 4\\)": ct.Pair(pair.x, pair.y[:3]),
    }
    for message, clouds in wrong.items():
        with pytest.raises(ValueError, match=message):
            function(jax.random.key(0), clouds, pi, num_negatives=2, **options)


@pytest.mark.parametrize("n", [7, 300])
def test_the_loss_of_a_batch_is_clips_and_simclrs(n):
    x, y, tau = uniform(0, n, 5), uniform(1, n, 5), 0.3
    scores = np.asarray(x @ y.T) / tau
    of_rows, of_columns = special.logsumexp(scores, axis=1), special.logsumexp(scores, axis=0)
    clip = np.mean(of_rows + of_columns) / 2 - np.mean(np.diag(scores))
    pair = ct.Pair(x, y)
    np.testing.assert_allclose(ct.infonce.in_batch(pair, temperature=tau), clip, rtol=1e-12)
    energy = ct.energies.symmetric(ct.couplings.paired(n), temperature=tau)
    volume = ct.energies.LogVolume(energy.kernel)
    np.testing.assert_allclose(energy(pair) + volume(pair) + np.log(n), clip, rtol=1e-12)

    z = np.concatenate([x, y])
    every = z @ z.T / tau
    np.fill_diagonal(every, -np.inf)
    partner = np.roll(np.arange(2 * n), n)
    simclr = np.mean(special.logsumexp(every, axis=1) - every[np.arange(2 * n), partner])
    of_batch = ct.energies.InBatch(temperature=tau, negatives="all")
    np.testing.assert_allclose(of_batch(pair), simclr, rtol=1e-12)
    assert list(of_batch.terms(pair)) == ["alignment", "log_sum"]


def test_a_batch_needs_as_many_rows_of_both_kinds():
    x, y = uniform(0, 7, 3), uniform(1, 8, 3)
    with pytest.raises(ValueError, match="a batch is two clouds of n paired rows without weights"):
        ct.infonce.in_batch(ct.Pair(x, y), temperature=0.3)
    weighted = ct.WeightedCloud(x, jnp.full(7, 1 / 7))
    with pytest.raises(ValueError, match="without weights"):
        ct.infonce.in_batch(ct.Pair(weighted, x), temperature=0.3)
    with pytest.raises(ValueError, match="negatives must be one of other, all; got 'both'"):
        ct.infonce.in_batch(ct.Pair(x, x), temperature=0.3, negatives="both")
