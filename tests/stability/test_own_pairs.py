"""A user's own pairs: captions, labels, soft weights, and samples of them."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from tests.draws import uniform

QUIET = {"progress": False}


def captions(images, each):
    """Every image has several captions, listed image by image."""
    return ct.couplings.from_pairs(
        np.repeat(np.arange(images), each),
        np.arange(images * each),
        shape=(images, images * each),
        dtype=np.float64,
    )


def two_clusters(n, seed):
    latents = np.asarray(ct.latents.VonMisesMixture().quantiles(np.random.default_rng(seed).random(n)))
    return ct.couplings.from_latents(latents, latents, bandwidth=0.5, dtype=np.float64)


def test_captions_become_a_point_for_each_pair_with_the_same_energy():
    pairs, each, tau = captions(5, 3), 3, 0.3
    lifted, asymmetry = ct.stability.shareable(pairs)
    assert asymmetry == 0
    assert lifted.shape == (15, 15)
    x, y = uniform(0, 5, 3), uniform(1, 15, 3)
    copies = jnp.repeat(x, each, axis=0)
    of = [energies.symmetric(coupling, temperature=tau) for coupling in (pairs, lifted)]
    np.testing.assert_allclose(of[0](ct.Pair(x, y)), of[1](ct.Pair(copies, y)), rtol=1e-12)
    turned, _ = ct.stability.shareable(
        ct.couplings.from_pairs(pairs.cols, pairs.rows, shape=(15, 5), dtype=np.float64)
    )
    np.testing.assert_allclose(turned.weights, lifted.weights)


@pytest.mark.parametrize("tau", [0.2, 0.7])
def test_captions_have_the_curvatures_of_their_lifted_pairs(tau):
    """Those in antiphase of the lifted pairs are all among those of images against captions."""
    each, images = 2, 5
    pairs = captions(images, each)
    lifted, _ = ct.stability.shareable(pairs)
    energy, of_images = (energies.symmetric(coupling, temperature=tau) for coupling in (lifted, pairs))
    z = ct.stability.shared_equilibrium(energy, 3).cloud
    np.testing.assert_allclose(z[::each], z[1::each], atol=1e-5)
    antiphase = ct.stability.modes(energy, ct.Pair(z, z), k=2 * images * each, kind="antiphase")
    every = ct.stability.modes(of_images, ct.Pair(z[::each], z), k=2 * images * (1 + each), kind="all")
    off = np.abs(antiphase.value[:, None] - every.value).min(axis=1)
    np.testing.assert_allclose(off, 0, atol=1e-4 * every.fastest)


def test_matched_pairs_in_any_order_need_no_gap():
    order = np.random.default_rng(0).permutation(30)
    pairs = ct.couplings.from_pairs(np.arange(30), order, shape=(30, 30), dtype=np.float64)
    control = energies.CentroidGap()
    found = ct.stability.of_pairs(pairs, 3, size=10, temperature=0.1, control=control, **QUIET)
    assert (found.value, found.error, found.strength, found.components) == (0, 0, 0, 10)
    assert "no gap is required" in str(found)


@pytest.mark.long
def test_samples_of_two_clusters_are_within_their_error():
    pairs, options = two_clusters(300, 0), {"temperatures": (0.2, 1.0), "starts": 1, "rtol": 5e-3}
    found = ct.stability.of_pairs(pairs, 3, size=24, draws=4, **options, **QUIET)
    larger = ct.stability.critical_temperature(two_clusters(60, 1), 3, scan=6, **options)
    assert abs(found.value - larger.value) < 4 * found.error
    assert 0 < found.error < 0.2
    assert found.values.shape == (4,)
    assert "4 samples of 24 of 300 items" in str(found)


@pytest.mark.long
def test_the_least_control_of_samples_is_near_that_of_more_pairs():
    pairs, tau = two_clusters(300, 0), 0.3
    control = energies.SymmetricDivergence(ct.kernels.Exponential(tau))
    options = {"temperatures": (0.2, 1.0), "scan": 4}
    found = ct.stability.of_pairs(pairs, 3, temperature=tau, control=control, size=24, **options, **QUIET)
    larger = ct.stability.least_control(energies.symmetric(two_clusters(60, 1), temperature=tau), control, 3)
    assert abs(found.strength - larger.value) < 4 * found.strength_error
    assert "least strength of the control at τ = 0.3" in str(found)


@pytest.mark.long
def test_soft_weights_are_symmetrised_and_their_asymmetry_told():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((40, 4))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    weights = np.exp(z @ z.T / 0.2)  # a teacher's similarities, each row a softmax
    weights /= weights.sum(axis=1, keepdims=True) * 40
    pairs = ct.couplings.from_matrix(weights, dtype=np.float64)
    shared, asymmetry = ct.stability.shareable(pairs)
    assert asymmetry == pytest.approx(np.abs(weights - weights.T).sum() / 2)
    np.testing.assert_allclose(shared.row_marginal(), shared.col_marginal(), rtol=1e-12)
    found = ct.stability.of_pairs(pairs, 3, size=12, draws=2, scan=4, **QUIET)
    assert found.asymmetry == pytest.approx(asymmetry)
    assert found.components == 1


@pytest.mark.wrong_types
def test_an_array_in_place_of_a_coupling_is_named():
    with pytest.raises(ValueError, match="coupling must be a Coupling"):
        ct.stability.of_pairs(np.eye(4) / 4, 3)


@pytest.mark.parametrize(
    ("pairs", "options", "words"),
    [
        (captions(6, 2), {"size": 3}, "size must be an integer >= 4"),
        (captions(6, 2), {"draws": 1}, "draws must be an integer >= 2"),
        (captions(6, 2), {"temperature": 0.1}, "temperature and control belong together"),
        (captions(6, 2), {"control": energies.CentroidGap()}, "temperature and control belong together"),
        (captions(6, 2), {"d": 1}, "d must be an integer >= 2"),
        (
            ct.couplings.from_pairs(np.arange(6), np.arange(6), shape=(7, 6)),
            {},
            "every item needs a partner: 1 of 7 rows have none, the first at index 6",
        ),
        (
            ct.couplings.from_pairs(np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 2, 3, 4]), shape=(4, 5)),
            {},
            "each caption must belong to one image",
        ),
        (
            ct.couplings.from_pairs(np.arange(100), (np.arange(100) + 1) % 100, shape=(100, 100)),
            {},
            None,
        ),
    ],
)
def test_bad_input_is_named(pairs, options, words):
    options = {"d": 3} | options
    d = options.pop("d")
    if words is None:  # a permutation: matched pairs in another order
        assert ct.stability.of_pairs(pairs, d, size=8, **options, **QUIET).value == 0
        return
    with pytest.raises(ValueError, match=words):
        ct.stability.of_pairs(pairs, d, **options, **QUIET)
