"""Public names stay where users import them from; each is listed with the version that added it."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import ctflow as ct

SINCE = {
    "0.1.0": {
        "": "DivergedError Energy Flow Interrupted Kernel NonFiniteError Pair Potential "
        "Solution State Status WeightedCloud claims clouds corrections couplings diagnose "
        "diagnostics embeddings energies evolve experiment flows gibbs infonce io kernels "
        "latents log_partition meanfield move partition plotting positive potentials "
        "solve sphere static stopping sweep velocity",
        "claims": "CLAIMS Check Evidence Finding module_of verify",
        "clouds": "Cloud Clouds Pair PrecisionWarning WeightedCloud as_dtype mean points weights with_points",
        "corrections": "Affine Barycentric Correction Csls METHODS MIN_EPSILON SCORINGS csls fit load "
        "sinkhorn",
        "couplings": "Coupling balance complete corrupted displaced from_latents from_matrix "
        "from_pairs misaligned paired",
        "diagnostics": "alignment centroid_gap effective_rank energy_distance hubness mean_cosine "
        "mmd_squared recall uniformity",
        "embeddings": "Embeddings as_embeddings open_embeddings open_pair read_ids read_pairs",
        "energies": "Alignment Between Component CrossEntropy Energy Function InBatch LogVolume "
        "Potential Scaled SmoothedEntropy Sum Symmetric SymmetricDivergence as_energy "
        "check_energy directional log_density positive pytree static symmetric "
        "symmetric_in_fields unimodal",
        "experiment": "Result columns draw guarded is_done load main results_of resumed_in run_and_save save",
        "flows": "Descent Flow GradientFlow Langevin PhysicalFlow State WassersteinFisherRao move velocity",
        "gibbs": "GibbsMeasure cap_fraction",
        "infonce": "gradient in_batch loss",
        "io": "atomic git_commit inside load_clouds plain prepare_folder provenance read_arrays "
        "read_csv save_clouds sources versions write_arrays write_csv write_json",
        "kernels": "ChordalGaussian Exponential Function GeodesicGaussian Kernel as_kernel",
        "latents": "VonMisesMixture wrap",
        "meanfield": "DensityFlow FokkerPlanck HarmonicGrid rates",
        "partition": "Certificate Explanation Planned certify explain log_partition log_partitions "
        "mean_log_partition mean_log_partitions planned value_and_gradient",
        "plotting": "BLUE GREEN GREY Movie ORANGE POTENTIAL_COLORS PURPLE Picture RED SKY YELLOW band "
        "equal_area_map globe globe_points globe_surface joint_histogram "
        "longitude_latitude map_frame panels polar_density shades styled view_direction",
        "potentials": "Function Linear Potential PotentialBase Ring VonMisesFisherMixture as_potential",
        "sphere": "exp_map geodesic_distance log_map normalize project_tangent safe_norm uniform "
        "von_mises_fisher",
        "stopping": "Plateau Target fastest_rate",
    },
    "0.2.0": {
        "plotting": "plot",
        "saving": "frames",
        "viewing": "Run View as_run open_runs view",
        "": "compare saving stability track view viewing why",
        "energies": "CentroidGap EnergyDistance MaximumMeanDiscrepancy PooledEntropy Sigmoid "
        "Uniformity clique pooled star",
        "kernels": "ChordalDistance Softplus",
        "stability": "ControlPrice CriticalTemperature Estimate LeastControl LimitingTemperature "
        "LowestState Modes OwnPairs Parts Shareable SharedEquilibrium control_price "
        "critical_temperature least_control limiting_temperature lowest_state modes "
        "of_pairs parts sampled shareable shared_equilibrium",
    },
}
DEPRECATED = {"meanfield.GradientFlow": "0.2.0"}  # since; each may be removed one minor version later
MODULES = sorted({module for names in SINCE.values() for module in names})


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_there_and_completion_shows_it(module):
    place = import_module(f"ctflow.{module}" if module else "ctflow")
    for names in SINCE.values():
        for name in names.get(module, "").split():
            assert getattr(place, name) is not None
            assert name in dir(place)


@pytest.mark.parametrize("module", MODULES)
def test_no_name_is_public_without_a_version(module):
    place = import_module(f"ctflow.{module}" if module else "ctflow")
    listed = {name for names in SINCE.values() for name in names.get(module, "").split()}
    assert set(place.__all__) == listed


def test_every_public_module_lists_its_names():
    modules = {name for name in ct.__all__ if inspect.ismodule(getattr(ct, name))}
    assert modules == {*MODULES} - {""}


@pytest.mark.parametrize("name", DEPRECATED)
def test_deprecated_names_still_work(name):
    module, _, old = name.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is deprecated"):
        assert getattr(import_module(f"ctflow.{module}"), old) is not None


def test_the_version_is_that_of_the_changelog_and_the_citation():
    root = Path(__file__).resolve().parents[1]
    releases = re.findall(r"^## (\S+)(?: \((\S+)\))?$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, date = releases[0]
    assert version == ct.__version__
    assert {of for of, _ in releases} >= set(SINCE)
    citation = (root / "CITATION.cff").read_text().splitlines()
    assert f"version: {version}" in citation
    assert f"date-released: {date}" in citation
