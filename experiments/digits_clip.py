"""Real images, two trained encoders: the halves of handwritten digits, matched by InfoNCE.

Upper and lower half of an image are the two modalities of a pair. Two small perceptrons are trained by
symmetric InfoNCE at a fixed temperature, from outputs that overlap or that lie in two opposite cones; the
partner is the image's own half, or with probability p that of another image of its class (as in the paper's
COCO experiment), or of an image drawn by nearness in pixel space (`graded`). Beside them, free particles
under the same law of pairs. Everything is measured on 500 held-out pairs; a null exchanges modalities
within pairs.

What it shows (medians of 5 seeds, d = 16). Matched pairs leave next to no gap: energy distance 0.005 for a
null of 0.004. Class-level corruption opens a small one that grows with p, to 0.045 at p = 1 and τ = 0.07
(null 0.003), from either start; at τ = 0.03 opposed starts keep 0.1 to 0.2. Graded pairs open a wide one:
0.23 and 0.76 at h = 3 and 4, τ = 0.07, centroid gaps 0.46 and 0.79; again the start shows at τ = 0.03 only
(0.25 against 0.72 at h = 3). So what opens a gap here is pairs that no cluster structure can satisfy. Free
particles under class-level pairs at τ = 0.07 have none at all up to p = 0.75 (0.001), so that part of the
encoders' gap comes from what they cannot fit. Elsewhere the start decides how wide theirs is (0.12 or 0.95
at h = 3), at energies at most 0.013 nats apart. The divergence term nearly closes it at no cost: with λ =
0.1 the energy distance at h = 3 falls from 0.26 to 0.003 (the null's 95 % quantile, 0.002, is still
exceeded in every seed, with λ = 1 too) and recall@1 goes from 0.18 to 0.21. The published runs behave alike
in recall up to p = 0.5, not in the gap: theirs is 0.8 with matched captions already.

The embeddings of one run with a gap are then diagnosed and corrected like a user's own.

    python experiments/digits_clip.py --preset paper --out figures
"""

from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import logsumexp

import ctflow as ct
from ctflow.comparison.compare import compare
from ctflow.diagnostics.retrieval import hits
from ctflow.embeddings.diagnosis import two_sample
from ctflow.embeddings.diagnosis.resampling import as_they_are, resample, table
from ctflow.embeddings.pairing import RowByRow
from ctflow.experiment import Result, columns, main, resumed_in
from ctflow.io import read_csv
from experiments.plots.digits_clip import plot
from experiments.setups.digits_clip import (
    PRESETS,
    STARTS,
    Config,
    Digits,
    Law,
    PairLaws,
    Setting,
    contrastive,
    digits,
    embed,
    initial_encoders,
    inputs_of,
    train,
)


def held_out(x: np.ndarray, y: np.ndarray, temperature: float, config: Config) -> dict[str, Any]:
    """Measures of held-out pairs, x and y [m, d].

    `_null` is the mean over exchanges of the two modalities within random pairs, `_null_95` their 95 %
    quantile; `_u` takes distinct pairs only, so that it is 0 on average without a gap.
    """
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x.astype(float), y.astype(float)))
    m, cosine = len(x), x @ y.T
    rows = table(x, y, RowByRow(m).take(np.arange(m)))
    one_part = np.ones(m, bool)  # pairs are exchanged by coins, which no part bears on
    resamples = resample(rows, one_part, config.num_flips, 0, np.random.default_rng(config.seed))
    distance = two_sample.distances(rows.points @ rows.points.T)
    means = (resamples.x - resamples.y).T @ rows.points
    row: dict[str, Any] = {"paired_cosine": np.trace(cosine) / m}
    for name, values in {
        "energy_distance": two_sample.energy_distance(distance, rows, resamples, "v"),
        "centroid_gap": np.linalg.norm(means, axis=1),
    }.items():
        draws = resamples.draws(values)
        row |= {name: draws.value, f"{name}_null": draws.null.mean()}
        row[f"{name}_null_95"] = np.quantile(draws.null, 0.95)
    row["energy_distance_u"] = two_sample.energy_distance(distance, rows, as_they_are(rows), "u")[0]
    ks, own, logits = (1, 5, 10), np.column_stack([np.arange(m)] * 2), cosine / temperature
    for way, (queries, gallery) in {"12": (x, y), "21": (y, x)}.items():
        recalls = hits(queries, gallery, ks, own)[1].mean(axis=0)
        row |= {f"recall_{k}_{way}": recall for k, recall in zip(ks, recalls, strict=True)}
    row |= {f"recall_{k}": (row[f"recall_{k}_12"] + row[f"recall_{k}_21"]) / 2 for k in ks}
    partition = sum(np.mean(np.asarray(logsumexp(logits, axis=axis))) for axis in (0, 1)) / 2
    return row | {"held_out_loss": partition - np.trace(logits) / m - np.log(m)}


def free_particles(config: Config, data: Digits, named: list[Law], checkpoint: Path | None) -> list[dict]:
    """A particle for each image and modality in place of the encoders, from where they start.

    They descend J^Sym exactly, under the same law over the first `num_particles` training images.
    """
    laws = PairLaws(data, named, config.num_particles)
    descent = ct.flows.Descent(optax.adam(config.particle_learning_rate))
    cells = list(product(range(len(named)), config.temperatures, STARTS))
    starts = {kind: embed(config, data, initial_encoders(config, data, kind, 0)) for kind in STARTS}
    clouds = {k: [c[f"{z}_train"][: config.num_particles] for z in "xy"] for k, c in starts.items()}

    def one(inputs):
        which, temperature, x, y = inputs
        energy = contrastive(config, laws.coupling(which), temperature)
        start = ct.Pair(x, y)
        end = ct.evolve(energy, descent, descent.init(start), num_steps=config.particle_steps).clouds
        return {
            "start_energy_distance": ct.diagnostics.energy_distance(*start, estimator="v"),
            "energy_distance": ct.diagnostics.energy_distance(*end, estimator="v"),
            "centroid_gap": ct.diagnostics.centroid_gap(*end),
            "paired_cosine": jnp.mean(jnp.sum(end.x * end.y, axis=1)),
            "energy": energy(end) + energy.kernel.log_volume(config.dim, jnp.float32),
        }

    inputs = [(np.int32(w), np.float32(t), *clouds[kind]) for w, t, kind in cells]
    stack = jax.tree.map(lambda *parts: np.stack(parts), *inputs)
    found = ct.sweep(one, stack, progress="digits: particles", **resumed_in(checkpoint, "particles"))
    return [
        {
            **laws.named(which),
            "temperature": temperature,
            "start": kind,
            **{name: float(values[index]) for name, values in found.items()},
        }
        for index, (which, temperature, kind) in enumerate(cells)
    ]


def settings_of(config: Config) -> tuple[list[Law], list[Setting]]:
    """All laws; and every training, those without a penalty first."""
    named = [*(Law("class", p) for p in config.corruptions), *(Law("graded", h) for h in config.bandwidths)]
    seeds = range(config.num_seeds)
    plain = product(named, config.temperatures, STARTS, (0.0,), seeds)
    chosen = Law("class", config.penalised_corruption), Law("graded", config.penalised_bandwidth)
    held = product(chosen, config.temperatures[:1], STARTS[1:], config.penalties, seeds)
    return named, [Setting(*cell) for cell in (*plain, *held)]


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Every law, temperature, start and seed; some with the divergence in the loss; then particles."""
    data, (named, settings) = digits(config), settings_of(config)
    laws = PairLaws(data, named, config.num_train)
    each = [inputs_of(config, data, laws, s) for s in settings]
    inputs = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    found = ct.sweep(
        lambda i: train(config, data, laws, i),
        inputs,
        progress="digits: encoders",
        **resumed_in(checkpoint, "encoders"),
    )
    rows, clouds = [], []
    for index, s in enumerate(settings):
        clouds.append(embed(config, data, jax.tree.map(lambda leaf, i=index: leaf[i], found["encoders"])))
        rows.append(
            {
                **s._asdict(),
                **laws.named(named.index(s.law)),
                "start_energy_distance": float(found["path"][index, 0]),
                **held_out(clouds[-1]["x_test"], clouds[-1]["y_test"], s.temperature, config),
                "energy": float(found["energy"][index]),
            }
        )
    shown = Setting(Law("graded", config.penalised_bandwidth), config.temperatures[0], STARTS[0], 0.0, 0)
    runs = columns(rows)
    arrays = {
        "path": np.column_stack([found["path"], runs["energy_distance"]]),
        "path_steps": np.linspace(0, config.num_steps, config.num_saves + 1),
        # A user's embeddings like any other: the place to diagnose and correct them.
        **clouds[settings.index(shown)],
    }
    tables = {
        "runs": runs,
        "summary": summarize(runs),
        "particles": columns(free_particles(config, data, named, checkpoint)),
        "published": read_csv(Path(__file__).parent / "published" / "caption_corruption.csv"),
    }
    tables |= diagnosed(arrays, config.temperatures[0])
    facts = {"test_pairs": config.num_test, "embeddings_of": shown._asdict()}
    return Result(tables, arrays, facts)


def diagnosed(clouds: dict[str, np.ndarray], temperature: float) -> dict[str, dict[str, np.ndarray]]:
    """What `ct.diagnose` says of the test pairs, and corrections of all held-out pairs, fitted on half."""
    report = ct.diagnose(clouds["x_test"], clouds["y_test"], temperature=temperature)
    kept = ("name", "value", "null_mean", "null_sd", "low", "high", "p_value")
    diagnosis = columns([{field: getattr(metric, field) for field in kept} for metric in report.metrics])
    x, y = (np.concatenate([clouds[f"{z}_calibration"], clouds[f"{z}_test"]]) for z in "xy")
    return {"diagnosis": diagnosis, "corrections": compare(x, y).table}


SETTING = ("law", "amount", "temperature", "start", "penalty")
MEASURES = ("energy_distance", "centroid_gap", "recall_1", "recall_5", "recall_10", "paired_cosine", "energy")
NULLS = tuple(f"{name}_{part}" for name in MEASURES[:2] for part in ("null", "null_95"))


def summarize(runs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Medians over seeds with the least and the largest; how many gaps are above their null's 95 %."""
    cells = list(zip(*(runs[name].tolist() for name in SETTING), strict=True))
    rows, recalls = [], {}
    for cell in dict.fromkeys(cells):
        pick = np.array([other == cell for other in cells])
        row = {**dict(zip(SETTING, cell, strict=True)), "seeds": pick.sum()}
        row["above_null"] = (runs["energy_distance"] > runs["energy_distance_null_95"])[pick].sum()
        for name in MEASURES:
            values = runs[name][pick]
            row |= {name: np.median(values), f"{name}_least": values.min(), f"{name}_largest": values.max()}
        recalls[cell] = row["recall_1"]
        row["recall_1_points_lost"] = 100 * (recalls[*cell[:-1], 0.0] - row["recall_1"])
        rows.append(row | {name: np.median(runs[name][pick]) for name in ("information", "bound", *NULLS)})
    return columns(rows)


if __name__ == "__main__":
    main(name="digits_clip", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
