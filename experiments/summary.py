"""The summary page: what every experiment found, beside the published and the exact numbers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctflow._base.resources import cores_in_words
from ctflow.experiment import Result, load


@dataclass(frozen=True)
class Claim:
    """A row of the summary: what is claimed, and the published, the found and the exact number as text."""

    claim: str
    published: str
    found: str
    exact: str = ""


def claims_of_consistency(result: Result) -> list[Claim]:
    """Agreement with the published curve, and the slopes against the true limit."""
    t, slopes = result.tables["published"], result.tables["slopes"]
    claims = []
    for critic in ("cosine", "rbf"):
        at = np.flatnonzero(t["critic"] == critic)[-1]
        claims.append(
            Claim(
                f"relative error of the gradient at N = {t['N'][at]} "
                f"to N = {result.facts['reference_size']}, {critic} critic",
                f"{t['relative_error_published'][at]:.3f}",
                f"{t['relative_error'][at]:.3f}",
            )
        )
    off = [t[f"{name}_errors_off"] for name in ("cosine", "relative_error")]
    claims.append(
        Claim(
            "largest distance of any mean of that figure from the published one, combined standard errors",
            "",
            f"{np.nanmax(np.abs(off)):.1f}",
        )
    )
    runs = result.tables["limit_runs"]
    pick = (runs["setting"] == "cosine encoder") & (runs["positive"] == 1)
    for size in np.unique(runs["N"][pick]):
        error = runs["error"][pick & (runs["N"] == size)].mean()
        if size == result.facts["reference_size"]:
            claims.append(
                Claim(f"relative error of ∇L_N to the limit ∇J at N = {size}, cosine", "", f"{error:.2f}")
            )
    names = {"scatter": "gradient's scatter", "value_bias": "value's bias L_N − J − log(N V)"}
    for i in range(len(slopes["slope"])):
        positive = "" if slopes["positive"][i] else ", positive left out"
        claims.append(
            Claim(
                f"{slopes['setting'][i]}: exponent of N in the {names[slopes['quantity'][i]]}{positive}",
                "",
                f"{slopes['slope'][i]:.3f} ± {slopes['standard_error'][i]:.3f}",
                f"{slopes['theory'][i]:g}",
            )
        )
    return claims


def claims_of_unimodal(result: Result) -> list[Claim]:
    """Mass at the wells, one row per temperature."""
    t = result.tables["side_by_side"]
    return [
        Claim(
            f"one modality, τ = {tau:g}: mass within 0.5 rad of a well",
            f"{t['published_code'][i]:.4f} (run here: {t['as_published'][i]:.4f})",
            f"{t['langevin'][i]:.4f} ± {t['langevin_standard_error'][i]:.4f}",
            f"{t['exact'][i]:.4f}",
        )
        for i, tau in enumerate(t["tau"])
    ]


def quartiles(summary: dict, prefix: str, index: int) -> str:
    """Median and quartiles of one row of the toy's summary."""
    middle = prefix if prefix in summary else f"{prefix}_median"
    middle, low, high = (summary[name][index] for name in (middle, f"{prefix}_q25", f"{prefix}_q75"))
    return f"{middle:.4f} [{low:.4f}, {high:.4f}]"


def claims_of_toy(result: Result) -> list[Claim]:
    """The gap's medians, the collapsed runs, and what objective and particles say."""
    s = result.tables["summary"]
    claims = [
        Claim(
            f"two modalities, encoders, σ = {sigma:g}: median gap (histograms, nats)",
            f"{quartiles(s, 'published', i)}; 80 seeds: {quartiles(s, 'all_published', i)}",
            quartiles(s, "minibatches_gap", i),
        )
        for i, sigma in enumerate(s["sigma"])
    ]
    known, all_p = s["published_within"].size, s["all_published_ks_p"]
    claims += [
        Claim(
            "the same: medians found between the published quartiles",
            f"of 20 seeds: {s['published_within'].sum():.0f} of {known}; "
            f"of 80: {s['all_published_within'].sum():.0f} of {known}",
            f"p of Kolmogorov-Smirnov tests against the 80: {np.nanmin(all_p):.2f} to {np.nanmax(all_p):.2f}",
        ),
        Claim(
            f"the same: share of runs with a gap above 0.5, of {int(s['seeds'].sum())} here",
            f"{np.nansum(s['published_above_half']) / (20 * known):.3f}; "
            f"80 seeds: {np.nansum(s['all_published_above_half']) / (80 * known):.3f}",
            f"{s['minibatches_above_half'].sum() / s['seeds'].sum():.3f} "
            f"(condition number above 8: {s['minibatches_collapsed'].sum() / s['seeds'].sum():.3f})",
        ),
    ]
    claims += [
        Claim(
            f"two modalities, encoders, σ = {sigma:g}: median gap of their densities (no bins, nats); "
            "exact: of encoders trained on the population",
            "",
            quartiles(s, "minibatches_exact_gap", i),
            quartiles(s, "population_exact_gap", i),
        )
        for i, sigma in enumerate(s["sigma"])
    ]
    at = len(s["sigma"]) - 1
    claims.append(
        Claim(
            f"divergence D̃(1‖2) + D̃(2‖1) at σ = {s['sigma'][at]:g}: population encoders; particles set free",
            "",
            f"{s['population_divergence'][at]:.2f}; {s['particles_from_trained_divergence'][at]:.1f}",
        )
    )
    return claims


def claims_of_gap(result: Result) -> list[Claim]:
    """Free particles on S²: no gap without heterogeneity, a gap with it."""
    s = result.tables["summary"]
    return [
        Claim(
            f"free particles on S², start {kind}, σ = {sigma:g}: median energy distance",
            "",
            f"{s['energy_distance_median'][pick][0]:.4f}",
        )
        for kind in ("same place", "opposite cones")
        for sigma in (0.0, 0.5)
        if (pick := (s["d"] == 3) & (s["start"] == kind) & (s["sigma"] == sigma)).any()
    ]


def claims_of_control(result: Result) -> list[Claim]:
    """What the divergence term does to the gap, the energy and retrieval."""
    s = result.tables["summary"]
    claims = []
    for d in np.unique(s["d"]):
        for strength in (0.0, 0.1, 1.0):
            pick = (s["d"] == d) & (s["strength"] == strength) & (s["sigma"] == s["sigma"].max())
            (i,) = np.flatnonzero(pick & (s["control"] == "divergence") & (s["start"] == "same place"))
            claims.append(
                Claim(
                    f"free particles, d = {d}, divergence term at λ = {strength:g}: "
                    "energy distance; energy above its bound (nats); recall@1 over the best possible",
                    "",
                    f"{s['energy_distance_median'][i]:.4f}; {s['above_bound_median'][i]:.4f}; "
                    f"{s['recall@1_median'][i] / s['best_recall@1_median'][i]:.3f}",
                )
            )
    fault = result.facts["largest_cancellation_fault"]
    claims.append(Claim("largest fault of the identity at λ = 1 (nats)", "", f"{fault:.1e}", "0"))
    return claims


def claims_of_digits(result: Result) -> list[Claim]:
    """Gaps of trained encoders by corruption of the pairs, and with the divergence in the loss."""
    s, published = result.tables["summary"], result.tables["published"]
    first = (s["temperature"] == s["temperature"].max()) & (s["start"] == "overlapping") & (s["penalty"] == 0)
    claims = []
    for i in np.flatnonzero(first):
        at = np.flatnonzero(published["corruption_probability"] == s["amount"][i])
        named = {"class": "p", "graded": "h"}[s["law"][i]]
        known = s["law"][i] == "class" and at.size
        claims.append(
            Claim(
                f"digits, {s['law'][i]} pairs, {named} = {s['amount'][i]:g}: held-out centroid gap; recall@1 "
                "(published: RN50 on COCO)",
                f"{published['rn50_centroid_gap'][at[0]]:.2f}; "
                f"{published['rn50_average_recall_at_1'][at[0]]:.2f}"
                if known
                else "",
                f"{s['centroid_gap'][i]:.3f} (null {s['centroid_gap_null'][i]:.3f}); {s['recall_1'][i]:.3f}",
            )
        )
    for i in np.flatnonzero((s["law"] == "graded") & (s["penalty"] > 0)):
        claims.append(
            Claim(
                f"digits, graded pairs, h = {s['amount'][i]:g}, divergence at λ = {s['penalty'][i]:g}: "
                "energy distance; points of recall@1 lost",
                "",
                f"{s['energy_distance'][i]:.4f} (null {s['energy_distance_null'][i]:.4f}); "
                f"{s['recall_1_points_lost'][i]:.1f}",
            )
        )
    return claims


def claims_of_stability(result: Result) -> list[Claim]:
    """Critical temperatures and least strengths: predicted from a shared cloud, and of particles."""
    middle, claims = result.facts["middle_sigma"], []
    t = result.tables["temperatures"]
    for i in np.flatnonzero(t["sigma"] == middle):
        claims.append(
            Claim(
                f"two clusters, σ = {middle:g}, d = {t['d'][i]:g}, {t['loss'][i]}: critical temperature "
                "(exact: predicted from a shared cloud; 0: none)",
                "",
                f"{t['simulated'][i]:.4f}",
                f"{t['predicted'][i]:.4f}",
            )
        )
    s = result.tables["strengths"]
    for i in np.flatnonzero(s["sigma"] == middle):
        claims.append(
            Claim(
                f"the same, d = {s['d'][i]:g}: least strength of the control {s['control'][i]}",
                "",
                f"{s['simulated'][i]:.4f}",
                f"{s['predicted'][i]:.4f}",
            )
        )
    return claims


def claims_of_theory(result: Result) -> list[Claim]:
    """How many of each claim's predicted numbers a simulation hit; every one is in claims.csv."""
    table, claims = result.tables["claims"], []
    for name, facts in result.facts.items():
        of = table["claim"] == name
        hit = int((table["verdict"][of] == "holds").sum())
        claims.append(
            Claim(facts["title"], "", f"{hit} of {of.sum()} numbers hit; {facts['sample']}", facts["source"])
        )
    return claims


CLAIMS: dict[str, Callable[[Result], list[Claim]]] = {
    "large_batch_consistency": claims_of_consistency,
    "unimodal_gibbs": claims_of_unimodal,
    "multimodal_toy": claims_of_toy,
    "gap_formation": claims_of_gap,
    "gap_control": claims_of_control,
    "digits_clip": claims_of_digits,
    "stability": claims_of_stability,
    "theory": claims_of_theory,
}
"""The rows of each experiment, in the order of the page."""


def page(folder: Path, preset: str) -> str:
    """The summary in Markdown, from what the folders hold."""
    lines = [
        "# Numerical section of arXiv 2601.19597, regenerated",
        "",
        f"Written by `python experiments/reproduce.py --preset {preset}`; `±` is one standard error,",
        "brackets are quartiles. Settings, versions and device of each are in the folders' `run.json`.",
    ]
    for name, claims_of in CLAIMS.items():
        record = json.loads((folder / name / "run.json").read_text())
        lines += [
            "",
            f"## {name}",
            "",
            f"{record['seconds']:.0f} s, {record['cpu_seconds']:.0f} s of CPU on "
            f"{cores_in_words(record['cores'])} ({record['device']}), commit {str(record['git'])[:10]}.",
            "",
            "| claim | published | ctflow | exact |",
            "| --- | --- | --- | --- |",
        ]
        for c in claims_of(load(folder / name)):
            lines.append(f"| {c.claim} | {c.published} | {c.found} | {c.exact} |")
        pictures = sorted(path.name for path in (folder / name).iterdir() if path.suffix in (".png", ".gif"))
        lines += ["", " · ".join(f"[{picture}]({name}/{picture})" for picture in pictures)]
    return "\n".join(lines) + "\n"
