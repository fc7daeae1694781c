"""Corrections and what they give on held-out rows, by scikit-learn, SciPy and NumPy alone."""

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist
from sklearn.covariance import empirical_covariance
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize


def covariance(rows, ridge):
    found = empirical_covariance(rows)
    return found + ridge * np.trace(found) / len(found) * np.eye(len(found))


def inverse_root(rows, ridge):
    return np.real(linalg.fractional_matrix_power(covariance(rows, ridge), -0.5))


def cca(x, y, ridge):
    """Matrices [d, d] by a generalised eigenproblem, each variate scaled by its correlation."""
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    cross = a.T @ b / len(a)
    c_xx, c_yy = covariance(x, ridge), covariance(y, ridge)
    from_y = linalg.solve(c_yy, cross.T, assume_a="pos")
    squares, vectors = linalg.eigh(cross @ from_y, c_xx)
    return vectors * np.sqrt(np.maximum(squares, 0)), from_y @ vectors


def moved(method, strength, fitted, held):
    """Unit rows of both modalities after a method fitted on other rows."""
    (fit_x, fit_y), (x, y) = fitted, held
    if method in ("none", "csls"):
        return x, y
    if method == "translation":
        return x, normalize(y - fit_y.mean(axis=0) + fit_x.mean(axis=0))
    if method == "coral":
        root = inverse_root(fit_y, strength) @ np.real(linalg.sqrtm(covariance(fit_x, strength)))
        return x, normalize((y - fit_y.mean(axis=0)) @ root + fit_x.mean(axis=0))
    if method == "cca":
        matrices = cca(fit_x, fit_y, strength)
    else:
        matrices = [scaling(method, f, strength) for f in fitted]
    centred = [StandardScaler(with_std=False).fit(f).transform(z) for f, z in zip(fitted, held, strict=True)]
    return tuple(normalize(z @ m) for z, m in zip(centred, matrices, strict=True))


def scaling(method, rows, ridge):
    """The matrix [d, d] that one modality's centred rows are multiplied with."""
    if method == "centring":
        return np.eye(rows.shape[1])
    if method == "standardisation":
        variance = rows.var(axis=0)
        return np.diag((variance + ridge * variance.mean()) ** -0.5)
    assert method == "whitening"
    return inverse_root(rows, ridge)


def csls_scores(x, y, fit_x, fit_y, k):
    """All scores [2n, 2n] by the paper's formula, banks being the rows fitted on."""
    rows, n = np.concatenate([x, y]), len(x)
    banks = {"x": fit_x, "y": fit_y}
    near = {name: np.sort(rows @ bank.T, axis=1)[:, -k:].mean(axis=1) for name, bank in banks.items()}
    names = ["x"] * n + ["y"] * n
    scores = 2 * rows @ rows.T
    for i in range(2 * n):
        for side, part in (("x", slice(0, n)), ("y", slice(n, 2 * n))):
            scores[i, part] -= near[side][i] + near[names[i]][part]
    return scores


def numbers(method, strength, fitted, held):
    """The columns of a comparison's table for paired rows."""
    x, y = moved(method, strength, fitted, held)
    n, rows = len(x), np.concatenate([x, y])
    if method == "csls":
        scores = csls_scores(x, y, *fitted, int(strength))
        np.fill_diagonal(scores, -np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")
        across = {"x": scores[:n, n:].argmax(axis=1), "y": scores[n:, :n].argmax(axis=1)}
    else:
        brute = {"metric": "cosine", "algorithm": "brute"}
        order = NearestNeighbors(n_neighbors=11, **brute).fit(rows).kneighbors(rows)[1]
        order = np.stack([line[line != i][:10] for i, line in enumerate(order)])
        across = {
            name: NearestNeighbors(n_neighbors=1, **brute).fit(g).kneighbors(q)[1][:, 0]
            for name, q, g in (("x", x, y), ("y", y, x))
        }
    own, others = np.arange(n), ~np.eye(n, dtype=bool)
    cross, x_x, y_y = (cdist(a, b)[others].mean() for a, b in ((x, y), (x, x), (y, y)))
    return {
        "recall@1_x_to_y": np.mean(across["x"] == own),
        "recall@1_y_to_x": np.mean(across["y"] == own),
        "mixed_recall@1_x": np.mean(order[:n, 0] == n + own),
        "mixed_recall@1_y": np.mean(order[n:, 0] == own),
        "mixing_x": np.mean(order[:n, :10] >= n),
        "mixing_y": np.mean(order[n:, :10] < n),
        "energy_distance": 2 * cross - x_x - y_y,
        "centroid_gap": np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)),
        "alignment": np.mean(np.sum((x - y) ** 2, axis=1)),
    }
