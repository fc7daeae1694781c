"""Arrays as short text for a page: rounded to integers, differences in time, compressed, in base64."""

import base64
import zlib

import numpy as np

POSITION = 32767
"""Positions in [-1, 1] are stored as integers up to this; an entry is off by at most half of 1/32767."""
LEVELS = 254
"""Numbers are stored as integers 0 … 254 between the least and the largest; 255 means that there is none."""
MISSING = 255


def pack_positions(z: np.ndarray) -> str:
    """Positions [frames, n, 3] in [-1, 1], to within 1/65534 in each entry.

    The integers of a frame are stored as differences from the frame before, all low bytes first: what moves
    slowly compresses well.
    """
    q = np.rint(np.clip(z, -1, 1) * POSITION).astype(np.int16).transpose(0, 2, 1)
    with np.errstate(over="ignore"):
        steps = np.diff(q, axis=0, prepend=np.zeros_like(q[:1])).astype("<u2")
    return _compressed((steps & 0xFF).astype(np.uint8).tobytes() + (steps >> 8).astype(np.uint8).tobytes())


def unpack_positions(text: str, frames: int, n: int) -> np.ndarray:
    """The positions [frames, n, 3] as the page reads them."""
    low, high = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, frames, 3, n)
    steps = low.astype(np.uint16) | high.astype(np.uint16) << np.uint16(8)
    q = np.cumsum(steps, axis=0, dtype=np.uint16).view(np.int16)
    return q.transpose(0, 2, 1) / POSITION


def limits(*arrays: np.ndarray | None) -> tuple[float, float]:
    """The least and the largest finite number in some arrays; (0, 1) if there is none."""
    found = [a[np.isfinite(a)] for a in arrays if a is not None]
    found = [a for a in found if a.size]
    return (min(float(a.min()) for a in found), max(float(a.max()) for a in found)) if found else (0.0, 1.0)


def pack_levels(values: np.ndarray, low: float, high: float) -> tuple[str, int]:
    """Numbers [frames, k] as levels between `low` and `high`, and how many frames are stored.

    The error is at most half of (high - low)/254. If all frames are equal, only one is stored.
    """
    with np.errstate(invalid="ignore"):
        share = (values - low) / (high - low) if high > low else np.zeros_like(values)
        whole = np.rint(np.clip(share, 0, 1) * LEVELS)
    q = np.where(np.isfinite(values), whole, MISSING).astype(np.uint8)
    if (q == q[:1]).all():
        q = q[:1]
    with np.errstate(over="ignore"):
        steps = np.diff(q, axis=0, prepend=np.zeros_like(q[:1]))
    return _compressed(steps.tobytes()), len(q)


def _compressed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode()
