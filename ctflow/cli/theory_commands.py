"""Commands on the installation, the sums and the paper's claims. Heavy imports stay inside them."""

import sys
from pathlib import Path
from typing import Literal

import tyro

from ctflow._base.refusals import refusals
from ctflow.cli.app import app


@app.command
def doctor() -> None:
    """Print versions, devices and dtype, and check that this jaxlib sums correctly."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ctflow.cli.installation import report

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
    evaluations: int = 100,
) -> None:
    """Print how a sum over all pairs would be computed: method, degree, error bound, memory.

    Args:
        n: number of points in the first cloud.
        m: number of points in the second cloud; n by default.
        d: dimension of the space; the sphere is S^(d-1).
        temperature: temperature of the kernel exp(<x, y>/temperature).
        dtype: floating-point type of the points.
        method: method of summation, or auto.
        devices: number of devices that share the clouds.
        evaluations: how often the sum will be taken, such as the steps of a run; harmonics must be worth
            their compilation.
    """
    import ctflow as ct

    options = {"method": method, "devices": devices, "evaluations": evaluations}
    with refusals("ctflow explain"):
        kernel = ct.kernels.Exponential(temperature)
        print(ct.partition.explain(n, n if m is None else m, d, kernel, dtype, **options))


@app.command
def verify(
    *,
    full: bool = False,
    only: tuple[str, ...] = (),
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Check the paper's claims: compare the theory's prediction with a simulation, and print a verdict.

    The exit code is 1 if a check fails.

    Args:
        full: all settings and large samples (about 4 minutes) instead of a quick round (about 2 minutes).
        only: names of the claims to check; all claims by default.
        out: folder for claims.csv.
        seed: seed of the random numbers.
    """
    from ctflow import claims, io
    from ctflow.claims import report
    from ctflow.experiment import columns

    with refusals("ctflow verify"):
        for name in only:
            claims.module_of(name)
        folder = None if out is None else io.prepare_folder(out)
    print("columns: verdict, predicted, simulated ± standard error, rule of comparison, quantity\n")
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
