"""The other sections of a report: pairing, spread, retrieval, and the paper's terms."""

import numpy as np

from ctflow.diagnostics import moments as streamed
from ctflow.diagnostics import retrieval, terms, two_sample
from ctflow.diagnostics.pairing import likeliest
from ctflow.diagnostics.report import Metric
from ctflow.diagnostics.resampling import Draws, as_they_are, repaired
from ctflow.diagnostics.study import Study, measured, without_null
from ctflow.kernels import Exponential

KS = (1, 5, 10)


def pairing(s: Study) -> list[Metric]:
    """How close partners are; the null, with partners shuffled, is in closed form."""
    cosine = streamed.mean_paired_cosine(s.moments, s.units)
    mean, sd = streamed.repaired_cosine(s.moments)
    within = 1 - (streamed.cone(s.moments, s.units, "x") + streamed.cone(s.moments, s.units, "y")) / 2
    relative = (1 - cosine) / (1 - cosine + within)
    slope = within[0] / (1 - mean + within[0]) ** 2

    def one(name, values, bounds, centre, spread, **fields):
        draws = without_null(s.units.draws(values))
        fields |= {"rows": s.all_rows, "null": "re-paired", "null_mean": centre, "null_sd": spread}
        return measured(name, "pairing", draws, bounds, **fields)

    return [
        one("paired_cosine", cosine, (-1, 1), mean, sd, means="mean cosine of partners", reference="-1 to 1"),
        one(
            "alignment",
            2 - 2 * cosine,
            (0, 4),
            2 - 2 * mean,
            2 * sd,
            means="mean squared distance of partners (arXiv 2005.10242)",
            reference="0 to 4",
        ),
        one(
            "relative_modality_gap",
            relative,
            (0, 1),
            (1 - mean) / (1 - mean + within[0]),
            slope * sd,
            means="RMG: partners' 1 - cosine over itself plus that within a modality (arXiv 2404.07983)",
            reference="0 to 1; 0.5: partners no nearer than any two of one modality",
        ),
    ]


def spread(s: Study) -> list[Metric]:
    """How each cloud spreads; the null is how both would if they spread alike."""
    d, estimator = s.rows.points.shape[1], s.options["estimator"]
    kernel = np.exp(4 * s.cosine - 4)
    forms = two_sample.mean_forms(kernel, s.rows, s.resamples, estimator)
    # ‖x - x'‖² = 2 - 2cos: e^{-2‖·‖²} is the exponential kernel at τ = 1/4, times e^{-4}.
    even = float(Exponential(0.25).log_volume(d)) - 4
    metrics = []
    for cloud, form in zip("xy", forms, strict=False):
        rank = streamed.effective_rank(s.moments, cloud, s.random(4))
        metrics += [
            measured(
                f"uniformity_{cloud}",
                "spread",
                s.resamples.draws(np.log(form)),
                (-8, 0),
                rows=s.rows.counts,
                estimator=estimator,
                means="log E e^{-2|x-x'|²} (arXiv 2005.10242)",
                reference=f"{even:.3g} if uniform, 0 if one point",
            ),
            measured(
                f"cone_{cloud}",
                "spread",
                s.units.draws(streamed.cone(s.moments, s.units, cloud)),
                (-1, 1),
                rows=s.all_rows,
                estimator="u",
                means="mean cosine of two rows",
                reference="0 if uniform, 1 if one point",
            ),
            Metric(
                name=f"effective_rank_{cloud}",
                section="spread",
                value=rank.value,
                null="relabelled",
                null_mean=float(rank.null.mean()),
                null_sd=float(rank.null.std()),
                rows=s.all_rows,
                low=max(1.0, rank.value - 1.96 * rank.error),
                high=min(float(d), rank.value + 1.96 * rank.error),
                means="exp of the entropy of the centred rows' singular values",
                reference=f"1 to {d}",
            ),
        ]
    return metrics


def recalls(s: Study) -> list[Metric]:
    """Recall both ways and hubness, on a larger sample; chance in closed form."""
    block = s.pairing.take(s.pairing.sample(s.options["max_gallery"], s.random(5)))
    x, y = s.x.rows(block.x), s.y.rows(block.y)
    first, second = (likeliest(block.pairs, block.pair_weight, column) for column in (0, 1))
    return [
        *_one_way(s, "x_to_y", x, y, first, block.x_group),
        *_one_way(s, "y_to_x", y, x, second[:, ::-1], block.y_group),
    ]


def _one_way(s: Study, way: str, queries, gallery, partners, group) -> list[Metric]:
    m = len(gallery)
    ks = tuple(k for k in KS if k < m)
    asked, hit = retrieval.hits(queries, gallery, ks, partners)
    drawn = _drawn(group, s.options["n_bootstrap"], s.random(6))
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
                (0, 1),
                rows=(len(asked), m),
                null="re-paired",
                null_mean=float(chance.mean()),
                null_sd=float(np.sqrt((chance * (1 - chance)).sum()) / len(asked)),
                means=f"a partner among the {k} nearest of {m}",
                reference="0 to 1",
            )
        )
    if m > max(KS):
        near = retrieval.nearest(queries, gallery, max(KS))
        weights = np.column_stack([np.ones(len(queries)), drawn])
        skews = [retrieval.skewness(near, w, m) for w in weights.T]
        metrics.append(
            measured(
                f"hubness_{way}",
                "retrieval",
                Draws(skews[0], np.zeros(0), np.array(skews[1:])),
                rows=(len(queries), m),
                means=f"skewness of how often a row is among the {max(KS)} nearest",
                reference="0 if even",
            )
        )
    return metrics


def _drawn(group: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row comes with its group in a bootstrap, [rows, count]."""
    names, label = np.unique(group, return_inverse=True)
    return rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count).T[label].astype(float)


def energy_terms(s: Study) -> dict[str, np.ndarray]:
    """The paper's terms on every resample; without pairs their alignment is left out."""
    paired = np.zeros(s.resamples.x.shape[1])
    if s.paired:
        drawn = s.rows.pair_weight[:, None] * s.resamples.group[s.rows.group[s.rows.pairs[:, 0]]]
        paired = s.cosine[tuple(s.rows.pairs.T)] @ (drawn / drawn.sum(axis=0))
    tau, estimator = s.options["temperature"], s.options["estimator"]
    return terms.energy_terms(s.cosine, paired, s.rows, s.resamples, temperature=tau, estimator=estimator)


def energy(s: Study, found: dict[str, np.ndarray]) -> list[Metric]:
    """J^Sym and its parts at the user's temperature, and its bound."""
    tau, estimator, rows = s.options["temperature"], s.options["estimator"], s.rows
    others = repaired(rows, s.options["n_permutations"], s.random(7))
    # Shuffled partners change the alignment term, and no other.
    shift = (
        (s.cosine[tuple(rows.pairs.T)] - s.cosine[others[..., 0], others[..., 1]]) @ rows.pair_weight / tau
    )
    means = {
        "energy": "J^Sym + log V = mean free energy - mean divergence, nats",
        "free_energy_12": "F̃₁₂ + log V: alignment and x's own spread, nats",
        "free_energy_21": "F̃₂₁ + log V: alignment and y's own spread, nats",
        "divergence_12": "D̃(1‖2), how much less of y than of x there is where x is, nats",
        "divergence_21": "D̃(2‖1), how much less of x than of y there is where y is, nats",
    }
    metrics = []
    for name, values in found.items():
        draws = s.resamples.draws(values)
        shuffled = {}
        if not name.startswith("divergence"):
            draws = without_null(draws)
            null = draws.value + shift
            shuffled = {"null": "re-paired", "null_mean": float(null.mean()), "null_sd": float(null.std())}
        metrics.append(
            measured(
                name, "energy", draws, rows=rows.counts, estimator=estimator, means=means[name], **shuffled
            )
        )
    single = as_they_are(rows)
    batch = terms.energy_terms(
        s.cosine,
        s.cosine[tuple(rows.pairs.T)] @ rows.pair_weight[:, None],
        rows,
        single,
        temperature=tau,
        estimator="v",
    )["energy"]
    bound = -terms.mutual_information(rows)
    common = {"section": "energy", "rows": rows.counts, "estimator": "v"}
    metrics.append(
        Metric(
            name="above_bound",
            value=float(batch[0]) - bound,
            **common,
            null="re-paired",
            null_mean=float(batch[0] - bound + shift.mean()),
            null_sd=float(shift.std()),
            means="J^Sym + log V + I(π): the InfoNCE loss of these rows as one batch, nats",
            reference=f">= 0; bound -I(π) = {bound:.4g}",
        )
    )
    if s.options["logit_bias"] is not None:
        loss = terms.sigmoid_loss(s.cosine, rows, rows.pairs, tau, s.options["logit_bias"])
        each = shift * len(rows.pairs) / rows.counts[0]
        metrics.append(
            Metric(
                name="sigmoid_loss",
                value=loss,
                **common,
                null="re-paired",
                null_mean=float(loss + each.mean()),
                null_sd=float(each.std()),
                reference=">= 0",
                means="SigLIP's loss of these rows as one batch, a row (arXiv 2303.15343), nats",
            )
        )
    return metrics
