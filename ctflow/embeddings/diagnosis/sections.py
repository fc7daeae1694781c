"""The sections of a report on pairing, spread, retrieval, the loss and the paper's terms."""

import numpy as np
from scipy import special

from ctflow.diagnostics import retrieval
from ctflow.embeddings.diagnosis import moments as streamed
from ctflow.embeddings.diagnosis import terms, two_sample
from ctflow.embeddings.diagnosis.batch import in_batch
from ctflow.embeddings.diagnosis.metric import Metric
from ctflow.embeddings.diagnosis.resampling import Draws, as_they_are, multinomial
from ctflow.embeddings.diagnosis.study import Study, enough_for_intervals, measured, unit, without_null
from ctflow.embeddings.pairing import Block, partners

KS = (1, 5, 10)
_NARROW = 0.01


def pairing(s: Study) -> list[Metric]:
    """How close partners are. The null (partners shuffled) has a closed form."""
    apart = streamed.mean_paired_distance(s.moments, s.units)
    mean, sd = streamed.repaired_distance(s.moments)
    within = (streamed.within(s.moments, s.units, "x") + streamed.within(s.moments, s.units, "y")) / 2
    relative = apart / (apart + 2 * within)
    slope = 2 * within[0] / (mean + 2 * within[0]) ** 2

    def one(name, values, bounds, centre, spread, **fields):
        draws = without_null(s.units.draws(values))
        fields |= {"rows": s.all_rows, "null": "re-paired", "null_mean": centre, "null_sd": spread}
        return measured(name, "pairing", draws, bounds, **fields)

    return [
        one(
            "paired_cosine",
            1 - apart / 2,
            (-1, 1),
            1 - mean / 2,
            sd / 2,
            means="mean cosine of partners",
            reference="-1 to 1",
        ),
        one(
            "alignment",
            apart,
            (0, 4),
            mean,
            sd,
            means="mean squared distance of partners (arXiv 2005.10242)",
            reference="0 to 4",
        ),
        one(
            "relative_modality_gap",
            relative,
            (0, 1),
            mean / (mean + 2 * within[0]),
            slope * sd,
            means="RMG: a/(a + b), a = 1 - mean cosine of partners, b = 1 - mean cosine within a modality "
            "(arXiv 2404.07983)",
            reference="0 to 1; 0.5: partners no nearer than any two rows of one modality",
        ),
    ]


def spread(s: Study) -> list[Metric]:
    """How each cloud spreads. The null is the spread with the labels of the modalities exchanged."""
    d, estimator = s.rows.points.shape[1], s.settings.estimator
    kernel = np.exp(4 * s.cosine - 4)
    forms = two_sample.mean_forms(kernel, s.rows, s.resamples, estimator)
    # ‖x - x'‖² = 2 - 2cos: e^{-2‖·‖²} is the exponential kernel at τ = 1/4, times e^{-4}.
    # Its volume, Γ(d/2) (2τ)^{d/2-1} I_{d/2-1}(1/τ), is the hypergeometric function ₀F₁(d/2; 1/4τ²).
    even = float(np.log(special.hyp0f1(d / 2, 4.0)) - 4)
    metrics = []
    for cloud, called, form in zip("xy", s.names, forms, strict=False):
        alike = s.all_rows[0] == s.all_rows[1]
        rank = streamed.effective_rank(s.moments, cloud, s.random(4), null=alike)
        cone = s.units.draws(1 - streamed.within(s.moments, s.units, cloud))
        metrics += [
            measured(
                f"uniformity_{cloud}",
                "spread",
                s.resamples.draws(np.log(form)),
                (-8, 0),
                rows=s.rows.counts,
                estimator=estimator,
                means="log E e^{-2‖z - z′‖²} over two rows of " + f"{called} (arXiv 2005.10242)",
                reference=f"{even:.3g} if uniform, 0 if one point",
            ),
            measured(
                f"cone_{cloud}",
                "spread",
                without_null(cone) if s.merged_rows else cone,
                (-1, 1),
                rows=s.all_rows,
                estimator="u",
                means=f"mean cosine of two rows of {called}",
                reference="0 if uniform, 1 if one point",
            ),
            measured(
                f"effective_rank_{cloud}",
                "spread",
                Draws(rank.value, rank.null, np.zeros(0)),
                grows=True,
                rows=s.all_rows,
                means=f"exp of the entropy of the singular values of the centred rows of {called}",
                reference=f"1 to {d}; grows with the number of rows",
            ),
        ]
    return metrics


def gallery(s: Study) -> tuple[Block, np.ndarray, np.ndarray]:
    """The sample for retrieval and the loss; it is larger than the one for sums over all pairs of rows."""
    block = s.pairing.take(s.pairing.sample(s.settings.max_gallery, s.random(5)))
    x, y = s.x.rows(block.x), s.y.rows(block.y)
    # In a narrow cone the cosines differ by less than float32's rounding: use float64 there.
    narrow = min(float(streamed.within(s.moments, as_they_are(s.moments.units), c)[0]) for c in "xy")
    return (block, unit(x), unit(y)) if narrow < _NARROW else (block, x, y)


def recalls(s: Study, block: Block, x: np.ndarray, y: np.ndarray) -> list[Metric]:
    """Recall and hubness in both directions. The recall by chance has a closed form."""
    first, second = (partners(block, column) for column in (0, 1))
    return [
        *_one_way(s, "x_to_y", x, y, first, block.x_group),
        *_one_way(s, "y_to_x", y, x, second[:, ::-1], block.y_group),
    ]


def _one_way(s: Study, way: str, queries, gallery, partners, group) -> list[Metric]:
    m = len(gallery)
    ks = tuple(k for k in KS if k < m)
    near = max(KS) if m > max(KS) else 0
    asked, hit, nearest = retrieval.hits_and_nearest(queries, gallery, ks, partners, near=near)
    drawn = _drawn(group, s.settings.n_bootstrap if enough_for_intervals(s.pairing) else 0, s.random(6))
    weight = drawn[asked] / np.maximum(drawn[asked].sum(axis=0), 1)
    count = np.bincount(np.searchsorted(asked, np.unique(partners, axis=0)[:, 0]))
    metrics = []
    for column, k in enumerate(ks):
        draws = Draws(float(hit[:, column].mean()), np.zeros(0), hit[:, column] @ weight)
        chance = retrieval.chance(np.full(len(count), k), count, np.full(len(count), m))
        metrics.append(
            measured(
                f"recall@{k}_{way}",
                "retrieval",
                draws,
                grows=True,
                rows=(len(asked), m),
                null="re-paired",
                null_mean=float(chance.mean()),
                null_sd=float(np.sqrt((chance * (1 - chance)).sum()) / len(asked)),
                means=f"share of queries with a partner among the {k} nearest of {m} rows",
                reference="0 to 1; falls as the gallery grows",
            )
        )
    if near:
        skew = retrieval.skewness(nearest, np.ones(len(asked)), m)
        metrics.append(
            measured(
                f"hubness_{way}",
                "retrieval",
                Draws(skew, np.zeros(0), np.zeros(0)),
                grows=True,
                why_not="all rows are among the nearest equally often",
                rows=(len(asked), m),
                means=f"skewness of how often a row is among the {max(KS)} nearest",
                reference="0 if the counts are symmetric; changes with the number of rows",
            )
        )
    return metrics


def _drawn(group: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is drawn, together with its group, in each bootstrap sample: [rows, count]."""
    names, label = np.unique(group, return_inverse=True)
    return multinomial(rng, len(names), count)[label]


def loss(s: Study, block: Block, x: np.ndarray, y: np.ndarray) -> list[Metric]:
    """The in-batch losses of the gallery's rows. The null (partners shuffled) has a closed form."""
    tau, bias = s.settings.temperature, s.settings.logit_bias
    found = in_batch(unit(x), unit(y), block, tau, bias)
    share = s.pairing.num_groups / len(np.unique(block.x_group))
    mean, sd = streamed.repaired_distance(s.moments)
    shift, scatter = (mean - found.paired_distance) / (2 * tau), sd * np.sqrt(share) / (2 * tau)
    common = {"section": "energy", "rows": (len(x), len(y)), "estimator": "v", "null": "re-paired"}
    values = {
        "in_batch_loss": (
            found.loss,
            f"InfoNCE loss of these {found.pairs:.6g} pairs as one batch, mean of both directions, nats",
            f">= 0; {np.log(found.pairs):.4g} if all cosines are equal; grows with the number of pairs",
        ),
        "above_bound": (
            found.above_bound,
            "J^Sym + log V + I(π): the energy above its lower bound for these pairs, nats",
            ">= 0; grows with the number of pairs",
        ),
    }
    if found.sigmoid is not None:
        values["sigmoid_loss"] = (
            found.sigmoid,
            "SigLIP's loss of these pairs as one batch, per pair (arXiv 2303.15343), nats",
            ">= 0; grows with the number of pairs",
        )
    error = found.error if enough_for_intervals(s.pairing) else np.nan
    return [
        Metric(
            name=name,
            value=value,
            error=np.nan if name == "sigmoid_loss" else error,
            null_mean=value + shift,
            null_sd=scatter,
            means=means,
            reference=reference,
            **common,
        )
        for name, (value, means, reference) in values.items()
    ]


def energy_terms(s: Study) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The paper's terms on every relabelling and on half of the groups; unpaired rows have no alignment."""
    r = s.resamples.without_bootstrap().followed_by(as_they_are(s.rows, s.first_half))
    paired = np.zeros(r.x.shape[1])
    if s.paired:
        drawn = s.rows.pair_weight[:, None] * r.group[s.rows.group[s.rows.pairs[:, 0]]]
        paired = s.cosine[tuple(s.rows.pairs.T)] @ (drawn / drawn.sum(axis=0))
    tau, estimator = s.settings.temperature, s.settings.estimator
    found = terms.energy_terms(s.cosine, paired, s.rows, r, temperature=tau, estimator=estimator)
    return {name: v[:-1] for name, v in found.items()}, {name: float(v[-1]) for name, v in found.items()}


def energy(s: Study, found: dict[str, np.ndarray], half: dict[str, float]) -> list[Metric]:
    """J^Sym and its parts at the user's temperature, as metrics."""
    tau, rows, (a, b) = s.settings.temperature, s.rows, s.names
    mean, sd = streamed.repaired_distance(s.moments)
    groups = len(s.first_half)
    # Shuffling the partners changes the alignment term only.
    cosine = s.cosine[tuple(rows.pairs.T)] @ rows.pair_weight
    shift, scatter = (cosine - 1 + mean / 2) / tau, sd * np.sqrt(s.pairing.num_groups / groups) / (2 * tau)
    means = {
        "energy": "J^Sym + log V = mean free energy - mean divergence, nats",
        "free_energy_12": f"F̃₁₂ + log V: alignment and the spread of {a}, nats",
        "free_energy_21": f"F̃₂₁ + log V: alignment and the spread of {b}, nats",
        "divergence_12": f"D̃(1‖2), mean log ratio of the fields of {a} and {b} over the rows of {a}, nats",
        "divergence_21": f"D̃(2‖1), mean log ratio of the fields of {b} and {a} over the rows of {b}, nats",
    }
    metrics = []
    for name, values in found.items():
        draws = s.resamples.without_bootstrap().draws(values)
        fields = {}
        if not name.startswith("divergence"):
            fields = {"null": "re-paired", "null_mean": draws.value + shift, "null_sd": scatter}
            draws = without_null(draws)
        metrics.append(
            measured(
                name,
                "energy",
                draws,
                grows=True,
                rows=rows.counts,
                estimator="plug-in",
                means=means[name],
                reference="changes with the number of rows"
                + (f": {half[name]:.4g} on half of the groups" if np.isfinite(half[name]) else ""),
                **fields,
            )
        )
    return metrics
