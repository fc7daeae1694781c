import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import ctflow as ct
from ctflow import couplings, energies, flows, kernels
from tests.draws import uniform

velocity = jax.jit(flows.velocity)  # one program an energy's kind, whatever its numbers
TAUS = st.sampled_from([0.02, 0.07, 0.3, 1.0, 5.0])
SEEDS = st.integers(0, 2**31 - 1)


def a_pair(seed, n=12, m=9, d=3, dtype=jnp.float64):
    return ct.Pair(uniform([seed, 0], n, d, dtype), uniform([seed, 1], m, d, dtype))


def a_coupling(seed, n=12, m=9, dtype=jnp.float64):
    rng = np.random.default_rng(seed)
    return couplings.from_matrix(couplings.balance(-3 * rng.random((n, m)) ** 2), dtype=dtype)


@given(SEEDS, TAUS, st.integers(2, 6))
def test_both_splits_of_the_symmetric_energy_add_up(seed, tau, d):
    energy, pair = energies.symmetric(a_coupling(seed), temperature=tau), a_pair(seed, d=d)
    t, value = energy.terms(pair), energy(pair)
    from_cross = t["alignment"] - (t["cross_entropy_12"] + t["cross_entropy_21"]) / 2
    free, divergence = ((t[f"{name}_12"] + t[f"{name}_21"]) / 2 for name in ("free_energy", "divergence"))
    np.testing.assert_allclose(from_cross, value, atol=1e-10, rtol=0)
    np.testing.assert_allclose(free - divergence, value, atol=1e-10, rtol=0)


@given(SEEDS, TAUS, st.integers(2, 6))
def test_symmetric_energy_is_never_below_minus_the_information(seed, tau, d):
    energy, pair = energies.symmetric(a_coupling(seed), temperature=tau), a_pair(seed, d=d)
    assert energy(pair) >= energy.lower_bound(d)


def test_the_bound_is_reached_where_the_cosines_are_the_pointwise_information():
    # Two points a modality, π = [[a, b], [b, a]]: s_ij = τ·log(π_ij/p_i q_j) + c needs cosines only.
    tau, a = 0.5, 0.4
    pi = couplings.from_matrix([[a, 0.5 - a], [0.5 - a, a]])
    same, other = tau * np.log(4 * a), tau * np.log(4 * (0.5 - a))
    centre = (same + other) / 2  # then the cosines are ±half their difference
    angle = np.arccos(same - centre)
    x = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    y = jnp.array([[np.cos(angle), np.sin(angle)], [-np.cos(angle), -np.sin(angle)]])
    energy = energies.symmetric(pi, temperature=tau)
    np.testing.assert_allclose(energy(ct.Pair(x, y)), energy.lower_bound(2), rtol=1e-12)


@given(SEEDS, TAUS)
def test_named_sums_are_the_formulas(seed, tau):
    pair, pi = a_pair(seed), a_coupling(seed)
    kernel = kernels.Exponential(tau)
    log_v = float(kernel.log_volume(3))
    s = np.asarray(pair.x @ pair.y.T) / tau
    attract = -(np.asarray(pi.weights).reshape(12, 9) * s).sum()
    barrier_12 = np.log(np.exp(s).mean(axis=1)).mean() - log_v
    barrier_21 = np.log(np.exp(s).mean(axis=0)).mean() - log_v
    one_way = energies.directional(pi, temperature=tau)
    other = energies.directional(pi, temperature=tau, direction="21")
    both = energies.symmetric(pi, temperature=tau)
    np.testing.assert_allclose(one_way(pair), attract + barrier_12, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(other(pair), attract + barrier_21, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(both(pair), (one_way(pair) + other(pair)) / 2, rtol=1e-10, atol=1e-10)
    u = ct.potentials.Linear(np.eye(3)[0])
    own = np.log(np.exp(np.asarray(pair.x @ pair.x.T) / tau).mean(axis=1)).mean() - log_v
    exact = -np.asarray(pair.x)[:, 0].mean() / tau + own
    np.testing.assert_allclose(energies.unimodal(u, temperature=tau)(pair.x), exact, rtol=1e-10, atol=1e-10)


def every_energy():
    wells = ct.potentials.VonMisesFisherMixture(np.eye(3)[:2], concentration=4.0)
    kernel, pi = kernels.Exponential(0.3), a_coupling(0)
    return {
        "unimodal": (energies.unimodal(wells, temperature=0.2), a_pair(0).x),
        "geodesic": (energies.SmoothedEntropy(kernels.GeodesicGaussian(0.4)), a_pair(0).x),
        "directional": (energies.directional(pi, temperature=0.2), a_pair(0)),
        "symmetric": (energies.symmetric(pi, temperature=0.2), a_pair(0)),
        "divergence": (energies.SymmetricDivergence(kernel), a_pair(0)),
        "controlled": (
            energies.symmetric(pi, temperature=0.2) + 0.1 * energies.SymmetricDivergence(kernel),
            a_pair(0),
        ),
    }


@pytest.mark.parametrize("name", every_energy())
def test_gradients_match_finite_differences(name):
    energy, clouds = every_energy()[name]

    def of_directions(clouds):  # finite differences step off the sphere
        return energy(jax.tree.map(ct.sphere.normalize, clouds))

    check_grads(jax.jit(of_directions), (clouds,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7, eps=1e-6)


@pytest.mark.parametrize("name", every_energy())
@pytest.mark.parametrize("seed", [0, 1])
def test_rotating_everything_changes_nothing(name, seed):
    energy, clouds = every_energy()[name]
    if name == "unimodal":  # the potential would have to turn too
        energy = energies.unimodal(ct.potentials.Linear(np.zeros(3)), temperature=0.2)
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    turned = jax.tree.map(lambda z: z @ jnp.asarray(q), clouds)
    np.testing.assert_allclose(energy(turned), energy(clouds), rtol=1e-12)
    for a, b in zip(
        jax.tree.leaves(velocity(energy, turned)), jax.tree.leaves(velocity(energy, clouds)), strict=True
    ):
        np.testing.assert_allclose(a, b @ jnp.asarray(q), atol=1e-11)


def test_permuting_points_with_their_pairs_changes_nothing():
    pair, pi = a_pair(3), a_coupling(3)
    order = np.random.default_rng(0).permutation(12)
    matrix = np.asarray(pi.weights).reshape(12, 9)[order]
    shuffled = energies.symmetric(couplings.from_matrix(matrix), temperature=0.2)
    expected = energies.symmetric(pi, temperature=0.2)(pair)
    np.testing.assert_allclose(shuffled(pair._replace(x=pair.x[order])), expected, rtol=1e-12)


def test_weighted_clouds_are_clouds_with_points_repeated():
    x = a_pair(0).x[:4]
    counts = np.array([1, 2, 3, 4])
    repeated = jnp.repeat(x, counts, axis=0)
    weighted = ct.WeightedCloud(x, jnp.asarray(counts / 10))
    energy = energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
    np.testing.assert_allclose(energy(weighted), energy(repeated), rtol=1e-12)
    np.testing.assert_allclose(
        jnp.repeat(velocity(energy, weighted), counts, axis=0), velocity(energy, repeated), atol=1e-11
    )


def test_adding_the_divergence_in_full_cancels_the_coupling_of_the_clouds():
    pair, pi = a_pair(5), a_coupling(5)
    tau = 0.2
    full = energies.symmetric(pi, temperature=tau) + energies.SymmetricDivergence(kernels.Exponential(tau))
    terms = energies.symmetric(pi, temperature=tau).terms(pair)
    np.testing.assert_allclose(
        full(pair), (terms["free_energy_12"] + terms["free_energy_21"]) / 2, rtol=1e-12
    )


def test_sums_flatten_scale_and_keep_colliding_names_apart():
    x = a_pair(0).x
    a = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.5)
    b = energies.Potential(ct.potentials.Linear(np.eye(3)[1]), temperature=0.5)
    total = a + 2.0 * b - a
    assert len(total.parts) == 3
    np.testing.assert_allclose(total(x), 2 * b(x), atol=1e-14)
    terms = total.terms(x)
    assert list(terms) == ["potential", "potential (2)", "potential (3)"]
    np.testing.assert_allclose(sum(terms.values()), total(x), atol=1e-14)


@pytest.mark.parametrize("name", every_energy())
def test_float32_clouds_give_float32_energies(name):
    energy, clouds = every_energy()[name]
    clouds = jax.tree.map(lambda z: z.astype(jnp.float32), clouds)
    assert energy(clouds).dtype == jnp.float32
    np.testing.assert_allclose(energy(clouds), every_energy()[name][0](every_energy()[name][1]), rtol=1e-4)


def test_a_sweep_over_heterogeneity_temperature_and_weight_traces_once():
    traces = []

    @jax.jit
    def value(energy, clouds):
        traces.append(1)
        return energy(clouds)

    for sigma, tau, weight in ((0.1, 0.1, 0.5), (0.3, 0.2, 0.1), (1.0, 0.5, 2.0)):
        latents, targets = np.linspace(-2, 2, 12), np.linspace(-2, 2, 9)
        pi = couplings.misaligned(jax.random.key(0), latents, sigma=sigma, target_latents=targets)
        energy = energies.symmetric(pi, temperature=tau)
        value(energy + weight * energies.SymmetricDivergence(kernels.Exponential(tau)), a_pair(0))
    assert len(traces) == 1


def test_gradients_in_the_temperature_are_gradients_not_errors():
    # The rebuilt energy holds derivatives, which may be negative; only what a user passes is checked.
    kernel = kernels.Exponential(0.3)
    gradient = jax.grad(lambda k: energies.SmoothedEntropy(k)(a_pair(0).x))(kernel)
    assert float(gradient.temperature) < 0  # the smoothed entropy rises with the width


def test_symmetric_energy_in_fields_is_half_of_both_directions(key):
    x, y = (ct.sphere.uniform(k, 20, 3) for k in jax.random.split(key))
    first, second = (ct.potentials.Linear(jnp.asarray(v)) for v in np.eye(3)[:2])
    kernel = ct.kernels.Exponential(0.5)
    energy = ct.energies.symmetric_in_fields(first, second, temperature=0.5)
    halves = [
        float(jnp.mean(u(z)) / 0.5 + jnp.mean(ct.energies.log_density(z, w, kernel)))
        for u, z, w in ((first, x, y), (second, y, x))
    ]
    assert float(energy(ct.Pair(x, y))) == pytest.approx(sum(halves) / 2, rel=1e-12)
    assert sum(map(float, energy.terms(ct.Pair(x, y)).values())) == pytest.approx(sum(halves) / 2, rel=1e-12)
    with pytest.raises(ValueError, match="this energy is of cloud 0 of several"):
        ct.solve(energy, x, ct.flows.GradientFlow(0.1), num_steps=1)
