"""Clouds, weights and cotangents that are hard for sums in harmonics."""

import numpy as np
from pairs_in_numpy import unit

from ctflow.partition.bounds import PROBES


def cloud(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """A cloud [n, d] that is hard for harmonics, of one of many families."""
    axis = unit(rng.standard_normal((1, d)))
    if rng.random() < 0.3:
        axis = np.eye(d)[[rng.integers(d)]] * rng.choice([-1, 1])
    spread = 10 ** rng.uniform(-4, 0.3)
    cluster = unit(axis + spread * rng.standard_normal((n, d)))
    circle = np.zeros((n, d))

    def on_circle(angle: np.ndarray) -> np.ndarray:
        circle[:, 0], circle[:, 1] = np.cos(angle), np.sin(angle)
        return circle if rng.random() < 0.5 else circle @ np.linalg.qr(rng.standard_normal((d, d)))[0]

    turn = rng.choice([0, rng.uniform(0, 6)])
    kind = rng.integers(13)
    if kind == 0:
        z = rng.standard_normal((n, d))
    elif kind == 1:
        z = cluster
    elif kind == 2:
        centres = unit(rng.standard_normal((rng.integers(2, 6), d)))
        z = centres[rng.integers(len(centres), size=n)] + spread * rng.standard_normal((n, d))
    elif kind == 3:
        z = cluster
        z[rng.integers(n, size=rng.integers(1, max(2, n // 20)))] = unit(rng.standard_normal((1, d)))
    elif kind == 4:
        z = np.repeat(axis, n, 0)
    elif kind == 5:
        z = np.repeat(axis, n, 0)
        z[: rng.integers(1, n)] = unit(rng.standard_normal((1, d)))
    elif kind == 6:
        z = on_circle(turn + np.linspace(0, rng.choice([2 * np.pi * (1 - 1 / n), spread, np.pi]), n))
    elif kind == 7:
        count = rng.choice([2, 3, 4, 5, 8, 16, 64])
        z = on_circle(turn + 2 * np.pi * (np.arange(n) % count) / count)
    elif kind == 8:
        z = cluster
        z[n // 2 :] *= -1
    elif kind == 9:
        z = cluster
        z[rng.integers(n)] = -axis[0]
    elif kind == 10:  # wherever the round-off is looked at, waves are exact
        z = cluster
        looked_at = np.random.default_rng(n).integers(n, size=PROBES - 1, dtype=np.int32)
        z[np.concatenate([looked_at, np.linspace(0, n - 1, 15).astype(int)])] = np.eye(d)[0]
    elif kind == 11:
        z = unit(rng.standard_normal((n, d)))
        z = z[np.argsort(z[:, 0])]
    else:  # antipodal to one another but for a little
        z = cluster
        off = 10 ** rng.uniform(-8, -2) * rng.standard_normal((n // 2, d))
        z[: 2 * (n // 2) : 2] = -z[1::2][: n // 2] + off
    return unit(z)


def weights(rng: np.random.Generator, m: int) -> np.ndarray:
    """Probabilities [m]: equal, uneven, with zeros, or nearly all at two points."""
    kind = rng.integers(5)
    w = np.full(m, 1 / m)
    if kind == 2:
        w = rng.uniform(0.2, 1, m)
    elif kind == 3:
        w = rng.exponential(1, m) ** rng.choice([1, 3]) * (rng.random(m) < 0.5)
    elif kind == 4:
        w = 1e-6 * (rng.random(m) < 0.8)
        w[rng.integers(m, size=2)] += rng.uniform(0.1, 1, 2)
    w = w / w.sum() if w.sum() > 0 else np.full(m, 1 / m)
    return w if w.max() < 1 else np.full(m, 1 / m)


def cotangent(rng: np.random.Generator, n: int) -> np.ndarray:
    """Equal, at one point alone, or of both signs."""
    kind = rng.integers(3)
    return [np.full(n, 1 / n), np.eye(n)[rng.integers(n)], rng.standard_normal(n)][kind]
