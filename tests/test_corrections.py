"""Corrections against POT, scipy and what each is defined to do, and what they cost on held-out rows."""

import numpy as np
import ot
import pytest
from safetensors.numpy import save_file
from scipy import linalg

import ctflow as ct
from ctflow.corrections import METHODS, fit, load, sinkhorn
from ctflow.diagnostics.compare import as_text, compare


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def pairs(n=300, d=6, shift=1.0, noise=0.5, seed=0):
    """Paired rows, the second modality shifted and stretched."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d))
    x, y = (common + noise * rng.standard_normal((n, d)) for _ in range(2))
    return unit(x - shift), unit(y * np.linspace(0.5, 1.5, d) + shift)


@pytest.mark.parametrize("epsilon", [0.5, 0.05])
def test_sinkhorn_is_pots(epsilon):
    x, y = pairs(n=60)
    y = y[:45]
    f, g = sinkhorn(x, y, epsilon, tolerance=1e-12)
    cost = 0.5 * np.sum((x[:, None] - y[None]) ** 2, axis=2)
    plan = np.exp((f[:, None] + g[None, :] - cost) / epsilon) / (60 * 45)
    a, b = np.full(60, 1 / 60), np.full(45, 1 / 45)
    expected = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=100_000)
    np.testing.assert_allclose(plan, expected, atol=1e-9)


def test_transport_moves_rows_to_the_means_of_their_plan():
    x, y = pairs(n=60)
    found = fit("transport", x, y, epsilon=0.2).transform(x, y)[1]
    cost = 0.5 * np.sum((x[:, None] - y[None]) ** 2, axis=2)
    plan = ot.sinkhorn(
        np.full(60, 1 / 60), np.full(60, 1 / 60), cost, 0.2, method="sinkhorn_log", stopThr=1e-12
    )
    np.testing.assert_allclose(found, unit(plan.T @ x), atol=1e-4)


def test_procrustes_is_scipys_rotation():
    x, y = pairs()
    centred = [z - z.mean(axis=0) for z in (x, y)]
    rotation = linalg.orthogonal_procrustes(centred[1], centred[0])[0]
    found = fit("procrustes", x, y).transform(x, y)
    np.testing.assert_allclose(found[1], unit(centred[1] @ rotation + x.mean(axis=0)), atol=1e-12)
    np.testing.assert_array_equal(found[0], x)


def test_moments_are_what_each_method_promises():
    """Before rows are brought back to the sphere: means, variances and covariances of the maps' images."""
    x, y = pairs()
    none = 1e-12
    for z, part in zip((x, y), (fit("centring", x, y).x, fit("centring", x, y).y), strict=True):
        np.testing.assert_allclose(part(z).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(fit("translation", x, y).y(y).mean(axis=0), x.mean(axis=0), atol=1e-12)
    scaled = fit("standardisation", x, y, ridge=none).y(y)
    np.testing.assert_allclose(
        (scaled.mean(axis=0), scaled.std(axis=0)), (np.zeros(6), np.ones(6)), atol=1e-9
    )
    white = fit("whitening", x, y, ridge=none).x(x)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-9)
    coral = fit("coral", x, y, ridge=none).y(y)
    np.testing.assert_allclose(np.cov(coral.T, bias=True), np.cov(x.T, bias=True), atol=1e-9)
    np.testing.assert_allclose(coral.mean(axis=0), x.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_it_does_the_same(method, tmp_path):
    x, y = (z.astype(np.float32) for z in pairs(n=80))
    correction = fit(method, x, y)
    correction.save(tmp_path / "c.safetensors")
    again = load(tmp_path / "c.safetensors")
    assert again.method == method
    for one, other in zip(correction.transform(x, y), again.transform(x, y), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)


def test_blocks_do_not_matter(monkeypatch):
    x, y = pairs(n=50)
    correction = fit("coral", x, y)
    whole = correction.transform(x, y)
    monkeypatch.setattr("ctflow.corrections._BLOCK", 7)
    np.testing.assert_allclose(correction.transform(x, y), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "method must be one of none, centring"),
        ({"method": "transport", "epsilon": 0.001}, "epsilon must be >= 0.005"),
        ({"method": "coral", "ridge": 0.0}, "ridge must be finite and > 0"),
    ],
)
def test_bad_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        fit(x=pairs()[0], y=pairs()[1], **options)


def test_bad_rows_and_files_are_refused(tmp_path):
    x, y = pairs()
    with pytest.raises(ValueError, match=r"x and y must be \[n, d\] and \[m, d\]"):
        fit("centring", x, y[:, :3])
    with pytest.raises(ValueError, match="procrustes needs rows paired"):
        fit("procrustes", x, y[:9])
    with pytest.raises(ValueError, match=r"x must be rows \[n, 6\]"):
        fit("centring", x, y).transform(x[:, :3], y)
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no correction that ctflow wrote; it holds a"):
        load(tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"must be a \.safetensors file of a correction"):
        load(tmp_path / "torn.safetensors")


def test_held_out_rows_say_what_a_correction_gains():
    """A shift between otherwise equal modalities: centring closes it on held-out rows, and mixes them."""
    x, y = pairs(n=400, d=16, shift=0.8)
    found = compare(x, y, purpose="mixed", n_permutations=30)
    t = {name: dict(zip(found.table["method"], column, strict=True)) for name, column in found.table.items()}
    assert set(t["method"]) == set(METHODS)
    assert t["energy_distance"]["centring"] < 0.05 * t["energy_distance"]["none"]
    assert t["mixing"]["none"] < 0.1 < 0.35 < t["mixing"]["centring"]
    assert t["mixed_recall@1_x"]["centring"] > t["mixed_recall@1_x"]["none"] + 0.1
    assert any("Best:" in word for word in found.words)
    assert "centring" in as_text(found)
    assert ct.corrections.fit is fit


def test_the_columns_are_those_of_separate_functions():
    x, y = pairs(n=200)
    found = compare(x, y, methods=("none",), held_out=0.5, n_permutations=20, seed=3)
    order = np.random.default_rng(3).permutation(200)[:100]
    a, b = x[np.sort(order)], y[np.sort(order)]
    report = ct.diagnose(a, b, n_bootstrap=0, n_permutations=99)
    row = {name: column[0] for name, column in found.table.items()}
    for name in ("centroid_gap", "energy_distance", "alignment", "recall@1_x_to_y", "recall@5_y_to_x"):
        assert row[name] == pytest.approx(report[name].value, rel=1e-10), name
    corpus = np.concatenate([b, a])
    ranks = a @ corpus.T
    ranks[np.arange(100), 100 + np.arange(100)] = -2
    assert row["mixed_recall@1_x"] == np.mean(ranks.argmax(axis=1) == np.arange(100))
    near = np.argsort(-ranks, axis=1)[:, :10]
    assert 0 < np.mean(near < 100) < 1
    assert abs(row["mixing"] - np.mean(near < 100)) < 0.1


def test_a_gap_that_costs_nothing_is_left_alone():
    """Nothing to correct: no method helps retrieval, and the words say so."""
    x, y = pairs(n=400, d=32, shift=0.0, noise=0.2)
    found = compare(x, y * 1.0, methods=("centring", "translation"), n_permutations=20)
    assert any("No correction helps" in word for word in found.words)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"purpose": "fun"}, "purpose must be one of retrieval, mixed, clustering"),
        ({"methods": ("magic",)}, "methods must be one of none"),
        ({"held_out": 1.0}, r"held_out must lie in \(0, 1\)"),
        ({"held_out": 0.01}, "too few to split"),
    ],
)
def test_comparisons_refuse_bad_settings(wrong, words):
    with pytest.raises(ValueError, match=words):
        compare(*pairs(), **wrong)
