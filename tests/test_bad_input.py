"""Bad input gets a ValueError that names the argument, the rule, the value and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from tests.draws import uniform

KEY = jax.random.key(0)
X = ct.sphere.uniform(KEY, 6, 3)
Y = ct.sphere.uniform(jax.random.key(1), 6, 3)
PAIR = ct.Pair(X, Y)
FLAT = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.5)
SYMMETRIC = ct.energies.symmetric(ct.couplings.paired(6), temperature=0.5)
FLOW = ct.flows.GradientFlow(0.1)
KERNEL = ct.kernels.Exponential(0.5)


def solve(start=X, energy=FLAT, flow=FLOW, **options):
    return ct.solve(energy, start, flow, **{"num_steps": 2, **options})


def uneven():
    matrix = np.full((6, 6), 1 / 36)
    matrix[0] *= 2
    return ct.couplings.from_matrix(matrix / matrix.sum())


CASES = {
    # numbers that must be finite and > 0
    "temperature zero": (lambda: ct.kernels.Exponential(0.0), "temperature must be finite and > 0, got 0.0"),
    "temperature negative": (
        lambda: ct.energies.Potential(FLAT.potential, temperature=-0.1),
        "temperature must be finite and > 0, got -0.1",
    ),
    "temperature nan": (
        lambda: ct.energies.symmetric(ct.couplings.paired(3), temperature=float("nan")),
        "temperature must be finite and > 0, got nan",
    ),
    "temperature array": (
        lambda: solve(energy=ct.energies.Potential(FLAT.potential, temperature=jnp.array(-1.0))),
        "temperature must be finite and > 0, got -1.0",
    ),
    "temperature text": (
        lambda: solve(energy=ct.energies.Potential(FLAT.potential, temperature="hot")),  # type: ignore
        "temperature must be a finite number > 0, got 'hot'",
    ),
    "potential as energy": (
        lambda: solve(energy=FLAT.potential),
        "energy must be an energy or a function of the clouds, got Linear; a potential becomes one by",
    ),
    "potential as a term": (
        lambda: FLAT + FLAT.potential,
        "function of the clouds, got Linear; a potential",
    ),
    "kernel as energy": (
        lambda: ct.evolve(KERNEL, FLOW, FLOW.init(X), num_steps=1),
        "function of the clouds, got Exponential",
    ),
    "bandwidth": (lambda: ct.kernels.GeodesicGaussian(-1), "bandwidth must be finite and > 0, got -1"),
    "bandwidth infinite": (
        lambda: ct.kernels.ChordalGaussian(float("inf")),
        "bandwidth must be finite and > 0, got inf",
    ),
    "kernel of birth and death": (
        lambda: ct.flows.WassersteinFisherRao(0.1, 0.2),  # type: ignore
        "kernel must be a kernel of ct.kernels, got float",
    ),
    "no quantile": (
        lambda: ct.latents.VonMisesMixture().quantiles([0.5, float("nan")]),
        "probabilities must lie in [0, 1], got [0.5, nan]",
    ),
    "concentration": (
        lambda: ct.potentials.VonMisesFisherMixture(np.eye(3), concentration=0),
        "concentration must be finite and > 0, got 0",
    ),
    "vmf concentration": (
        lambda: ct.sphere.von_mises_fisher(KEY, X[0], -2.0, 5),
        "concentration must be finite and > 0, got -2.0",
    ),
    "vmf direction": (
        lambda: ct.sphere.von_mises_fisher(KEY, X, 2.0, 5),
        "mean_direction must have shape [d] with d >= 2, got (6, 3)",
    ),
    "step size": (lambda: ct.flows.Langevin(0), "step_size must be finite and > 0, got 0"),
    "step size nan": (
        lambda: ct.flows.GradientFlow(float("nan")),
        "step_size must be finite and > 0, got nan",
    ),
    "scaled by an array": (lambda: FLAT * np.ones(2), "an energy is scaled by one number, got shape (2,)"),
    "an array by it": (lambda: np.ones(2) * FLAT, "an energy is scaled by one number, got shape (2,)"),
    "complex potential": (
        lambda: ct.energies.Potential(lambda z: jax.lax.complex(z[0], z[1]), temperature=0.5)(X),
        "potential must return real numbers, got complex",
    ),
    "kernel class": (
        lambda: ct.energies.SmoothedEntropy(ct.kernels.Exponential)(X),  # type: ignore
        "kernel must be a kernel, got the class Exponential itself; call it with its settings",
    ),
    "kernel of the bound": (
        lambda: ct.energies.symmetric(ct.couplings.paired(6), temperature=0.5, kernel="exp").lower_bound(3),  # type: ignore
        "kernel must be a kernel of ct.kernels, got str",
    ),
    "evolve off the sphere": (
        lambda: ct.evolve(FLAT, FLOW, FLOW.init(X)._replace(clouds=2 * X), num_steps=1),
        "state.clouds must have rows of unit norm",
    ),
    "init off the sphere": (lambda: FLOW.init(2 * X), "clouds must have rows of unit norm"),
    "velocity off the sphere": (lambda: ct.flows.velocity(FLAT, 2 * X), "clouds must have rows of unit norm"),
    "several radii": (
        lambda: ct.gibbs.GibbsMeasure(FLAT.potential, temperature=0.5, d=3).cap_mass(
            np.eye(3),
            radius=np.ones(2),  # type: ignore
        ),
        "radius must be one number in (0, π] radians, got shape (2,)",
    ),
    "fraction off the sphere": (
        lambda: ct.gibbs.cap_fraction(X, 5 * np.eye(3), radius=0.5),
        "centers must have rows of unit norm",
    ),
    "fraction of a pair": (
        lambda: ct.gibbs.cap_fraction(PAIR, np.eye(3), radius=0.5),
        "cloud must be one cloud [n, d], got a Pair",
    ),
    "fraction of several radii": (
        lambda: ct.gibbs.cap_fraction(X, np.eye(3), radius=np.ones(2)),  # type: ignore
        "radius must be one number in (0, π] radians, got shape (2,)",
    ),
    # counts
    "num_steps zero": (lambda: solve(num_steps=0), "num_steps must be an integer >= 1, got 0"),
    "num_steps float": (lambda: solve(num_steps=2.5), "num_steps must be an integer >= 1, got 2.5"),
    "save_every": (lambda: solve(save_every=-1), "save_every must be an integer >= 1, got -1"),
    "n": (lambda: ct.sphere.uniform(KEY, 0, 3), "n must be an integer >= 1, got 0"),
    "d": (lambda: ct.sphere.uniform(KEY, 5, 1), "d must be an integer >= 2, got 1"),
    "num_negatives": (
        lambda: ct.infonce.loss(KEY, PAIR, SYMMETRIC.coupling, temperature=0.5, num_negatives=0),
        "num_negatives must be an integer >= 1, got 0",
    ),
    "evolve chunks": (
        lambda: ct.evolve(FLAT, FLOW, FLOW.init(X), num_steps=5, save_every=2, save=lambda c: c),
        "num_steps must be a multiple of save_every, got 5 and 2",
    ),
    # clouds
    "1-D cloud": (lambda: solve(X[0]), "start must be 2-D, [n, d], got shape (3,)"),
    "d = 1": (lambda: solve(jnp.ones((4, 1))), "start must have n >= 1 points in d >= 2 dimensions"),
    "empty": (lambda: solve(jnp.ones((0, 3))), "got shape (0, 3)"),
    "integers": (
        lambda: solve(jnp.eye(3, dtype=int)),
        "start must hold real floating-point numbers, got int",
    ),
    "text": (lambda: solve("cloud"), "start must be an array [n, d] of points on the sphere, got str"),
    "zero row": (lambda: solve(X.at[2].set(0)), "start has 1 zero rows (the first is row 2); drop them"),
    "nan row": (
        lambda: solve(X.at[4, 1].set(jnp.nan)),
        "start must be finite: 1 of 6 rows are not, the first is row 4",
    ),
    "inf row": (lambda: solve(X.at[4, 1].set(jnp.inf)), "start must be finite"),
    "off the sphere": (
        lambda: solve(X.at[1].multiply(1.001)),
        "start must have rows of unit norm: 1 of 6 do not, row 1 has norm 1.001; "
        "use ct.sphere.normalize(start)",
    ),
    "pair off the sphere": (
        lambda: solve(PAIR._replace(y=2 * Y), SYMMETRIC),
        "start.y must have rows of unit norm",
    ),
    "mismatched d": (
        lambda: solve(ct.Pair(X, ct.sphere.uniform(KEY, 6, 4)), SYMMETRIC),
        "start must hold clouds of the same d and dtype, got d = 3",
    ),
    "mismatched dtype": (
        lambda: solve(ct.Pair(X, Y.astype(jnp.float32)), SYMMETRIC),
        "clouds of the same d and dtype",
    ),
    "sum d": (
        lambda: ct.log_partition(X, ct.sphere.uniform(KEY, 6, 4), KERNEL),
        "x and y must have the same d, got x (6, 3) and y (6, 4)",
    ),
    "one cloud for two": (lambda: solve(X, SYMMETRIC), "this energy is of two clouds: pass ct.Pair(x, y)"),
    "two clouds for one": (lambda: solve(PAIR), "this energy is of one cloud [n, d], got several"),
    "distances": (
        lambda: ct.diagnostics.centroid_gap(X, ct.sphere.uniform(KEY, 6, 4)),
        "the same d and dtype",
    ),
    # weights
    "negative weights": (
        lambda: solve(ct.WeightedCloud(X, jnp.array([1.5, -0.5, 0, 0, 0, 0]))),
        "start.weights must be finite and >= 0, got a smallest value of -0.5",
    ),
    "weights' sum": (
        lambda: solve(ct.WeightedCloud(X, jnp.ones(6))),
        "start.weights must sum to 1, got 6; divide them by their sum",
    ),
    "weights' shape": (
        lambda: ct.log_partition(X, Y, KERNEL, weights=jnp.ones(5) / 5),
        "weights must have shape (6,), one weight per point, got (5,)",
    ),
    # couplings
    "pair out of range": (
        lambda: ct.couplings.from_pairs([0, 3], [0, 1], shape=(3, 2)),
        "rows must lie in [0, 3) for shape (3, 2), got [0, 3]",
    ),
    "pair below range": (
        lambda: ct.couplings.from_pairs([0, 1], [0, -1], shape=(3, 2)),
        "cols must lie in [0, 2) for shape (3, 2), got [-1, 0]",
    ),
    "pairs not integers": (
        lambda: ct.couplings.from_pairs([0.5], [0], shape=(3, 2)),
        "rows must be integers, got float64",
    ),
    "pairs of two lengths": (
        lambda: ct.couplings.from_pairs([0, 1], [0], shape=(3, 2)),
        "rows and cols must be non-empty with the same shape [k]",
    ),
    "pair twice": (
        lambda: ct.couplings.from_pairs([0, 0], [1, 1], shape=(3, 2)),
        "rows and cols must not list a pair twice; merge such pairs and add their weights",
    ),
    "coupling weights": (
        lambda: ct.couplings.from_pairs([0], [1], [0.5], shape=(3, 2)),
        "weights must sum to 1, got 0.5; divide by the sum",
    ),
    "coupling weights negative": (
        lambda: ct.couplings.from_matrix([[1.5, -0.5]]),
        "matrix must be finite and >= 0",
    ),
    "coupling weights' shape": (
        lambda: ct.couplings.from_pairs([0], [1], [0.5, 0.5], shape=(3, 2)),
        "weights must have shape (1,), one weight per pair, got (2,)",
    ),
    "matrix shape": (
        lambda: ct.couplings.from_matrix([0.5, 0.5]),
        "matrix must be 2-D, [n, m], got shape (2,)",
    ),
    "coupling size": (
        lambda: solve(PAIR, ct.energies.symmetric(ct.couplings.paired(5), temperature=0.5)),
        "coupling must have shape (6, 6), the sizes of the clouds, got (5, 5)",
    ),
    "coupling size, called directly": (
        lambda: ct.energies.symmetric(ct.couplings.paired(5), temperature=0.5)(PAIR),
        "coupling must have shape (6, 6), the sizes of the clouds, got (5, 5)",
    ),
    "coupling marginal, called directly": (
        lambda: ct.energies.symmetric(uneven(), temperature=0.5).terms(PAIR),
        "the coupling's marginal must equal the weights of cloud x",
    ),
    "coupling marginal": (
        lambda: solve(PAIR, ct.energies.symmetric(uneven(), temperature=0.5)),
        "the coupling's marginal must equal the weights of cloud x",
    ),
    "probability": (
        lambda: ct.couplings.corrupted(KEY, 5, probability=1.5),
        "probability must lie in [0, 1], got 1.5",
    ),
    "sigma": (
        lambda: ct.couplings.misaligned(KEY, np.zeros(3), sigma=-0.1),
        "sigma must be finite and >= 0, got -0.1",
    ),
    "latents": (
        lambda: ct.couplings.from_latents([np.nan], [0.0], bandwidth=0.1),
        "theta must be a non-empty vector of finite angles in radians",
    ),
    "coupling bandwidth": (
        lambda: ct.couplings.from_latents([0.0], [0.0], bandwidth=0),
        "bandwidth must be finite and > 0, got 0",
    ),
    "too many latents": (
        lambda: ct.couplings.from_latents(np.zeros(10_000), np.zeros(3), bandwidth=0.1),
        "n and m must be <= 8192, got 10000 and 3; list the near pairs yourself and use from_pairs",
    ),
    # keys, names, kinds
    "no key": (
        lambda: solve(flow=ct.flows.Langevin(0.1)),
        "key is required by Langevin; pass key=jax.random.key(seed)",
    ),
    "no key for init": (lambda: ct.flows.Langevin(0.1).init(X), "key is required by Langevin"),
    "save without save_every": (
        lambda: ct.evolve(FLAT, FLOW, FLOW.init(X), num_steps=4, save=lambda c: c),
        "save_every and save go together: give both or neither",
    ),
    "key a number": (lambda: solve(flow=ct.flows.Langevin(0.1), key=0), "key must be one JAX random key"),
    "key text": (lambda: ct.sphere.uniform("a", 5, 3), "key must be one JAX random key"),
    "temperature numeric text": (
        lambda: solve(energy=ct.energies.SmoothedEntropy(ct.kernels.Exponential("0.1"))),  # type: ignore
        "temperature must be a finite number > 0, got '0.1'",
    ),
    "temperatures in solve": (
        lambda: solve(energy=ct.energies.Potential(FLAT.potential, temperature=np.array([0.1, 0.2]))),
        "temperature must be one number, got shape (2,)",
    ),
    "sum dtype": (
        lambda: ct.log_partition(X, Y.astype(jnp.float32), KERNEL),
        "x and y must have the same dtype, got float64 and float32; cast one",
    ),
    "left alone": (
        lambda: ct.log_partition(X[:2], X[:2], KERNEL, weights=[1.0, 0.0], exclude_self=True),
        "weights must be < 1 with exclude_self",
    ),
    "one point, unbiased": (
        lambda: ct.diagnostics.energy_distance(X[:1], Y),
        'estimator "u" needs >= 2 points in each cloud',
    ),
    "mean direction": (
        lambda: ct.sphere.von_mises_fisher(KEY, 2 * X[0], 2.0, 5),
        "must have rows of unit norm",
    ),
    "concentration too large": (
        lambda: ct.sphere.von_mises_fisher(KEY, X[0].astype(jnp.float32), 1e9, 5),
        "concentration must be < 0.1/eps of float32 to be drawn, got 1000000000.0",
    ),
    "potential of another dimension": (
        lambda: solve(ct.sphere.uniform(KEY, 6, 4)),
        "potential cannot be evaluated at points of dimension 4",
    ),
    "no potential": (
        lambda: solve(energy=ct.energies.Potential(3.0, temperature=1.0)),
        "potential must be of ct.potentials or a function of one point, got 3.0",
    ),
    "mixture weights as a JAX array": (
        lambda: ct.gibbs.GibbsMeasure(
            ct.potentials.VonMisesFisherMixture(
                jnp.eye(3)[:2], concentration=1.0, weights=jnp.array([2.0, 2.0])
            ),
            temperature=1.0,
            d=3,
        ),
        "weights must sum to 1, got 4",
    ),
    "kl bandwidth": (
        lambda: ct.gibbs.GibbsMeasure(FLAT.potential, temperature=1.0, d=3).kl(X, bandwidth=1e-4),
        "bandwidth must be >= 0.032 rad to be resolved, got 0.0001",
    ),
    "no energy": (
        lambda: solve(energy=3),
        "energy must be an Energy of ct.energies or a function of the clouds, got int",
    ),
    "no flow": (lambda: solve(flow=optax.adam(0.1)), "flow must be a flow of ct.flows, got GradientTransf"),
    "method": (
        lambda: ct.log_partition(X, Y, KERNEL, method="fast"),
        "method must be one of auto, dense, tiled, spectral, ring; got 'fast'",
    ),
    "block size": (
        lambda: ct.log_partition(X, Y, KERNEL, block_size=0),
        "block_size must be an integer >= 1, got 0",
    ),
    "kernel": (lambda: ct.log_partition(X, Y, 0.5), "kernel must be a kernel of ct.kernels, got float"),
    "exclude self": (
        lambda: ct.log_partition(X, Y[:5], KERNEL, exclude_self=True),
        "exclude_self needs x and y to be the same n >= 2 points, got n = 6, m = 5",
    ),
    "no axis": (
        lambda: solve(X, ct.energies.Potential(ct.potentials.Ring(None), temperature=0.5)),
        "axis must be a finite vector [d], got None",
    ),
    "no direction": (
        lambda: solve(X, ct.energies.Potential(ct.potentials.Linear(None), temperature=0.5)),
        "direction must be a finite vector [d], got None",
    ),
    "direction": (
        lambda: ct.energies.CrossEntropy(KERNEL, direction="13"),
        "direction must be one of 12, 21, both; got '13'",
    ),
    "estimator": (
        lambda: ct.diagnostics.energy_distance(X, Y, estimator="w"),
        "estimator must be one of u, v; got 'w'",
    ),
    # potentials and Gibbs measures
    "means": (
        lambda: ct.potentials.VonMisesFisherMixture(2 * np.eye(3), concentration=1.0),
        "means must have rows of unit norm",
    ),
    "mixture weights": (
        lambda: ct.potentials.VonMisesFisherMixture(np.eye(3), concentration=1.0, weights=[0.5, 0.5]),
        "weights must have shape (3,), one weight per point, got (2,)",
    ),
    "ring level": (
        lambda: ct.potentials.Ring(np.eye(3)[0], level=1.5),
        "level must lie in (-1, 1), got 1.5",
    ),
    "gibbs in high d": (
        lambda: ct.gibbs.GibbsMeasure(lambda z: z[0] * z[1], temperature=1.0, d=5),
        "d must be 2 or 3 for a potential without a symmetry axis, got 5",
    ),
    "gibbs d": (
        lambda: ct.gibbs.GibbsMeasure(ct.potentials.Linear(np.eye(4)[0]), temperature=1.0, d=5),
        "potential cannot be evaluated at points of dimension 5",
    ),
    "gibbs temperature": (
        lambda: ct.gibbs.GibbsMeasure(FLAT.potential, temperature=0.0, d=3),
        "temperature must be finite and > 0, got 0.0",
    ),
    "rough potential": (
        lambda: ct.gibbs.GibbsMeasure(lambda z: jnp.sign(z[0] + 0.3), temperature=0.1, d=2),
        "the potential too rough",
    ),
    "cap radius": (
        lambda: ct.gibbs.GibbsMeasure(FLAT.potential, temperature=1.0, d=3).cap_mass(X, radius=4.0),
        "radius must lie in (0, π] radians, got 4.0",
    ),
    "cap off axis": (
        lambda: ct.gibbs.GibbsMeasure(ct.potentials.Linear(np.eye(4)[0]), temperature=1.0, d=4).cap_mass(
            np.eye(4)[1], radius=0.5
        ),
        "centers must lie on the potential's symmetry axis in d > 3",
    ),
    "kl in high d": (
        lambda: ct.gibbs.GibbsMeasure(ct.potentials.Linear(np.eye(4)[0]), temperature=1.0, d=4).kl(X),
        "kl needs d = 2 or 3, got d = 4",
    ),
    "reference degree": (
        lambda: ct.meanfield.FokkerPlanck(
            ct.gibbs.GibbsMeasure(FLAT.potential, temperature=0.005, d=3), max_degree=3
        ),
        "max_degree = 3 is too small",
    ),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", CASES)
def test_refused_with_what_was_wanted_what_came_and_what_to_do(name):
    call, message = CASES[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_rounding_is_not_refused(dtype):
    for d in (2, 3, 768):
        z = uniform(0, 500, d, dtype)
        assert ct.clouds.check_cloud("z", z).dtype == dtype
    if dtype == jnp.float32:  # float32 unit vectors handed over in float64 are off it by more than rounding
        with pytest.raises(ValueError, match="normalize"):
            ct.clouds.check_cloud("z", z.astype(jnp.float64))
