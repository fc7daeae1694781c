import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, special, stats

import ctflow as ct
from ctflow import energies, flows, kernels
from ctflow.running.programs import Programs

velocity = jax.jit(flows.velocity)  # one program an energy's kind, whatever its numbers


def circle(n, mode=0, amplitude=0.0):
    """n points on the circle whose density is 1 + amplitude·cos(mode·θ), to first order."""
    theta = 2 * np.pi * np.arange(n) / n
    theta = theta - amplitude * np.sin(mode * theta) / max(mode, 1)
    return jnp.asarray(np.stack([np.cos(theta), np.sin(theta)], axis=1))


def amplitude_rate(cloud, speed, mode):
    """d/dt of ∫cos(mode·θ)·2 dq over itself, from the velocities."""
    theta = np.arctan2(cloud[:, 1], cloud[:, 0])
    angular = np.asarray(speed[:, 1] * cloud[:, 0] - speed[:, 0] * cloud[:, 1])
    return (-mode * np.sin(mode * theta) * angular).mean() / np.cos(mode * theta).mean()


@pytest.mark.parametrize("tau", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("mode", [1, 2, 3])
def test_linear_rates_around_the_uniform_state_on_the_circle(tau, mode):
    lam = kernels.Exponential(tau).degree_coefficients(2, mode)[mode]
    bump, dip = (circle(400, mode, sign * 1e-4) for sign in (1, -1))
    flat = energies.unimodal(ct.potentials.Linear(np.zeros(2)), temperature=tau)
    alone = amplitude_rate(bump, velocity(flat, bump), mode)
    np.testing.assert_allclose(alone, -(mode**2) * (2 * lam - lam**2), rtol=2e-3)
    # J^Sym with independent pairs and its alignment taken off: U = 0.
    kernel = kernels.Exponential(tau)
    barriers = 0.5 * energies.CrossEntropy(kernel) + 0.5 * energies.CrossEntropy(kernel, direction="21")
    in_phase = amplitude_rate(bump, velocity(barriers, ct.Pair(bump, bump)).x, mode)
    np.testing.assert_allclose(in_phase, -(mode**2) * (2 * lam - lam**2) / 2, rtol=2e-3)
    opposed = amplitude_rate(bump, velocity(barriers, ct.Pair(bump, dip)).x, mode)
    np.testing.assert_allclose(opposed, mode**2 * (2 * lam + lam**2) / 2, rtol=2e-3)


def coupled(n, dtype=jnp.float64):
    """A pair of n points each, and J^Sym under a blurred coupling."""
    kx, ky = jax.random.split(jax.random.key(4))
    pair = ct.Pair(ct.sphere.uniform(kx, n, 3, dtype), ct.sphere.uniform(ky, n, 3, dtype))
    latents = np.linspace(-2, 2, n)
    pi = ct.couplings.misaligned(jax.random.key(0), latents, sigma=0.3, dtype=dtype)
    return energies.symmetric(pi, temperature=0.2), pair


def test_motion_does_not_depend_on_the_particle_count():
    # Every particle doubled, half the weight each: the same measures, so the same velocities.
    energy, pair = coupled(10)
    matrix = np.asarray(energy.coupling.weights).reshape(10, 10)
    doubled_pi = ct.couplings.from_matrix(np.kron(matrix, np.full((2, 2), 0.25)))
    doubled_energy = energies.symmetric(doubled_pi, temperature=0.2)
    doubled = jax.tree.map(lambda z: jnp.repeat(z, 2, axis=0), pair)
    flow = flows.GradientFlow(0.05)
    once, twice = (
        ct.solve(e, start, flow, num_steps=20).clouds
        for e, start in ((energy, pair), (doubled_energy, doubled))
    )
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(jnp.repeat(a, 2, axis=0), b, atol=1e-12)
    wells = energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
    np.testing.assert_allclose(
        jnp.repeat(velocity(wells, pair.x), 2, axis=0), velocity(wells, doubled.x), atol=1e-12
    )


@pytest.mark.parametrize("flow", [flows.GradientFlow(0.01), flows.Descent(optax.sgd(0.05))])
def test_descent_lowers_the_energy_and_keeps_points_on_the_sphere(flow):
    energy, pair = coupled(16)
    solution = ct.solve(energy, pair, flow, num_steps=100, save_every=10)
    assert (np.diff(solution.saved["energy"]) < 0).all()
    for z in solution.clouds:
        np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, atol=1e-14)


def test_velocities_are_tangent_and_descend():
    energy, pair = coupled(16)
    speed, gradient = velocity(energy, pair), jax.grad(energy)(pair)
    for z, v in zip(pair, speed, strict=True):
        np.testing.assert_allclose(jnp.sum(z * v, axis=1), 0, atol=1e-13)
    slope = sum(float(jnp.sum(g * v)) for g, v in zip(gradient, speed, strict=True))
    dissipation = sum(float(jnp.mean(jnp.sum(v**2, axis=1))) for v in speed)
    np.testing.assert_allclose(slope, -dissipation, rtol=1e-10)


@pytest.mark.parametrize(("order", "steps", "below"), [(1, 50, 1e-2), (4, 10, 1e-5)])
def test_gradient_flow_follows_the_exact_solution_at_its_order(order, steps, below):
    # Points in U = -⟨z, e⟩ at temperature τ: dθ/dt = -sin θ / τ, so tan(θ/2) = tan(θ_0/2)·e^{-t/τ}.
    tau, time = 0.5, 0.6
    energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=tau)
    theta, phi, weights = np.array([[0.3, 2.0, 3.0], [0.0, 1.0, 4.0], [0.5, 0.3, 0.2]])
    weights = jnp.asarray(weights)

    def at(angles):
        return np.stack([np.cos(angles), *(np.sin(angles) * [np.cos(phi), np.sin(phi)])], axis=1)

    exact = at(2 * np.arctan(np.tan(theta / 2) * np.exp(-time / tau)))
    start, errors = ct.WeightedCloud(jnp.asarray(at(theta)), weights), []
    for count in (steps, 2 * steps):
        flow = flows.GradientFlow(time / count, order=order)
        end = ct.evolve(energy, flow, flow.init(start), num_steps=count).clouds
        errors.append(np.abs(end.points - exact).max())
    assert errors[1] < below
    np.testing.assert_allclose(errors[0] / errors[1], 2**order, rtol=0.06)


def test_order_four_takes_a_pair_where_extrapolated_euler_steps_take_it():
    energy, pair = coupled(16)

    def end(steps, order=1):
        flow = flows.GradientFlow(1 / steps, order)
        state = flow.init(pair)
        programs = Programs(energy, flow, state)  # one for any number of steps
        return programs.advance(state, steps).clouds

    def farthest(a, b):
        return max(float(np.linalg.norm(p - q, axis=1).max()) for p, q in zip(a, b, strict=True))

    coarse, fine = end(10_000), end(20_000)
    # The error of first order cancels.
    limit = [2 * b - a for a, b in zip(coarse, fine, strict=True)]
    assert farthest(fine, limit) > 1e-5
    assert farthest(end(50, order=4), limit) == pytest.approx(
        7.3e-6, rel=0.05
    )  # as docs/physical-time.md says


@pytest.mark.wrong_types
@pytest.mark.parametrize("order", [0, 2, 4.0, True, "4", None, jnp.asarray(4)])
def test_an_order_that_there_is_not_is_refused(order):
    with pytest.raises(ValueError, match=r"order must be 1 \(Euler\) or 4 \(Runge-Kutta\), got "):
        flows.GradientFlow(0.1, order=order)


def test_brownian_motion_decays_at_the_laplacians_rates():
    # E⟨z_t, z_0⟩ = e^{-(d-1)t}; the geodesic walk's curvature correction makes it second order.
    energy = energies.Potential(ct.potentials.Linear(np.zeros(5)), temperature=1.0)
    n, time = 40_000, 0.3
    start = jnp.tile(jnp.eye(5)[:1], (n, 1))
    solution = ct.solve(energy, start, flows.Langevin(0.05), num_steps=6, key=jax.random.key(0))
    cosine = np.asarray(solution.clouds[:, 0])
    assert abs(cosine.mean() - np.exp(-4 * time)) < 4 * cosine.std() / np.sqrt(n) + 1e-3


def test_a_brownian_step_has_the_variance_that_forgets_the_start_at_its_rate(key):
    """Of variance s² a direction, E⟨z_h, z_0⟩ is ₁F₁((d-1)/2; 1/2; -s²/2), and has to be e^{-(d-1)h}."""
    d, h, n = 5, 0.05, 400_000
    noise = flows.Langevin(h)._noise(key, jnp.tile(jnp.eye(d)[:1], (n, 1)))
    exact = optimize.brentq(
        lambda s2: special.hyp1f1((d - 1) / 2, 0.5, -s2 / 2) - np.exp(-(d - 1) * h), 0.01, 0.2
    )
    found = float(jnp.sum(noise**2)) / (n * (d - 1))
    # The formula is right to second order: here within 0.21 % of the exact variance.
    assert found == pytest.approx(exact, rel=4 * np.sqrt(2 / (n * (d - 1))) + 0.0021)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_langevin_samples_the_gibbs_measure(dtype, two_wells):
    tau, n = 0.2, 6000
    gibbs = ct.gibbs.GibbsMeasure(two_wells, temperature=tau, d=3)
    start = ct.sphere.uniform(jax.random.key(0), n, 3, dtype)
    energy = energies.Potential(two_wells, temperature=tau)
    solution = ct.solve(energy, start, flows.Langevin(0.02), num_steps=80, key=jax.random.key(1))
    assert solution.clouds.dtype == dtype
    mass = gibbs.cap_mass(two_wells.means, radius=0.5)
    share = float(ct.gibbs.cap_fraction(solution.clouds, two_wells.means, radius=0.5))
    assert abs(share - mass) < 3 * np.sqrt(mass * (1 - mass) / n)
    u = np.asarray(two_wells(solution.clouds))
    assert stats.kstest(u, gibbs.potential_cdf).pvalue > 0.01


def test_langevins_stationary_bias_is_second_order_as_stated():
    # For drift by r = 1 - a + a²/2, a = hk/2, each side of the noise, the variance is the exact one's
    # times 4a r²/(1 - r⁴) = 1 - (hk)²/8 + …; k = 1/τ in a narrow well.
    tau, h, n = 0.01, 0.004, 200_000
    a = h / tau / 2
    r = 1 - a + a**2 / 2
    factor = 4 * a * r**2 / (1 - r**4)
    assert abs(factor - (1 - (h / tau) ** 2 / 8)) < 0.003
    energy = energies.Potential(ct.potentials.Linear(np.eye(2)[0]), temperature=tau)
    gibbs = ct.gibbs.GibbsMeasure(ct.potentials.Linear(np.eye(2)[0]), temperature=tau, d=2)
    start = gibbs.sample(jax.random.key(0), n)
    solution = ct.solve(energy, start, flows.Langevin(h), num_steps=40, key=jax.random.key(1), save_every=40)
    exact = 1 + gibbs.mean_potential
    measured = 1 - np.asarray(solution.clouds[:, 0])
    error = measured.std() / np.sqrt(n) / exact
    assert abs(measured.mean() / exact - factor) < 4 * error
    assert abs(measured.mean() / exact - 1) > 4 * error  # so the test could have failed


def test_weightless_points_stay_where_they_are():
    x = ct.sphere.uniform(jax.random.key(0), 3, 3)
    cloud = ct.WeightedCloud(x, jnp.array([0.5, 0.5, 0.0]))
    speed = velocity(energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.5), cloud)
    np.testing.assert_array_equal(speed[2], 0)
    assert (jnp.linalg.norm(speed[:2], axis=1) > 0).all()


def wfr(h=0.01, **options):
    return flows.WassersteinFisherRao(h, kernels.ChordalGaussian(0.2), **options)


def test_birth_and_death_conserve_mass_and_the_number_of_points(key, two_wells):
    energy = energies.Potential(two_wells, temperature=0.1)
    start = ct.sphere.uniform(key, 200, 3)
    solution = ct.solve(energy, start, wfr(), num_steps=60, key=key, save=lambda c: jnp.sum(c.weights))
    np.testing.assert_allclose(solution.saved, 1, atol=1e-13)
    assert solution.clouds.points.shape == (200, 3)
    assert float(1 / jnp.sum(solution.clouds.weights**2)) > 80


def test_birth_and_death_alone_follow_the_replicator_equation(key):
    """With hardly any transport, one step multiplies weights by exp(-h·(U/τ + log ρ̃)) up to the norm."""
    z = ct.sphere.uniform(key, 50, 3)
    energy, flow = (
        energies.Potential(ct.potentials.Linear(jnp.array([0.0, 0.0, 2.0])), temperature=1.0),
        wfr(1e-6),
    )
    state = flow.step(energy, flow.init(z, key))
    expected = 2 * z[:, 2] - energies.log_density(z, z, flow.kernel)
    found = jnp.log(50 * state.clouds.weights) / 1e-6
    np.testing.assert_allclose(found, expected - expected.mean(), atol=0.05)


def test_resampling_draws_each_point_as_often_as_its_weight_says(key):
    weights = jnp.asarray(np.r_[np.full(10, 0.08), np.full(90, 0.2 / 90)])
    cloud = ct.WeightedCloud(ct.sphere.uniform(key, 100, 3), weights)
    drawn = flows._resampled(key, cloud)
    drawn_points = np.asarray(drawn.points)
    counts = [(drawn_points == z).all(axis=1).sum() for z in np.asarray(cloud.points)]
    assert np.abs(np.array(counts) - 100 * np.asarray(weights)).max() < 1
    np.testing.assert_allclose(drawn.weights, 0.01)


def test_resampling_draws_no_point_too_often_on_average():
    """Over keys, each of four points of unequal weights is drawn 4·w times, within 4 standard errors."""
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    cloud = ct.WeightedCloud(jnp.eye(4), jnp.asarray(weights))
    keys = jax.random.split(jax.random.key(0), 2000)
    counts = np.asarray(jax.vmap(lambda key: flows._resampled(key, cloud).points.sum(axis=0))(keys))
    assert (np.abs(counts.mean(axis=0) - 4 * weights) < 4 * counts.std(axis=0) / np.sqrt(2000)).all()


@pytest.mark.parametrize(("d", "rate"), [(2, 1.0), (3, 2.0), (8, 7.0)])
def test_the_own_rate_of_birth_and_death_is_the_faster_of_its_two(d, rate):
    """Brownian motion forgets the mean at d - 1, masses balance at 1; steps are judged by the faster."""
    assert wfr().own_rate(d) == rate == max(flows.Langevin(0.1).own_rate(d), 1.0)


def test_birth_and_death_refuse_two_clouds_and_a_share_of_one(key):
    z = ct.sphere.uniform(key, 5, 3)
    with pytest.raises(ValueError, match="moves one cloud"):
        wfr().init(ct.Pair(z, z), key)
    with pytest.raises(ValueError, match=r"resample_below must lie in \(0, 1\), got 1.0"):
        wfr(resample_below=1.0)
    with pytest.raises(ValueError, match="key is required by WassersteinFisherRao"):
        wfr().init(z)


@pytest.mark.parametrize(
    "optimizer", [optax.lbfgs(), optax.polyak_sgd(1.0), optax.contrib.reduce_on_plateau()]
)
def test_optimizers_that_need_the_loss_are_refused_at_the_door(optimizer):
    z = jnp.eye(3)
    message = "optimizer must be one whose update takes gradients only, such as optax.adam"
    with pytest.raises(ValueError, match=message):
        flows.Descent(optimizer).init(z)
    with pytest.raises(ValueError, match=message):
        flows.Descent(optax.chain(optax.clip(1.0), optimizer)).init(ct.Pair(z, z))


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
        optax.with_extra_args_support(optax.sgd(0.1)),
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
        optax.apply_if_finite(optax.adamw(0.1), 3),
        optax.contrib.schedule_free_sgd(0.1),
    ],
)
def test_optimizers_that_need_gradients_only_are_taken(optimizer):
    energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.5)
    flow = flows.Descent(optimizer)
    moved = flow.step(energy, flow.init(jnp.eye(3))).clouds
    assert float(energy(moved)) < float(energy(jnp.eye(3)))


@pytest.mark.wrong_types
def test_descent_takes_an_optimizer_and_says_what_came():
    for given, told in ((optax.adam, "adam"), (0.1, "0.1"), (None, "None")):
        with pytest.raises(ValueError, match=f"optimizer must be an optimizer of optax.*got '?{told}"):
            flows.Descent(given)  # type: ignore


@pytest.mark.parametrize(
    ("flow", "d", "tau", "finishes"),
    [
        (flows.Langevin(1.9), 3, 1.0, False),
        (flows.Langevin(19.0), 3, 10.0, False),
        (flows.Langevin(0.95), 8, 0.5, False),
        (flows.Langevin(3.8), 2, 2.0, False),
        (flows.Langevin(0.9), 3, 1.0, True),
        (flows.WassersteinFisherRao(2.2, kernels.Exponential(0.1)), 3, 2.0, False),
        (flows.WassersteinFisherRao(2.2, kernels.Exponential(0.1)), 2, 10.0, False),
        (flows.WassersteinFisherRao(0.5, kernels.Exponential(0.1)), 3, 2.0, True),
    ],
)
def test_steps_too_large_for_the_sphere_itself_are_refused(flow, d, tau, finishes):
    """In a gentle potential it is noise, birth and death that a step must be small for."""
    energy = energies.Potential(ct.potentials.Linear(jnp.eye(d)[0]), temperature=tau)
    start = ct.sphere.uniform(jax.random.key(0), 50, d)

    def run():
        return ct.solve(energy, start, flow, num_steps=6, key=jax.random.key(1), save_every=6)

    if finishes:
        assert run().status is ct.Status.FINISHED
    else:
        with pytest.raises(ct.DivergedError, match="sample a wrong law"):
            run()


def test_one_step_of_adam_is_the_projected_update_walked_along_the_geodesic(key):
    z = ct.sphere.uniform(key, 12, 3)
    energy = energies.Potential(ct.potentials.Linear(np.array([0.3, -1.0, 2.0])), temperature=0.5)
    flow = flows.Descent(optax.adam(0.1))
    once = flow.step(energy, flow.init(z))
    moved = flow.step(energy, once).clouds
    optimizer = optax.adam(0.1)
    memory, here = optimizer.init(z), z
    for _ in range(2):
        gradient = ct.sphere.project_tangent(here, jax.grad(energy)(here))
        with jax.numpy_dtype_promotion("standard"):
            update, memory = optimizer.update(gradient, memory, here)
        assert np.abs(np.sum(np.asarray(update * here), axis=1)).max() > 1e-3  # it is not tangent by itself
        here = ct.sphere.exp_map(here, ct.sphere.project_tangent(here, update))
    np.testing.assert_allclose(moved, here, rtol=1e-12)
