"""Public names stay where users import them from; each is listed with the version that added it."""

from importlib import import_module

import pytest

import ctflow as ct

SINCE = {
    "0.1.0": {
        "": "Energy Flow Kernel Pair Potential Solution State Status WeightedCloud DivergedError Interrupted "
        "NonFiniteError claims clouds corrections couplings diagnose diagnostics embeddings energies evolve "
        "experiment flows gibbs infonce io kernels latents log_partition meanfield move partition plotting "
        "positive potentials saving solve sphere stability static stopping sweep track velocity view viewing "
        "why",
        "claims": "CLAIMS Finding verify",
        "clouds": "Cloud Clouds Pair PrecisionWarning WeightedCloud as_dtype mean points weights with_points",
        "corrections": "csls fit",
        "couplings": "Coupling balance complete corrupted displaced from_latents from_matrix from_pairs "
        "misaligned paired",
        "diagnostics": "alignment centroid_gap effective_rank energy_distance hubness mean_cosine "
        "mmd_squared recall uniformity",
        "embeddings": "as_embeddings open_embeddings open_pair",
        "energies": "Alignment Between CentroidGap Component CrossEntropy Energy EnergyDistance Function "
        "InBatch LogVolume MaximumMeanDiscrepancy PooledEntropy Potential Scaled Sigmoid SmoothedEntropy "
        "Sum Symmetric SymmetricDivergence Uniformity as_energy check_energy clique directional "
        "log_density pooled positive pytree star static symmetric symmetric_in_fields unimodal",
        "flows": "Descent Flow GradientFlow Langevin PhysicalFlow State WassersteinFisherRao move velocity",
        "gibbs": "GibbsMeasure cap_fraction",
        "infonce": "gradient in_batch loss",
        "io": "atomic git_commit inside load_clouds plain prepare_folder provenance read_arrays read_csv "
        "save_clouds sources versions write_arrays write_csv write_json",
        "kernels": "ChordalDistance ChordalGaussian Exponential Function GeodesicGaussian Kernel Softplus "
        "as_kernel",
        "latents": "VonMisesMixture wrap",
        "meanfield": "DensityFlow FokkerPlanck GradientFlow HarmonicGrid",
        "partition": "Certificate certify explain log_partition log_partitions "
        "mean_log_partition mean_log_partitions value_and_gradient",
        "potentials": "Function Linear Potential PotentialBase Ring VonMisesFisherMixture as_potential",
        "plotting": "Movie Picture plot",
        "saving": "frames",
        "viewing": "Run View as_run open_runs view",
        "sphere": "exp_map geodesic_distance log_map normalize project_tangent safe_norm uniform "
        "von_mises_fisher",
        "stability": "ControlPrice CriticalTemperature Estimate LeastControl LimitingTemperature LowestState "
        "Modes OwnPairs Parts Shareable SharedEquilibrium control_price critical_temperature least_control "
        "limiting_temperature lowest_state modes of_pairs parts sampled shareable shared_equilibrium",
        "stopping": "Plateau Target fastest_rate",
    },
}


@pytest.mark.parametrize("module", SINCE["0.1.0"])
def test_every_public_name_is_there_and_completion_shows_it(module):
    place = import_module(f"ctflow.{module}" if module else "ctflow")
    for names in SINCE.values():
        for name in names.get(module, "").split():
            assert getattr(place, name) is not None
            assert name in dir(place)


def test_no_name_is_public_without_a_version():
    listed = {name for names in SINCE.values() for name in names[""].split()}
    assert set(ct.__all__) == listed
