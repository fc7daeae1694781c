"""Parted states beside overlap, what a control costs, and the limit of many latents."""

import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.claims import mixtures, ring
from ctflow.stability import price

TAU = 0.3


def clusters(n=24, sigma=0.5, tau=TAU):
    theta = ct.latents.VonMisesMixture().quantiles((np.arange(n) + 0.5) / n)
    pairs = ct.couplings.from_latents(theta, theta, bandwidth=sigma, dtype=np.float64)
    return energies.symmetric(pairs, temperature=tau)


def blocks(count, each, leak):
    """Pairs within classes, but for a share `leak` of them that is spread over all others."""
    label = np.repeat(np.arange(count), each)
    same = label[:, None] == label
    pi = np.where(same, (1 - leak) / each, leak / (count * each - each)) / (count * each)
    return ct.couplings.from_matrix(pi, dtype=np.float64)


divergence = energies.SymmetricDivergence(ct.kernels.Exponential(TAU))


def test_where_overlap_is_unstable_the_lowest_state_is_parted():
    found = ct.stability.lowest_state(clusters(), 3)
    assert found.parted
    assert not found.overlap.stable
    assert "overlap is unstable" in str(found)
    assert found.value == pytest.approx(found.shared.value - min(end.energy for end in found.reached))
    assert found.error < 1e-5
    assert len(found.reached) == 6


@pytest.mark.long
def test_a_parted_state_is_found_beside_stable_overlap():
    """One of the cells of `test_cells`: 48 latents, σ = 0.3, τ = 0.15, a tenth above the least control."""
    tau = 0.15
    energy, control = clusters(48, 0.3, tau), energies.SymmetricDivergence(ct.kernels.Exponential(tau))
    least = ct.stability.least_control(energy, control, 3)
    found = ct.stability.lowest_state(energy + 1.1 * least.value * control, 3, shared=least.shared)
    assert found.overlap.stable
    assert found.parted
    assert 1e-6 < found.value < 1e-4
    assert "stable against small displacements, yet not the lowest state" in str(found)


def test_on_the_ring_a_lower_state_lies_beside_the_neutral_family():
    """One cloud stays nearly flat and the other does not, below the parallel rings."""
    sigma = 1.0
    coupling = ct.couplings.from_matrix(ring.law(24, sigma), dtype=np.float64)
    low, high = (
        energies.symmetric(coupling, temperature=ratio * ring.critical_temperature(sigma))
        for ratio in (0.8, 1.3)
    )
    found = ct.stability.lowest_state(low, 3)
    assert found.overlap.stable
    assert found.overlap.neutral == 1
    assert 1e-3 < found.value < 1e-2
    assert "the start decides" in found.verdict
    assert ct.stability.lowest_state(high, 3).verdict == "overlap is stable, and no lower state was found"


def test_parted_states_as_low_as_overlap_are_said_to_be():
    """Where overlap meets the bound nothing is lower, and the neutral directions lead to gaps."""
    found = ct.stability.lowest_state(energies.symmetric(blocks(4, 3, 0.2), temperature=0.2), 5)
    assert found.value == 0
    assert not found.parted
    assert "overlap is the lowest state, with parted ones of the same energy" in str(found)


def test_as_many_classes_as_dimensions_overlap_at_the_bound_without_a_critical_temperature():
    """K classes with leak ε: below τ₀ = K/((K-1) log((K-1)(1-ε)/ε)) the simplex of classes meets -I(π)."""
    count, leak = 4, 0.2
    coupling = blocks(count, 3, leak)
    log_odds = np.log((count - 1) * (1 - leak) / leak)
    below, above = (r * count / ((count - 1) * log_odds) for r in (0.95, 1.05))
    for tau, meets in ((below, True), (above, False)):
        energy = energies.symmetric(coupling, temperature=tau)
        excess = ct.stability.shared_equilibrium(energy, count).value - float(energy.lower_bound(count))
        assert excess < 1e-9 if meets else excess > 1e-4
    found = ct.stability.critical_temperature(coupling, count, temperatures=(0.1, 1.2), scan=6)
    assert found.value == 0
    assert found.neutral[found.temperatures < below].all()


def test_the_price_is_second_order_in_weak_controls_and_ends_at_the_shared_cloud():
    energy = clusters()
    free = ct.stability.lowest_state(energy, 3)
    least = ct.stability.least_control(energy, divergence, 3, shared=free.shared)
    first = ct.stability.control_price(energy, divergence, free.clouds, [1e-6])
    weak = 0.02 * first.reach
    found = ct.stability.control_price(energy, divergence, free.clouds, [weak, 2 * weak, 2 * least.value])
    np.testing.assert_allclose(found.value[:2] / found.predicted[:2], 1, atol=0.06)
    np.testing.assert_allclose(found.control[:2] / found.control_predicted[:2], 1, atol=0.01)
    np.testing.assert_allclose(found.value[2], free.value, rtol=1e-3)  # closing costs overlap's excess
    assert found.distance[2] < 0.02 * found.before[2]  # what is left of the parted state beside overlap
    np.testing.assert_allclose(
        found.above_bound[2], free.shared.value - float(energy.lower_bound(3)), rtol=1e-3
    )
    assert "energy paid, in nats" in str(found)


@pytest.mark.long
def test_the_response_by_products_is_that_by_a_matrix(monkeypatch):
    energy = clusters(12)
    clouds = ct.stability.lowest_state(energy, 3).clouds
    by_matrix = ct.stability.control_price(energy, divergence, clouds, [1e-3])
    monkeypatch.setattr(price, "DENSE_COORDINATES", 3)
    by_products = ct.stability.control_price(energy, divergence, clouds, [1e-3])
    np.testing.assert_allclose(by_products.predicted, by_matrix.predicted, rtol=1e-3)
    assert np.isnan(by_products.free)
    assert by_matrix.free < 1e-8


def test_recall_is_the_chance_to_find_a_partner():
    rng = np.random.default_rng(0)
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in rng.standard_normal((2, 9, 3)))
    pi = rng.random((9, 9))
    pi /= pi.sum()
    cosine = x @ y.T
    by_hand = pi[np.arange(9), cosine.argmax(1)].sum() + pi[cosine.argmax(0), np.arange(9)].sum()
    found = price.recall(ct.couplings.from_matrix(pi, dtype=np.float64), ct.Pair(x, y))
    assert found == pytest.approx(by_hand / 2)


@pytest.mark.long
def test_the_limit_of_many_latents_is_within_its_error():
    def law(n):
        return ct.couplings.from_matrix(mixtures.population_law(n, 0.5), dtype=np.float64)

    options = {"temperatures": (0.5, 0.75), "scan": 3}
    found = ct.stability.limiting_temperature(law, 3, sizes=(20, 28, 36), **options)
    more = ct.stability.critical_temperature(law(60), 3, **options)
    assert abs(more.value - found.value) < found.error < 0.05
    assert "for n → ∞" in str(found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ct.stability.lowest_state(clusters(12), 3, starts=0), "starts must be an integer >= 1"),
        (lambda: ct.stability.lowest_state(clusters(12), 3, displacement=0.0), "displacement must be"),
        (
            lambda: ct.stability.lowest_state(
                energies.directional(clusters(12).coupling, temperature=TAU), 3
            ),
            "overlap is not at rest",
        ),
        (
            lambda: ct.stability.control_price(clusters(12), divergence, None, [0.2, 0.1]),
            "strengths must ascend",
        ),
        (
            lambda: ct.stability.control_price(clusters(12), divergence, None, [-0.1]),
            "strengths must be finite and > 0",
        ),
        (
            lambda: ct.stability.control_price(
                clusters(12),
                divergence,
                ct.Pair(*np.eye(12)[:, :3].reshape(1, 12, 3).repeat(2, 0) + 0.5),
                [0.1],
            ),
            "unit",
        ),
        (lambda: ct.stability.limiting_temperature(ct.couplings.paired, 3, sizes=(8, 16)), "at least three"),
    ],
)
def test_bad_numbers_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
