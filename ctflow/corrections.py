"""Moving two modalities towards each other after training: fitted on some rows, applied to any.

A correction maps each modality to unit rows of the same sphere. All but one are affine maps, brought back to
the sphere; `transport` is the entropic optimal transport map. What a correction gains or costs must be looked
at on rows it was not fitted on: `ctflow.diagnostics.compare`.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from ctflow import io
from ctflow.checks import check_choice, check_positive

METHODS = (
    "none",
    "centring",
    "translation",
    "standardisation",
    "whitening",
    "coral",
    "procrustes",
    "transport",
)
MIN_EPSILON = 0.005
_SUPPORT = 2000
_BLOCK = 4096


@dataclass(frozen=True)
class Affine:
    """z ↦ (z - centre) matrix + offset."""

    centre: np.ndarray
    """[d]."""
    matrix: np.ndarray
    """[d, d]."""
    offset: np.ndarray
    """[d]."""

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Rows [n, d], not of unit norm."""
        return (z - self.centre) @ self.matrix + self.offset


@dataclass(frozen=True)
class Barycentric:
    """z ↦ Σ_k w_k(z)·support_k, w_k ∝ exp(log_weight_k + ⟨support_k, z⟩/ε): the entropic transport map.

    The gradient of the transport's potential, so it is defined off the rows it was fitted on
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


_KINDS = {"affine": Affine, "barycentric": Barycentric}


@dataclass(frozen=True)
class Correction:
    """A map of each modality; None leaves its rows as they are."""

    method: str
    x: Affine | Barycentric | None = None
    y: Affine | Barycentric | None = None

    def transform(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Corrected unit rows [n, d], [m, d], in the dtype they came in.

        Raises:
            ValueError: rows of another width than those it was fitted on.
        """
        return self.transform_one("x", x), self.transform_one("y", y)

    def transform_one(self, name: str, rows: Any) -> np.ndarray:
        """Corrected unit rows [n, d] of the modality `x` or `y`."""
        check_choice("name", name, ("x", "y"))
        return _apply(name, {"x": self.x, "y": self.y}[name], np.asarray(rows))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .safetensors."""
        from safetensors.numpy import save

        tensors, about = {}, {"method": self.method}
        for name, part in (("x", self.x), ("y", self.y)):
            if part is not None:
                about[name] = type(part).__name__.lower()
                fields = {f"{name}.{field}": np.ascontiguousarray(a) for field, a in vars(part).items()}
                tensors |= fields
        with io.atomic(path) as file:
            file.write(save(tensors, {"ctflow.correction": "1", **about}))


def load(path: str | os.PathLike[str]) -> Correction:
    """Read what `Correction.save` wrote.

    Raises:
        ValueError: the file is no correction.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{str(path)!r} must be a .safetensors file of a correction ({error})") from None
    try:
        check_choice("method", about["method"], METHODS)
        parts = {
            name: _KINDS[about[name]](
                **{key.partition(".")[2]: a for key, a in tensors.items() if key.startswith(f"{name}.")}
            )
            for name in ("x", "y")
            if name in about
        }
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{str(path)!r} holds no correction that ctflow wrote; it holds {', '.join(tensors) or 'nothing'}"
        ) from None
    return Correction(about["method"], **parts)


def _apply(name: str, part: Affine | Barycentric | None, z: np.ndarray) -> np.ndarray:
    if part is None:
        return z
    width = (part.centre if isinstance(part, Affine) else part.support).shape[-1]
    if z.ndim != 2 or z.shape[1] != width:
        raise ValueError(f"{name} must be rows [n, {width}], as the correction was fitted on, got {z.shape}")
    moved = np.empty(z.shape, z.dtype)
    for first in range(0, len(z), _BLOCK):
        rows = part(z[first : first + _BLOCK].astype(float))
        moved[first : first + _BLOCK] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return moved


def fit(
    method: str, x: Any, y: Any, *, ridge: float = 1e-3, epsilon: float = 0.05, seed: int = 0
) -> Correction:
    """Fit a correction.

    `centring` subtracts each modality's mean. `translation` moves y by the difference of means.
    `standardisation` gives each coordinate of each modality mean 0 and variance 1, `whitening` each
    direction.
    `coral` gives y the mean and covariance of x (arXiv 1511.05547). `procrustes` turns y about its mean by
    the rotation that brings partners nearest. `transport` sends y to x by entropic optimal transport.

    Args:
        method: one of `METHODS`.
        x: unit rows [n, d] of the first modality.
        y: unit rows [m, d] of the second; for `procrustes` row i is the partner of row i.
        ridge: added to every variance, as a share of the mean variance.
        epsilon: of `transport`, in units of ½‖x - y‖²; at least 0.005.
        seed: `transport` is fitted on at most 2000 random rows of each.

    Raises:
        ValueError: an unknown method, rows of different widths, fewer than two rows.
    """
    check_choice("method", method, METHODS)
    check_positive("ridge", ridge)
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"x and y must be [n, d] and [m, d] with n, m >= 2, got {x.shape} and {y.shape}")
    if method == "procrustes" and len(x) != len(y):
        raise ValueError(f"procrustes needs rows paired one to one, got {len(x)} and {len(y)}")
    if method == "transport":
        return _transport(x, y, epsilon, np.random.default_rng(seed))
    return Correction(method, *_AFFINE[method](x, y, ridge))


def _centring(x, y, ridge):
    eye, zero = np.eye(x.shape[1]), np.zeros(x.shape[1])
    return tuple(Affine(z.mean(axis=0), eye, zero) for z in (x, y))


def _translation(x, y, ridge):
    return None, Affine(y.mean(axis=0), np.eye(x.shape[1]), x.mean(axis=0))


def _standardisation(x, y, ridge):
    maps = []
    for z in (x, y):
        variance = z.var(axis=0)
        scale = 1 / np.sqrt(variance + ridge * variance.mean())
        maps.append(Affine(z.mean(axis=0), np.diag(scale), np.zeros(len(scale))))
    return tuple(maps)


def _whitening(x, y, ridge):
    zero = np.zeros(x.shape[1])
    return tuple(Affine(z.mean(axis=0), _power(z, -0.5, ridge), zero) for z in (x, y))


def _coral(x, y, ridge):
    return None, Affine(y.mean(axis=0), _power(y, -0.5, ridge) @ _power(x, 0.5, ridge), x.mean(axis=0))


def _procrustes(x, y, ridge):
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    rotation = linalg.orthogonal_procrustes(y - mean_y, x - mean_x)[0]
    return None, Affine(mean_y, rotation, mean_x)


_AFFINE = {
    "none": lambda x, y, ridge: (None, None),
    "centring": _centring,
    "translation": _translation,
    "standardisation": _standardisation,
    "whitening": _whitening,
    "coral": _coral,
    "procrustes": _procrustes,
}


def _power(z: np.ndarray, power: float, ridge: float) -> np.ndarray:
    """The covariance of rows, ridge added, to a power; [d, d]."""
    covariance = np.cov(z.T, bias=True)
    covariance[np.diag_indices_from(covariance)] += ridge * np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * values**power) @ vectors.T


def _transport(x: np.ndarray, y: np.ndarray, epsilon: float, rng: np.random.Generator) -> Correction:
    x, y = (z[np.sort(rng.permutation(len(z))[:_SUPPORT])] for z in (x, y))
    f, _ = sinkhorn(x, y, epsilon)
    # ½‖x - y‖² is ½‖x‖² + ½‖y‖² - ⟨x, y⟩, and the norms are 1.
    return Correction("transport", None, Barycentric(x, f / epsilon, np.asarray(epsilon)))


def sinkhorn(
    x: np.ndarray, y: np.ndarray, epsilon: float, *, tolerance: float = 1e-4, max_steps: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Potentials f [n], g [m] of entropic optimal transport between equally weighted unit rows.

    The plan is exp((f_i + g_j - ½‖x_i - y_j‖²)/ε)/(nm). Costs are at most 2, so that for ε >= 0.005 the
    kernel stays within float64 and needs no logarithms.

    Raises:
        ValueError: ε out of range, or no convergence: a marginal off by more than `tolerance`.
    """
    check_positive("epsilon", epsilon)
    if epsilon < MIN_EPSILON:
        raise ValueError(f"epsilon must be >= {MIN_EPSILON}, got {epsilon}")
    kernel = np.exp((x @ y.T - 1) / epsilon)
    v = np.ones(len(y))
    for _ in range(max_steps):
        u = len(y) / (kernel @ v)
        forward = u @ kernel
        # Rows are exact after their update; the columns say how far it is.
        if np.abs(forward * v / len(x) - 1).mean() < tolerance:
            return epsilon * np.log(u), epsilon * np.log(v)
        v = len(x) / forward
    raise ValueError(
        f"transport did not converge in {max_steps} steps at epsilon {epsilon:g}; take a larger epsilon"
    )
