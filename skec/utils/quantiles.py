"""Quantiles of the columns of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

_ROWS = 2**15  # rows that are enough for quantiles
_NUMBERS = 2**20  # in one block of columns
_ROUNDING = 1e-6  # of cumulated weights, relative to their sum


def weighted_quantiles(X: Any, levels: Sequence[float], sample_weight: Any = None) -> np.ndarray:
    """Quantiles of each column, as the smallest value up to which a share of the weights lies.

    Of more than 32,768 rows, as many are taken at equal distances.

    Parameters
    ----------
    X : array or CSR matrix of shape (n_samples, n_features)
    levels : sequence of float
        In [0, 1].
    sample_weight : array of shape (n_samples,), default=None
        Integer weights count as repeated rows.

    Returns
    -------
    float64 array of shape (n_levels, n_features)

    Examples
    --------
    >>> weighted_quantiles(np.array([[3.0], [1.0], [2.0]]), [0.0, 0.5, 1.0]).ravel()
    array([1., 2., 3.])
    >>> weighted_quantiles(np.array([[3.0], [1.0]]), [0.5], [1.0, 3.0]).ravel()
    array([1.])
    """
    n_rows, n_columns = X.shape
    if n_rows > _ROWS:
        rows = np.linspace(0, n_rows - 1, _ROWS).astype(np.intp)
        X, sample_weight = X[rows], None if sample_weight is None else sample_weight[rows]
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    X = X.tocsc() if issparse(X) else np.asarray(X)
    shares = np.asarray(levels, np.float64) - _ROUNDING
    width = max(1, _NUMBERS // X.shape[0])
    found = np.empty((len(shares), n_columns))
    for start in range(0, n_columns, width):
        columns = slice(start, start + width)
        block = X[:, columns].toarray() if issparse(X) else X[:, columns]
        found[:, columns] = _quantiles(block, shares, weights)
    return found


def _quantiles(X: np.ndarray, shares: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    if weights is None:
        places = np.clip(np.ceil(shares * len(X)).astype(np.intp) - 1, 0, len(X) - 1)
        return np.partition(X, np.unique(places), axis=0)[places]
    order = np.argsort(X, axis=0)
    cumulated = np.cumsum(weights[order], axis=0)
    reached = cumulated[None] >= shares[:, None, None] * cumulated[-1]
    return np.take_along_axis(X, np.take_along_axis(order, reached.argmax(1), 0), 0)
