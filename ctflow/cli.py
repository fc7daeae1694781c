"""The `ctflow` command. Heavy imports stay inside the commands, so that --help is quick."""

import sys
from typing import Literal

import tyro

app = tyro.extras.SubcommandApp()


@app.command
def doctor() -> None:
    """Print versions, devices and dtype, and check that this jaxlib sums correctly."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ctflow.doctor import report

    text, healthy = report()
    print(text)
    if not healthy:
        sys.exit(1)


@app.command
def explain(
    n: tyro.conf.Positional[int],
    *,
    m: int | None = None,
    d: int = 3,
    temperature: float = 0.1,
    dtype: Literal["float32", "float64"] = "float32",
    method: Literal["auto", "dense", "tiled", "spectral", "ring"] = "auto",
    devices: int = 1,
) -> None:
    """Say how a sum over all pairs would be taken: method, degree, error bound, memory.

    Args:
        n: points of the first cloud.
        m: points of the second; n by default.
        d: dimension of their space.
        temperature: of the kernel exp(<x, y>/temperature).
        dtype: of the points.
        method: the method, or auto.
        devices: devices the clouds are cut over.
    """
    import ctflow as ct

    options = {"method": method, "devices": devices}
    try:
        kernel = ct.kernels.Exponential(temperature)
        print(ct.partition.explain(n, n if m is None else m, d, kernel, dtype, **options))
    except ValueError as error:
        sys.exit(f"ctflow explain: {error}")


@app.command
def version() -> None:
    """Print ctflow's version."""
    import ctflow

    print(ctflow.__version__)


def main() -> None:
    """Entry point of the console script."""
    app.cli(
        prog="ctflow",
        description="Simulate what contrastive learning does to distributions on the sphere.",
    )
