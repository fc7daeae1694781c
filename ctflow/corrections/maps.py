"""The two kinds of map in a correction, and the code that sends rows through a map."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# A row has no direction if its image is within this many rounding errors of the map from 0.
_LOST = 4
_BLOCK = 4096


@dataclass(frozen=True)
class Affine:
    """The affine map z ↦ (z - centre) matrix + offset."""

    centre: np.ndarray
    """[d]."""
    matrix: np.ndarray
    """[d, d]."""
    offset: np.ndarray
    """[d]."""

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Rows [n, d], not of unit norm."""
        return (z - self.centre) @ self.matrix + self.offset

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape that each field must have, given the width d of the centre."""
        d = self.centre.size
        return {"centre": (d,), "matrix": (d, d), "offset": (d,)}

    @property
    def width(self) -> int:
        """The number d of coordinates of a row."""
        return self.centre.size

    @property
    def gain(self) -> float:
        """Root mean square factor by which a random direction is stretched: ‖matrix‖_F/√d."""
        return float(np.linalg.norm(self.matrix) / self.width**0.5)


@dataclass(frozen=True)
class Barycentric:
    """z ↦ Σ_k w_k(z)·support_k, w_k ∝ exp(log_weight_k + ⟨support_k, z⟩/ε): the entropic transport map.

    It is the gradient of the transport's potential, so it is also defined away from the fitted rows
    (arXiv 2109.12004).
    """

    support: np.ndarray
    """[k, d] rows of the other modality."""
    log_weight: np.ndarray
    """[k]."""
    epsilon: np.ndarray
    """Entropic regularisation in units of ½‖x - y‖², a scalar."""

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Rows [n, d], not of unit norm."""
        logits = z @ self.support.T / self.epsilon + self.log_weight
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weight @ self.support / weight.sum(axis=1, keepdims=True)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape that each field must have, given the number k and width d of the support."""
        k = self.log_weight.size
        one = self.epsilon.shape if self.epsilon.size == 1 else ()  # files store it with shape [1]
        return {"support": (k, self.width), "log_weight": (k,), "epsilon": one}

    @property
    def width(self) -> int:
        """The number d of coordinates of a row."""
        return self.support.shape[-1]

    @property
    def gain(self) -> float:
        """The constant 1, since a mean of unit rows is never longer than 1."""
        return 1.0


Map = Affine | Barycentric


def check_map(name: str, part: Map) -> None:
    """Raise ValueError unless all fields are finite floating-point arrays of matching shapes."""
    for field, shape in part.shapes.items():
        array = getattr(part, field)
        if array.dtype.kind != "f" or array.shape != shape or 0 in shape:
            raise ValueError(
                f"the map of {name} must have a {field} of floats {list(shape)}, got {array.dtype} "
                f"{list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"the map of {name} must be finite, got NaN or infinity in its {field}")
    if isinstance(part, Barycentric) and not part.epsilon > 0:
        raise ValueError(f"the map of {name} must have an epsilon > 0, got {part.epsilon}")


def send(
    name: str, what: str, part: Map | None, rows: Callable[[slice], np.ndarray], n: int
) -> Iterator[np.ndarray]:
    """Send unit rows through a map, and yield unit rows as float64 blocks.

    Args:
        name: name of the rows, used in messages.
        what: name of the method, used in messages.
        part: the map; None leaves the rows unchanged.
        rows: function that returns a slice of the rows, float32 or float64.
        n: number of rows.

    Raises:
        ValueError: the image of a row is not finite, or is 0 within the rounding error of the row's dtype
            and so has no direction.
    """
    for first in range(0, n, _BLOCK):
        z = rows(slice(first, min(first + _BLOCK, n)))
        if part is None:
            yield z.astype(float)
            continue
        with np.errstate(all="ignore"):
            moved = part(z.astype(float))
            norms = np.linalg.norm(moved, axis=1)
        lowest = _LOST * float(np.finfo(z.dtype).eps) * part.gain
        bad = np.flatnonzero(~((norms > lowest) & np.isfinite(norms)))
        if bad.size:
            raise ValueError(
                f"{what} leaves {bad.size} of {len(z)} rows of {name} without a direction, the first is row "
                f"{first + bad[0]}: its image is 0 within rounding, or not finite; drop such rows, or use "
                "another method"
            )
        yield moved / norms[:, None]
