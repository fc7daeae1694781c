"""Every experiment runs at its smoke preset as a user would call it, and its claims hold even there."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ctflow import io
from experiments import digits_clip

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "large_batch_consistency": {"as_published.png", "against_the_limit.png"},
    "multimodal_toy": {
        "gap_against_misalignment.png",
        "collapsed_runs.png",
        "polar_densities.png",
        "joint_angles.png",
        "angle_shift.png",
        "joint_angles.gif",
    },
    "unimodal_gibbs": {
        "side_by_side.png",
        "cap_mass.png",
        "clouds.png",
        "relaxation.png",
        "unimodal_gibbs.gif",
        "view.html",
    },
    "gap_formation": {
        "gap_against_heterogeneity.png",
        "energy_against_bound.png",
        "terms.png",
        "clouds.png",
        "gap_formation.gif",
        "view.html",
    },
    "gap_control": {
        "cost_of_control.png",
        "gap_against_strength.png",
        "retrieval_against_gap.png",
        "schedules.png",
    },
    "stability": {"temperatures.png", "controls.png"},
    "digits_clip": {
        "gap_against_corruption.png",
        "recall_against_corruption.png",
        "graded_pairs.png",
        "control.png",
    },
}
TABLES = {
    "large_batch_consistency": {"published_runs.csv", "published.csv", "limit_runs.csv", "slopes.csv"},
    "stability": {"temperatures.csv", "strengths.csv", "price.csv"},
}


# Each takes up to minutes of a core, nearly all of it compilation: one of them in the default suite.
QUICK = ("gap_formation",)


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in FIGURES],
)
def experiment(request, tmp_path_factory):
    """Name and folder of a finished smoke run."""
    out = tmp_path_factory.mktemp("runs")
    command = [sys.executable, f"experiments/{request.param}.py", "--preset", "smoke", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, out / request.param


def test_writes_figures_tables_and_their_provenance(experiment):
    name, folder = experiment
    written = {path.name for path in folder.iterdir()}
    tables = TABLES.get(name, {"runs.csv", "summary.csv"})
    assert written >= FIGURES[name] | tables | {"arrays.npz", "run.json"}
    assert not [path for path in written if ".part" in path or path.startswith(".")]
    record = json.loads((folder / "run.json").read_text())
    assert record["preset"] == "smoke"
    assert {"config", "seconds", "versions", "device", "facts"} <= set(record)


def test_the_claims_hold_at_the_smoke_preset_too(experiment):
    name, folder = experiment
    CLAIMS[name]({path.stem: io.read_csv(path) for path in folder.glob("*.csv")})


def check_gap_formation(tables):
    runs = tables["runs"]
    assert (runs["decomposition_error"] < 1e-10).all()
    assert (runs["lowest_energy_above_bound"] > 0).all()
    same = (runs["d"] == 3) & (runs["start"] == "same place")
    gap = {sigma: runs["energy_distance"][same & (runs["sigma"] == sigma)] for sigma in (0, 0.5)}
    assert np.median(gap[0]) < 0.02
    assert np.median(gap[0.5]) > 0.3


def check_unimodal(tables):
    summary = tables["summary"]
    langevin = summary["method"] == "Langevin"
    exact, n = summary["exact"], 3 * 256
    error = np.sqrt(exact * (1 - exact) / n)
    assert (np.abs(summary["cap_mass"] - exact) < 4 * error)[langevin].all()
    assert (np.abs(summary["first_well"] - 0.5) < 4 * 0.5 / np.sqrt(n))[langevin].all()


def check_consistency(tables):
    """Scatter falls as N^{-1/2}, and the published loss is far from its limit where the other is not."""
    slopes, runs = tables["slopes"], tables["limit_runs"]
    scatter = (slopes["quantity"] == "scatter") & (slopes["positive"] == 0)
    assert (np.abs(slopes["slope"] + 0.5) < 0.06)[scatter].all()
    cosine = (runs["setting"] == "cosine encoder") & (runs["N"] == 4**7)
    error = {p: runs["error"][cosine & (runs["positive"] == p)].mean() for p in (0, 1)}
    assert error[1] > 3 * error[0]


def check_toy(tables):
    """The exact gap grows with σ, encoders undo part of the data's, and the population does the same."""
    summary = tables["summary"]
    for method in ("minibatches", "population"):
        gap = summary[f"{method}_exact_gap"]
        assert (np.diff(gap) > 0).all()
        assert (gap < summary["data_exact_gap"])[1:].all()
    np.testing.assert_allclose(summary["minibatches_energy"], summary["population_energy"], atol=0.02)
    assert (summary["particles_from_trained_energy"] < summary["population_energy"]).all()
    assert (
        tables["runs"]["energy"] > np.interp(tables["runs"]["sigma"], summary["sigma"], summary["bound"])
    ).all()


def check_gap_control(tables):
    """The divergence term closes the gap from both starts, cheaply; at λ = 1 the identity is exact."""
    runs = tables["runs"]
    assert (runs["cancellation_fault"] < 1e-12).all()
    assert (runs["above_bound"] > 0).all()
    assert (runs["recall@1"] < runs["best_recall@1"] + 1e-12).all()
    held = (runs["control"] == "divergence") & (runs["sigma"] == 0.5)
    gap = {strength: runs["energy_distance"][held & (runs["strength"] == strength)] for strength in (0, 0.1)}
    assert gap[0].min() > 0.3
    assert gap[0.1].max() < 0.1
    assert runs["above_bound"][held & (runs["strength"] == 0.1)].max() < 0.1


def check_digits_clip(tables):
    """Graded pairs open a gap well beyond its null, and the divergence in the loss closes most of it."""
    runs = tables["runs"]
    graded = (runs["law"] == "graded") & (runs["start"] == "opposed")
    free = runs["energy_distance"][graded & (runs["penalty"] == 0)].min()
    held = runs["energy_distance"][graded & (runs["penalty"] > 0)].max()
    assert free > 3 * runs["energy_distance_null_95"][graded].max()
    assert held < free / 3
    matched = (runs["law"] == "class") & (runs["amount"] == 0)
    assert (runs["recall_10"][matched] > 0.05).all()
    assert (runs["energy"] > runs["bound"]).all()
    diagnosis = dict(zip(tables["diagnosis"]["name"], tables["diagnosis"]["p_value"], strict=True))
    assert diagnosis["energy_distance"] <= 0.01
    config = digits_clip.PRESETS["smoke"]
    data = digits_clip.digits(config)
    for (
        start
    ) in digits_clip.STARTS:  # training begins at the gap that the first encoders leave on test images
        with jax.numpy_rank_promotion("allow"):  # as in the script
            encoders = digits_clip.initial_encoders(config, data, start, 0)
            clouds = digits_clip.embed(config, data, encoders)
        x, y = clouds["x_test"], clouds["y_test"]
        gap = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
        np.testing.assert_allclose(runs["start_energy_distance"][runs["start"] == start], gap, rtol=1e-3)
    assert "centring" in tables["corrections"]["method"]


def check_stability(tables):
    """Predicted from a shared cloud, and where particles part; a strong control closes the gap."""
    for name in ("temperatures", "strengths"):
        table = tables[name]
        np.testing.assert_allclose(table["simulated"], table["predicted"], rtol=0.01)
        assert (table["predicted"] > 0).all()
    price = tables["price"]
    assert (np.diff(price["paid"][:5]) > 0).all()
    assert price["energy_distance"][-1] < 0.1 * price["free_distance"][0]


CLAIMS = {
    "stability": check_stability,
    "digits_clip": check_digits_clip,
    "gap_control": check_gap_control,
    "gap_formation": check_gap_formation,
    "unimodal_gibbs": check_unimodal,
    "large_batch_consistency": check_consistency,
    "multimodal_toy": check_toy,
}


BAD_WORDS = {
    "--preset huge": "--preset must be one of paper, smoke; got 'huge'",
    "--num-seeds 0": "num_seeds must be an integer >= 1, got 0",
    "--out /dev/null": "--out must be a folder that can be written to, got '/dev/null' (File exists); "
    "choose another",
}


# One script has them all, since all share one `main`; each of the others has one.
@pytest.mark.parametrize(
    ("name", "words"),
    [("gap_formation", words) for words in BAD_WORDS]
    + [(name, "--preset huge") for name in FIGURES if name != "gap_formation"],
)
def test_bad_words_are_named_and_nothing_is_written(name, words, tmp_path):
    command = [sys.executable, ROOT / "experiments" / f"{name}.py", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert BAD_WORDS[words] in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("unimodal_gibbs", {"temperatures": (0.1, -1.0)}),
        ("unimodal_gibbs", {"temperatures": ()}),
        ("unimodal_gibbs", {"max_step_size": float("nan")}),
        ("large_batch_consistency", {"batch_sizes": (8192,)}),
        ("large_batch_consistency", {"limit_batch_sizes": (4, 4)}),
        ("multimodal_toy", {"temperature": 0.01}),
        ("multimodal_toy", {"num_steps": 30}),
        ("multimodal_toy", {"num_particle_seeds": 21}),
        ("digits_clip", {"corruptions": (0.0, 2.0)}),
        ("digits_clip", {"num_particles": 1001}),
        ("digits_clip", {"penalised_bandwidth": 7.0}),
        ("gap_control", {"strengths": (-1.0,)}),
        ("gap_control", {"temperatures": ()}),
        ("gap_control", {"num_steps": 9}),
        ("stability", {"sigmas": (0.0,)}),
        ("stability", {"losses": ("CLIP",)}),
        ("stability", {"num_latents": 3}),
        ("gap_formation", {"dims": (1,)}),
        ("gap_formation", {"sigmas": (-0.1,)}),
        ("gap_formation", {"num_steps": 150}),
    ],
)
def test_settings_are_checked_before_anything_is_run(name, wrong):
    module = __import__(f"experiments.{name}", fromlist=["Config"])
    with pytest.raises(ValueError, match=next(iter(wrong))):
        module.Config(**wrong)


@pytest.mark.parametrize("name", FIGURES)
def test_importable_as_a_module(name):
    module = __import__(f"experiments.{name}", fromlist=["Config"])
    assert module.PRESETS["paper"] == module.Config()
    assert callable(module.run)
    assert callable(module.plot)
