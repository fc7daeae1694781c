"""A live example: docstrings and sources of installed functions, embedded on the spot by MiniLM.

Parses the standard library and SciPy (no module is imported), embeds the first paragraph of each docstring
and the source without it, asks whether the two modalities have a gap, compares corrections for search in a
corpus of both, and searches with one query before and after the recommended one. Needs the extra `minilm` and
a package with the model's weights; no network.

    python experiments/minilm.py --query "integrate a function numerically"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

import ctflow as ct
from ctflow import io
from ctflow._base.checks import check_count
from ctflow._base.refusals import refusals
from ctflow.comparison.compare import Comparison, as_text, compare
from ctflow.corrections import METHODS, Correction
from experiments.setups.minilm import Function, MiniLM, functions_of, installed_files

TEMPERATURE = 0.05
"""The usual scale of sentence-transformers is 20; `ct.diagnose` takes its inverse."""


@dataclass(frozen=True)
class Options:
    """What to embed and what to search for."""

    query: Annotated[str, tyro.conf.arg(help="what to search for")] = "integrate a function numerically"
    packages: Annotated[tuple[str, ...], tyro.conf.arg(help="stdlib, or installed packages")] = (
        "stdlib",
        "scipy",
    )
    count: Annotated[int, tyro.conf.arg(help="functions that are embedded, at least 80")] = 600
    max_tokens: Annotated[int, tyro.conf.arg(help="texts are cut to so many tokens, at most 256")] = 80
    with_docstring: Annotated[bool, tyro.conf.arg(help="leave docstrings in the sources")] = False
    shown: Annotated[int, tyro.conf.arg(help="results that are shown")] = 6
    seed: int = 0
    write: Annotated[Path | None, tyro.conf.arg(help="write the rows as .npy into this folder, and stop")] = (
        None
    )

    def check(self) -> None:
        """Raise ValueError if a number is out of range; the parser would print it in a box of many lines."""
        check_count("--count", self.count, minimum=80)
        check_count("--shown", self.shown)
        check_count("--seed", self.seed, minimum=0)


class Corpus(NamedTuple):
    """Functions with the rows of their documentation and their sources.

    Attributes:
        functions: n functions.
        doc: unit rows [n, 384].
        code: unit rows [n, 384].
    """

    functions: list[Function]
    doc: np.ndarray
    code: np.ndarray


def embedded(options: Options, encoder: MiniLM) -> Corpus:
    """A random choice of the documented functions of the packages, embedded.

    Raises:
        ValueError: a package is not installed, or the packages have fewer than 80 documented functions.
    """
    files = installed_files(options.packages)
    every = list(functions_of(files, with_docstring=options.with_docstring))
    if len(every) < 80:
        raise ValueError(
            f"packages must have at least 80 documented functions, got {len(every)} in "
            f"{' and '.join(options.packages)}"
        )
    chosen = np.random.default_rng(options.seed).permutation(len(every))[: options.count]
    functions = [every[i] for i in np.sort(chosen)]
    return Corpus(functions, encoder([f.doc for f in functions]), encoder([f.code for f in functions]))


class Hit(NamedTuple):
    """A result of a search: cosine with the query, `doc` or `code`, and the function."""

    cosine: float
    kind: str
    function: Function


def search(corpus: Corpus, query: np.ndarray, correction: Correction | None, count: int) -> list[Hit]:
    """The nearest rows of a corpus of both modalities, where the query [d] is text like the documentation."""
    doc, code = corpus.doc, corpus.code
    if correction is not None:
        query = correction.transform_one("x", query)
        doc, code = correction.transform(doc, code)
    scores = np.concatenate([doc @ query, code @ query])
    n = len(doc)
    return [
        Hit(float(scores[i]), "doc" if i < n else "code", corpus.functions[i % n])
        for i in np.argsort(-scores)[:count]
    ]


def chosen_correction(corpus: Corpus, seed: int) -> tuple[Comparison, Correction | None]:
    """Corrections that move rows, compared for search in both; the recommended one is fitted on all rows."""
    found = compare(corpus.doc, corpus.code, purpose="mixed", methods=METHODS, seed=seed)
    if found.recommended is None:
        return found, None
    return found, ct.corrections.fit(found.recommended, corpus.doc, corpus.code, purpose="mixed", seed=seed)


def told(title: str, hits: list[Hit]) -> str:
    """A search as text."""
    lines = [
        f"  {hit.cosine:.3f}  {hit.kind:4s}  {hit.function.name:48s}  {hit.function.doc.splitlines()[0][:60]}"
        for hit in hits
    ]
    return "\n".join([title, *lines])


def run(options: Options) -> None:
    """Embed, and write the rows; or diagnose, correct and search."""
    options.check()
    encoder = MiniLM(options.max_tokens)
    corpus = embedded(options, encoder)
    if options.write is not None:
        io.prepare_folder(options.write)
        for name, rows in (("doc", corpus.doc), ("code", corpus.code)):
            with io.atomic(options.write / f"python_{name}.npy") as file:
                np.save(file, rows)
            print(f"wrote {options.write / f'python_{name}.npy'}: {list(rows.shape)}")
        return
    print(
        f"{len(corpus.functions)} functions of {' and '.join(options.packages)}: docstring (x), source (y)\n"
    )
    report: Any = ct.diagnose(corpus.doc, corpus.code, temperature=TEMPERATURE, seed=options.seed)
    print("\n".join([*report.words, *report.notes]), end="\n\n")
    comparison, correction = chosen_correction(corpus, options.seed)
    print(as_text(comparison), end="\n\n")
    query = encoder([options.query])[0]
    print(told(f"{options.query!r}, as embedded", search(corpus, query, None, options.shown)))
    if correction is None:
        print("\nNo correction is recommended, so the search stays as it is.")
        return
    hits = search(corpus, query, correction, options.shown)
    print(told(f"\n{options.query!r}, after {correction.method}", hits))


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    with refusals("error"):
        run(tyro.cli(Options, args=argv, description=__doc__, prog="minilm.py"))


if __name__ == "__main__":
    main()
