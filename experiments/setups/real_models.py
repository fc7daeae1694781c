"""The files of embeddings of real models: which are read, where a user gets them, and their rows."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from ctflow._base.checks import check_count, check_positive
from ctflow.embeddings import as_embeddings, open_embeddings

PUBLIC_CODE = "https://github.com/Weixin-Liang/Modality-Gap (MIT), folder Figure_1_Modality_Gap"
_MINILM = "written by `python experiments/minilm.py --write FOLDER`"


class Source(NamedTuple):
    """A pair of modalities embedded by one model, as users find it in files.

    Attributes:
        title: name in tables and figures.
        files: one file with both modalities, an array [2, n, d]; or two files with an array [n, d] each.
        names: the modalities, x and y.
        temperature: τ at which the losses are computed: that of training where it is known.
        origin: where to get the files.
        trained: False for random weights, which no correction can help.
    """

    title: str
    files: tuple[str, ...]
    names: tuple[str, str]
    temperature: float
    origin: str
    trained: bool = True


def _public(name: str, title: str, second: str, temperature: float) -> dict[str, Source]:
    """A model of the public code, trained and with random weights."""
    about = ((second, "text"), temperature, PUBLIC_CODE)
    return {
        name: Source(title, (f"{name}.npy",), *about),
        f"{name}_random": Source(f"{title} random weights", (f"{name}_random.npy",), *about, trained=False),
    }


SOURCES: dict[str, Source] = {
    **_public("clip", "CLIP", "image", 0.01),
    **_public("clasp", "CLASP", "protein", 0.05),
    **_public("convirt", "ConVIRT", "x-ray", 0.1),
    **_public("videoclip", "VideoCLIP", "video", 0.05),
    "python": Source(
        "MiniLM doc/code",
        ("python_doc.npy", "python_code.npy"),
        ("docstring", "source"),
        0.05,
        _MINILM,
    ),
}
_PREFIX = "features_"  # of the files' names in the public code


class Rows(NamedTuple):
    """The rows of one source.

    Attributes:
        x: unit rows [n, d] in float64.
        y: their partners [n, d].
        norms: smallest and largest norm of the rows as they are stored.
    """

    x: np.ndarray
    y: np.ndarray
    norms: tuple[float, float]


def found_in(folder: str) -> dict[str, tuple[Path, ...]]:
    """The files of each source that the folder holds, by the source's name.

    Raises:
        ValueError: the folder is absent, or holds none of the files.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"--data must name a folder of embeddings, got {folder!r}, which is no folder")
    found = {}
    for name, source in SOURCES.items():
        files = [_existing(root, file) for file in source.files]
        if all(files):
            found[name] = tuple(file for file in files if file)
    if not found:
        raise ValueError(
            f"--data must name a folder with clip.npy or another file of `python experiments/real_models.py "
            f"--help`, got {folder!r}, which holds none; they are at {PUBLIC_CODE}"
        )
    return found


def _existing(root: Path, file: str) -> Path | None:
    """The file, under its own name or that of the public code."""
    candidates = (root / file, root / f"{_PREFIX}{file}")
    return next((path for path in candidates if path.is_file()), None)


def missing_from(found: dict[str, tuple[Path, ...]]) -> list[str]:
    """One sentence for each place from which files are missing."""
    places: dict[str, list[str]] = {}
    for name, source in SOURCES.items():
        if name not in found:
            places.setdefault(source.origin, []).extend(source.files)
    return [f"not measured, because missing: {', '.join(files)}; {place}" for place, files in places.items()]


def read(name: str, files: tuple[Path, ...], count: int) -> Rows:
    """The first `count` rows of both modalities of a source.

    Raises:
        ValueError: a file holds no such array, or a row that is 0 or not finite.
    """
    sides = [open_embeddings(file, normalize=True) for file in files] if len(files) == 2 else _both(files[0])
    if sides[0].shape != sides[1].shape:
        raise ValueError(
            f"{files[0].name} and {files[-1].name} must pair row by row, got shapes {sides[0].shape} and "
            f"{sides[1].shape}"
        )
    if len(sides[0]) < 40:
        raise ValueError(f"{files[0].name} must hold at least 40 pairs of rows, got {len(sides[0])}")
    x, y = (side.rows(slice(0, count)).astype(float) for side in sides)
    norms = [side.norms or (1.0, 1.0) for side in sides]
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    return Rows(x, y, (min(n[0] for n in norms), max(n[1] for n in norms)))


def _both(path: Path) -> list:
    """The two modalities of an array [2, n, d]; nothing is unpickled."""
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path.name} must be a .npy file of an array [2, n, d], but {error}") from None
    if array.ndim != 3 or len(array) != 2 or array.dtype.kind != "f":
        got = f"{array.dtype.name} {list(array.shape)}"
        raise ValueError(f"{path.name} must hold floating-point numbers [2, n, d], got {got}")
    return [as_embeddings(side, name=f"{path.name}[{k}]", normalize=True) for k, side in enumerate(array)]


def digest(files: tuple[Path, ...]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the files, one after the other."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(2**20), b""):
                total.update(block)
    return total.hexdigest()[:16]


@dataclass(frozen=True)
class Config:
    """Settings; temperatures without a unit."""

    data: str = field(default="", metadata={"local": True})
    """Folder with the embeddings; required. `docs/real-models.md` says from where to get them."""
    sources: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Name and hash of each source in the folder, so that a resumed run continues on the same files."""
    max_rows: int = 2400
    """Rows of each modality that are read."""
    max_sums: int = 1000
    """Rows of each modality in sums over all pairs of rows, apart from the table of numbers."""
    num_permutations: int = 200
    num_bootstrap: int = 200
    num_seeds: int = 5
    """Shuffles of the partners, and splits into rows to fit on and rows held out."""
    temperatures: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    purposes: tuple[str, ...] = ("retrieval", "mixed", "clustering")
    methods: tuple[str, ...] = ()
    """Corrections that are compared; all by default."""
    line_temperatures: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 1.0)
    """Of the loss against the gap, beside the temperature of the model."""
    max_free: int = 500
    """Rows of each modality that are set free (at least 40); 0 leaves out what `ct.why` finds."""
    seed: int = 0

    def __post_init__(self):
        for name in ("max_rows", "max_sums", "num_permutations", "num_seeds"):
            check_count(name, getattr(self, name))
        for tau in (*self.temperatures, *self.line_temperatures):
            check_positive("temperatures", tau)
        check_count("max_free", self.max_free, minimum=0)


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        max_rows=120,
        max_sums=120,
        num_permutations=99,
        num_bootstrap=20,
        num_seeds=2,
        temperatures=(0.05, 0.5),
        purposes=("mixed",),
        methods=("centring", "standardisation", "csls"),
        line_temperatures=(0.5,),
        max_free=0,
    ),
}
