"""Couplings of one's own: made shareable, sampled, and their critical temperatures with an error."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.stability import of_pairs, parts, sampled, shareable

IMAGE = np.array([0, 1, 1, 2, 2, 2, 3])  # of each caption
WEIGHTS = np.array([3, 1, 2, 2, 1, 1, 2]) / 12


def captions():
    return ct.couplings.from_pairs(IMAGE, np.arange(7), WEIGHTS, shape=(4, 7))


def matrix(coupling):
    return np.asarray(coupling.weights).reshape(coupling.shape)


def classes(label):
    rows, cols = np.nonzero(label[:, None] == label)
    return ct.couplings.from_pairs(rows, cols, shape=(len(label), len(label)))


def two_clusters(n, bandwidth=0.5, seed=0):
    rng = np.random.default_rng(seed)
    cluster = rng.random(n) < 0.7
    latents = np.where(cluster, rng.vonmises(0, 6, n), rng.vonmises(np.pi, 6, n))
    return matrix(ct.couplings.from_latents(latents, latents, bandwidth=bandwidth))


def lopsided(pi, seed=1):
    """π with an antisymmetric part, which no principal submatrix has in its symmetric part."""
    share = np.triu(np.random.default_rng(seed).uniform(-0.5, 0.5, pi.shape), 1) * pi
    return pi + share - share.T


def test_lifted_captions_have_the_curvatures_of_the_original():
    mass = np.bincount(IMAGE, WEIGHTS)
    found = shareable(captions())
    assert found.lifted
    np.testing.assert_array_equal(found.rows, IMAGE)
    np.testing.assert_array_equal(found.cols, np.arange(7))
    np.testing.assert_allclose(found.coupling.row_marginal(), WEIGHTS, rtol=1e-12)

    images = energies.symmetric(ct.couplings.from_matrix(np.diag(mass)), temperature=0.4)
    z = np.random.default_rng(2).standard_normal(
        (4, 3)
    )  # anywhere, though curvatures mean little but at rest
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    x, y = ct.WeightedCloud(z, mass), ct.WeightedCloud(z[IMAGE], WEIGHTS)
    original = energies.symmetric(captions(), temperature=0.4)
    lifted = energies.symmetric(found.coupling, temperature=0.4)
    np.testing.assert_allclose(lifted(ct.Pair(y, y)), original(ct.Pair(x, y)), rtol=1e-12)

    def curvatures(energy, x, y, k, kind):
        return ct.stability.modes(energy, ct.Pair(x, y), k, kind, tolerance=1e9).value

    every = curvatures(original, x, y, 22, "all")
    antiphase = curvatures(lifted, y, y, 14, "antiphase")
    in_phase = curvatures(images, x, x, 8, "in phase")
    np.testing.assert_allclose(np.sort(np.concatenate([antiphase, in_phase])), every, rtol=1e-9)


def test_captions_of_either_side_lift_alike_and_permuted_pairs_are_matched():
    turned = ct.couplings.from_pairs(np.arange(7), IMAGE, WEIGHTS, shape=(7, 4))
    np.testing.assert_allclose(matrix(shareable(turned).coupling), matrix(shareable(captions()).coupling))
    order = np.random.default_rng(0).permutation(5)
    permuted = ct.couplings.from_pairs(np.arange(5), order, shape=(5, 5))
    np.testing.assert_allclose(matrix(shareable(permuted).coupling), np.eye(5) / 5, rtol=1e-6)


def test_soft_weights_are_symmetrised_and_the_amount_is_told():
    pi = lopsided(two_clusters(20))
    found = shareable(ct.couplings.from_matrix(pi))
    np.testing.assert_allclose(matrix(found.coupling), (pi + pi.T) / 2, atol=1e-15)
    np.testing.assert_allclose(found.asymmetry, np.abs(pi - pi.T).sum() / 2)
    symmetric = ct.couplings.from_matrix(two_clusters(20) / 2 + two_clusters(20).T / 2)
    assert shareable(symmetric).coupling is symmetric


def test_a_sample_is_a_principal_submatrix_and_captions_come_along():
    pi = lopsided(two_clusters(20))
    dense, rows_cols = ct.couplings.from_matrix(pi), np.nonzero(pi)
    sparse = ct.couplings.from_pairs(*rows_cols, pi[rows_cols], shape=pi.shape)
    for coupling in (dense, sparse):
        found = sampled(coupling, 7, np.random.default_rng(3))
        part = pi[np.ix_(found.rows, found.rows)]
        np.testing.assert_allclose(matrix(found.coupling), (part + part.T) / 2 / part.sum(), rtol=1e-12)
        assert len(set(found.rows.tolist())) == 7
    found = sampled(captions(), 3, np.random.default_rng(0))
    kept = np.unique(found.rows)
    np.testing.assert_array_equal(found.cols, np.flatnonzero(np.isin(IMAGE, kept)))
    np.testing.assert_allclose(found.coupling.row_marginal(), WEIGHTS[found.cols] / WEIGHTS[found.cols].sum())


def test_large_sparse_couplings_are_sampled_without_a_matrix():
    n = 50_000
    index = np.arange(n)
    rows, cols = (
        np.concatenate([index, index, index]),
        np.concatenate([index, (index + 1) % n, (index - 1) % n]),
    )
    coupling = ct.couplings.from_pairs(rows, cols, shape=(n, n))
    assert parts(coupling).number == 1
    found = sampled(coupling, 50, np.random.default_rng(0))
    assert found.coupling.shape == (50, 50)
    assert parts(found.coupling).number > 45


@pytest.mark.parametrize(
    ("coupling", "groups", "n"),
    [
        (ct.couplings.paired(9), 9, 9),
        (captions(), 4, 4),
        (classes(np.array([0, 1, 0, 2, 2, 2, 1])), 3, 7),
        (ct.couplings.paired(30_000), 30_000, 30_000),
    ],
    ids=["one-to-one", "captions", "classes", "many"],
)
def test_matched_pairs_are_known_to_need_no_gap(coupling, groups, n):
    found = of_pairs(coupling, 3, temperature=0.1, control=ct.energies.CentroidGap(), progress=False)
    assert found.value == found.error == found.strength.value == 0
    assert (found.matched, found.parts, found.n) == (True, groups, n)
    assert "matched pairs: overlap is stable at every temperature, no gap is required" in str(found)
    assert len(str(found).splitlines()) == 5


def test_whole_classes_have_no_critical_temperature_and_meet_the_bound():
    coupling = classes(np.repeat([0, 1, 2], [2, 3, 4]))
    found = ct.stability.critical_temperature(coupling, 3, temperatures=(0.15, 1.0), scan=3)
    assert found.value == 0
    energy = energies.symmetric(coupling, temperature=0.15)
    np.testing.assert_allclose(found.shared.value, energy.lower_bound(3), atol=1e-3)  # -I(π) - log V


@pytest.mark.long
@pytest.mark.parametrize("d", [2, 3])
def test_overlap_of_matched_pairs_is_stable_with_unequal_weights_too(d):
    """At low temperatures the curvatures are small, and only a descent to the end shows their sign."""
    rng = np.random.default_rng(d)
    for images in (4, 8):
        owner = np.repeat(np.arange(images), 2)
        mass = np.maximum(rng.dirichlet(np.full(images, 0.5)), 1e-3)
        mass /= mass.sum()
        pairs = ct.couplings.from_pairs(
            owner, np.arange(2 * images), mass[owner] / 2, shape=(images, 2 * images)
        )
        coupling = shareable(pairs).coupling
        for tau in (0.15, 0.4, 1.0):
            energy = energies.symmetric(coupling, temperature=tau)
            shared = ct.stability.shared_equilibrium(energy, d, tolerance=1e-10, max_iterations=20_000)
            lowest = ct.stability.modes(energy, shared.clouds, kind="antiphase")
            assert lowest.value[0] > lowest.error[0]


@pytest.mark.long
def test_a_sample_has_the_critical_temperature_of_the_whole_within_its_error():
    pi = two_clusters(120)
    truth = ct.stability.critical_temperature(
        ct.couplings.from_matrix(pi), 3, temperatures=(0.35, 1.2), scan=5, rtol=0.01, starts=1
    ).value
    coupling = ct.couplings.from_matrix(lopsided(pi))
    found = of_pairs(coupling, 3, size=48, progress=False, temperatures=(0.2, 1.5), scan=12)
    assert 0 < found.spread <= found.error < 0.3 * found.value
    assert abs(found.value - truth) < 3 * found.error
    np.testing.assert_allclose(found.asymmetry, np.abs(lopsided(pi) - lopsided(pi).T).sum() / 2)
    assert len(found.draws) == 4
    assert f"{found.value:.3g} ±" in str(found)
    assert "4 samples of 48 of 120 items" in str(found)
    assert f"at half the size {found.half:.3g}" in str(found)
    assert "% of the coupling is not symmetric" in str(found)
    assert "not forced by the loss" in str(found)


@pytest.mark.long
def test_the_whole_coupling_has_its_own_critical_temperature_and_least_control():
    coupling = ct.couplings.from_matrix(two_clusters(30))
    control = energies.SymmetricDivergence(ct.kernels.Exponential(0.3))
    found = of_pairs(coupling, 3, temperature=0.3, control=control, rtol=2e-3, progress=False)
    assert found.size == found.n == 30
    direct = ct.stability.critical_temperature(coupling, 3, temperatures=(0.3, 1.5), scan=12)
    np.testing.assert_allclose(found.value, direct.value, rtol=5e-3)
    strength = ct.stability.least_control(energies.symmetric(coupling, temperature=0.3), control, 3).value
    np.testing.assert_allclose(found.strength.value, strength, rtol=5e-3)
    assert "no error of sampling" in str(found)


@pytest.mark.long
def test_dimensions_that_the_shared_cloud_does_not_span_are_left_out():
    coupling = ct.couplings.from_matrix(two_clusters(30))
    found = of_pairs(coupling, 200, progress=False, rtol=5e-3)
    for factor, stable in ((1.01, True), (0.99, False)):
        energy = energies.symmetric(coupling, temperature=factor * found.value)
        shared = ct.stability.shared_equilibrium(energy, 31)
        assert ct.stability.modes(energy, shared.clouds, kind="antiphase").stable == stable


@pytest.mark.long
def test_a_control_of_which_no_strength_suffices_is_told():
    coupling = ct.couplings.from_matrix(two_clusters(30))
    found = of_pairs(coupling, 3, temperature=0.3, control=energies.CentroidGap(), progress=False)
    assert found.strength.value == np.inf
    assert "no strength suffices in 1 of 1 samples" in str(found)


@pytest.mark.wrong_types
def test_what_is_no_coupling_is_named():
    with pytest.raises(ValueError, match=r"coupling must be a Coupling of ct\.couplings, got ndarray"):
        of_pairs(np.eye(4) / 4, 3)
    with pytest.raises(ValueError, match=r"coupling must be a Coupling of ct\.couplings, got NoneType"):
        shareable(None)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: of_pairs(c, 1), "d must be an integer >= 2, got 1"),
        (lambda c: of_pairs(c, 3, size=2), "size must be an integer >= 6, got 2"),
        (lambda c: of_pairs(c, 3, size=21), "size must be <= 20, the number of items, got 21"),
        (lambda c: sampled(c, 2, np.random.default_rng(0)), "size must be an integer >= 3, got 2"),
        (lambda c: sampled(c, 21, np.random.default_rng(0)), "size must be <= 20, the number of items"),
        (lambda c: of_pairs(c, 3, draws=1), "draws must be an integer >= 2, got 1"),
        (lambda c: of_pairs(c, 3, seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda c: of_pairs(c, 3, temperature=0.1), "control is required beside temperature"),
        (
            lambda c: of_pairs(c, 3, control=ct.energies.CentroidGap()),
            "temperature is required beside control",
        ),
        (lambda c: of_pairs(c, 3, temperatures=(1, 0.1)), r"temperatures must be \(lowest, highest\)"),
        (
            lambda c: shareable(ct.couplings.from_matrix(np.full((2, 3), 1 / 6))),
            r"coupling must be square, or give every column one row.*got shape \(2, 3\)",
        ),
        (
            lambda c: of_pairs(ct.couplings.from_matrix(np.diag([0.5, 0.0, 0.5])), 3),
            "every point a partner: 1 of 3 rows have none, the first at index 1",
        ),
        (
            lambda c: shareable(ct.couplings.from_pairs([0, 1], [0, 2], shape=(2, 4))),
            "every point a partner: 2 of 4 columns have none, the first at index 1",
        ),
        (
            lambda c: sampled(chain(2000), 10, np.random.default_rng(0)),
            "of 10 drawn items 10 have no partner among them; raise size",
        ),
        (
            lambda c: of_pairs(ct.couplings.from_matrix(np.eye(2) / 2 * 0.9 + 0.025), 3),
            "at least 3 items, got 2",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call(ct.couplings.from_matrix(two_clusters(20)))


def chain(n):
    """Each item with its two neighbours, and not with itself."""
    index = np.arange(n)
    rows, cols = np.concatenate([index, index]), np.concatenate([(index + 1) % n, (index - 1) % n])
    return ct.couplings.from_pairs(rows, cols, jnp.full(2 * n, 1 / (2 * n)), shape=(n, n))
