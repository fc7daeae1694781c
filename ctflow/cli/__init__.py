"""The `ctflow` command. Heavy imports stay inside the commands so that --help is fast."""

import os
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

import tyro

from ctflow._base.refusals import refusals

app = tyro.extras.SubcommandApp()


@app.command
def diagnose(
    x: tyro.conf.Positional[Path],
    y: tyro.conf.Positional[Path | None] = None,
    *,
    temperature: float | None = None,
    logit_scale: float | None = None,
    logit_bias: float | None = None,
    pairs: Path | None = None,
    unpaired: bool = False,
    normalize: bool = False,
    column: str | None = None,
    columns: tuple[str, str] | None = None,
    ids: tuple[str, ...] | None = None,
    estimator: Literal["u", "v"] = "u",
    level: float = 0.01,
    n_permutations: int = 200,
    n_bootstrap: int = 200,
    max_rows: int = 2000,
    max_gallery: int = 10_000,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Measure the gap between the embeddings of two modalities, with its uncertainty.

    Files: .npy, .npz, .safetensors, .parquet, .arrow, .feather, .h5, .pt, .csv, .tsv, .jsonl, a folder of
    shards, or a data set saved to disk. Row i of x is the partner of row i of y, unless --pairs or --unpaired
    is given.

    Args:
        x: embeddings of the first modality; or both: a folder with img_emb/ and text_emb/, an array
            [2, n, d], or a file with two arrays.
        y: embeddings of the second modality.
        temperature: temperature of the model's loss; needed for the loss and its terms.
        logit_scale: 1/temperature, the factor that multiplies the cosines: 100 for most CLIP models. It is
            the exponential of the parameter in a checkpoint.
        logit_bias: bias of SigLIP's sigmoid loss.
        pairs: file of index pairs: .npy, .csv, .tsv, .txt or .parquet; a row may have several partners.
        unpaired: treat the rows as independent samples without partners.
        normalize: scale every row to unit norm.
        column: name of the array, tensor or column to read if a file has several.
        columns: the same, one for each modality: two names in one file, or one name per file.
        ids: name of the column of ids in the files of embeddings, if --pairs lists ids; or one name for each.
        estimator: u for the laws that the rows were drawn from, v for these rows themselves.
        level: probability of reporting a gap if there is none.
        n_permutations: number of random relabellings that show the results without a gap; at least 99.
        n_bootstrap: number of resamples for the 95 % intervals; 0 for no intervals, otherwise at least 20.
        max_rows: largest number of rows, with their partners, in sums over all pairs of rows.
        max_gallery: largest number of rows, with their partners, for retrieval.
        seed: seed of the random samples.
        names: names of the two modalities in everything that is shown; by default those of the files.
        out: folder for report.json, report.md, report.png and, with Plotly, the page report.html.
        overwrite: replace existing files.
    """
    options = locals()
    with refusals("ctflow diagnose"):
        from ctflow.cli.embeddings import run_diagnose

        report, written = run_diagnose(**options, command=shlex.join(["ctflow", *sys.argv[1:]]))
    print(report)
    if out is not None:
        print(f"\n{written}")


@app.command
def correct(
    x: tyro.conf.Positional[Path],
    y: tyro.conf.Positional[Path | None] = None,
    *,
    purpose: Literal["retrieval", "mixed", "clustering"] = "retrieval",
    method: Literal[
        "centring",
        "translation",
        "standardisation",
        "whitening",
        "coral",
        "procrustes",
        "cca",
        "transport",
        "csls",
    ]
    | None = None,
    pairs: Path | None = None,
    held_out: float = 0.5,
    normalize: bool = False,
    column: str | None = None,
    columns: tuple[str, str] | None = None,
    ids: tuple[str, ...] | None = None,
    max_rows: int = 2000,
    epsilon: float | None = None,
    ridge: float | None = None,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Fit corrections of the gap on some rows, and show their gains and costs on the other rows.

    Row i of x is the partner of row i of y, unless --pairs is given. At most 20 000 groups of pairs are used.
    Partners and exact copies of a row are either all used for fitting or all measured.

    Args:
        x: embeddings of the first modality; or both: a folder with img_emb/ and text_emb/, an array
            [2, n, d], or a file with two arrays.
        y: embeddings of the second modality.
        purpose: use of the embeddings: retrieval of the other modality, search in a corpus of both (mixed),
            or clustering both together.
        method: write the rows corrected by this method, and its map, into --out. csls changes scores and
            moves no rows, so it is measured but cannot be written.
        pairs: file of index pairs: .npy, .csv, .tsv, .txt or .parquet; a row may have several partners.
        held_out: share of the pairs that is measured instead of used for fitting.
        normalize: scale every row to unit norm.
        column: name of the array, tensor or column to read if a file has several.
        columns: the same, one for each modality: two names in one file, or one name per file.
        ids: name of the column of ids in the files of embeddings, if --pairs lists ids; or one name for each.
        max_rows: largest number of held-out rows per modality that are measured.
        epsilon: entropic regularisation of transport; chosen by cross-validation by default.
        ridge: added to variances, as a share of their mean; chosen by cross-validation by default.
        seed: seed of the random split.
        names: names of the two modalities in everything that is shown; by default those of the files.
        out: folder for corrections.csv and corrections.png; with --method, also x.npy, y.npy and
            correction.safetensors.
        overwrite: replace existing files.
    """
    options = locals()
    with refusals("ctflow correct"):
        from ctflow.cli.embeddings import run_correct
        from ctflow.comparison.compare import as_text

        found = run_correct(**options)
    print(as_text(found))
    if out is not None:
        what = "the table" if method is None else f"the table and the rows corrected by {method}"
        print(f"\nwrote {what} into {out}")


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


def main() -> None:
    """Run the console script; the exit code is 130 after Ctrl-C and 141 after a closed output pipe."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show τ shows ?
    try:
        app.cli(
            prog="ctflow",
            description="Simulate what contrastive learning does to distributions on the sphere.",
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("ctflow: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
