"""Rounding errors of float64, bounded from above."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 2.0**-52  # twice the largest relative error of one operation
_TINY = 1e-290  # more than what underflow loses


def error_of_sum(n_terms: int) -> float:
    """The relative error of a sum of products, with respect to the sum of their absolute values.

    A sum of n products has an error of at most ``n u / (1 − n u)`` with ``u = EPS / 2``, in
    whatever order it is computed [1]_. The bound returned is about four times that for n + 8
    products. It also covers parameters with a relative error of a few ``u``, products of complex
    numbers, and the rounding of the margin itself.

    References
    ----------
    .. [1] Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, SIAM (2002),
       section 3.1.

    Examples
    --------
    >>> error_of_sum(100) < 1e-13
    True
    """
    return 2.0 * (n_terms + 8) * EPS


def up(number: float) -> float:
    """A non-negative number, made larger by the rounding errors of a few operations."""
    return number * (1.0 + 16.0 * EPS) + _TINY


def outward(lower: Tensor, upper: Tensor, margin: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """An interval, made wider by a margin and by the rounding errors of a few operations."""
    lower = lower - margin - 8.0 * EPS * (lower.abs() + margin) - _TINY
    upper = upper + margin + 8.0 * EPS * (upper.abs() + margin) + _TINY
    return lower, upper


def norm_above(values: Tensor) -> float:
    """An upper bound of the Euclidean norm of all numbers of a tensor.

    Examples
    --------
    >>> 5.0 <= norm_above(torch.tensor([3.0, 4.0])) < 5.0000001
    True
    """
    norm = float(torch.linalg.vector_norm(values.double()))
    return up(norm * (1.0 + error_of_sum(values.numel())))
