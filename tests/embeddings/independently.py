"""Every number of a diagnosis from its definition, in float64 NumPy and SciPy, without code of the package.

Rows that are repeated exactly are one item; the weight of an item is its number of pairs. Random choices (
lines, halves of the groups, exchanges of modalities) are drawn again from the seed, as the diagnosis draws
them.
"""

from functools import cached_property

import numpy as np
from scipy import special, stats
from scipy.sparse import coo_array, csgraph
from scipy.spatial.distance import cdist


class Items:
    """The distinct rows of both clouds, their weights, groups and pairs.

    Args:
        x: unit rows [n, d], float64.
        y: their partners [n, d].
    """

    def __init__(self, x, y):
        (u, i), (v, j) = (_distinct(z) for z in (x, y))
        self.x, self.y, self.n, self.a = x, y, len(x), len(u)
        self.points = np.concatenate([u, v])
        size = len(self.points)
        self.p = np.bincount(i, minlength=size) / self.n
        self.q = np.bincount(self.a + j, minlength=size) / self.n
        graph = coo_array((np.ones(self.n), (i, self.a + j)), shape=(size, size))
        self.group = csgraph.connected_components(graph, directed=False)[1]
        self.groups = int(self.group.max()) + 1
        both, count = np.unique(np.column_stack([i, self.a + j]), axis=0, return_counts=True)
        self.i, self.j = both.T
        self.pi = count / self.n
        self.of_row = i, j

    @cached_property
    def cosine(self):
        return self.points @ self.points.T

    @cached_property
    def distance(self):
        return cdist(self.points, self.points)

    @cached_property
    def together(self):
        """Whether two items belong to one group, [N, N]."""
        return self.group[:, None] == self.group

    def exchanged(self, seed, count):
        """Weights of both clouds with the modalities of groups exchanged at random, [N, count] each."""
        flips = np.random.default_rng([seed, 1]).random((self.groups, count)) < 0.5
        moved = flips[self.group]
        p, q = self.p[:, None], self.q[:, None]
        swapped = np.where(moved, q, p), np.where(moved, p, q)
        return tuple(w / w.sum(axis=0) for w in swapped)

    def first_half(self, seed):
        """Which items are in the half of the groups that the discriminant is fitted on, [N]."""
        order = np.random.default_rng([seed, 3]).permutation(self.groups)
        return np.isin(self.group, order[: (self.groups + 1) // 2])


def _distinct(rows):
    """The distinct rows in the order of their first occurrence, and the item of each row."""
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return rows[first[order]], np.argsort(order)[place.ravel()]


def mean_over_pairs(items, kernel, p, q, estimator):
    """E k over pairs of items with weights p and q, [columns]; `u` leaves out pairs of one group."""
    if estimator == "v":
        return np.sum(p * (kernel @ q), axis=0)
    kernel = np.where(items.together, 0, kernel)
    shares = [np.stack([np.bincount(items.group, column) for column in w.T], axis=1) for w in (p, q)]
    return np.sum(p * (kernel @ q), axis=0) / (1 - np.sum(shares[0] * shares[1], axis=0))


def distances(items, p, q, estimator, seed):
    """The distances between two laws, for weights [N, columns] each; the first column is as given."""
    delta = (p - q).T @ items.points
    mx, my = p.T @ items.points, q.T @ items.points
    norms = np.linalg.norm(mx, axis=1) * np.linalg.norm(my, axis=1)

    def three(kernel):
        return [mean_over_pairs(items, kernel, a, b, estimator) for a, b in ((p, p), (q, q), (p, q))]

    xx, yy, xy = three(items.distance)
    median = np.median(items.distance[: items.a, items.a :])
    found = {
        "centroid_gap": np.linalg.norm(delta, axis=1),
        "cosine_of_means": np.sum(mx * my, axis=1) / norms,
        "energy_distance": 2 * xy - xx - yy,
        "energy_coefficient": (2 * xy - xx - yy) / (2 * xy),
        "gap_coordinates": np.sum(delta**2, axis=1) ** 2 / np.sum(delta**4, axis=1),
        "gap_share": np.sum(delta**2, axis=1) / alignment(items),
        "sliced_wasserstein": _along_lines(items, p, q, seed),
        "linear_separability": _discriminant(items, p, q, seed),
    }
    for name, factor in (("mmd2_half", 0.5), ("mmd2", 1.0), ("mmd2_twice", 2.0)):
        kxx, kyy, kxy = three(np.exp(-(items.distance**2) / (2 * (factor * median) ** 2)))
        found[name] = kxx + kyy - 2 * kxy
    close = three(np.exp(-2 * items.distance**2))
    return found | {f"uniformity_{c}": np.log(close[k]) for k, c in enumerate("xy")}


def _along_lines(items, p, q, seed):
    """Mean Wasserstein-1 distance along 100 lines; of the clouds as given by SciPy."""
    rng, d = np.random.default_rng([seed, 2]), items.points.shape[1]
    bases = [np.linalg.qr(rng.standard_normal((d, min(d, 100))))[0].T for _ in range(0, 100, d)]
    shadows = np.concatenate(bases)[:100] @ items.points.T
    found = np.mean([_transported(s, p - q) for s in shadows], axis=0)
    found[0] = np.mean([stats.wasserstein_distance(s, s, p[:, 0], q[:, 0]) for s in shadows])
    return found


def _transported(shadow, difference):
    """The integral of |F - G| for weights at points [N] of a line, [columns]."""
    order = np.argsort(shadow)
    return np.diff(shadow[order]) @ np.abs(np.cumsum(difference[order], axis=0))[:-1]


def _discriminant(items, p, q, seed):
    """P(a held-out row of x scores above one of y), by a Fisher discriminant of the other half."""
    half = items.first_half(seed)
    fits = [(items.points[half & (w > 0)], w[half & (w > 0)]) for w in (items.p, items.q)]
    means = [np.average(z, axis=0, weights=w) for z, w in fits]
    spread = sum(np.cov(z.T, aweights=w, ddof=0) for z, w in fits)
    d = len(spread)
    shrunk = 0.9 * spread + 0.1 * np.trace(spread) / d * np.eye(d)
    scores = items.points[~half] @ np.linalg.solve(shrunk, means[0] - means[1])
    wins = (scores[:, None] > scores).astype(float)
    a, b = (w[~half] / w[~half].sum(axis=0) for w in (p, q))
    # The order of equal items does not matter: each is worth one half against itself.
    return np.sum(a * ((wins + 0.5 * np.eye(len(wins))) @ b), axis=0)


def centred_energy(items, estimator):
    """The energy distance once both means are at 0, distances scaled up for what the means take away."""
    p, q = items.p, items.q
    rest = items.points - np.where(p[:, None] > 0, p @ items.points, q @ items.points)
    sums = np.zeros((items.groups, rest.shape[1]))
    np.add.at(sums, items.group, (p - q)[:, None] * rest)
    lost = np.sum(sums**2) * items.groups / (items.groups - 1) / np.sum((p + q) @ rest**2)
    apart = cdist(rest, rest)
    cross = apart / np.sqrt(1 - lost)
    of = [
        mean_over_pairs(items, k, a[:, None], b[:, None], estimator)[0]
        for k, a, b in ((cross, p, q), (apart, p, p), (apart, q, q))
    ]
    return 2 * of[0] - of[1] - of[2]


def cone(items, w):
    """Mean cosine of two rows of one modality, of distinct groups."""
    return mean_over_pairs(items, items.cosine, w[:, None], w[:, None], "u")[0]


def alignment(items):
    """Mean squared distance of partners."""
    return float(np.mean(np.sum((items.x - items.y) ** 2, axis=1)))


def effective_rank(items, w):
    """Exp of the entropy of the singular values of the centred rows."""
    z = items.points - w @ items.points
    values = np.linalg.svd(np.sqrt(w)[w > 0, None] * z[w > 0], compute_uv=False)
    share = values / values.sum()
    return float(np.exp(-np.sum(share * np.log(np.maximum(share, 1e-300)))))


def repaired(items):
    """Mean and standard deviation of the mean squared distance of partners over shuffles (Hoeffding)."""
    mx, my = items.x.mean(axis=0), items.y.mean(axis=0)
    cx, cy = (np.cov(z.T, ddof=0) for z in (items.x, items.y))
    return 2 - 2 * mx @ my, 2 * np.sqrt(np.trace(cx @ cy) / (items.groups - 1))


def retrieval(items, way):
    """Recall@1, @5, @10 with mean and deviation by chance, and the skewness of the k-occurrence."""
    of_x, of_y = slice(0, items.a), slice(items.a, None)
    mine, theirs = (of_x, of_y) if way == "x_to_y" else (of_y, of_x)
    partner = np.zeros((len(items.points),) * 2, bool)
    partner[items.i, items.j] = partner[items.j, items.i] = True
    cosine, good = items.cosine[mine, theirs], partner[mine, theirs]
    order, m = np.argsort(-cosine, axis=1), cosine.shape[1]
    found = {}
    for k in (1, 5, 10):
        near = np.take_along_axis(good, order[:, :k], axis=1).any(axis=1)
        chance = 1 - special.comb(m - good.sum(axis=1), k) / special.comb(m, k)
        deviation = np.sqrt(np.sum(chance * (1 - chance))) / len(near)
        found[f"recall@{k}_{way}"] = near.mean(), chance.mean(), deviation
    counts = np.bincount(order[:, :10].ravel(), minlength=m) - len(order) * 10 / m
    found[f"hubness_{way}"] = np.mean(counts**3) / np.mean(counts**2) ** 1.5, np.nan, np.nan
    return found


def losses(items, temperature, bias):
    """InfoNCE of all rows as one batch and its error, the energy above its bound, and SigLIP's loss."""
    logits = items.x @ items.y.T / temperature
    own, n = np.diagonal(logits), items.n
    ce = [-np.mean(np.diagonal(special.log_softmax(table, axis=1))) for table in (logits, logits.T)]
    information = np.sum(items.pi * np.log(items.pi / (items.p[items.i] * items.q[items.j])))
    loss = np.mean(ce)
    return {
        "in_batch_loss": loss,
        "above_bound": loss - np.log(n) + information,
        "sigmoid_loss": (np.logaddexp(0, logits + bias).sum() - np.sum(own + bias)) / n,
    }, _scatter(items, temperature)


def _scatter(items, temperature):
    """Standard error of the loss: n^½ times the scatter of the groups' first-order contributions."""
    logits, n = items.x @ items.y.T / temperature, items.n
    contributions = -np.diagonal(logits) / n
    for axis in (0, 1):
        fields = special.logsumexp(logits, axis=axis) - np.log(n)
        shares = special.softmax(logits, axis=axis).sum(axis=1 - axis) / n
        contributions = contributions + (fields / n + shares) / 2
    of_groups = np.bincount(items.group[items.of_row[0]], contributions)
    return np.std(of_groups, ddof=1) * np.sqrt(items.groups)


def terms(items, p, q, temperature, estimator, kept=None):
    """The energy, free energies and divergences of the paper for weights [N, columns], in nats."""
    logits = items.cosine / temperature
    if estimator == "u":
        logits = np.where(items.together, -np.inf, logits)

    def field(w):
        """Log of the mean of e^{cosine/τ} over a cloud, at every item."""
        top = logits.max(axis=1, keepdims=True)
        total = np.exp(logits - top) @ w
        if estimator == "u":
            share = np.stack([np.bincount(items.group, column) for column in w.T], axis=1)
            total = total / (1 - share[items.group])
        return np.log(total) + top

    of_x, of_y = field(p), field(q)
    here = np.ones(len(items.i), bool) if kept is None else kept[items.i]
    paired = items.pi[here] / items.pi[here].sum() @ items.cosine[items.i, items.j][here] / temperature

    def mean(w, f):
        return np.sum(w * np.where(w > 0, f, 0), axis=0)

    return {
        "energy": (mean(p, of_y) + mean(q, of_x)) / 2 - paired,
        "free_energy_12": mean(p, of_x) - paired,
        "free_energy_21": mean(q, of_y) - paired,
        "divergence_12": mean(p, of_x) - mean(p, of_y),
        "divergence_21": mean(q, of_y) - mean(q, of_x),
    }


def p_values(tested):
    """Family-wise p-values of statistics [1 + relabelled] each, the largest of all in standard deviations."""
    table = np.stack(list(tested.values()))
    scores = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
    largest = scores.max(axis=0)
    return {name: np.mean(largest >= own - 1e-12) for name, own in zip(tested, scores[:, 0], strict=True)}
