"""Corrections against POT, scipy and what each is defined to do; what they refuse."""

import json

import numpy as np
import ot
import pytest
from safetensors.numpy import save_file
from scipy import linalg

from ctflow.corrections import METHODS, Affine, Correction, fit, load, sinkhorn
from tests.draws import stretched_pairs as pairs
from tests.draws import unit


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


def test_a_ridge_is_a_share_of_the_mean_variance():
    """Added to every variance, of coordinates or of directions, before the root is taken."""
    ridge, x, y = 0.3, *pairs()
    scaled = fit("standardisation", x, y, ridge=ridge).y(y)
    expected = y.var(axis=0) / (y.var(axis=0) + ridge * y.var(axis=0).mean())
    np.testing.assert_allclose(scaled.var(axis=0), expected, rtol=1e-9)
    c_xx, c_yy = (np.cov(z.T, bias=True) for z in (x, y))
    more_xx, more_yy = (c + ridge * np.trace(c) / 6 * np.eye(6) for c in (c_xx, c_yy))
    white = np.cov(fit("whitening", x, y, ridge=ridge).x(x).T, bias=True)
    np.testing.assert_allclose(white, c_xx @ linalg.inv(more_xx), atol=1e-9)
    turn = linalg.inv(linalg.sqrtm(more_yy)) @ linalg.sqrtm(more_xx)
    coral = np.cov(fit("coral", x, y, ridge=ridge).y(y).T, bias=True)
    np.testing.assert_allclose(coral, turn.T @ c_yy @ turn, atol=1e-9)


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
    monkeypatch.setattr("ctflow.corrections.maps._BLOCK", 7)
    np.testing.assert_allclose(correction.transform(x, y), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "csls"}, "csls scores pairs and moves no rows; use ct.corrections.csls"),
        ({"method": "coral", "purpose": "fun"}, "purpose must be one of retrieval"),
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
    with pytest.raises(ValueError, match="rows of one width, got 6 and 3"):
        fit("centring", x, unit(y[:, :3]))
    for method in ("procrustes", "cca"):
        with pytest.raises(ValueError, match=f"{method} needs pairs=, since x has 300 rows and y has 9"):
            fit(method, x, y[:9], ridge=1.0)
    with pytest.raises(ValueError, match="coral needs ridge=, or pairs="):
        fit("coral", x, y[:9])
    with pytest.raises(ValueError, match=r"x must be rows \[n, 6\]"):
        fit("centring", x, y).transform(unit(x[:, :3]), y)
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no correction that ctflow wrote; it holds a"):
        load(tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"must be a readable \.safetensors file of a correction"):
        load(tmp_path / "torn.safetensors")


BAD_ROWS = {
    "integers": (
        lambda z: (100 * z).astype(np.int16),
        "must hold float16 or bfloat16 or float32 or float64 or int8 or uint8, got int16",
    ),
    "nan": (lambda z: np.where(np.arange(len(z))[:, None] == 3, np.nan, z), "must be finite"),
    "zero": (lambda z: np.where(np.arange(len(z))[:, None] == 3, 0, z), "must have no zero rows"),
    "norms": (lambda z: 3 * z, "must have rows of unit norm"),
    "cube": (lambda z: z[None], "must be 2-D"),
    "text": (lambda z: "rows", "rows does not exist; check the path"),
    "ragged": (lambda z: [[1.0, 0.0], [1.0]], "must be an array"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("side", [0, 1])
def test_rows_are_checked_as_by_diagnose(kind, side):
    change, words = BAD_ROWS[kind]
    clouds = list(pairs(n=40))
    correction = fit("centring", *clouds)
    clouds[side] = change(clouds[side])
    for call in (lambda: fit("centring", *clouds), lambda: correction.transform(*clouds)):
        with pytest.raises(ValueError, match=words):
            call()


def test_rows_of_any_norm_are_taken_if_asked_for():
    x, y = pairs(n=40)
    expected = fit("coral", x, y, ridge=0.1).transform(x, y)
    found = fit("coral", 3 * x, 2 * y, ridge=0.1, normalize=True).transform(5 * x, y, normalize=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("method", ["none", "whitening", "cca", "transport"])
def test_a_vector_gives_a_vector_and_the_dtype_stays(method, dtype):
    x, y = (z.astype(dtype) for z in pairs(n=50))
    correction = fit(method, x, y, ridge=0.1, epsilon=0.1)
    for name, z in (("x", x), ("y", y)):
        whole = correction.transform_one(name, z)
        vector = correction.transform_one(name, z[7])
        assert whole.dtype == vector.dtype == dtype
        assert vector.shape == (6,)
        np.testing.assert_allclose(vector.astype(float), whole[7].astype(float), atol=2 * np.finfo(dtype).eps)
        assert correction.transform_one(name, z[:1]).shape == (1, 6)
        assert correction.transform_one(name, z[:0]).shape == (0, 6)
        with pytest.raises(ValueError, match="unit norm"):
            correction.transform_one(name, 2 * z[7])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 5])
def test_listing_pairs_is_repeating_rows(method, seed):
    """An image with five captions weighs five, whether pairs say so or its row is repeated five times."""
    x, y = pairs(n=240, seed=seed)
    listed = np.column_stack([np.repeat(np.arange(48), 5), np.random.default_rng(seed).permutation(240)])
    options = {"ridge": 0.1, "epsilon": 0.2}
    one = fit(method, x[:48], y, pairs=listed, **options)
    other = fit(method, x[listed[:, 0]], y, pairs=np.column_stack([np.arange(240), listed[:, 1]]), **options)
    for a, b in zip(one.transform(x[:48], y), other.transform(x[:48], y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_transport_to_rows_that_weigh_more_is_transport_to_their_copies():
    x, y = pairs(n=60, d=4)
    times = np.random.default_rng(1).integers(1, 6, 60)
    listed = np.repeat(np.column_stack([np.arange(60)] * 2), times, axis=0)
    found = fit("transport", x, y, pairs=listed, epsilon=0.1)
    copies = fit("transport", *(np.repeat(z, times, axis=0) for z in (x, y)), epsilon=0.1)
    np.testing.assert_allclose(found.y(y), copies.y(y), atol=1e-9)
    cost = 0.5 * np.sum((x[:, None] - y[None]) ** 2, axis=2)
    plan = ot.sinkhorn(
        times / times.sum(), times / times.sum(), cost, 0.1, method="sinkhorn_log", stopThr=1e-12
    )
    np.testing.assert_allclose(found.y(y), plan.T @ x / plan.sum(axis=0)[:, None], atol=1e-3)


def test_a_row_weighs_what_its_pairs_weigh():
    x, y = pairs(n=60, d=4)
    times = np.random.default_rng(1).integers(1, 6, 60)
    listed = np.repeat(np.column_stack([np.arange(60)] * 2), times, axis=0)
    part = fit("whitening", x, y, pairs=listed, ridge=1e-12).x
    np.testing.assert_allclose(part.centre, np.average(x, axis=0, weights=times), atol=1e-12)
    image = part(x)
    np.testing.assert_allclose(np.cov(image.T, fweights=times, bias=True), np.eye(4), atol=1e-8)


COLLAPSED = {
    "centring": "xy",
    "standardisation": "xy",
    "whitening": "xy",
    "coral": "xy",
    "procrustes": "xy",
    "cca": "xy",
}


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("spread", "dtype"), [(3e-8, np.float32), (1e-16, np.float64)])
def test_one_point_within_rounding_is_refused_or_finite(method, side, spread, dtype):
    rng = np.random.default_rng(3)
    clouds = [z.astype(dtype) for z in pairs(n=60, d=8, seed=3)]
    place = "xy".index(side)
    clouds[place] = unit(rng.standard_normal(8) + spread * rng.standard_normal((60, 8))).astype(dtype)
    if method in COLLAPSED:
        with pytest.raises(
            ValueError, match=f"{method} needs rows that differ: those of {side} are all one point"
        ):
            fit(method, *clouds, ridge=0.1)
    else:
        moved = fit(method, *clouds, ridge=0.1, epsilon=0.1).transform(*clouds)
        assert all(np.isfinite(z).all() for z in moved)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "d", "still"), [(60, 8, 3), (30, 64, 0), (25, 40, 20)])
def test_constant_coordinates_and_few_rows_give_finite_rows(method, n, d, still):
    """Coordinates that do not vary, and fewer rows than coordinates: on rows fitted on and on others."""
    rng = np.random.default_rng(n)
    common = rng.standard_normal((2 * n, d))
    x, y = (common + 0.3 * rng.standard_normal((2 * n, d)) for _ in range(2))
    x[:, :still] = 0
    x, y = unit(x).astype(np.float32), unit(y + 1).astype(np.float32)
    correction = fit(method, x[:n], y[:n])
    for rows in ((x[:n], y[:n]), (x[n:], y[n:])):
        for moved in correction.transform(*rows):
            assert np.isfinite(moved).all()
            np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_nearly_collapsed_cloud_is_moved_as_in_double_precision(method):
    """Spread 1e-4 around one direction, stored in float32: directions are right to rounding over spread."""
    rng = np.random.default_rng(0)
    y = unit(rng.standard_normal(16) + 1e-4 * rng.standard_normal((100, 16)))
    x = unit(rng.standard_normal((100, 16)))
    options = {"ridge": 0.1, "epsilon": 0.1}
    exact = fit(method, x, y, **options).transform(x, y)
    found = fit(method, x.astype(np.float32), y.astype(np.float32), **options).transform(
        x.astype(np.float32), y.astype(np.float32)
    )
    for a, b in zip(found, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=0.01)


def test_a_row_without_a_direction_is_named():
    """Translation sends the row at the difference of means to 0."""
    part = Affine(np.array([0.5, 0.0]), np.eye(2), np.array([-0.5, 0.0]))
    correction = Correction("translation", None, part)
    rows = unit(np.random.default_rng(0).standard_normal((9, 2)))
    rows[6] = [1.0, 0.0]
    with pytest.raises(
        ValueError, match=r"translation leaves 1 of 9 rows of y without a direction, the first is row 6"
    ):
        correction.transform_one("y", rows)
    assert np.isfinite(correction.transform_one("y", rows[:6])).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_refused(value, tmp_path):
    good = fit("centring", *pairs(n=40))
    centre = good.x.centre.copy()
    centre[2] = value
    with pytest.raises(ValueError, match="the map of x must be finite, got NaN or infinity in its centre"):
        Correction("centring", Affine(centre, good.x.matrix, good.x.offset), good.y)
    tensors = {f"{name}.{field}": a for name in "xy" for field, a in vars(getattr(good, name)).items()}
    about = {"method": "centring", "x": "affine", "y": "affine"}
    save_file(tensors | {"y.offset": np.full(6, value)}, tmp_path / "bad.safetensors", about)
    with pytest.raises(ValueError, match="must be finite, got NaN or infinity in its offset"):
        load(tmp_path / "bad.safetensors")
    save_file(tensors, tmp_path / "good.safetensors", about)
    assert load(tmp_path / "good.safetensors").strength is None


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "I64", "F16"])
def test_files_of_other_numbers_are_refused(dtype, tmp_path):
    about = {"__metadata__": {"method": "centring", "x": "affine"}}
    size = {"BF16": 2, "F8_E4M3": 1, "I64": 8, "F16": 2}[dtype]
    header = json.dumps(about | {"x.centre": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(2 * size)
    (tmp_path / "other.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        load(tmp_path / "other.safetensors")


def test_a_ridge_too_small_for_the_rows_is_refused():
    """Fewer rows than coordinates leave variances of 0, which a ridge that vanishes cannot lift."""
    x, y = pairs(n=12, d=30)
    with pytest.raises(ValueError, match="must be finite"):
        fit("whitening", x, y, ridge=5e-324)
