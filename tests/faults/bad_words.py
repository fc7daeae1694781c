"""Bad command lines, and the files they name."""

import contextlib
import io
import json
import os
import shlex
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

from ctflow import cli, experiment
from experiments import (
    digits_clip,
    gap_control,
    gap_formation,
    large_batch_consistency,
    multimodal_toy,
    reproduce,
    stability,
    theory,
    unimodal_gibbs,
)

SCRIPTS = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        digits_clip,
        gap_control,
        gap_formation,
        large_batch_consistency,
        multimodal_toy,
        stability,
        theory,
        unimodal_gibbs,
    )
}


COMMANDS = ("explain", "diagnose", "correct", "why", "track", "version", None)


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def write_files(folder: Path) -> None:
    """Good embeddings as image.npy and text.npy, and bad ones of many kinds."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((120, 8))
    good = unit(common + 0.5 * rng.standard_normal((120, 8))).astype(np.float32)
    np.save(folder / "image.npy", good)
    np.save(folder / "text.npy", unit(common + 0.5 * rng.standard_normal((120, 8)) + 0.7).astype(np.float32))
    rows = np.arange(120)[:, None]
    np.save(folder / "nan.npy", np.where(rows == 7, np.nan, good))
    np.save(folder / "inf.npy", np.where(rows == 9, np.inf, good))
    np.save(folder / "zero.npy", np.where(rows == 3, 0, good))
    np.save(folder / "long.npy", 3 * good)
    np.save(folder / "flat.npy", good.ravel())
    np.save(folder / "cube.npy", good.reshape(30, 4, 8))
    np.save(folder / "ints.npy", np.ones((120, 8), int))
    np.save(folder / "complex.npy", good.astype(complex))
    np.save(folder / "short.npy", good[:50])
    np.save(folder / "wide.npy", unit(np.hstack([good, good])))
    np.save(folder / "one.npy", good[:1])
    np.save(folder / "none_at_all.npy", good[:0])
    np.save(folder / "narrow.npy", good[:, :1])
    np.save(folder / "same.npy", np.tile(good[:1], (120, 1)))
    np.save(folder / "nine.npy", good[:9])
    np.save(folder / "nine_more.npy", good[9:18])
    np.save(folder / "objects.npy", np.array([{"a": 1}, None], object), allow_pickle=True)
    np.save(folder / "pairs.npy", np.array([[0, 0], [3, 500]]))
    np.save(folder / "pairs_flat.npy", np.arange(4))
    np.savez(folder / "two.npz", a=good, b=good)
    save_file({"a": good, "b": good}, folder / "two.safetensors")
    (folder / "pairs_text.csv").write_text("a,b\nc,d\n")
    (folder / "pairs_ids.tsv").write_text("\timage\ttext\n0\ta\tb\n")
    (folder / "words.csv").write_text("a,b\nc,d\n")
    (folder / "uneven.csv").write_text("0.6,0.8\n0.6\n")
    (folder / "junk.jsonl").write_text("junk\n")
    (folder / "tables.json").write_text('{"image": {"0": [0.6, 0.8], "1": [0.6, 0.8]}}')
    (folder / "junk.arrow").write_bytes(b"ARROW1 junk")
    (folder / "junk.feather").write_bytes(b"FEA1 junk")
    (folder / "index.faiss").write_bytes(b"IxFI")
    (folder / "rows.pkl").write_bytes(b"junk")
    (folder / "saved").mkdir()
    (folder / "saved" / "state.json").write_text('{"_data_files": [{"filename": "../image.arrow"}]}')
    content = (folder / "image.npy").read_bytes()
    for name, part in (
        ("torn.npy", content[:-100]),
        ("tail.npy", content + b"x"),
        ("empty.npy", b""),
        ("image.txt", content),
        ("torn.npz", (folder / "two.npz").read_bytes()[:300]),
        ("junk.parquet", b"junk"),
        ("junk.h5", b"junk"),
        ("junk.safetensors", b"junk"),
        ("huge_header.safetensors", (2**40).to_bytes(8, "little") + b"{}"),
        ("no_object.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("huge_header.npy", b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{"),
    ):
        (folder / name).write_bytes(part)
    header = b"-" * 9000 + b"1"  # more nested than a parser has room for
    (folder / "deep.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    nested = b"[" * 200_000
    (folder / "deep.safetensors").write_bytes(len(nested).to_bytes(8, "little") + nested)
    with zipfile.ZipFile(folder / "bomb.npz", "w") as archive, archive.open("a.npy", "w") as file:
        promised = {"descr": "<f4", "fortran_order": False, "shape": (10**8, 64)}
        np.lib.format.write_array_header_1_0(file, promised)
        file.write(bytes(100))
    with open(folder / "long_header.safetensors", "wb") as file:
        file.write((2**24).to_bytes(8, "little"))
        file.truncate(2**25)
    with h5py.File(folder / "links.h5", "w") as file:
        file["e"] = h5py.ExternalLink("other.h5", "/e")
    (folder / "shards").mkdir()
    (folder / "empty_folder").mkdir()
    for number, rows in enumerate((good[:60], good[60:, :4])):
        np.save(folder / "shards" / f"part_{number}.npy", rows)
    (folder / "old" / "gap_formation").mkdir(parents=True)
    (folder / "old" / "gap_formation" / "run.json").write_text("{")
    scratch = folder / "begun" / "gap_formation" / "checkpoints"
    scratch.mkdir(parents=True)
    (scratch / "run.json").write_text(json.dumps({"identity": {}, "seconds": 0, "cpu_seconds": 0})[:-1])
    (folder / "deep" / "gap_formation" / "checkpoints").mkdir(parents=True)
    for place in (".", "checkpoints"):
        (folder / "deep" / "gap_formation" / place / "run.json").write_bytes(nested)
    (folder / "a_file").touch()
    os.mkfifo(folder / "pipe.npy")  # a reader of it would wait for ever


@contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


def call(line: str) -> tuple[int, str]:
    """Exit code and what is said on stderr, of a command line, in this process."""
    return call_words(*_split(line))


def _split(line: str) -> tuple[str, list[str]]:
    name, *words = shlex.split(line)
    return name, words


def call_words(name: str | None, words: list[str]) -> tuple[int, str]:
    """The same of a script's name, or of a command of `ctflow`, and its words."""
    if name in COMMANDS:
        name, words = "ctflow", [*([] if name is None else [name]), *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _argv([name, *words]):
        try:
            if name == "ctflow":
                cli.main()
            elif name == "reproduce.py":
                reproduce.main(words)
            else:
                module = SCRIPTS[name.removesuffix(".py")]
                experiment.main(
                    name=name.removesuffix(".py"),
                    presets=module.PRESETS,
                    run=module.run,
                    plot=module.plot,
                    description="",
                    argv=words,
                )
        except SystemExit as stop:
            return int(stop.code or 0), err.getvalue()
    return 0, err.getvalue()
