"""Least squares of one layer on the units of the layer before, and their elimination."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

_BLOCK = 64  # eliminations between two clean-ups


def solve(covariance: Tensor, cross: Tensor, weight: Tensor, damping: float) -> Tensor:
    """Weights of the best fit of targets by some units, with an intercept.

    ``min_θ E‖z − [h, 1] θ‖² + λ‖θ − W‖²``, with ``λ`` the damping times the mean variance of the
    units.

    Parameters
    ----------
    covariance : float64 tensor of shape (n_units, n_units)
        ``Cov[h]``.
    cross : float64 tensor of shape (n_units, n_next)
        ``Cov[h, z]``.
    weight : float64 tensor of shape (n_next, n_units)
        ``W``, towards which the ridge pulls.
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
) -> Tensor:
    """What the removal of each unit adds to the squared error, in a backward elimination.

    The units are removed one by one, the one that adds least first. With ``P`` the inverse of the
    damped covariance, ``θ`` the fit and ``M = θ G θᵀ``, that is the unit of the least
    ``tr(P_jj⁻¹ M_jj)``. Then ``θ ← θ − P_·j P_jj⁻¹ θ_j`` and ``P ← P − P_·j P_jj⁻¹ P_j·``. With n
    units of one column each, all n eliminations together take ``O(n³)``.

    Parameters
    ----------
    covariance, cross, weight, damping
        As in :func:`solve`.
    metric : float64 tensor of shape (n_next, n_next)
        ``G``: the error of a change ``δz`` of the targets is ``δzᵀ G δz``.
    block : int, default=1
        Number of consecutive columns that belong to each unit.

    Returns
    -------
    float64 tensor of shape (n_units,)
        Increasing in the order of the eliminations. A unit that is cheap only because another one
        was removed before shares the costs of both with it.
    """
    covariance, cross = _damped(covariance, cross, weight, damping)
    inverse = torch.cholesky_inverse(_factor(covariance))
    theta = inverse @ cross
    units = torch.arange(len(covariance) // block, device=covariance.device)
    left = _Remaining(units, inverse, theta @ metric @ theta.t(), block)
    sequence, costs = [], []
    while len(left.units):
        for _ in range(min(_BLOCK, len(left.units))):
            unit, cost = left.eliminate()
            sequence.append(unit)
            costs.append(cost)
        left = left.cleaned()
    scores = covariance.new_zeros(len(units))
    scores[sequence] = torch.from_numpy(increasing(np.array(costs))).to(scores)
    return scores


class _Remaining:
    """The units that remain, with ``P`` and ``M`` of the fit by them.

    The matrices themselves are updated by ``cleaned`` only, for many eliminations in one product.
    Until then they stand for ``P − C Cᵀ`` and ``M − C Vᵀ − V Cᵀ + C S Cᵀ``, with a column of C and
    V for each removed column. The blocks on the diagonals are always up to date.
    """

    def __init__(self, units: Tensor, P: Tensor, M: Tensor, block: int):
        self.block = block
        self.units, self.P, self.M = units, P, M
        self.P_diagonal, self.M_diagonal = (self._diagonal(matrix) for matrix in (P, M))
        self.gone = torch.zeros_like(units, dtype=torch.bool)
        n_columns = min(_BLOCK, len(units)) * self.block
        self.C, self.V, self.CS = (P.new_empty((len(P), n_columns)) for _ in range(3))
        self.n_gone = 0

    def _diagonal(self, matrix: Tensor) -> Tensor:
        """Blocks on the diagonal, shape (n_units, block, block)."""
        blocks = matrix.unflatten(1, (-1, self.block)).unflatten(0, (-1, self.block))
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()

    def _costs(self) -> Tensor:
        """``tr(P_jj⁻¹ M_jj)`` for each unit."""
        if self.block == 1:
            return (self.M_diagonal / self.P_diagonal).flatten()
        solved = torch.cholesky_solve(self.M_diagonal, torch.linalg.cholesky(self.P_diagonal))
        return solved.diagonal(dim1=1, dim2=2).sum(1)

    def eliminate(self) -> tuple[int, float]:
        """Remove the unit that costs least; returns it and its cost."""
        cost, j = self._costs().masked_fill(self.gone, torch.inf).min(0)
        j, block = int(j), self.block
        own, past = slice(j * block, (j + 1) * block), slice(0, self.n_gone * block)
        C, V, CS = self.C[:, past], self.V[:, past], self.CS[:, past]
        factor = torch.linalg.cholesky(self.P_diagonal[j])
        c = _over(self.P[:, own] - C @ C[own].t(), factor)
        v = self.M[:, own] - C @ V[own].t() - V @ C[own].t() + CS @ C[own].t()
        v = _over(v, factor)
        s = _over(_over(self.M_diagonal[j], factor).t(), factor)
        new = slice(past.stop, past.stop + block)
        self.C[:, new], self.V[:, new], self.CS[:, new] = c, v, c @ s
        c, v = c.unflatten(0, (-1, block)), v.unflatten(0, (-1, block))
        crossed = c @ v.mT
        self.P_diagonal -= c @ c.mT
        self.M_diagonal += c @ s @ c.mT - crossed - crossed.mT
        self.P_diagonal[j] = torch.eye(block).to(c)  # so that it stays regular
        self.gone[j] = True
        self.n_gone += 1
        return int(self.units[j]), max(float(cost), 0.0)

    def cleaned(self) -> _Remaining:
        """The units that remain now, with matrices that are up to date."""
        columns = (~self.gone).repeat_interleave(self.block)
        past = slice(0, self.n_gone * self.block)
        C, V, CS = (matrix[columns, past] for matrix in (self.C, self.V, self.CS))
        crossed = C @ V.t()
        P = self.P[columns][:, columns] - C @ C.t()
        M = self.M[columns][:, columns] - crossed - crossed.t() + CS @ C.t()
        return _Remaining(self.units[~self.gone], P, M, self.block)


def _over(matrix: Tensor, factor: Tensor) -> Tensor:
    """``A L⁻ᵀ`` for a lower triangular L."""
    if len(factor) == 1:
        return matrix / factor
    return torch.linalg.solve_triangular(factor.t(), matrix, upper=True, left=False)


def increasing(costs: np.ndarray) -> np.ndarray:
    """Make numbers increase strictly; where they fall, their mean takes their place.

    So the sums up to the end of each such place stay what they are.

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


def _damped(covariance: Tensor, cross: Tensor, weight: Tensor, damping: float):
    """Covariance and right-hand side with the ridge in both."""
    variance = covariance.diagonal()
    ridge = damping * variance.mean().clamp_min(torch.finfo(torch.float32).tiny)
    damped = covariance.clone()
    damped.diagonal().add_(ridge)
    return damped, cross + ridge * weight.t()


def _factor(covariance: Tensor) -> Tensor:
    """The Cholesky factor of a damped covariance, or raise and say what to do."""
    try:
        return torch.linalg.cholesky(covariance)
    except torch.linalg.LinAlgError as error:
        raise ValueError(
            f"The least squares of {len(covariance)} units have no solution: the network's numbers "
            f"are NaN or infinite, or damping is too small for so few samples. Raise damping "
            f"(method_params, compensation_params), or pass more samples."
        ) from error
