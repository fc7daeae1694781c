"""The `ctflow` command. Heavy imports stay inside the commands, so that --help is quick."""

import sys
from pathlib import Path
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
def verify(
    *,
    full: bool = False,
    only: tuple[str, ...] = (),
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Check the paper's claims: what theory predicts beside what a simulation gives, with a verdict.

    Exits with 1 if a number is missed.

    Args:
        full: all settings and large samples (about 15 minutes); else a quick round (about 2).
        only: names of claims; all of them by default.
        out: a folder for claims.csv.
        seed: of the random numbers.
    """
    from ctflow import claims, io
    from ctflow.claims import report
    from ctflow.experiment import columns

    try:
        for name in only:
            claims.module_of(name)
        folder = None if out is None else io.prepare_folder(out)
    except ValueError as error:
        sys.exit(f"ctflow verify: {error}")
    print("every line: verdict, predicted, simulated ± standard error, how they are compared, what\n")
    names = only or claims.CLAIMS
    findings = claims.verify(
        names, quick=not full, seed=seed, done=lambda f: print(report.text(f), flush=True)
    )
    print(report.summary(findings))
    if folder is not None:
        io.write_csv(folder / "claims.csv", columns(report.rows(findings)))
        print(f"wrote {folder / 'claims.csv'}")
    if not all(finding.evidence.holds for finding in findings):
        sys.exit(1)


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
