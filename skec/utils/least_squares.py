"""Least squares of one layer on the units of the layer before, and their elimination."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from ..calibration.statistics import DenseFit

_BLOCK = 64  # eliminations between two clean-ups


def solve(fit: DenseFit, kept: Tensor, weight: Tensor, damping: float) -> Tensor:
    """Weights of the best fit by some units, with an intercept.

    ``min_θ E‖z − [h_K, 1] θ‖² + λ‖θ − W_K‖²``, with ``λ`` the damping times the mean variance of
    the kept units.

    Parameters
    ----------
    fit : DenseFit
    kept : bool tensor of shape (n_units,)
    weight : float64 tensor of shape (n_next, n_units)
        ``W``, what the ridge pulls to.
    damping : float

    Returns
    -------
    float64 tensor of shape (n_next, n_kept)
    """
    covariance, cross = _damped(fit, kept, weight, damping)
    return torch.cholesky_solve(cross, _factor(covariance)).t()


def eliminate(
    fit: DenseFit, kept: Tensor, weight: Tensor, damping: float, metric: Tensor, block: int = 1
) -> Tensor:
    """What each unit's going adds to the squared error, if units go one by one, cheapest first.

    With ``P`` the inverse of the damped covariance, ``θ`` the fit and ``M = θ G θᵀ``, the next unit
    to go is the one of the least ``tr(P_jj⁻¹ M_jj)``. Then ``θ ← θ − P_·j P_jj⁻¹ θ_j`` and
    ``P ← P − P_·j P_jj⁻¹ P_j·``. With n units, a column each, all n eliminations together take
    ``O(n³)``.

    Parameters
    ----------
    fit, weight, damping
        As in :func:`solve`.
    kept : bool tensor of shape (n_units,)
    metric : float64 tensor of shape (n_next, n_next)
        ``G``: the error of a change ``δz`` of the next layer's pre-activations is ``δzᵀ G δz``.
    block : int, default=1
        Number of columns of ``weight``, one after the other, that belong to each unit.

    Returns
    -------
    float64 tensor of shape (n_units,)
        Increasing in the order of the eliminations; zero for units that are not kept. A unit that
        is cheap only because another one went before shares the costs of both with it.
    """
    covariance, cross = _damped(fit, kept.repeat_interleave(block), weight, damping)
    inverse = torch.cholesky_inverse(_factor(covariance))
    theta = inverse @ cross
    left = _Left(torch.nonzero(kept).flatten(), inverse, theta @ metric @ theta.t(), block)
    sequence, costs = [], []
    while len(left.units):
        for _ in range(min(_BLOCK, len(left.units))):
            unit, cost = left.eliminate()
            sequence.append(unit)
            costs.append(cost)
        left.clean_up()
    scores = weight.new_zeros(len(kept))
    scores[sequence] = torch.from_numpy(increasing(np.array(costs))).to(scores)
    return scores


class _Left:
    """The units that are left, with ``P`` and ``M`` of the fit by them.

    The matrices themselves are brought up to date by ``clean_up`` alone, for many eliminations in
    one product: until then ``P − C Cᵀ`` and ``M − C Vᵀ − V Cᵀ + C S Cᵀ`` are meant, with a column
    of C and V for each column that went. Only the blocks on the diagonals are always up to date.
    """

    def __init__(self, units: Tensor, P: Tensor, M: Tensor, block: int):
        self.block = block
        self._begin(units, P, M)

    def _begin(self, units: Tensor, P: Tensor, M: Tensor) -> None:
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

    def clean_up(self) -> None:
        """Bring the matrices of the units that are left up to date."""
        columns = (~self.gone).repeat_interleave(self.block)
        past = slice(0, self.n_gone * self.block)
        C, V, CS = (matrix[columns, past] for matrix in (self.C, self.V, self.CS))
        crossed = C @ V.t()
        P = self.P[columns][:, columns] - C @ C.t()
        M = self.M[columns][:, columns] - crossed - crossed.t() + CS @ C.t()
        self._begin(self.units[~self.gone], P, M)


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


def _damped(fit: DenseFit, kept: Tensor, weight: Tensor, damping: float):
    """Covariance of the kept units and right-hand side, with the ridge in both."""
    covariance = fit.input_scatter[kept][:, kept] / fit.total_weight
    variance = covariance.diagonal()
    ridge = damping * variance.mean().clamp_min(torch.finfo(torch.float32).tiny)
    variance += ridge
    cross = fit.target_scatter[kept] / fit.total_weight + ridge * weight[:, kept].t()
    return covariance, cross


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
