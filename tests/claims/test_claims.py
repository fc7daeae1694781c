"""Claims hold, and fail where the physics is broken on purpose."""

from itertools import combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, special

import ctflow as ct
from ctflow import claims, energies, io
from ctflow.claims import criterion, mixtures, pairs, report, ring, sharpening
from ctflow.claims.evidence import at_least, at_most, close, within
from ctflow.cli import theory_commands
from ctflow.meanfield import HarmonicGrid

FAST = ("convexity",)


@pytest.mark.parametrize("name", FAST)
def test_holds(name):
    (finding,) = claims.verify([name])
    assert finding.evidence.holds, report.text(finding)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(claims.CLAIMS) - set(FAST)))
def test_holds_too(name):
    (finding,) = claims.verify([name])
    assert finding.evidence.holds, report.text(finding)


def test_verdict_turns_when_an_energy_is_broken(monkeypatch):
    """A cross-entropy 2 % too strong changes the curvatures by as much."""
    whole = energies.CrossEntropy.terms.bare  # what both the terms and their sum are made of

    def too_strong(self, clouds):
        return {name: 1.02 * value for name, value in whole(self, clouds).items()}

    monkeypatch.setattr(energies.CrossEntropy.terms, "bare", too_strong)
    (finding,) = claims.verify(["convexity"])
    failed = [check.quantity for check in finding.evidence.checks if not check.passed]
    assert failed
    assert all("antiphase" in quantity for quantity in failed)
    assert "FAILS" in report.text(finding)


def test_rules_pass_and_fail_where_they_say():
    assert within("q", 1.0, 1.39, 0.1).passed
    assert not within("q", 1.0, 1.41, 0.1).passed
    assert within("q", 1.0, 1.45, 0.1, slack=0.1).passed
    assert close("q", -2.0, -2.019, relative=0.01).passed
    assert not close("q", -2.0, -2.021, relative=0.01).passed
    assert not close("q", 0.0, 1e-3, relative=0.01).passed
    assert at_most("q", 1.0, 1.0).passed
    assert not at_most("q", 1.0, 1.01).passed
    assert at_least("q", 1.0, 0.7, 0.1).passed
    assert not at_least("q", 1.0, 0.5, 0.1).passed
    for rule in (
        within("q", 0.0, np.nan, 1.0),
        close("q", 0.0, np.nan, absolute=1.0),
        at_most("q", 1, np.nan),
    ):
        assert not rule.passed


def test_command_prints_every_number_writes_a_table_and_exits_by_the_verdict(tmp_path, capsys, monkeypatch):
    theory_commands.verify(only=("convexity",), out=tmp_path)
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "S¹, τ = 0.1, degree 3: antiphase curvature" in line]
    assert line.split()[0] == "holds"
    assert float(line.split()[1]) == pytest.approx(float(line.split()[2]), rel=1e-4)
    table = io.read_csv(tmp_path / "claims.csv")
    count = sum(line.startswith("  holds") for line in printed.splitlines())
    assert count == len(table["quantity"]) > 10
    assert f"1 of 1 claims hold, {count} of {count} numbers" in printed
    broken = claims.Finding("x", "title", "source", claims.Evidence([at_most("q", 0.0, 1.0)], {}), 1.0)
    monkeypatch.setattr(claims, "verify", lambda *_, **__: [broken])
    with pytest.raises(SystemExit, match="1"):
        theory_commands.verify()
    assert "0 of 1 claims hold, 0 of 1 numbers; not: title" in capsys.readouterr().out


def test_unknown_claim_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        theory_commands.verify(only=("luck",))
    said = capsys.readouterr().err
    assert said.startswith("ctflow verify: claim must be one of consistency, ")
    assert said.endswith("; got 'luck'\n")


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_parallel_rings_are_stationary_below_the_critical_temperature(sigma):
    """The energy that the code computes has no slope there, in any direction, and does not see the level."""
    n, star = 96, ring.critical_temperature(sigma)
    law, tau = ring.law(n, sigma), 0.6 * star
    height = (1 - tau / star) ** 0.5
    energy, rng = pairs.energy_of("symmetric", jnp.asarray(law), tau), np.random.default_rng(0)
    values = []
    for heights in ((height, -height), (height, height)):
        clouds = ct.Pair(*map(jnp.asarray, ring.rings(n, 3, heights, rng, noise=0.0)))
        values.append(float(energy(clouds) + ct.kernels.Exponential(tau).log_volume(3, jnp.float64)))
        assert np.abs(np.stack(ct.flows.velocity(energy, clouds))).max() < 1e-6 / tau
    assert values == pytest.approx([ring.energy(sigma, tau)] * 2, abs=1e-6)
    assert -pairs.information(law) < values[0]


def test_critical_temperature_vanishes_for_matched_pairs_and_diverges_for_unrelated_ones():
    temperatures = [ring.critical_temperature(sigma) for sigma in (0.05, 0.1, 0.5, 1.0, 3.0)]
    assert (np.diff(temperatures) > 0).all()
    assert temperatures[0] == pytest.approx(0.05**2, rel=0.01)  # κ* ≈ 1/σ² for small σ
    assert temperatures[-1] == pytest.approx(np.exp(4.5) / 2, rel=0.01)  # κ* ≈ 2e^{-σ²/2} for large σ


def test_two_clusters_have_a_symmetric_law_with_uniform_marginals():
    law = mixtures.law(24, 0.5)
    np.testing.assert_allclose(law, law.T, atol=1e-12)
    np.testing.assert_allclose(law.sum(axis=0), 1 / 24, atol=1e-9)
    np.testing.assert_array_equal(mixtures.law(24, 0.0), np.eye(24) / 24)


def test_infinitely_many_latents_weigh_as_their_density_says_and_bound_every_curvature():
    n, tau = 16, 0.5
    law = mixtures.population_law(n, 0.5)
    weights = law.sum(axis=1)
    np.testing.assert_allclose(law, law.T, atol=1e-15)
    density = ct.latents.VonMisesMixture().density(2 * np.pi * np.arange(n) / n)
    np.testing.assert_allclose(weights, density / density.sum(), rtol=1e-9)
    rng = np.random.default_rng(0)
    z, energy = rng.standard_normal((n, 3)), pairs.energy_of("symmetric", jnp.asarray(law), tau)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    lowest = criterion.lowest_curvatures(law[None], np.array([tau]), z[None])[0]

    def along(u, size):
        sides = (ct.sphere.normalize(jnp.asarray(z + sign * size * u)) for sign in (1, -1))
        return float(energy(ct.Pair(*(ct.WeightedCloud(side, jnp.asarray(weights)) for side in sides))))

    for _ in range(10):
        u = rng.standard_normal((n, 3))
        u -= (u * z).sum(axis=1, keepdims=True) * z
        u /= np.sqrt(weights @ (u**2).sum(axis=1))
        curvature = (along(u, 1e-3) - 2 * along(u, 0.0) + along(u, -1e-3)) / 1e-6
        assert curvature > lowest - 1e-4 * abs(lowest)
    # The energy written out in coordinates of the tangent planes: its least curvature for these weights.
    basis = np.linalg.svd(z[:, None, :])[2][:, 1:, :]

    def written_out(t):
        u = np.einsum("nk,nkd->nd", t.reshape(n, 2), basis)
        x, y = ((z + side) / np.linalg.norm(z + side, axis=1, keepdims=True) for side in (u, -u))
        s = x @ y.T / tau
        rows, columns = (special.logsumexp(table, b=weights, axis=1) for table in (s, s.T))
        return -(law * s).sum() + weights @ (rows + columns) / 2

    step, found = 1e-3 * np.eye(2 * n), np.zeros((2 * n, 2 * n))
    for i, j in combinations_with_replacement(range(2 * n), 2):
        corners = [a * b * written_out(a * step[i] + b * step[j]) for a in (1, -1) for b in (1, -1)]
        found[i, j] = found[j, i] = sum(corners) / 4e-6
    least = linalg.eigh(found, np.diag(np.repeat(weights, 2)), eigvals_only=True)[0]
    assert lowest == pytest.approx(least, rel=1e-4)


@pytest.fixture(scope="module")
def hessian():
    """Of J^Sym at the flat ring, in displacements (cloud, along or out, point), [2, 2, n, 2, 2, n]."""
    n = 40
    angle = 2 * np.pi * np.arange(n) / n

    def value(moved, law, tau):
        clouds = [
            jnp.stack([jnp.cos(h) * jnp.cos(angle + a), jnp.cos(h) * jnp.sin(angle + a), jnp.sin(h)], axis=1)
            for a, h in moved.reshape(2, 2, n)
        ]
        return pairs.energy_of("symmetric", law, tau)(ct.Pair(*clouds))

    at = jax.jit(jax.hessian(value))
    return lambda sigma, tau: np.asarray(at(jnp.zeros(4 * n), jnp.asarray(ring.law(n, sigma)), tau)).reshape(
        2, 2, n, 2, 2, n
    )


@pytest.mark.parametrize(("sigma", "ratio"), [(0.3, 1.2), (0.5, 0.9), (1.0, 0.6)])
def test_every_mode_of_the_flat_ring_grows_at_its_rate_in_closed_form(hessian, sigma, ratio):
    tau = ratio * ring.critical_temperature(sigma)
    found, modes = hessian(sigma, tau), np.arange(7)
    n = found.shape[2]
    waves = np.cos(modes[:, None] * 2 * np.pi * np.arange(n) / n)
    rates = ring.growth(sigma, tau, modes)
    for kind, exact in rates._asdict().items():
        along, sign = int(not kind.endswith("along")), -1 if kind.startswith("antiphase") else 1
        for wave, rate in zip(waves, exact, strict=True):
            v = np.zeros((2, 2, n))
            v[0, along], v[1, along] = wave, sign * wave
            curvature = np.einsum("abi,abicdj,cdj", v, found, v) / (v**2).sum() * n
            assert -curvature == pytest.approx(rate, abs=1e-11)


def test_lowest_antiphase_curvature_of_a_ring_is_the_closed_form():
    n, sigma = 32, 0.5
    flat = ring.rings(n, 3, (0.0, 0.0), np.random.default_rng(0), noise=0.0)[0]
    tau = 0.6 * ring.critical_temperature(sigma)
    law = ring.law(n, sigma)
    (found,) = criterion.lowest_curvatures(law[None], np.array([tau]), flat[None])
    assert found == pytest.approx(-2 * ring.growth(sigma, tau, np.arange(n // 2)).antiphase.max(), rel=1e-6)


def test_overlap_on_a_ring_is_lost_above_the_critical_temperature():
    """Onsets over τ*, the mode, and whether the flat ring is the overlapping state there."""
    for sigma, ratio, mode, flat in ((0.3, 1.0377, 9, False), (0.8, 1.1119, 3, True), (1.0, 1.1253, 2, True)):
        tau, found = ring.onset(sigma)
        assert (found, ring.is_flat(sigma, tau)) == (mode, flat)
        assert tau / ring.critical_temperature(sigma) == pytest.approx(ratio, abs=1e-4)
    assert ring.onset_along(0.49) is None
    assert ring.onset_along(1.0) is not None


def test_shaken_rings_keep_their_ratio_and_at_small_blur_lose_it():
    """Gradient flow of particles from unequal heights, every point moved by 0.01 at random."""
    n, steps, latitudes = 32, 3000, (0.7, -0.5)
    cells = ((0.5, 0.8), (1.0, 0.6), (0.3, 0.6))
    taus = np.array([ratio * ring.critical_temperature(sigma) for sigma, ratio in cells])
    rng = np.random.default_rng(3)
    starts = [ring.rings(n, 3, tuple(np.sin(latitudes)), rng, noise=0.01) for _ in cells]

    def ended(inputs):
        law, tau, x, y = inputs
        flow = ct.flows.GradientFlow(60 / steps)
        start = flow.init(ct.Pair(x, y))
        end = ct.evolve(pairs.energy_of("symmetric", law, tau), flow, start, num_steps=steps).clouds
        return ct.diagnostics.centroid_gap(*end)

    laws = np.stack([ring.law(n, sigma) for sigma, _ in cells])
    gaps = ct.sweep(ended, (laws, taus, *map(np.stack, zip(*starts, strict=True))))
    ends = [
        ring.ends(sigma, tau, tuple(np.sin(latitudes))) for (sigma, _), tau in zip(cells, taus, strict=True)
    ]
    off = np.abs(gaps - [abs(a - b) for a, b in ends])
    assert (off[:2] < 0.015).all()
    assert off[2] > 0.1


@pytest.mark.parametrize("latitudes", [(0.5, -0.1), (0.3, 0.2), (-0.2, 0.9), (0.0, 0.4), (0.3, -0.3)])
def test_unequal_rings_end_on_the_family_at_their_own_ratio(latitudes):
    """The equation for densities, its conserved ratio, and the closed form of its end."""
    sigma, start = 0.5, tuple(np.sin(latitudes))
    tau = 0.8 * ring.critical_temperature(sigma)
    a, b = ring.ends(sigma, tau, start)
    assert (1 - a**2) * (1 - b**2) == pytest.approx(0.64, abs=1e-12)
    assert a * start[1] == pytest.approx(b * start[0], abs=1e-12)
    there = ring.latitudes(sigma, tau, start, np.array([3.0, 200.0]))
    assert [there[0][-1], there[1][-1]] == pytest.approx([a, b], abs=1e-8)
    assert there[0][0] * start[1] == pytest.approx(there[1][0] * start[0], abs=1e-9)
    assert ring.ends(sigma, 1.1 * ring.critical_temperature(sigma), start) == (0.0, 0.0)
    if latitudes == (0.5, -0.1):
        assert a - b == pytest.approx(0.71494, abs=1e-5)  # and 0.1705 for 0.3, 0.2, by another's derivation


def test_sharpening_predicts_the_second_order_of_j_less_f():
    """At kernel temperature T, J - F is the prediction up to the next order, 5T/τ of it."""
    (found,) = sharpening._rows(HarmonicGrid(2, 8, count=96), 1.0, (0.01,))
    assert found["difference"] == pytest.approx(found["second_order"], rel=0.05)
    assert found["divergence"] == pytest.approx(found["divergence_exact"], rel=0.05)
