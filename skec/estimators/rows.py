"""Selection of rows: merging, weights of zero and the validation split."""

from __future__ import annotations

from typing import Any

import numpy as np


def merge_equal_rows(
    X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Merge rows with equal features and targets, and add their weights.

    A weight of two is then the same as a repeated row, to the last bit, and the order of the rows
    does not matter. It is used for data that fit in one batch, where every step uses all rows.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    y : array of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array of shape (n_samples,) or None

    Returns
    -------
    X, y, sample_weight
        The distinct rows in lexicographic order; the weights are None if all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> X, y, weight = merge_equal_rows(np.array([[2.0], [1.0], [2.0]]), np.ones(3), None)
    >>> X.ravel(), weight
    (array([1., 2.]), array([1., 2.]))
    """
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    table = np.column_stack([X, y]).astype(np.float64)
    _, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    weight = np.bincount(inverse.reshape(-1), weight, minlength=len(first))
    return X[first], y[first], None if (weight == weight[0]).all() else weight


def drop_zero_weights(
    X: Any, y: Any, sample_weight: Any, *, keep_rows: bool = False
) -> tuple[Any, Any, Any]:
    """Remove samples of weight zero, unless all rows are to be kept.

    Raises
    ------
    ValueError
        If no sample has a positive weight, or one has a negative weight.
    """
    if sample_weight is None:
        return X, y, None
    if (sample_weight < 0).any():
        raise ValueError(
            f"sample_weight must not be negative; its minimum is {sample_weight.min()}."
        )
    positive = sample_weight > 0
    if not positive.any():
        raise ValueError("sample_weight is zero for every sample; give some a positive weight.")
    if keep_rows or positive.all():
        return X, y, sample_weight
    return X[positive], y[positive], sample_weight[positive]


def split_indices(
    n_samples: int,
    fraction: float,
    rng: np.random.RandomState,
    stratify: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and validation samples.

    Parameters
    ----------
    n_samples : int
    fraction : float
        Fraction of validation samples; there is at least one.
    rng : numpy.random.RandomState
    stratify : array of shape (n_samples,), default=None
        Class indices. Each class has about the same fraction of validation samples, and at least
        one training sample if possible.
    """
    n_valid = min(max(1, round(fraction * n_samples)), n_samples - 1)
    order = rng.permutation(n_samples)
    if stratify is not None:
        # position of each sample within its class, relative to the class's size
        shuffled = stratify[order]
        position = np.empty(n_samples)
        for label in np.unique(shuffled):
            members = np.flatnonzero(shuffled == label)
            position[members] = (np.arange(len(members)) + 0.5) / len(members)
            position[members[-1]] = 1.0  # one sample per class is the last choice
        order = order[np.argsort(position, kind="stable")]
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])
