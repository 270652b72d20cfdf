"""Least-squares fits of a layer on the units of the previous layer, and their elimination."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

_TIE = 1e-6  # relative difference of costs that counts as none; the damping amplifies rounding
_BLOCK = 64  # number of eliminations between two updates of the matrices


def solve(covariance: Tensor, cross: Tensor, weight: Tensor, damping: float) -> Tensor:
    """Weights of the ridge regression of targets on units, with an intercept.

    ``min_θ E‖z − [h, 1] θ‖² + λ‖θ − W‖²``, where ``λ`` is the damping times the mean variance of
    the units.

    Parameters
    ----------
    covariance : float64 tensor of shape (n_units, n_units)
        ``Cov[h]``.
    cross : float64 tensor of shape (n_units, n_next)
        ``Cov[h, z]``.
    weight : float64 tensor of shape (n_next, n_units)
        ``W``, towards which the ridge shrinks the fit.
    damping : float

    Returns
    -------
    float64 tensor of shape (n_next, n_units)
    """
    covariance, cross = _damped(covariance, cross, weight, damping)
    return torch.cholesky_solve(cross, _factor(covariance)).t()


def eliminate(
    covariance: Tensor,
    cross: Tensor,
    weight: Tensor,
    damping: float,
    metric: Tensor,
    block: int = 1,
    negligible: float = 0.0,
) -> Tensor:
    """Increase of the squared error by the removal of each unit, in a backward elimination.

    The units are removed one by one, each time the one with the smallest increase. With ``P`` the
    inverse of the damped covariance, ``θ`` the fit and ``M = θ G θᵀ``, this is the unit with the
    smallest ``tr(P_jj⁻¹ M_jj)``. Then ``θ ← θ − P_·j P_jj⁻¹ θ_j`` and
    ``P ← P − P_·j P_jj⁻¹ P_j·``. With n units of one column each, all n eliminations together
    take ``O(n³)``.

    Parameters
    ----------
    covariance, cross, weight, damping
        As in :func:`solve`.
    metric : float64 tensor of shape (n_next, n_next)
        ``G``: the error of a change ``δz`` of the targets is ``δzᵀ G δz``.
    block : int, default=1
        Number of consecutive columns that belong to each unit.
    negligible : float, default=0.0
        An increase of at most this counts as zero. Among units whose increases differ by rounding
        only, the first is removed.

    Returns
    -------
    float64 tensor of shape (n_units,)
        Increasing in the order of the eliminations: consecutive units whose increases fall get
        their mean (see :func:`increasing`).
    """
    covariance, cross = _damped(covariance, cross, weight, damping)
    inverse = torch.cholesky_inverse(_factor(covariance))
    theta = inverse @ cross
    units = torch.arange(len(covariance) // block, device=covariance.device)
    remaining = _Remaining(units, inverse, theta @ metric @ theta.t(), block)
    sequence: list[int] = []
    costs: list[float] = []
    while len(remaining.units):
        for _ in range(min(_BLOCK, len(remaining.units))):
            unit, cost = remaining.eliminate(negligible)
            sequence.append(unit)
            costs.append(cost)
        remaining = remaining.updated()
    scores = covariance.new_zeros(len(units))
    scores[sequence] = torch.from_numpy(increasing(np.array(costs))).to(scores)
    return scores


class _Remaining:
    """The remaining units, with ``P`` and ``M`` of the fit on them.

    ``updated`` computes the matrices after many eliminations in one product. Until then they are
    represented as ``P − C Cᵀ`` and ``M − C Vᵀ − V Cᵀ + C S Cᵀ``, with one column of C and V for
    each removed column. The diagonal blocks are updated in every elimination.
    """

    def __init__(self, units: Tensor, P: Tensor, M: Tensor, block: int):
        self.block = block
        self.units, self.P, self.M = units, P, M
        self.P_diagonal, self.M_diagonal = (self._diagonal(matrix) for matrix in (P, M))
        self.removed = torch.zeros_like(units, dtype=torch.bool)
        n_columns = min(_BLOCK, len(units)) * self.block
        self.C, self.V, self.CS = (P.new_empty((len(P), n_columns)) for _ in range(3))
        self.n_removed = 0

    def _diagonal(self, matrix: Tensor) -> Tensor:
        """Diagonal blocks, shape (n_units, block, block)."""
        blocks = matrix.unflatten(1, (-1, self.block)).unflatten(0, (-1, self.block))
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()

    def _costs(self) -> Tensor:
        """``tr(P_jj⁻¹ M_jj)`` for each unit."""
        if self.block == 1:
            return (self.M_diagonal / self.P_diagonal).flatten()
        solved = torch.cholesky_solve(self.M_diagonal, torch.linalg.cholesky(self.P_diagonal))
        return solved.diagonal(dim1=1, dim2=2).sum(1)

    def eliminate(self, negligible: float) -> tuple[int, float]:
        """Remove the first unit with the smallest cost; returns the unit and its cost.

        A cost of at most ``negligible`` counts as zero.
        """
        costs = self._costs().masked_fill(self.removed, torch.inf)
        bound = (costs.min() * (1.0 + _TIE)).clamp_min(negligible)
        j, block = int((costs <= bound).byte().argmax()), self.block
        cost = float(costs[j])
        own, past = slice(j * block, (j + 1) * block), slice(0, self.n_removed * block)
        C, V, CS = self.C[:, past], self.V[:, past], self.CS[:, past]
        factor = torch.linalg.cholesky(self.P_diagonal[j])
        c = _right_solve(self.P[:, own] - C @ C[own].t(), factor)
        v = self.M[:, own] - C @ V[own].t() - V @ C[own].t() + CS @ C[own].t()
        v = _right_solve(v, factor)
        s = _right_solve(_right_solve(self.M_diagonal[j], factor).t(), factor)
        new = slice(past.stop, past.stop + block)
        self.C[:, new], self.V[:, new], self.CS[:, new] = c, v, c @ s
        c, v = c.unflatten(0, (-1, block)), v.unflatten(0, (-1, block))
        crossed = c @ v.mT
        self.P_diagonal -= c @ c.mT
        self.M_diagonal += c @ s @ c.mT - crossed - crossed.mT
        self.P_diagonal[j] = torch.eye(block).to(c)  # keeps the block invertible
        self.removed[j] = True
        self.n_removed += 1
        return int(self.units[j]), cost if cost > negligible else 0.0

    def updated(self) -> _Remaining:
        """The units that remain now, with updated matrices."""
        columns = (~self.removed).repeat_interleave(self.block)
        past = slice(0, self.n_removed * self.block)
        C, V, CS = (matrix[columns, past] for matrix in (self.C, self.V, self.CS))
        crossed = C @ V.t()
        P = self.P[columns][:, columns] - C @ C.t()
        M = self.M[columns][:, columns] - crossed - crossed.t() + CS @ C.t()
        return _Remaining(self.units[~self.removed], P, M, self.block)


def _right_solve(matrix: Tensor, factor: Tensor) -> Tensor:
    """``A L⁻ᵀ`` for a lower triangular L."""
    if len(factor) == 1:
        return matrix / factor
    return torch.linalg.solve_triangular(factor.t(), matrix, upper=True, left=False)


def increasing(costs: np.ndarray) -> np.ndarray:
    """Make numbers strictly increasing, by isotonic regression.

    Where they fall, their mean replaces them, so their sum does not change.

    Examples
    --------
    >>> increasing(np.array([1.0, 5.0, 3.0])).round(6)
    array([1., 4., 4.])
    """
    levels = isotonic_regression(costs)
    last = 0.0
    for i, level in enumerate(levels):
        last = levels[i] = max(level, np.nextafter(last, np.inf))
    return levels


def _damped(
    covariance: Tensor, cross: Tensor, weight: Tensor, damping: float
) -> tuple[Tensor, Tensor]:
    """The covariance and the right-hand side, both with the ridge term."""
    variance = covariance.diagonal()
    ridge = damping * variance.mean().clamp_min(torch.finfo(torch.float32).tiny)
    damped = covariance.clone()
    damped.diagonal().add_(ridge)
    return damped, cross + ridge * weight.t()


def _factor(covariance: Tensor) -> Tensor:
    """The Cholesky factor of a damped covariance."""
    try:
        return torch.linalg.cholesky(covariance)
    # public, but torch's types do not export it
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise ValueError(
            f"The least-squares problem of {len(covariance)} units has no solution: activations of "
            f"the network are NaN or infinite, or damping is too small for so few samples. "
            f"Increase damping (method_params, compensation_params) or pass more samples."
        ) from error
