"""Strict numerics for every test: float64 on, no silent promotion of dtype or rank."""

import os
import signal

# Before NumPy is loaded: two test processes with two BLAS threads each wait for one another on two cores, and
# take a hundred times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest
from hypothesis import settings

import tests.typed  # noqa: F401  what `make test-types` checks annotations with

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
settings.register_profile("ctflow", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("ctflow")


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard():
    """A shell that starts the tests in the background lets them ignore Ctrl-C; tests of it need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def two_wells():
    """The unimodal experiment's potential: two wells 120° apart on S²."""
    import ctflow as ct

    second = np.array([0.85, 0.15, -0.5])
    means = np.stack([[0.0, 0.0, 1.0], second / np.linalg.norm(second)])
    return ct.potentials.VonMisesFisherMixture(means, concentration=12.0)
