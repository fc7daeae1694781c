"""Embeddings of real models: is there a gap, what goes with it, and what do corrections gain and cost?

Reads files that the user downloads (`docs/real-models.md` says from where): CLIP and other models of the
public code of *Mind the Gap* (arXiv 2203.02053), trained and with random weights, and docstrings with the
source of their functions under MiniLM. For each: every number of `ct.diagnose` with its null and interval;
the same with partners shuffled, which must leave the gap as it is and take everything paired to chance; the
loss and the paper's terms against the temperature; and corrections measured on held-out pairs, for each
purpose, over random splits.

    python experiments/real_models.py --data FOLDER --preset paper --out runs
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import ctflow as ct
from ctflow import experiment
from ctflow.comparison.compare import PURPOSES, compare, score
from ctflow.corrections import METHODS, SCORINGS
from ctflow.experiment import Result, columns, guarded, results_of
from ctflow.io import read_csv
from experiments.plots.real_models import plot
from experiments.setups.real_causes import causes
from experiments.setups.real_models import (
    PRESETS,
    SOURCES,
    Config,
    Rows,
    digest,
    found_in,
    missing_from,
    read,
)

UNCHANGED = ("centroid_gap", "energy_distance", "linear_separability")
"""Numbers about the gap, which do not depend on who is whose partner."""
PAIRED = ("paired_cosine", "relative_modality_gap", "recall@1_x_to_y", "recall@1_y_to_x", "recall@10_x_to_y")
TERMS = ("in_batch_loss", "above_bound", "energy", "free_energy_12", "free_energy_21", "smoothed_divergence")
FIELDS = ("value", "null_mean", "null_sd", "low", "high", "error", "p_value")


def diagnosed(config: Config, rows: Rows, temperature: float, **settings: Any) -> Any:
    """The report of a source's rows."""
    few = {"n_permutations": 99, "n_bootstrap": 0, "max_rows": config.max_sums}
    return ct.diagnose(rows.x, rows.y, temperature=temperature, seed=config.seed, **{**few, **settings})


def numbers(config: Config, rows: Rows, temperature: float) -> list[dict[str, Any]]:
    """Every number of a diagnosis of all rows."""
    report = diagnosed(
        config,
        rows,
        temperature,
        n_permutations=config.num_permutations,
        n_bootstrap=config.num_bootstrap,
        max_rows=config.max_rows,
    )
    return [
        {
            "number": m.name,
            "section": m.section,
            **{field: getattr(m, field) for field in FIELDS},
            "gap": "" if m.gap is None else "yes" if m.gap else "no",
            "estimator": m.estimator,
            "rows_x": m.rows[0],
            "rows_y": m.rows[1],
        }
        for m in report.metrics
    ]


def shuffled(config: Config, rows: Rows, temperature: float) -> list[dict[str, Any]]:
    """The control: numbers of the right pairs, and of partners shuffled at random, over seeds."""
    every = {"max_rows": config.max_rows}  # not a sample, which would hold other rows of y
    reports = [diagnosed(config, rows, temperature, **every)]
    for seed in range(config.num_seeds):
        order = np.random.default_rng([config.seed, seed]).permutation(len(rows.y))
        reports.append(diagnosed(config, rows._replace(y=rows.y[order]), temperature, **every))
    found = []
    for name in (*UNCHANGED, *PAIRED):
        right, *others = (report[name].value for report in reports)
        paired = name in PAIRED
        found.append(
            {
                "number": name,
                "depends_on_pairs": "yes" if paired else "no",
                "right_pairs": right,
                "shuffled_mean": np.mean(others),
                "shuffled_sd": np.std(others, ddof=1) if len(others) > 1 else 0.0,
                "shuffles": len(others),
                "by_chance": reports[0][name].null_mean if paired else right,
                "by_chance_sd": reports[0][name].null_sd if paired else 0.0,
            }
        )
    return found


def against_temperature(config: Config, rows: Rows) -> list[dict[str, Any]]:
    """The loss and the paper's terms with their nulls, at each temperature."""
    found = []
    for tau in config.temperatures:
        report = diagnosed(config, rows, tau)
        row: dict[str, Any] = {"temperature": tau, "pairs": report["in_batch_loss"].rows[0]}
        for name in TERMS:
            metric = report[name]
            row |= {name: metric.value, f"{name}_null": metric.null_mean, f"{name}_null_sd": metric.null_sd}
        found.append(row | {"in_batch_loss_error": report["in_batch_loss"].error})
    return found


def corrected(config: Config, rows: Rows, purpose: str) -> list[dict[str, Any]]:
    """Gains and costs of corrections on held-out pairs, over random splits."""
    tables, chosen = [], []
    methods = config.methods or (*METHODS, *SCORINGS)
    for seed in range(config.num_seeds):
        found = compare(
            rows.x,
            rows.y,
            purpose=purpose,
            methods=methods,
            max_groups=config.max_sums,
            n_permutations=20,
            seed=seed,
        )
        tables.append({**found.table, "score": score(found.table, purpose)})
        chosen.append(found.recommended)
    rows_of_table = []
    for i, method in enumerate(tables[0]["method"]):
        row: dict[str, Any] = {"purpose": purpose, "method": str(method), "splits": len(tables)}
        row["recommended"] = chosen.count(str(method))
        gains = [table["score"][i] - table["score"][0] for table in tables]
        row |= _mean_and_deviation("gain", gains)
        for name in ("score", *KEPT):
            row |= _mean_and_deviation(name, [table[name][i] for table in tables])
        rows_of_table.append(row)
    return rows_of_table


KEPT = (
    "energy_distance",
    "centroid_gap",
    "recall@1_x_to_y",
    "recall@1_y_to_x",
    "mixed_recall@1_x",
    "mixed_recall@1_y",
    "mixing",
)


def _mean_and_deviation(name: str, values: Sequence[float]) -> dict[str, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {name: float(np.mean(values)), f"{name}_sd": deviation}


def jobs_of(config: Config) -> list[tuple[str, Callable[[], dict[str, list[dict[str, Any]]]]]]:
    """What is computed: the source's name, and a function that returns rows of tables by the table's name."""
    jobs: list[tuple[str, Callable[[], dict[str, list[dict[str, Any]]]]]] = []
    for name, paths in found_in(config.data).items():
        source, rows = SOURCES[name], read(name, paths, config.max_rows)
        tau = source.temperature
        jobs += [
            (name, lambda rows=rows, tau=tau: {"numbers": numbers(config, rows, tau)}),
            (name, lambda rows=rows, tau=tau: {"shuffled": shuffled(config, rows, tau)}),
            (name, lambda rows=rows: {"temperatures": against_temperature(config, rows)}),
        ]
        if source.trained:
            jobs += [
                (name, lambda rows=rows, p=p: {"corrections": corrected(config, rows, p)})
                for p in config.purposes
            ]
        if config.max_free:
            jobs.append((name, lambda rows=rows, tau=tau: causes(config, rows, tau)))
    return jobs


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Every table of every source in the folder."""
    for purpose in config.purposes:
        if purpose not in PURPOSES:
            raise ValueError(f"purposes must be among {', '.join(PURPOSES)}, got {purpose!r}")
    found = found_in(config.data)
    for sentence in missing_from(found):
        tqdm.write(sentence)
    jobs = jobs_of(config)
    done = results_of([job for _, job in jobs], checkpoint, config)
    tables: dict[str, list[dict[str, Any]]] = {}
    for (name, _), result in tqdm(
        zip(jobs, done, strict=True), total=len(jobs), desc="real models", unit="job"
    ):
        for table, rows in result.items():
            tables.setdefault(table, []).extend({"source": name, **row} for row in rows)
    about = columns([_about(name, paths, config) for name, paths in found.items()])
    written = {"sources": about, **{name: columns(rows) for name, rows in tables.items()}}
    return Result({**written, "published": published(written["numbers"])}, {}, {})


def _about(name: str, paths: tuple[Path, ...], config: Config) -> dict[str, Any]:
    """What a source is, with the hash of its files and the norms that they hold."""
    source, rows = SOURCES[name], read(name, paths, config.max_rows)
    return {
        "source": name,
        "title": source.title,
        "files": " ".join(path.name for path in paths),
        "sha256_16": digest(paths),
        "rows": len(rows.x),
        "d": rows.x.shape[1],
        "x": source.names[0],
        "y": source.names[1],
        "temperature": source.temperature,
        "smallest_norm": rows.norms[0],
        "largest_norm": rows.norms[1],
        "origin": source.origin.replace(",", ";"),
    }


def published(measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Published numbers of CLIP models on COCO beside those of the file, each with its source."""
    rows = [
        {"model": row["model"], "number": row["quantity"], "value": row["value"], "source": row["source"]}
        for row in _rows(read_csv(Path(__file__).parent / "published" / "real_models.csv"))
    ]
    figure = str(files("ctflow.embeddings.diagnosis") / "published_clip_gaps.csv")
    for row in _rows(read_csv(figure)):
        rows += [
            {"model": row["model"], "number": name, "value": row[name], "source": "arXiv 2601.19597 figure"}
            for name in ("centroid_gap", "energy_distance", "average_recall_at_1")
        ]
    here = {
        n: v
        for s, n, v in zip(*(measured[k] for k in ("source", "number", "value")), strict=True)
        if s == "clip"
    }
    if here:
        here["average_recall_at_1"] = (here["recall@1_x_to_y"] + here["recall@1_y_to_x"]) / 2
        rows += [
            {"model": "clip.npy", "number": name, "value": here[name], "source": "measured here on 500 pairs"}
            for name in ("centroid_gap", "energy_distance", "average_recall_at_1")
        ]
    return columns(rows)


def _rows(table: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line; the folder of embeddings is looked at before anything else."""
    words = list(sys.argv[1:] if argv is None else argv)
    presets = PRESETS
    if not {"-h", "--help", "--replot"} & set(words):
        with guarded(shlex.join(["python", sys.argv[0], *words])):
            found = found_in(_given(words))
            for name, paths in found.items():
                read(name, paths, 40)  # a wrong file is refused before anything is written
            told = tuple(f"{name} {digest(paths)}" for name, paths in found.items())
            presets = {name: replace(config, sources=told) for name, config in PRESETS.items()}
    experiment.main(
        name="real_models", presets=presets, run=run, plot=plot, description=__doc__ or "", argv=words
    )


def _given(words: list[str]) -> str:
    """The folder of a command line."""
    for i, word in enumerate(words):
        if word.startswith("--data="):
            return word.partition("=")[2]
        if word == "--data" and i + 1 < len(words):
            return words[i + 1]
    raise ValueError("--data must name the folder of embeddings; docs/real-models.md says where they are")


if __name__ == "__main__":
    main()
