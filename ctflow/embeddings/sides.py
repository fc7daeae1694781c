"""Both modalities in one place: a folder of two folders, an array [2, n, d], or a file with two arrays."""

import os
from pathlib import Path

from ctflow.embeddings.folders import files_of, natural
from ctflow.embeddings.opening import open_embeddings
from ctflow.embeddings.readers import AmbiguousError, check_part, open_raw
from ctflow.embeddings.readers.parts import is_both
from ctflow.embeddings.rows import Embeddings
from ctflow.storage.reading import existing_path

FOLDERS = ("img_emb", "text_emb")


def open_pair(
    path: str | os.PathLike[str],
    *,
    columns: tuple[str, str] | None = None,
    normalize: bool = False,
) -> tuple[Embeddings, Embeddings]:
    """Open both modalities from one path; rows i are partners.

    The path is one of:

    - a clip-retrieval folder with `img_emb/` (first) and `text_emb/` (second);
    - a file with one array [2, n, d]: first `array[0]`, then `array[1]`;
    - a file, or a folder of shards, with exactly two arrays [n, d] of equal shape, in the order of the file
      (HDF5 and .safetensors list names in their own order); or with any arrays, of which `columns` names two.

    Args:
        path: the folder or file.
        columns: names of the first and the second array, dataset or column. They become the labels.
        normalize: accept rows of any norm > 0 and bring them to unit norm.

    Raises:
        ValueError: the path does not hold two modalities, or cannot be opened; or shards or arrays differ in
            number, rows or width, so that rows i would not be partners.
    """
    root = existing_path(path)
    if columns is not None:
        columns = check_columns(columns)
    if root.is_dir() and any((root / name).is_dir() for name in FOLDERS):
        return _folders(root, columns or (None, None), normalize)
    if columns is not None:
        return _named(root, columns, normalize)
    x, y = _both(root, normalize)
    if x.shape != y.shape:
        raise ValueError(f"{x.name} and {y.name} must pair row by row, got shapes {x.shape} and {y.shape}")
    return x, y


def check_columns(columns: tuple[str, str]) -> tuple[str, str]:
    """Raise ValueError unless the columns are two different names."""
    if not isinstance(columns, tuple | list) or len(columns) != 2 or columns[0] == columns[1]:
        raise ValueError(
            f"columns must be two different names, got {columns!r}: a modality compared with itself has no "
            "gap"
        )
    return columns[0], columns[1]


def _folders(
    root: Path, columns: tuple[str | None, str | None], normalize: bool
) -> tuple[Embeddings, Embeddings]:
    """Both folders of clip-retrieval, whose shards must correspond."""
    missing = [name for name in FOLDERS if not (root / name).is_dir()]
    if missing:
        raise ValueError(
            f"{root} must hold the folders img_emb and text_emb, but has no {' and no '.join(missing)}"
        )
    x, y = (
        open_embeddings(root / name, column=column, normalize=normalize)
        for name, column in zip(FOLDERS, columns, strict=True)
    )
    if x.shape != y.shape:
        raise ValueError(f"{x.name} and {y.name} must pair row by row, got shapes {x.shape} and {y.shape}")
    layouts = [[(natural(Path(file).stem)[1::2], n) for file, n in side.shards()] for side in (x, y)]
    if layouts[0] != layouts[1]:
        raise ValueError(
            f"{x.name} and {y.name} must have shards with equal numbers in their names and equal row counts, "
            "or row i is no partner of row i; add what is missing, or open each with open_embeddings"
        )
    return x, y


def _named(root: Path, columns: tuple[str, str], normalize: bool) -> tuple[Embeddings, Embeddings]:
    """Two columns of the same files."""
    x, y = (
        open_embeddings(root, column=column, normalize=normalize, name=f"{root}[{column}]")
        for column in columns
    )
    x.label, y.label = labels(*columns)
    return x, y


def labels(first: str, second: str) -> tuple[str, str]:
    """Short names that tell two columns apart: the last words of their paths if these differ."""
    ends = tuple(name.rstrip("/").rpartition("/")[2] for name in (first, second))
    return (first, second) if ends[0] == ends[1] else (ends[0], ends[1])


def _both(root: Path, normalize: bool) -> tuple[Embeddings, Embeddings]:
    """The only two arrays, or the halves of the only array."""
    several = files_of(root)
    try:
        part = open_raw(several[0], None)
    except AmbiguousError as error:
        names = list(error.tables)
        if len(names) != 2:
            what = str(error).removesuffix("; name one with column (--column)")
            raise ValueError(f"{what}; name both modalities with columns (--columns A B)") from error
        return _named(root, (names[0], names[1]), normalize)
    if len(several) == 1 and is_both(part.shape):
        x, y = (
            Embeddings(f"{root}[{i}]", [check_part(root, part.side(i))], normalize=normalize) for i in (0, 1)
        )
        x.label, y.label = (f"{root.stem}[{i}]" for i in (0, 1))
        return x, y
    raise ValueError(
        f"{root} must hold two modalities: the folders img_emb and text_emb, an array [2, n, d], or two "
        f"arrays [n, d] of one shape, got one array {list(part.shape)}; give the other modality's file too"
    )
