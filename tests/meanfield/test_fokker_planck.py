import jax
import numpy as np
import pytest
from scipy import special

import ctflow as ct
from ctflow.gibbs import GibbsMeasure
from ctflow.meanfield import FokkerPlanck


@pytest.mark.parametrize("d", [2, 3])
def test_without_a_potential_the_rates_are_those_of_the_laplacian(d):
    reference = FokkerPlanck(GibbsMeasure(ct.potentials.Linear(np.zeros(d)), temperature=1.0, d=d))
    degrees = np.repeat(np.arange(4), [1, 2, 2, 2] if d == 2 else [1, 3, 5, 7])
    np.testing.assert_allclose(reference.rates[: len(degrees)], degrees * (degrees + d - 2), atol=1e-9)


def test_circle_rates_match_finite_differences():
    kappa, n = 2.0, 2000
    reference = FokkerPlanck(GibbsMeasure(ct.potentials.Linear(np.array([kappa, 0.0])), temperature=1.0, d=2))
    # The generator e^{V}∂(e^{-V}∂) on a periodic grid, symmetrised.
    theta = 2 * np.pi * np.arange(n) / n
    rho, half = (np.exp(kappa * np.cos(t)) for t in (theta, theta + np.pi / n))
    step = (2 * np.pi / n) ** 2
    off = -half / step / np.sqrt(rho * np.roll(rho, -1))
    matrix = np.diag((half + np.roll(half, 1)) / rho / step)
    index = np.arange(n)
    matrix[index, (index + 1) % n] += off
    matrix[(index + 1) % n, index] += off
    np.testing.assert_allclose(reference.rates[1:6], np.linalg.eigvalsh(matrix)[1:6], rtol=1e-4)


def test_density_keeps_its_mass_starts_right_and_ends_at_gibbs(two_wells):
    gibbs = GibbsMeasure(two_wells, temperature=0.2, d=3)
    reference = FokkerPlanck(gibbs)
    m = np.asarray(two_wells.means[0])

    def start(z):
        return np.exp(20 * (z @ m - 1)) * 40 / -np.expm1(-40.0)

    rho = reference.density(start, [0.0, 0.3, 40.0])
    np.testing.assert_allclose(rho @ reference.node_weights, 1, atol=1e-4)
    np.testing.assert_allclose(rho[0], start(reference.nodes), atol=1e-3 * rho[0].max())
    np.testing.assert_allclose(rho[2], np.exp(gibbs.log_density(reference.nodes)), rtol=3e-3)


def test_kl_decays_at_twice_the_slowest_excited_rate(two_wells):
    reference = FokkerPlanck(GibbsMeasure(two_wells, temperature=0.2, d=3))
    m = np.asarray(two_wells.means[0])
    starts = {
        "one well": lambda z: np.exp(20 * (z @ m - 1)) * 40 / -np.expm1(-40.0),
        "uniform": lambda z: np.ones(len(z)),
    }
    for name, start in starts.items():
        rate = reference.late_rate(start)
        early, late = reference.kl(start, np.array([3.5, 4.0]) / rate)
        np.testing.assert_allclose(np.log(early / late) / (0.5 / rate), 2 * rate, rtol=0.03)
        assert rate >= reference.spectral_gap
        # Symmetry: a uniform start leaves the exchange of mass between the wells at rest.
        assert (rate == reference.spectral_gap) == (name == "one well")


def test_ornstein_uhlenbeck_limit_of_a_narrow_well():
    # Deep in one well the rates tend to those of a harmonic well, k·curvature/τ.
    tau = 0.02
    reference = FokkerPlanck(
        GibbsMeasure(ct.potentials.Linear(np.eye(3)[2]), temperature=tau, d=3), max_degree=24
    )
    assert abs(reference.rates[1] * tau - 1) < 1e-6
    ratio = special.ive(1.5, 1 / tau) / special.ive(0.5, 1 / tau)
    np.testing.assert_allclose(reference.gibbs.mean_potential, -ratio, rtol=1e-9)


def test_a_start_that_the_modes_cannot_carry_is_refused_not_returned_with_another_mass():
    flat = lambda z: np.ones(len(z))  # noqa: E731
    sharp = FokkerPlanck(GibbsMeasure(ct.potentials.Linear(np.eye(2)[0]), temperature=0.01, d=2))
    for call in (
        lambda: sharp.density(flat, [0.0]),
        lambda: sharp.kl(flat, [0.1]),
        lambda: sharp.late_rate(flat),
    ):
        with pytest.raises(ValueError, match="initial must be a density that max_degree = 24 resolves"):
            call()
    wide = FokkerPlanck(GibbsMeasure(ct.potentials.Linear(np.eye(2)[0]), temperature=1.0, d=2))
    narrow = lambda z: np.exp(250 * (z[:, 0] - 1)) / special.ive(0, 250)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"too small for this start: at time 0 the density may be off by [0-9.e-]+"
    ):
        wide.density(narrow, [0.5, 0.0])
    # Later on, what the harmonics left out is gone.
    later = wide.density(narrow, [0.02, 0.5])
    finer = FokkerPlanck(wide.gibbs, max_degree=80)
    heights = (f.density(narrow, [0.02, 0.5]) @ (f.node_weights * f.nodes[:, 0]) for f in (wide, finer))
    np.testing.assert_allclose(*heights, atol=1e-4)
    np.testing.assert_allclose(later @ wide.node_weights, 1, atol=1e-6)
    # Ripples below 0 are cut off, so that every density has a finite KL.
    assert (later >= 0).all()
    assert np.isfinite(wide.kl(narrow, [0.02, 0.5])).all()
    for start, message in (
        (lambda z: 1 + 2 * z[:, 0], r"got values from -1 to 3 with mass 1"),
        (lambda z: 2 * flat(z), r"with mass 2; divide it by its mass"),
        (lambda z: 1.0, r"one density per point, \[160\], got \(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            wide.density(start, [0.0])
    with pytest.raises(ValueError, match=r"times must be numbers >= 0 with shape \[times\], got \[-1.\]"):
        wide.density(flat, [-1.0])


def test_what_the_harmonics_leave_out_decays_no_slower_than_the_bound_says():
    """By the min-max principle it is at most the first rate that needs finer harmonics."""
    gibbs = GibbsMeasure(ct.potentials.Linear(np.eye(2)[0]), temperature=0.3, d=2)
    coarse, fine = (FokkerPlanck(gibbs, max_degree=degree) for degree in (8, 24))
    first = fine.rates[len(coarse.rates)]
    assert 0.9 * first < coarse._cut_rate <= first


def test_rates_do_not_depend_on_the_session_s_precision():
    rates = []
    for x64 in (True, False):
        with jax.enable_x64(x64):
            gibbs = GibbsMeasure(ct.potentials.Linear(np.eye(2)[0]), temperature=0.02, d=2)
            rates.append(FokkerPlanck(gibbs, max_degree=24).rates[:6])
    np.testing.assert_allclose(*rates, rtol=1e-10, atol=1e-10)
