"""Commands on a user's embeddings. Heavy imports stay inside them so that --help is fast."""

import shlex
import sys
from pathlib import Path
from typing import Literal

import tyro

from ctflow._base.refusals import refusals
from ctflow.cli.app import app


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
        ids: name of the column or array of ids beside the embeddings, if --pairs lists ids; or one for each.
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
        ids: name of the column or array of ids beside the embeddings, if --pairs lists ids; or one for each.
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
def why(
    x: tyro.conf.Positional[Path],
    y: tyro.conf.Positional[Path | None] = None,
    *,
    temperature: float | None = None,
    logit_scale: float | None = None,
    pairs: Path | None = None,
    ids: tuple[str, ...] | None = None,
    start: tuple[Path, ...] = (),
    normalize: bool = False,
    column: str | None = None,
    columns: tuple[str, str] | None = None,
    max_rows: int = 5000,
    max_free: int = 1000,
    strength: float | None = None,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Say what the loss has to do with a gap: held by it, neutral to it, or there from the start.

    It takes about a minute for 5000 rows in 512 dimensions.

    Args:
        x: embeddings of the first modality; or both, as for ctflow diagnose.
        y: embeddings of the second modality.
        temperature: temperature of the model's loss.
        logit_scale: 1/temperature, the factor that multiplies the cosines: 100 for most CLIP models.
        pairs: file of index pairs, as for ctflow diagnose.
        ids: name of the column or array of ids beside the embeddings, if --pairs lists ids; or one for each.
        start: embeddings of the same rows at an early checkpoint: one path with both modalities, or two.
        normalize: scale every row to unit norm.
        column: name of the array, tensor or column to read if a file has several.
        columns: the same, one for each modality: two names in one file, or one name per file.
        max_rows: largest number of pairs in the loss against the gap.
        max_free: largest number of pairs among the free rows; time grows as its square.
        strength: strength of the control, as a multiple of the divergence between the modalities; by default
            a tenth above the least that keeps free rows together.
        seed: seed of the random samples.
        names: names of the two modalities in everything that is shown; by default those of the files.
        out: folder for why.json, why.md, why.png and, with Plotly, the page why.html.
        overwrite: replace existing files.
    """
    options = locals()
    with refusals("ctflow why"):
        from ctflow.cli.causes import run_why

        found, written = run_why(**options, command=shlex.join(["ctflow", *sys.argv[1:]]))
    print(found)
    if out is not None:
        print(f"\n{written}")


@app.command
def track(
    checkpoints: tyro.conf.Positional[tuple[Path, ...]],
    *,
    temperature: float | None = None,
    logit_scale: float | None = None,
    pairs: Path | None = None,
    columns: tuple[str, str] | None = None,
    steps: tuple[int, ...] | None = None,
    full: bool = False,
    normalize: bool = False,
    seed: int = 0,
    names: tuple[str, str] | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Follow the gap, retrieval, loss and spread through the checkpoints of a training run.

    A checkpoint is a file with both modalities, a folder with img_emb/ and text_emb/, or a folder with one
    file per modality. A folder of such files or folders is a series in the order of the numbers in their
    names. All must hold the same rows.

    Args:
        checkpoints: files and folders, in order.
        temperature: temperature of the loss; without it no loss is computed.
        logit_scale: 1/temperature, the factor that multiplies the cosines: 100 for most CLIP models.
        pairs: file of index pairs, as for ctflow diagnose.
        columns: names of both arrays in files that hold several.
        steps: training step of each checkpoint; by default the last number in its name.
        full: use all rows, with intervals, instead of a quick look at 2000 pairs.
        normalize: scale every row to unit norm.
        seed: seed of the random samples.
        names: names of the two modalities in everything that is shown.
        out: folder for track.csv, track.json, track.png and, with Plotly, the page track.html.
        overwrite: replace existing files.
    """
    options = locals()
    with refusals("ctflow track"):
        from ctflow.cli.tracking import run_track

        found, written = run_track(**options, command=shlex.join(["ctflow", *sys.argv[1:]]))
    print(found)
    if out is not None:
        print(f"\n{written}")
