"""Rows that were used before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def equal_rows(X: ArrayLike, earlier: ArrayLike) -> np.ndarray:
    """Which rows are equal to one of the earlier rows, number by number.

    Parameters
    ----------
    X : array-like of shape (n_rows, ...)
    earlier : array-like of shape (n_earlier, ...)

    Returns
    -------
    bool array of shape (n_rows,)

    Examples
    --------
    >>> equal_rows([[1.0, 2.0], [3.0, 4.0]], [[3.0, 4.0]])
    array([False,  True])
    """
    known = set(_contents(earlier))
    return np.array([content in known for content in _contents(X)], bool)


def _contents(X: ArrayLike) -> list[bytes]:
    rows = np.asarray(X)
    rows = rows.reshape(len(rows), -1) + 0.0  # minus zero is zero
    return [row.tobytes() for row in rows]


def check_new_rows(X: Any, *subjects: Any) -> None:
    """Raise if rows were used by the fit of an estimator that keeps some of its rows.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    *subjects : estimators
        Those of this library keep rows. They are also found in a pipeline, a search or a pruner.
    """
    for subject in subjects:
        used = _used(subject, X)
        if used is not None and used.any():
            rows = np.flatnonzero(used)
            raise ValueError(
                f"{len(rows)} of the {len(used)} rows of X are equal to rows that the "
                f"{type(subject).__name__} was fitted to, the first is row {rows[0]}. A "
                f"certificate needs new rows: split them off before fit. If new rows may well be "
                f"equal to old ones, as with a few categories, pass check_rows=False."
            )


def _used(subject: Any, X: Any) -> np.ndarray | None:
    """Which rows the fit used, as far as can be seen; None if nothing can be seen."""
    if hasattr(subject, "_rows_used_in_fit"):
        return subject._rows_used_in_fit(X)
    if hasattr(subject, "steps"):  # a pipeline
        earlier, last = subject[:-1], subject[-1]
        return _used(last, earlier.transform(X) if len(subject.steps) > 1 else X)
    for name in ("best_estimator_", "estimator_"):
        if hasattr(subject, name):
            return _used(getattr(subject, name), X)
    return None
