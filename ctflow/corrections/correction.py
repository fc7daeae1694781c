"""A fitted correction, which transforms rows and can be saved to a file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctflow._base.checks import check_choice
from ctflow.corrections.maps import Affine, Barycentric, Map, check_map, send
from ctflow.corrections.rows import any_number
from ctflow.embeddings import Embeddings
from ctflow.embeddings.array_likes import as_array
from ctflow.storage.folders import atomic
from ctflow.storage.reading import readable

METHODS = (
    "none",
    "centring",
    "translation",
    "standardisation",
    "whitening",
    "coral",
    "procrustes",
    "cca",
    "transport",
)
_KINDS = {"affine": Affine, "barycentric": Barycentric}


@dataclass(frozen=True)
class Correction:
    """One map per modality; None leaves the rows of that modality unchanged."""

    method: str
    x: Map | None = None
    y: Map | None = None
    strength: float | None = None
    """The ridge, or the epsilon of `transport`; None for methods that have neither."""

    def __post_init__(self):
        for name, part in (("x", self.x), ("y", self.y)):
            if part is not None:
                check_map(name, part)

    def transform(self, x: Any, y: Any, *, normalize: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Correct rows [n, d] and [m, d], or single vectors [d]; return unit rows of that shape and dtype.

        Raises:
            ValueError: as in `transform_one`.
        """
        one, other = (self.transform_one(name, z, normalize=normalize) for name, z in (("x", x), ("y", y)))
        return one, other

    def transform_one(self, name: str, rows: Any, *, normalize: bool = False) -> np.ndarray:
        """Correct rows [n, d], or one vector [d], of the modality `x` or `y`.

        Args:
            name: the modality, `x` or `y`.
            rows: unit rows [n, d] for any n, or one unit vector [d].
            normalize: accept rows of any norm > 0.

        Raises:
            ValueError: the width differs from that of the rows used for fitting; `diagnose` would refuse the
                rows (integers, NaN, no unit norm); or the map sends a row to 0, as centring does to the mean.
        """
        check_choice("name", name, ("x", "y"))
        part = {"x": self.x, "y": self.y}[name]
        found, shape = any_number(name, rows, None if part is None else part.width, normalize)
        n = 1 if len(shape) == 1 else shape[0]
        # Quantised rows are returned in the dtype in which they are computed.
        out = np.empty((n, found.shape[1]), found.dtype if found.stored.kind in "iu" else found.stored)
        first = 0
        for block in send(found.name, self.method, part, found.rows, n):
            out[first : first + len(block)] = block
            first += len(block)
        changed = normalize or found.roundings or found.stored.kind in "iu"
        if part is None and not changed and not isinstance(rows, Embeddings | str | os.PathLike):
            return np.array(
                as_array(name, rows), found.stored
            )  # already checked; a copy avoids rounding again
        return out.reshape(shape)

    def stream(self, name: str, rows: Embeddings) -> Iterator[np.ndarray]:
        """Yield corrected unit rows of the modality `x` or `y` in float64 blocks [k, d].

        Raises:
            ValueError: as in `transform_one`, once the block with the bad row is reached.
        """
        part = {"x": self.x, "y": self.y}[name]
        return send(rows.name, self.method, part, rows.rows, len(rows))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the correction to a .safetensors file."""
        from safetensors.numpy import save

        tensors, about = {}, {"method": self.method}
        if self.strength is not None:
            about["strength"] = repr(float(self.strength))
        for name, part in (("x", self.x), ("y", self.y)):
            if part is not None:
                about[name] = type(part).__name__.lower()
                tensors |= {f"{name}.{field}": np.ascontiguousarray(a) for field, a in vars(part).items()}
        with atomic(path) as file:
            file.write(save(tensors, {"ctflow.correction": "1", **about}))


def load(path: str | os.PathLike[str]) -> Correction:
    """Read a correction that `Correction.save` wrote.

    Raises:
        ValueError: the file holds no correction, or its numbers are not finite.
    """
    from safetensors import SafetensorError, safe_open

    # TypeError and AttributeError are raised for dtypes that NumPy does not have.
    damage = (SafetensorError, TypeError, AttributeError)
    with readable(str(path), ".safetensors file of a correction", *damage), safe_open(path, "numpy") as file:
        about = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        check_choice("method", about["method"], METHODS)
        parts = {
            name: _KINDS[about[name]](
                **{key.partition(".")[2]: a for key, a in tensors.items() if key.startswith(f"{name}.")}
            )
            for name in ("x", "y")
            if name in about
        }
        return Correction(
            about["method"], **parts, strength=float(about["strength"]) if "strength" in about else None
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        said = f" ({error})" if isinstance(error, ValueError) else ""
        raise ValueError(
            f"{str(path)!r} holds no correction that ctflow wrote{said}; it holds "
            f"{', '.join(tensors) or 'nothing'}"
        ) from None
