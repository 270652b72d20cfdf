"""Targets: missing values, dates, labels, matrices of labels, and weights of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d
from torch import Tensor


def check_not_missing(y: Any) -> None:
    """Raise if ``None``, ``NaT``, ``pandas.NA`` or NaN is among the targets."""
    if y is None or issparse(y) or isinstance(y, Tensor):
        return
    if hasattr(y, "isna"):  # pandas
        missing = np.asarray(y.isna())
        values = np.asarray(y)
    else:
        values = np.asarray(y)
        if values.dtype.kind == "O":
            missing = np.asarray(np.frompyfunc(_is_missing, 1, 1)(values), bool)
        elif values.dtype.kind in "Mm":
            missing = np.isnat(values)
        else:
            return  # scikit-learn's check finds NaN in numbers
    if missing.any():
        place = tuple(np.argwhere(missing)[0])
        raise ValueError(
            f"y contains NaN or another missing value: {values[place]!r} in row {place[0]}. Remove "
            f"such samples, or fill in their targets."
        )


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas.NA is neither true nor false
        return True
    except ValueError:  # an array
        return False


def check_numbers(y: Any) -> np.ndarray:
    """Targets of a regressor as float64; a single column in one dimension, with a warning."""
    y = np.asarray(y)
    try:
        numbers = None if y.dtype.kind in "Mm" else y.astype(np.float64)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise ValueError(
            f"y must be numbers for a regressor; got values like {y.ravel()[0]!r}. Use "
            f"PrunedMLPClassifier for labels."
        )
    one_column = numbers.ndim == 2 and numbers.shape[1] == 1
    return column_or_1d(numbers, warn=True) if one_column else numbers


def is_indicator(y: Any) -> bool:
    """Whether targets are a matrix of labels: several columns with two values."""
    columns = y.ndim == 2 and y.shape[1] > 1
    return columns and type_of_target(y, input_name="y") == "multilabel-indicator"


def check_indicator(y: Any, n_labels: int | None = None, classes: Any = None) -> np.ndarray:
    """A matrix of labels as int8 of shape (n_samples, n_labels).

    Parameters
    ----------
    y : array or sparse matrix of shape (n_samples, n_labels)
    n_labels : int, default=None
        The number of labels that a fitted estimator knows.
    classes : array-like, default=None
        As in ``partial_fit``; they can only be the numbers of the columns.
    """
    numbers = y.data if issparse(y) else np.asarray(y)
    values = np.unique(numbers)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"y has several columns, so it must hold zeros and ones, one column for each label; "
            f"got the values {values[:5]}. Use MultiOutputClassifier for several classes in each "
            f"column."
        )
    if n_labels not in (None, y.shape[1]):
        raise ValueError(
            f"y has {y.shape[1]} labels, but this estimator was fitted with {n_labels}. Call fit "
            f"for other targets."
        )
    if classes is not None and not np.array_equal(classes, np.arange(y.shape[1])):
        raise ValueError(
            f"classes={classes!r} are not the columns of y, which are the labels 0 to "
            f"{y.shape[1] - 1}. Leave classes out."
        )
    return (y.toarray() if issparse(y) else np.asarray(y)).astype(np.int8)


def check_labels(y: Any) -> np.ndarray:
    """Labels in one dimension."""
    if issparse(y):
        raise TypeError(
            "Sparse y must have zeros and ones in several columns, one for each label; got "
            f"shape {y.shape}. Pass one class per sample as a dense array, y.toarray().ravel()."
        )
    y = column_or_1d(y, warn=True)
    others = [] if y.dtype.kind != "O" else [label for label in y if not isinstance(label, str)]
    if others:  # metrics of scikit-learn do not take them
        raise ValueError(
            f"Unknown label type: y is an array of objects with labels that are not strings, such "
            f"as {others[0]!r}. Convert it, for instance with y.astype(int) or y.astype(str)."
        )
    check_classification_targets(y)
    return y


def with_class_weight(
    class_weight: dict[Any, float] | str | None,
    classes: np.ndarray,
    y: np.ndarray,
    sample_weight: Any,
) -> Any:
    """Sample weights times class weights; None if there are neither.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : array of shape (n_classes,)
    y : int array of shape (n_samples,)
        Indices of classes.
    sample_weight : array of shape (n_samples,) or None
    """
    if class_weight is None:
        return sample_weight
    labels = classes[y]
    if isinstance(class_weight, dict):
        bad = [w for w in class_weight.values() if not (np.isfinite(w) and w >= 0)]
        if bad or not any(class_weight.get(label, 1) for label in np.unique(labels)):
            raise ValueError(
                f"class_weight must map classes to non-negative numbers that are not all zero; "
                f"got {class_weight}."
            )
    if class_weight == "balanced" and sample_weight is not None:
        # class frequencies are sums of sample weights
        totals = np.bincount(y, sample_weight, minlength=len(classes))
        present = totals > 0
        by_class = np.zeros(len(totals))
        by_class[present] = totals.sum() / (present.sum() * totals[present])
        return by_class[y] * sample_weight
    by_class = compute_sample_weight(class_weight, labels)
    return by_class if sample_weight is None else by_class * sample_weight
