"""A coupling of your own as one that a shared cloud fits, and random samples of it."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.sparse import csgraph

from ctflow._base.checks import check_concrete, check_count
from ctflow.couplings import Coupling, from_matrix, from_pairs

_DENSE = 1024  # couplings of up to so many points are stored whole: samples of one size then compile once
_EQUAL = 1e-4  # relative; weights may be in float32


class Shareable(NamedTuple):
    """The result of `shareable`: a symmetric coupling, and how it was made.

    Attributes:
        coupling: square and symmetric, so with two equal marginals; every point has a partner.
        asymmetry: ½Σ|π_ij - π_ji| in [0, 1], the total variation by which π was not symmetric; 0 if it was,
            or where rows and columns are different items.
        lifted: whether a point stands for a pair (row, column), and not for an item.
        rows: the row of the given coupling that each point is, [k].
        cols: the column that each point is, [k].
    """

    coupling: Coupling
    asymmetry: float
    lifted: bool
    rows: np.ndarray
    cols: np.ndarray


class Parts(NamedTuple):
    """The connected parts of a coupling.

    Attributes:
        number: how many there are.
        matched: whether all pairs of a row and a column of one part are positive and as likely as if they
            were independent within it, π_ij = p_i q_j / mass of the part. So are one-to-one pairs, several
            captions per image, and pairs of all items of a class.
        row: the part of each row, [n].
    """

    number: int
    matched: bool
    row: np.ndarray


def shareable(coupling: Coupling) -> Shareable:
    """Make a coupling symmetric, of points that both modalities have, as `shared_equilibrium` needs it.

    - Where every column has one row (captions of images), or every row one column, each pair e = (i, j)
      becomes a point, with π'(e, e') = w_e w_e' / p_i if e and e' have the same image i, else 0.
    - Other square couplings: row i and column i are taken for the same item. A symmetric coupling stays as
      it is, any other becomes (π + π')/2. The flow of the original parts the modalities at all temperatures,
      by its asymmetric part; the answer for (π + π')/2 leaves that out.

    The lifted captions have the stability of the original. Let x'_e = x_i and y'_e = y_j for e = (i, j). Then
    sums over copies agree, Σ_e w_e e^{⟨x'_e, y⟩/τ} = Σ_i p_i e^{⟨x_i, y⟩/τ}, and so do the alignments,
    Σ π'(e, e')⟨x'_e, y'_e'⟩ = Σ_i ⟨x_i, Σ_e w_e y_e⟩ = E_π⟨x, y⟩: the loss is the same. What is added are
    displacements of the copies of one x_i against one another, Σ_e w_e u_e = 0. About a shared cloud where
    the copies of an item coincide these do not interact with other displacements to second order, since all
    copies have the same kernel weights, and by the symmetry of x and y they have the curvatures of the
    captions of one image that move against one another, which the original has too. So the antiphase
    curvatures of the lifted coupling are curvatures of the original, and what is left of the original's are
    displacements of images in phase with all their captions
    (`test_lifted_captions_have_the_curvatures_of_the_original`).

    Args:
        coupling: of `ct.couplings`, such as `from_pairs` or `from_matrix`.

    Raises:
        ValueError: not a coupling; rows or columns without partner; a coupling that is not square, with
            columns of several rows and rows of several columns.
    """
    pi = checked_matrix(coupling)
    side = single_side(pi)
    if side is not None:
        rows, cols, weights = _listed(pi)
        return Shareable(_coupling(_product((rows, cols)[side], weights)), 0.0, True, rows, cols)
    _check_square(pi)
    asymmetry = _asymmetry(pi)
    items = np.arange(pi.shape[0])
    if asymmetry == 0:
        return Shareable(coupling, 0.0, False, items, items)
    return Shareable(_coupling((pi + pi.T) / 2), asymmetry, False, items, items)


def sampled(coupling: Coupling, size: int, rng: np.random.Generator) -> Shareable:
    """The coupling of `size` items drawn at random without replacement, as `shareable` makes it.

    Captions come along with their image. Of a square coupling the rows and columns of the drawn items are
    kept, symmetrised, and divided by their sum. Drawn items that have no partner in the sample are left out.

    An item's pair with itself is kept whenever the item is drawn, another pair in about size/n of such cases
    only. If pairs of an item with itself hold a share of π that does not tend to 0 with n, samples are
    closer to matched pairs than the whole is.

    Args:
        coupling: of `ct.couplings`.
        size: number of items, in [3, number of items].
        rng: NumPy's random generator.

    Raises:
        ValueError: as `shareable`; a size out of range; a sample in which more than half of the items have
            no partner.
    """
    pi = checked_matrix(coupling)
    side = single_side(pi)
    if side is None:
        _check_square(pi)
    items = pi.shape[side or 0]
    _check_size(size, items)
    return sample_of(pi, side, np.sort(rng.choice(items, size, replace=False)))


def sample_of(pi: Any, side: int | None, chosen: np.ndarray) -> Shareable:
    """The shareable coupling of the chosen items; `side` is that of `single_side`."""
    if side is not None:
        rows, cols, weights = _listed(pi)
        kept = np.isin((rows, cols)[side], chosen)
        rows, cols = rows[kept], cols[kept]
        part = _product((rows, cols)[side], weights[kept])
        return Shareable(_coupling(part / part.sum()), 0.0, True, rows, cols)
    part = scipy.sparse.csr_matrix(pi[np.ix_(chosen, chosen)])
    mass = np.asarray(part.sum(axis=1)).ravel() + np.asarray(part.sum(axis=0)).ravel()
    kept = np.flatnonzero(mass > 0)
    if len(kept) < max(3, len(chosen) / 2):
        raise ValueError(
            f"a sample must keep pairs: of {len(chosen)} drawn items {len(chosen) - len(kept)} have no "
            "partner among them; raise size, or give weights for more pairs, such as the similarities of all"
        )
    chosen, part = chosen[kept], part[kept][:, kept]
    part = part / part.sum()
    return Shareable(_coupling((part + part.T) / 2), _asymmetry(part), False, chosen, chosen)


def parts(coupling: Coupling) -> Parts:
    """The connected parts of a coupling: no pair joins two of them.

    Raises:
        ValueError: not a coupling; rows or columns without partner.
    """
    return parts_of(checked_matrix(coupling))


def parts_of(pi: Any) -> Parts:
    """The connected parts of π, a matrix without empty rows or columns."""
    n, m = pi.shape
    if isinstance(pi, np.ndarray) and pi.min() > 0:
        p, q = pi.sum(axis=1), pi.sum(axis=0)
        independent = all(
            np.allclose(row, mass * q, rtol=_EQUAL, atol=0) for row, mass in zip(pi, p, strict=True)
        )
        return Parts(1, independent, np.zeros(n, int))
    rows, cols, weights = _listed(pi)
    graph = scipy.sparse.coo_array((np.ones(len(rows), np.int8), (rows, n + cols)), shape=(n + m, n + m))
    count, label = csgraph.connected_components(graph, directed=False)
    of_row, of_col = label[:n], label[n:]
    mass = np.bincount(of_row[rows], weights, count)
    p, q = np.bincount(rows, weights, n), np.bincount(cols, weights, m)
    full = len(rows) == int(np.bincount(of_row, minlength=count) @ np.bincount(of_col, minlength=count))
    independent = p[rows] * q[cols] / mass[of_row[rows]]
    return Parts(int(count), full and bool(np.allclose(weights, independent, rtol=_EQUAL, atol=0)), of_row)


def checked_matrix(coupling: Any) -> Any:
    """π in float64: an array if the coupling lists all pairs, else a sparse matrix. Both have no empty rows.

    Raises:
        ValueError: not a coupling; rows or columns without partner.
    """
    if not isinstance(coupling, Coupling):
        raise ValueError(
            f"coupling must be a Coupling of ct.couplings, got {type(coupling).__name__}; make one of index "
            "pairs with ct.couplings.from_pairs, of a matrix with ct.couplings.from_matrix"
        )
    check_concrete("ct.stability", coupling=coupling)
    weights = np.asarray(coupling.weights, np.float64)
    if coupling.complete:
        pi: Any = weights.reshape(coupling.shape)
    else:
        index = np.asarray(coupling.rows), np.asarray(coupling.cols)
        pi = scipy.sparse.csr_matrix((weights, index), shape=coupling.shape)
        pi.eliminate_zeros()
    for axis, name in ((1, "rows"), (0, "columns")):
        marginal = np.asarray(pi.sum(axis=axis)).ravel()
        if (alone := np.flatnonzero(marginal <= 0)).size:
            raise ValueError(
                f"coupling must give every point a partner: {alone.size} of {len(marginal)} {name} have "
                f"none, the first at index {alone[0]}; leave them out"
            )
    if pi.shape[0] == pi.shape[1] or not isinstance(pi, np.ndarray):
        return pi
    return scipy.sparse.csr_matrix(pi)


def single_side(pi: Any) -> int | None:
    """0 if every column has one row, 1 if every row has one column; None if neither is so."""
    if isinstance(pi, np.ndarray):
        per_row, per_col = np.count_nonzero(pi, axis=1), np.count_nonzero(pi, axis=0)
    else:
        per_row, per_col = np.diff(pi.indptr), np.bincount(pi.indices, minlength=pi.shape[1])
    if per_col.max() == 1:
        return 0
    return 1 if per_row.max() == 1 else None


def _listed(pi: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows, columns and weights of the positive entries, row by row."""
    listed = scipy.sparse.csr_matrix(pi).tocoo()
    return listed.row, listed.col, listed.data


def _product(owner: np.ndarray, weights: np.ndarray) -> Any:
    """π'(e, e') = w_e w_e' / p_i for pairs e and e' of the same owner i, as a sparse matrix."""
    number = np.unique(owner, return_inverse=True)[1].ravel()
    mass = np.bincount(number, weights)
    share = scipy.sparse.csr_matrix((weights, (np.arange(len(owner)), number)))
    return share @ scipy.sparse.diags(1 / mass) @ share.T


def _check_square(pi: Any) -> None:
    if pi.shape[0] != pi.shape[1]:
        raise ValueError(
            f"coupling must be square, or give every column one row or every row one column, got shape "
            f"{pi.shape} with several of each; couple the same items on both sides"
        )


def _check_size(size: Any, items: int, least: int = 3) -> None:
    check_count("size", size, minimum=least)
    if size > items:
        raise ValueError(f"size must be <= {items}, the number of items, got {size}")


def _asymmetry(pi: Any) -> float:
    """½Σ|π_ij - π_ji|."""
    if isinstance(pi, np.ndarray):  # row by row, without another array of the size
        return sum(float(np.abs(row - col).sum()) for row, col in zip(pi, pi.T, strict=True)) / 2
    return float(abs(pi - pi.T).sum()) / 2


def _coupling(pi: Any) -> Coupling:
    """A square matrix as a coupling."""
    n = pi.shape[0]
    if n <= _DENSE or isinstance(pi, np.ndarray):
        dense = pi if isinstance(pi, np.ndarray) else pi.toarray()
        return from_matrix(dense / dense.sum())
    listed = scipy.sparse.coo_matrix(pi)
    return from_pairs(listed.row, listed.col, listed.data / listed.data.sum(), shape=(n, n))
