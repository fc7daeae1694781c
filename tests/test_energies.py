import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

import ctflow as ct
from ctflow import clouds as clouds_module
from ctflow import couplings, energies, flows, kernels
from ctflow.claims import ring
from ctflow.energies import parts
from ctflow.energy import report
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
    t, value = energy.free_energies(pair), energy(pair)
    terms = energy.terms(pair)
    assert list(terms) == ["alignment", "negative_cross_entropy_12", "negative_cross_entropy_21"]
    free, divergence = ((t[f"{name}_12"] + t[f"{name}_21"]) / 2 for name in ("free_energy", "divergence"))
    np.testing.assert_allclose(sum(terms.values()), value, atol=1e-10, rtol=0)
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
        "sigmoid": (energies.Sigmoid(pi, temperature=0.2, bias=-2.0, negatives=7.0), a_pair(0)),
        "penalties": (
            energies.MaximumMeanDiscrepancy(kernels.ChordalGaussian(0.5))
            + energies.EnergyDistance(softening=0.1)
            + energies.Uniformity(exponent=2.0)
            + energies.CentroidGap(),
            a_pair(0),
        ),
    }


def test_penalties_are_the_diagnostics_of_the_same_name():
    x, y = a_pair(4)
    pair, small = ct.Pair(x, y), 1e-6
    mmd = energies.MaximumMeanDiscrepancy(kernels.ChordalGaussian(0.4))
    exact = ct.diagnostics.mmd_squared(x, y, bandwidth=0.4, estimator="v")
    np.testing.assert_allclose(mmd(pair), exact, rtol=1e-10)
    distance = ct.diagnostics.energy_distance(x, y, estimator="v")
    np.testing.assert_allclose(energies.EnergyDistance(softening=small)(pair), distance, atol=3 * small)
    spread = [ct.diagnostics.uniformity(z, estimator="v") for z in (x, y)]
    np.testing.assert_allclose(energies.Uniformity()(pair), sum(spread) / 2, rtol=1e-10)
    np.testing.assert_allclose(
        energies.CentroidGap()(pair), ct.diagnostics.centroid_gap(x, y) ** 2, rtol=1e-10
    )
    for energy in (mmd, energies.EnergyDistance(softening=0.1), energies.CentroidGap()):
        np.testing.assert_allclose(energy(ct.Pair(x, x)), 0, atol=1e-12)


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
    split = energies.symmetric(pi, temperature=tau).free_energies(pair)
    np.testing.assert_allclose(
        full(pair), (split["free_energy_12"] + split["free_energy_21"]) / 2, rtol=1e-12
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


FIELD = ct.potentials.Linear(np.eye(3)[0])


@energies.pytree
class Height(energies.Energy):
    """A user's energy that only defines its value: the mean height of one cloud."""

    scale: float = 1.0

    def __call__(self, clouds):
        return self.scale * jnp.mean(clouds[:, 0])


@energies.pytree
class HeightTerms(energies.Energy):
    """A user's energy that only defines its terms, some with names that others may have."""

    def terms(self, clouds):
        return {"potential (2)": jnp.mean(clouds[:, 0]), "energy": jnp.mean(clouds[:, 1])}


@energies.pytree
class Both(energies.Energy):
    """A user's energy of a Pair that makes an energy of one cloud out of nothing but its own check."""

    part: energies.Energy

    def __call__(self, clouds):
        return self.part(clouds.x) + self.part(clouds.y)


def more_energies():
    """Further kinds of energies, cheap ones: every way in which they are put together."""
    one = energies.Potential(FIELD, temperature=0.5)
    fields = energies.symmetric_in_fields(FIELD, FIELD, temperature=0.5)
    x, pair = a_pair(0).x, a_pair(0)
    return {
        "potential": (one, x),
        "function": (energies.Potential(lambda z: z[0] ** 2, temperature=0.5), x),
        "scaled": (-2.0 * one, x),
        "sum": (one + 2.0 * energies.unimodal(FIELD, temperature=0.5) - HeightTerms() + one, x),
        "component": (energies.Component(one, index=1), pair),
        "alignment": (energies.Alignment(a_coupling(0), temperature=0.5), pair),
        "fields": (fields, pair),
        "user's value": (Height(), x),
        "user's terms": (HeightTerms(), x),
        "user's pair": (Both(one), pair),
        "user's in a sum": (3.0 * Height() + (Height() + HeightTerms()), x),
    }


ALL = {**every_energy(), **more_energies()}


@pytest.mark.parametrize("name", ALL)
def test_terms_add_up_to_the_energy(name):
    energy, clouds = ALL[name]
    terms = energy.terms(clouds)
    np.testing.assert_allclose(sum(terms.values()), energy(clouds), rtol=1e-12, atol=1e-12)
    assert all(jnp.shape(value) == () for value in terms.values())


def test_a_name_that_comes_again_never_hides_another_term():
    x = a_pair(1).x
    one = energies.Potential(FIELD, temperature=0.5)
    terms = (HeightTerms() + one + one).terms(x)  # "potential (2)" is there before the second "potential"
    assert list(terms) == ["potential (2)", "energy (2)", "potential", "potential (3)"]


def every(clouds, change):
    return jax.tree.map(change, clouds)


WRONG = {
    "one point": (lambda c: every(c, lambda z: z[0]), "must be 2-D, [n, d], got shape (3,)"),
    "a stack": (lambda c: every(c, lambda z: z[None]), "several clouds are ct.Pair(x, y)"),
    "half precision": (
        lambda c: every(c, lambda z: z.astype(jnp.bfloat16)),
        "must hold float32 or float64 numbers, got bfloat16; cast it to float32 and normalise it",
    ),
    "float16": (lambda c: every(c, lambda z: z.astype(jnp.float16)), "got float16; cast it to float32"),
    "integers": (
        lambda c: every(c, lambda z: z.astype(int)),
        "got int64; cast it to float32 or float64",
    ),
    "one number": (lambda c: 0.5, "must be 2-D, [n, d], got shape ()"),
    "no points": (lambda c: every(c, lambda z: z[:0]), "must have n >= 1 points"),
    "three": (lambda c: (*jax.tree.leaves(c), *jax.tree.leaves(c), a_pair(9).y), "got"),
    "two dimensions": (
        lambda c: ct.Pair(jax.tree.leaves(c)[0], uniform(2, 9, 4, jnp.float64)),
        "clouds must hold clouds of the same d and dtype, got d = 3 in float64 for clouds.x, d = 4 "
        "in float64 for clouds.y; give all of them the same d",
    ),
    "two dtypes": (
        lambda c: ct.Pair(jax.tree.leaves(c)[0], uniform(2, 9, 3, jnp.float32)),
        "d = 3 in float64 for clouds.x, d = 3 in float32 for clouds.y; cast one of them",
    ),
    "the other kind": (lambda c: c.x if isinstance(c, tuple) else ct.Pair(c, c), "got"),
}
WRONG_NUMBERS = {
    "off the sphere": (lambda c: every(c, lambda z: 1.01 * z), "must have rows of unit norm"),
    "not a number": (lambda c: every(c, lambda z: z.at[3, 1].set(jnp.nan)), "the first is row 3; drop them"),
    "zero": (lambda c: every(c, lambda z: z.at[2].set(0)), "1 zero rows (the first is row 2); drop them"),
    "negative weights": (
        lambda c: every(c, lambda z: ct.WeightedCloud(z, jnp.full(len(z), 1 / len(z)).at[1].multiply(-1))),
        "weights must be finite and >= 0",
    ),
    "heavy weights": (
        lambda c: every(c, lambda z: ct.WeightedCloud(z, jnp.full(len(z), 2 / len(z)))),
        "weights must sum to 1, got 2",
    ),
}
# Energies that do not say how many clouds they are of; one for any number of them is also of three.
BLIND = ("user's value", "user's terms", "user's pair", "user's in a sum")
ANY_NUMBER = {"three": (*BLIND, "component"), "the other kind": BLIND}


def refused(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_every_energy_checks_its_clouds_at_every_call(name):
    energy, clouds = ALL[name]
    calls = [energy, energy.terms, *([energy.free_energies] if name == "symmetric" else [])]
    for kind, (change, message) in (WRONG | WRONG_NUMBERS).items():
        if name not in ANY_NUMBER.get(kind, ()):
            for call in calls:
                refused(functools.partial(call, change(clouds)), message)


@pytest.mark.parametrize("name", ALL)
def test_traced_clouds_are_checked_by_what_is_static_and_never_by_their_numbers(name):
    energy, clouds = ALL[name]
    for kind, (change, message) in WRONG.items():
        if kind != "one number" and name not in ANY_NUMBER.get(kind, ()):
            for call in (energy, energy.terms):
                refused(functools.partial(jax.eval_shape, call, change(clouds)), message)
    assert jax.eval_shape(energy, every(clouds, lambda z: 1.01 * z)).shape == ()


@pytest.mark.wrong_types
def test_which_energy_wants_how_many_clouds():
    one, pair = energies.Potential(FIELD, temperature=0.5), a_pair(0)
    component = energies.Component(one, index=2)
    refused(
        lambda: one(tuple(pair)),
        "this energy is of one cloud [n, d], got several: a tuple of 2 clouds; pass one of them, or make it "
        "an energy of the first: ct.energies.Component(energy, index=0)",
    )
    refused(
        lambda: energies.SymmetricDivergence(kernels.Exponential(0.3))(pair.x),
        "this energy is of two clouds: pass ct.Pair(x, y), got one cloud [12, 3]",
    )
    refused(
        lambda: component(pair),
        "this energy is of cloud 2 of several, got a Pair of 2 clouds; index must be <= 1",
    )
    refused(lambda: component(pair.x), "of cloud 2 of several, got one cloud [12, 3]; pass ct.Pair(x, y)")
    refused(lambda: energies.Component(one, index=-1), "index must be an integer >= 0, got -1")
    np.testing.assert_allclose(component((*pair, pair.x)), one(pair.x))
    refused(
        lambda: energies.Alignment(np.full((12, 9), 1 / 108), temperature=0.5)(pair),  # type: ignore
        "coupling must be a Coupling of ct.couplings, got ndarray; turn a matrix into one with "
        "ct.couplings.from_matrix",
    )
    outside = couplings.Coupling(jnp.arange(12), jnp.arange(12), jnp.full(12, 1 / 12), shape=(12, 9))
    refused(
        lambda: energies.Alignment(outside, temperature=0.5)(pair), "cols must lie in [0, 9), got [0, 11]"
    )


def test_clouds_may_be_lists_of_numbers():
    x = a_pair(0).x
    energy = energies.Potential(FIELD, temperature=0.5)
    assert energy(np.asarray(x).tolist()) == energy(x)
    assert energy(np.asarray(x)) == energy(x)
    refused(lambda: energy([[1.0, 0.0, 0.0], [0.0, 1.0]]), "clouds must be an array [n, d] of points")
    refused(lambda: energy([[1, 0, 0], [0, 1, 0]]), "got int64; cast it to float32 or float64")
    refused(lambda: energy([x, x]), "got shape (2, 12, 3); several clouds are ct.Pair(x, y)")


def test_a_cloud_is_read_once_and_a_coupling_is_checked_once(monkeypatch):
    read, fitted = [], []
    look, fit = clouds_module._largest_offset, parts.check_coupling
    monkeypatch.setattr(clouds_module, "_largest_offset", lambda rows: read.append(len(rows)) or look(rows))
    monkeypatch.setattr(parts, "check_coupling", lambda *args: fitted.append(1) or fit(*args))
    pair, kernel = a_pair(7), kernels.Exponential(0.3)
    energy = energies.symmetric(a_coupling(7), temperature=0.3) + 0.1 * energies.SymmetricDivergence(kernel)
    energy(pair)
    assert sorted(read) == [9, 12]
    assert len(fitted) == 1
    energy.terms(pair)
    assert len(read) == 2  # JAX's arrays do not change
    refused(lambda: energy(every(pair, lambda z: 2 * z)), "unit norm")


def test_a_subclass_that_defines_one_of_value_and_terms_has_the_other():
    x = a_pair(0).x
    assert list(Height(2.0).terms(x)) == ["height"]
    assert Height(2.0).terms(x)["height"] == 2 * jnp.mean(x[:, 0])
    assert HeightTerms()(x) == jnp.mean(x[:, 0]) + jnp.mean(x[:, 1])

    @energies.pytree
    class KLToSomething2D(energies.Potential):
        def __call__(self, clouds):
            return 2 * super().__call__(clouds)

    squared = KLToSomething2D(FIELD, temperature=0.5)
    assert squared.terms(x) == {"kl_to_something2_d": squared(x)}
    assert squared(x) == 2 * energies.Potential(FIELD, temperature=0.5)(x)

    @energies.pytree
    class Renamed(energies.Symmetric):
        def terms(self, clouds):
            return {name.upper(): value for name, value in super().terms(clouds).items()}

    renamed = Renamed(a_coupling(0), temperature=0.3, kernel=kernels.Exponential(0.3))
    np.testing.assert_allclose(sum(renamed.terms(a_pair(0)).values()), renamed(a_pair(0)), rtol=1e-12)


@energies.pytree
class Doubled(energies.Potential):
    """A user's energy whose value is written by terms that it does not have."""

    def __call__(self, clouds):
        """Without end."""
        return 2 * sum(self.terms(clouds).values())


@energies.pytree
class Circular(energies.Potential):
    """The same the other way round."""

    def terms(self, clouds):
        """Without end."""
        return {"potential": self(clouds)}


def test_learning_the_temperature_stops_where_the_loss_does():
    """Parallel rings of squared radius p rest at τ = p τ*, by J + log V and by InfoNCE's loss; J runs on."""
    n, p, sigma = 24, 0.8, 0.8
    clouds = ct.Pair(
        *map(jnp.asarray, ring.rings(n, 3, (0.2**0.5, -(0.2**0.5)), np.random.default_rng(0), 0.0))
    )
    rest = p * ring.critical_temperature(sigma)
    pi = ct.couplings.complete(ring.law(n, sigma))

    def energy(log_tau):
        tau = jnp.exp(log_tau)
        return (energies.symmetric(pi, temperature=tau) + energies.LogVolume(kernels.Exponential(tau)))(
            clouds
        )

    def loss(log_tau):
        options = {"temperature": jnp.exp(log_tau), "num_negatives": 500, "positive_in_denominator": False}
        keys = jax.random.split(jax.random.key(0), 8)
        return jnp.mean(jax.vmap(lambda key: ct.infonce.loss(key, clouds, pi, **options))(keys))

    def j_alone(log_tau):
        return energies.symmetric(pi, temperature=jnp.exp(log_tau))(clouds)

    slope = jax.jit(lambda value: [jax.grad(part)(value) for part in (energy, loss, j_alone)])
    below, at, above = (slope(jnp.log(rest * ratio)) for ratio in (0.97, 1.0, 1.03))
    assert abs(at[0]) < 1e-9
    for part in range(2):  # up from below, down from above: descending stops between
        assert below[part] < 0 < above[part]
    assert at[2] > 1
    # Alike away from rest too; the loss is off by its variance over N, and by the draw.
    assert slope(jnp.log(2 * rest))[1] == pytest.approx(float(slope(jnp.log(2 * rest))[0]), abs=0.01)


def test_log_volume_is_a_constant_of_any_clouds():
    kernel = kernels.Exponential(0.3)
    for clouds in (a_pair(0), a_pair(0).x):
        assert energies.LogVolume(kernel)(clouds) == kernel.log_volume(3, jnp.float64)
    assert list((energies.LogVolume(kernel) + energies.SmoothedEntropy(kernel)).terms(a_pair(0).x)) == [
        "log_volume",
        "negative_entropy",
    ]


def test_a_value_and_terms_that_call_each_other_are_named():
    x = a_pair(0).x
    for kind, calls in ((Doubled, "terms"), (Circular, "__call__")):
        energy = kind(FIELD, temperature=0.5)
        for method in (energy, energy.terms):
            with pytest.raises(TypeError, match=rf"never ends: it calls self\.{calls}.*call super\(\)"):
                method(x)


@pytest.mark.parametrize(
    ("method", "returned", "message"),
    [
        (
            "__call__",
            lambda z: z[:1, 0],
            r"__call__ must return one real number, got float64 of shape \(1,\)",
        ),
        ("__call__", lambda z: None, r"__call__ must return one real number, got NoneType"),
        (
            "__call__",
            lambda z: jax.lax.complex(z[0, 0], z[0, 1]),
            r"__call__ must return one real number, got complex128",
        ),
        (
            "terms",
            lambda z: {"a": z[:, 0]},
            r"terms must return one real number for 'a', got float64 of shape",
        ),
        ("terms", lambda z: {}, r"terms must return a dict of numbers, at least one, got \{\}"),
        ("terms", lambda z: None, r"terms must return a dict of numbers, at least one, got None"),
    ],
)
def test_an_energy_that_returns_no_numbers_is_named(method, returned, message):
    x = a_pair(0).x
    kind = energies.pytree(
        type(
            "Odd", (energies.Energy,), {method: lambda self, clouds: returned(clouds), "__annotations__": {}}
        )
    )
    for call in (
        getattr(kind(), method),
        lambda x: ct.solve(kind(), x, flows.GradientFlow(0.1), num_steps=1),
    ):
        with pytest.raises(ValueError, match=message):
            call(x)


def test_a_term_named_energy_does_not_replace_the_energy():
    @energies.pytree
    class Named(energies.Potential):
        def terms(self, clouds):
            return {"energy": jnp.mean(clouds[:, 0]), "other": jnp.mean(clouds[:, 1])}

    x, energy = a_pair(0).x, Named(FIELD, temperature=0.5)
    saved = ct.solve(energy, x, flows.GradientFlow(0.01), num_steps=1).saved
    assert list(saved) == ["energy", "energy (2)", "other"]
    assert saved["energy"][0] == energy(x)
    assert saved["energy (2)"][0] == jnp.mean(x[:, 0])


def test_a_method_replaced_later_is_the_one_in_force(monkeypatch):
    x = a_pair(0).x
    monkeypatch.setattr(HeightTerms, "terms", lambda self, clouds: {"one": jnp.ones(())})
    monkeypatch.setattr(Height, "__call__", lambda self, clouds: jnp.ones(()))
    assert (HeightTerms() + Height())(x) == 2
    assert (HeightTerms() + Height()).terms(x) == {"one": 1, "height": 1}


@energies.pytree
class Nothing(energies.Energy):
    """A user's energy that defines nothing."""


def test_a_subclass_that_defines_neither_is_named():
    for call in (
        lambda: Nothing()(a_pair(0).x),
        lambda: Nothing().terms(a_pair(0).x),
        lambda: ct.solve(Nothing(), a_pair(0).x, flows.GradientFlow(0.1), num_steps=1),
    ):
        with pytest.raises(NotImplementedError, match=r"Nothing must define __call__\(clouds\) or terms"):
            call()


class Unregistered(energies.Energy):
    """A user's energy that JAX does not know, for an __init__ of its own."""

    def __init__(self):
        pass

    def __call__(self, clouds):
        return jnp.mean(clouds[:, 0])


class UnregisteredKernel(kernels.Kernel):
    """A user's kernel that JAX does not know."""

    def __init__(self):
        pass

    def log_kernel(self, cosine):
        return cosine


def test_classes_unknown_to_jax_are_named_with_what_to_do():
    x = a_pair(0).x
    remedy = "as annotated fields, not in an __init__"
    for energy, message in (
        (Unregistered(), "energy must be a number, an array or an object registered with JAX, got an "),
        (2.0 * Unregistered(), "energy.part must be a number"),
        (energies.SmoothedEntropy(UnregisteredKernel()), "energy.kernel must be a number"),
    ):
        refused(lambda e=energy: ct.solve(e, x, flows.GradientFlow(0.1), num_steps=1), message)
        refused(lambda e=energy: energies.check_energy(e, x), remedy)
    np.testing.assert_allclose(Unregistered()(x), jnp.mean(x[:, 0]))  # a call by itself needs no tree


def test_a_subclass_is_a_dataclass_that_jax_knows_and_checks_its_fields():
    class Plain(energies.Energy):
        scale: float = ct.positive()
        name: str = ct.static(default="one")

        def __call__(self, clouds):
            return self.scale * jnp.mean(clouds[:, 0])

    class Heir(Plain):
        shift: float = 0.0

        def __call__(self, clouds):
            return super().__call__(clouds) + self.shift

    x, heir = a_pair(0).x, Heir(2.0, shift=1.0)
    assert jax.tree.leaves(heir) == [2.0, 1.0]
    assert heir(x) == Plain(2.0)(x) + 1.0
    assert heir.terms(x) == {"heir": heir(x)}
    for kind in (Plain, Heir):
        refused(lambda kind=kind: kind(-1.0), "scale must be")
    traces = []

    @jax.jit
    def value(energy):
        traces.append(1)
        return energy(x)

    assert value(Plain(1.0)) != value(Plain(2.0))
    assert len(traces) == 1
    value(Plain(1.0, name="another"))
    assert len(traces) == 2
    assert energies.pytree(Plain) is Plain


def test_a_function_of_the_clouds_is_an_energy():
    def height(z):
        return jnp.mean(z[:, 0])

    x, flow, known = a_pair(0).x, flows.GradientFlow(0.1), Height(2.0)
    for energy in (height, lambda z: height(z)):
        run, same = (ct.solve(e, x, flow, num_steps=3) for e in (energy, Height()))
        np.testing.assert_array_equal(run.clouds, same.clouds)
        np.testing.assert_array_equal(ct.evolve(energy, flow, flow.init(x), num_steps=3).clouds, run.clouds)
    assert list(ct.solve(height, x, flow, num_steps=1).saved) == ["energy", "height"]
    for energy, factor in (
        (known + height, 3),
        (height + known, 3),
        (known - height, 1),
        (height - known, -1),
    ):
        np.testing.assert_allclose(energy(x), factor * height(x), rtol=1e-12)
    for wrong in (lambda z: z[:, 0], lambda z: "text", lambda z: None):
        refused(lambda wrong=wrong: ct.solve(wrong, x, flow, num_steps=1), "must return")


def test_energies_are_negated_divided_and_summed():
    x, one = a_pair(0).x, Height(2.0)
    for energy, factor in ((-one, -2), (one / 4, 0.5), (sum([one, one, one]), 6), (one - one / 2, 1)):
        np.testing.assert_allclose(energy(x), factor * jnp.mean(x[:, 0]), rtol=1e-12)
        np.testing.assert_allclose(sum(energy.terms(x).values()), energy(x), rtol=1e-12)
    for wrong in (
        lambda: one * one,
        lambda: one / one,
        lambda: 1 / one,
        lambda: one + 1,
        lambda: 1 + one,
        lambda: 2 - one,
        lambda: one - 2,
        lambda: one + Height,
        lambda: one / "text",
    ):
        with pytest.raises(TypeError):
            wrong()


def test_an_energy_of_two_clouds_acts_between_any_two_of_three():
    kernel = kernels.Exponential(0.3)
    x, y, z = (ct.sphere.uniform(jax.random.key(i), n, 3) for i, n in enumerate((6, 8, 9)))
    part = energies.SymmetricDivergence(kernel) + energies.CrossEntropy(kernel)
    energy = energies.Between(part, first=0, second=2) + energies.Between(part, first=2, second=1)
    expected = part(ct.Pair(x, z)) + part(ct.Pair(z, y))
    np.testing.assert_allclose(energy((x, y, z)), expected, rtol=1e-12)
    terms = energy.terms((x, y, z))
    assert list(terms)[:2] == ["symmetric_divergence_of_13", "negative_cross_entropy_12_of_13"]
    np.testing.assert_allclose(sum(terms.values()), expected, rtol=1e-12)
    run = ct.solve(energy, (x, y, z), flows.GradientFlow(0.01), num_steps=3)
    assert run.saved["energy"][-1] < run.saved["energy"][0]
    refused(lambda: energy(ct.Pair(x, y)), "this energy is of cloud 0 and 2 of several")
    refused(lambda: energies.Between(part, first=-1, second=0), "first must be")
    refused(
        lambda: energies.Between(energies.SmoothedEntropy(kernel), first=0, second=1)((x, y)), "one cloud"
    )


@pytest.mark.wrong_types
def test_a_function_of_the_cosine_is_a_kernel():
    pair, known = a_pair(0), kernels.Exponential(0.3)

    def log_kernel(cosine):
        return cosine / 0.3

    for make in (
        energies.SmoothedEntropy,
        energies.CrossEntropy,
        energies.SymmetricDivergence,
        energies.LogVolume,
        lambda kernel: energies.symmetric(a_coupling(0), temperature=0.3, kernel=kernel),
    ):
        clouds = pair.x if make is energies.SmoothedEntropy else pair
        np.testing.assert_allclose(make(log_kernel)(clouds), make(known)(clouds), rtol=1e-12)
    sums = (ct.log_partition(*pair, kernel) for kernel in (log_kernel, known))
    np.testing.assert_allclose(*sums, rtol=1e-12)


def test_a_users_energy_runs_and_reports_its_terms():
    solution = ct.solve(Height(), a_pair(0).x, flows.GradientFlow(0.1), num_steps=2)
    np.testing.assert_array_equal(solution.saved["height"], solution.saved["energy"])
    assert solution.saved["energy"][-1] < solution.saved["energy"][0]


def test_what_users_import_from_here_is_here():
    names = {"Energy", "Sum", "Scaled", "check_energy", "pytree", "static", "positive", "log_density"}
    assert names <= set(dir(energies))


def test_the_temperature_of_an_infonce_energy_is_one_number():
    """The slope in τ is that of alignment and kernel together; a replaced kernel changes both."""
    x, pi = a_pair(0), a_coupling(0)
    energy = energies.symmetric(pi, temperature=0.3)
    slope = jax.grad(lambda e: e(x), allow_int=True)(energy).temperature
    by_hand = jax.grad(lambda tau: energies.Symmetric(pi, kernel=kernels.Exponential(tau))(x))(0.3)
    step = 1e-5
    ends = [energies.symmetric(pi, temperature=0.3 + h)(x) for h in (step, -step)]
    np.testing.assert_allclose([slope, by_hand], (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
    warmer = dataclasses.replace(energy, kernel=kernels.Exponential(0.5))
    assert (energy.temperature, warmer.temperature) == (0.3, 0.5)
    np.testing.assert_array_equal(warmer(x), energies.symmetric(pi, temperature=0.5)(x))
    wide = energies.symmetric(pi, temperature=0.3, kernel=kernels.GeodesicGaussian(0.4))
    assert wide.temperature == 0.3
    np.testing.assert_array_equal(wide.terms(x)["alignment"], energy.terms(x)["alignment"])
    for options, message in (
        ({"kernel": kernels.GeodesicGaussian(0.4)}, "temperature is required beside a kernel that has none"),
        ({"temperature": -0.1}, "temperature must be finite and > 0, got -0.1"),
        ({}, "temperature must be finite and > 0"),
    ):
        refused(lambda options=options: energies.Symmetric(pi, **options), message)


def test_plain_jax_grad_works_over_an_energy_of_all_pairs():
    """A complete coupling stores no indices, so that its energy has real numbers only."""
    x, law = a_pair(0), np.random.default_rng(0).dirichlet(np.ones(9 * 9)).reshape(9, 9)
    law = ct.couplings.balance(np.log(law))
    energy = energies.symmetric(ct.couplings.complete(jnp.asarray(law)), temperature=0.3)
    x = ct.Pair(x.x[:9], x.y[:9])
    gradient = jax.grad(lambda e: e(x))(energy)
    by_weight = -(np.asarray(x.x) @ np.asarray(x.y).T) / 0.3
    np.testing.assert_allclose(gradient.coupling.weights.reshape(9, 9), by_weight, atol=1e-12)
    np.testing.assert_array_equal(energy.coupling.rows, np.indices((9, 9))[0].ravel())
    np.testing.assert_array_equal(energy.coupling.cols, np.indices((9, 9))[1].ravel())


def test_simclr_leaves_the_anchor_out():
    """∫log ρ̃ dq with each point left out of its own density, against a sum by hand."""
    z, tau = a_pair(0).x, 0.4
    energy = energies.SmoothedEntropy(kernels.Exponential(tau), exclude_self=True)
    kernel = np.exp(np.asarray(z) @ np.asarray(z).T / tau)
    np.fill_diagonal(kernel, 0)
    density = kernel.sum(axis=1) / (len(z) - 1)
    wanted = np.mean(np.log(density)) - energy.kernel.log_volume(z.shape[1], z.dtype)
    np.testing.assert_allclose(energy(z), wanted, rtol=1e-12)
    both = energies.unimodal(lambda z: z[0], temperature=tau, exclude_self=True)
    np.testing.assert_allclose(both.terms(z)["negative_entropy"], wanted, rtol=1e-12)


def test_energies_take_sums_by_the_method_they_are_told():
    x = a_pair(0)
    for make in (energies.CrossEntropy, energies.SymmetricDivergence):
        exact = make(kernels.Exponential(0.4))(x)
        np.testing.assert_allclose(make(kernels.Exponential(0.4), method="tiled")(x), exact, rtol=1e-12)
        refused(
            lambda make=make: make(kernels.Exponential(0.4), method="ring")(x), "method='ring' needs mesh="
        )
        refused(lambda make=make: make(kernels.Exponential(0.4), method="fast"), "method must be one of")
        refused(lambda make=make: make(kernels.Exponential(0.4), rtol=0.0), "rtol must be finite and > 0")


def test_a_composite_whose_terms_are_redefined_reports_those():
    """A subclass of `Scaled`, `Sum` and the like: value, terms and report agree."""

    class Clipped(energies.Scaled):
        def terms(self, clouds):
            return {name: jnp.maximum(value, -1.0) for name, value in super().terms(clouds).items()}

    x = ct.sphere.uniform(jax.random.key(0), 10, 3)
    energy = Clipped(energies.SmoothedEntropy(ct.kernels.Exponential(0.5)), weight=-50.0)
    assert energy.terms(x) == {"negative_entropy": -1.0}
    assert report(energy, x) == {"energy": -1.0, "negative_entropy": -1.0}
    assert energy(x) == -1.0
