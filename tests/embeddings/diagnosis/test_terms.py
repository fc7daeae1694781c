"""The loss and the paper's terms: at any temperature, and as what they are, numbers at n rows."""

import re

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

import ctflow as ct
from ctflow.embeddings.diagnosis.batch import in_batch
from ctflow.embeddings.diagnosis.resampling import halves, table
from ctflow.embeddings.diagnosis.terms import log_fields
from ctflow.embeddings.pairing import RowByRow
from tests.draws import unit

QUICK = {"n_permutations": 99, "n_bootstrap": 20}


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e5, 1e9])
def test_fields_are_sums_of_exponentials_at_any_temperature(scale):
    """Weights of 0 on the nearest rows, so that all terms with weight underflow beside them."""
    rng = np.random.default_rng(0)
    logits = scale * rng.uniform(-1, 1, (30, 40))
    logits[3] = -np.inf
    logits[4, :39] = -np.inf
    weights = rng.uniform(size=(40, 7)) * (rng.uniform(size=(40, 7)) < 0.3)
    found = log_fields(logits, weights)
    expected = np.stack([logsumexp(logits[:, w > 0] + np.log(w[w > 0]), axis=1) for w in weights.T], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [5e-4, 1e-4, 2e-6])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_low_temperatures(temperature, shift):
    """Terms against plain sums in logarithms; one law is no gap, two laws far apart are one."""
    rng = np.random.default_rng(1)
    x, y = (unit(rng.standard_normal((60, 10)) + s) for s in (0.0, shift))
    report = ct.diagnose(x, y, temperature=temperature, **QUICK)
    logits = [a @ b.T / temperature for a, b in ((x, x), (x, y), (y, y))]
    for part in logits:
        np.fill_diagonal(part, -np.inf)
    self_x, cross, self_y = (logsumexp(part, axis=1).mean() - np.log(59) for part in logits)
    back = logsumexp(logits[1].T, axis=1).mean() - np.log(59)
    expected = (self_x - cross + self_y - back) / 2
    assert report["smoothed_divergence"].value == pytest.approx(expected, rel=1e-9)
    assert all(np.isfinite([m.value, m.null_mean]).all() for m in report.metrics if m.section == "energy")
    assert report["smoothed_divergence"].gap == bool(shift)
    assert any(m.gap for m in report.metrics) == bool(shift)


def cross_entropy(x, y, temperature):
    """CLIP's loss as its code has it."""
    logits = x @ y.T / temperature
    there, back = (-np.diagonal(log_softmax(table, axis=1)).mean() for table in (logits, logits.T))
    return (there + back) / 2


@pytest.mark.parametrize(("n", "temperature"), [(50, 0.01), (1100, 0.07)])
def test_the_loss_is_clips_on_all_rows(n, temperature):
    """Of all rows up to max_gallery, whatever max_rows; rows repeated in a batch are its negatives."""
    rng = np.random.default_rng(n)
    x = unit(rng.standard_normal((n, 8)))
    y = unit(x + 0.5 * rng.standard_normal((n, 8)))
    y[7] = y[3]
    report = ct.diagnose(x, y, temperature=temperature, logit_bias=-3.0, max_rows=40, **QUICK)
    assert report["in_batch_loss"].value == pytest.approx(cross_entropy(x, y, temperature), rel=1e-9)
    signs = 2 * np.eye(n) - 1
    sigmoid = np.logaddexp(0, -signs * (x @ y.T / temperature - 3)).sum() / n
    assert report["sigmoid_loss"].value == pytest.approx(sigmoid, rel=1e-9)
    assert f"InfoNCE loss of {n} pairs" in " ".join(report.words)


def test_the_loss_with_partners_shuffled_scatters_by_the_rows_in_the_batch():
    """A mean over a tenth of the pairs scatters √10 times as much."""
    rng = np.random.default_rng(6)
    x, y = (unit(rng.standard_normal((300, 5))) for _ in range(2))
    few, all_ = (
        ct.diagnose(x, y, temperature=0.1, max_gallery=size, max_rows=20, n_permutations=99, n_bootstrap=0)
        for size in (30, 300)
    )
    ratio = few["in_batch_loss"].null_sd / all_["in_batch_loss"].null_sd
    assert ratio == pytest.approx(np.sqrt(10))
    scatter = np.std([(x * y[rng.permutation(300)]).sum(axis=1).mean() / 0.1 for _ in range(2000)])
    assert all_["in_batch_loss"].null_sd == pytest.approx(scatter, rel=0.08)


def test_the_losss_error_is_its_scatter_over_batches():
    """Standard error over batches of 80 of one law, each with its own gallery, within a fifth."""
    reports = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = unit(rng.standard_normal((80, 6)))
        y = unit(x + 0.5 * rng.standard_normal((80, 6)))
        reports.append(ct.diagnose(x, y, temperature=0.1, n_permutations=99, n_bootstrap=0)["in_batch_loss"])
    assert np.mean([r.error for r in reports]) == pytest.approx(np.std([r.value for r in reports]), rel=0.25)


def test_the_losss_error_is_that_of_its_derivatives_in_the_weights_of_pairs():
    """The loss of weights p, written out and differentiated by differences; its scatter over √n, exactly."""
    n, tau, step = 9, 0.3, 1e-5
    rng = np.random.default_rng(4)
    x = unit(rng.standard_normal((n, 4)))
    y = unit(x + 0.5 * rng.standard_normal((n, 4)))
    logits = x @ y.T / tau

    def loss(p):
        rows, columns = (logsumexp(table, b=p, axis=1) for table in (logits, logits.T))
        return p @ (rows + columns) / 2 - p @ np.diagonal(logits)

    even, slopes = np.full(n, 1 / n), []
    for toward in np.eye(n) - even:
        slopes.append((loss(even + step * toward) - loss(even - step * toward)) / (2 * step))
    found = in_batch(x, y, RowByRow(n).take(np.arange(n)), tau, None)
    assert found.error == pytest.approx(np.std(slopes, ddof=1) / np.sqrt(n), rel=1e-7)
    assert found.loss == pytest.approx(loss(even) + np.log(n), rel=1e-12)


def test_terms_are_labelled_as_what_they_are():
    """Plug-in values: without interval, with their value on half of the rows, which the words explain."""
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((300, 12)))
    y = unit(x + 0.4 * rng.standard_normal((300, 12)))
    report = ct.diagnose(x, y, temperature=0.02, **QUICK)
    for name in ("energy", "free_energy_12", "free_energy_21", "divergence_12", "smoothed_divergence"):
        assert report[name].estimator == "plug-in"
        assert np.isnan(report[name].low)
    half = float(report["energy"].reference.split(": ")[1].split()[0])
    rows = table(x, y, RowByRow(300).take(np.arange(300)))
    first = halves(rows, np.random.default_rng([0, 3]))
    fewer = ct.diagnose(x[first], y[first], temperature=0.02, **QUICK)["energy"].value
    assert half == pytest.approx(fewer, rel=1e-3)
    assert fewer < report["energy"].value
    said = " ".join(report.words)
    assert "rise as rows are added" in said
    pattern = r"log V is (\S+) nats: free energies (\S+) .* less the divergence between the clouds, (\S+)"
    energy, free, divergence = map(float, re.search(pattern, said).groups())
    halves_of = [report[f"free_energy_{way}"].value for way in ("12", "21")]
    assert free == pytest.approx(np.mean(halves_of), rel=1e-3)
    assert free - divergence == pytest.approx(energy, abs=2e-3 * abs(free))
    assert divergence > 0.1
    assert next(m.name for m in report.metrics if m.section == "energy") == "in_batch_loss"
