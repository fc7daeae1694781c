"""Laws of latent angles: normalised, sampled exactly, and the law of their pairs."""

import jax
import numpy as np
import pytest
from scipy import stats

from ctflow.latents import VonMisesMixture, wrap

MIXTURE = VonMisesMixture()


def grid(count):
    return -np.pi + 2 * np.pi / count * np.arange(count)


def test_density_integrates_to_one():
    assert MIXTURE.density(grid(512)).sum() * 2 * np.pi / 512 == pytest.approx(1, abs=1e-12)


def test_samples_follow_the_density(key):
    sample = np.asarray(MIXTURE.sample(key, (100_000,)))
    fine = grid(60_000)
    expected = MIXTURE.density(fine).reshape(60, 1000).sum(axis=1) * 2 * np.pi / 60_000 * sample.size
    observed, _ = np.histogram(sample, 60, (-np.pi, np.pi))
    assert stats.chisquare(observed, expected * sample.size / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.7])
def test_pair_law_has_the_moments_of_its_draws(sigma):
    """E cos of either angle and of their difference: blurs multiply a Fourier mode by exp(-s²/2)."""
    noise = 0.02
    angles, pi, p, q = MIXTURE.pair_law(256, sigma=sigma, noise=noise)
    mean = (MIXTURE.density(grid(512)) @ np.cos(grid(512))) * 2 * np.pi / 512
    joint = np.asarray(pi.weights).reshape(256, 256)
    assert joint.sum() == pytest.approx(1, abs=1e-12)
    assert np.cos(angles) @ p == pytest.approx(mean * np.exp(-(noise**2) / 2), abs=1e-10)
    assert np.cos(angles) @ q == pytest.approx(mean * np.exp(-(noise**2 + sigma**2) / 2), abs=1e-10)
    difference = np.cos(angles[:, None] - angles[None, :])
    assert (joint * difference).sum() == pytest.approx(np.exp(-(2 * noise**2 + sigma**2) / 2), abs=1e-10)


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_pair_law_is_the_blurred_diagonal_at_every_pair_of_angles(sigma):
    """Against the integral over θ of its density times two normal laws, by a sum over 4096 angles."""
    noise, fine = 0.02, grid(4096)
    angles, pi, _, _ = MIXTURE.pair_law(64, sigma=sigma, noise=noise)
    first, second = (
        np.exp(-(wrap(angles[:, None] - fine) ** 2) / (2 * square))
        for square in (noise**2, noise**2 + sigma**2)
    )
    expected = (first * MIXTURE.density(fine)) @ second.T
    found = np.asarray(pi.weights).reshape(64, 64)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-9 * found.max())


def test_wrap():
    np.testing.assert_allclose(
        wrap(np.array([np.pi + 0.1, -np.pi - 0.1, 7.0])), [0.1 - np.pi, np.pi - 0.1, 7 - 2 * np.pi]
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sigma": -1.0, "noise": 0.02}, "sigma must be finite and >= 0"),
        ({"sigma": 0.1, "noise": 0.001}, "noise must be finite and >= 0.005"),
    ],
)
def test_bad_blurs_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        MIXTURE.pair_law(64, **wrong)


def test_weights_must_be_probabilities():
    with pytest.raises(ValueError, match="weights must be > 0"):
        VonMisesMixture(weights=(0.7, 0.7))
    assert jax.numpy.asarray(MIXTURE.sample(jax.random.key(0), (3,))).shape == (3,)


def test_quantiles_invert_the_distribution_and_refuse_what_is_no_share():
    shares = np.linspace(0, 1, 41)
    found = MIXTURE.quantiles(shares)
    assert found[0] == pytest.approx(-np.pi)
    assert found[-1] == pytest.approx(np.pi)
    fine = -np.pi + 2 * np.pi / 40_000 * (np.arange(40_000) + 0.5)
    mass = MIXTURE.density(fine) * 2 * np.pi / 40_000
    np.testing.assert_allclose([mass[fine < q].sum() for q in found], shares, atol=2e-4)
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\], got 1.5"):
        MIXTURE.quantiles(1.5)
