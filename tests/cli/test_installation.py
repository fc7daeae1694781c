import jax.numpy as jnp
import pytest

from ctflow.cli import installation


@pytest.mark.parametrize(("n", "dtype"), [(16_385, jnp.float64), (32_769, jnp.float32)])
def test_the_installed_jaxlib_sums_correctly(n, dtype):
    """jax-ml/jax#39103: jaxlib 0.10.2 gives wrong sums on a CPU. Install another if this fails."""
    got, wanted = installation.last_row_square(n, dtype)
    assert got == wanted


def test_the_report_names_what_it_found(monkeypatch):
    text, healthy = installation.report()
    assert healthy
    for word in ("ctflow", "jaxlib", "devices", "cpu", "float64"):
        assert word in text
    monkeypatch.setattr(installation, "last_row_square", lambda n, dtype: (1.0, 2.0))
    text, healthy = installation.report()
    assert not healthy
    assert "WRONG SUMS" in text
