"""The predictions of two networks for the same rows, and how much they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..networks import output_tensor
from ..pruning import PruningResult
from ..utils import check_choice, is_dask, is_stream

QUANTITIES = ("predictions", "labels", "probabilities")
NORMS = ("euclidean", "max")
_BLOCK = 1024  # rows of one forward pass


def changes(after: ArrayLike, before: ArrayLike, norm: str = "euclidean") -> np.ndarray:
    """How much each row of predictions has changed.

    Parameters
    ----------
    after, before : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Numbers; or labels, where a change is 1 and no change is 0.
    norm : {"euclidean", "max"}, default="euclidean"
        How the changes of several outputs are put together: the Euclidean norm, or the largest
        one. Several labels of a row have changed if one of them has.

    Returns
    -------
    array of shape (n_rows,)
        float64, in the units of the predictions.

    Raises
    ------
    ValueError
        If the shapes differ, or a number is not finite.

    Examples
    --------
    >>> changes([[3.0, 4.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]])
    array([5., 1.])
    >>> changes(["a", "b"], ["a", "c"])
    array([0., 1.])
    """
    check_choice("norm", norm, NORMS)
    first, second = np.asarray(after), np.asarray(before)
    if first.shape != second.shape:
        raise ValueError(
            f"The networks predict arrays of different shapes, {first.shape} and {second.shape}. "
            f"Compare networks with the same outputs."
        )
    if first.dtype.kind in "fc" or second.dtype.kind in "fc":
        for name, part in (("pruned", first), ("dense", second)):
            if not np.isfinite(part).all():
                rows = np.flatnonzero(~np.isfinite(part.reshape(len(part), -1)).all(axis=1))
                raise ValueError(
                    f"The {name} network predicts nan or infinity for {len(rows)} rows, the first "
                    f"is row {rows[0]}. Its change has no size there; correct the network."
                )
        difference = np.abs(first.astype(np.float64) - second).reshape(len(first), -1)
        if norm == "max":
            return difference.max(axis=1)
        return np.linalg.norm(difference, axis=1)
    return (first != second).reshape(len(first), -1).any(axis=1).astype(np.float64)


def check_rows_given(X: Any) -> int:
    """Raise unless X is an array, a tensor, a sparse matrix or a frame; returns the rows."""
    if is_stream(X) or is_dask(X) or (isinstance(X, torch.utils.data.Dataset)):
        raise TypeError(
            f"X must be an array, a tensor, a sparse matrix or a frame, because two networks "
            f"predict for the same rows in the same order; got a {type(X).__name__}. Pass the "
            f"features of the rows as one array."
        )
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if not n_rows:
        raise ValueError("X has no rows. Pass rows that were not used to make the networks.")
    return int(n_rows)


def unwrapped(subject: Any) -> Any:
    """The module of a pruning result, or what is given."""
    return subject.module if isinstance(subject, PruningResult) else subject


def check_pair(pruned: Any, dense: Any) -> str:
    """Raise unless two networks can be compared; returns what they are.

    Returns
    -------
    {"module", "classifier", "regressor"}
    """
    kinds = [_kind(name, each) for name, each in (("pruned", pruned), ("dense", dense))]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"pruned is a {kinds[0]}, a {type(pruned).__name__}, and dense is a {kinds[1]}, a "
            f"{type(dense).__name__}. Compare two modules, two classifiers or two regressors; "
            f"from_network makes an estimator of a module."
        )
    if kinds[0] == "module":
        return "module"
    for subject in (pruned, dense):
        check_is_fitted(subject)
    columns = [getattr(each, "n_features_in_", None) for each in (pruned, dense)]
    if None not in columns and columns[0] != columns[1]:
        raise ValueError(
            f"pruned takes {columns[0]} features and dense takes {columns[1]}. Compare networks "
            f"with the same inputs."
        )
    if kinds[0] == "classifier":
        own, others = (np.asarray(each.classes_) for each in (pruned, dense))
        if not np.array_equal(own, others):
            raise ValueError(
                f"pruned has the classes {own} and dense has {others}. Compare "
                f"classifiers with the same classes."
            )
    return kinds[0]


def answers(subject: Any, X: Any, of: str) -> np.ndarray:
    """What a network answers for rows.

    Parameters
    ----------
    subject : torch.nn.Module or estimator
    X : array-like of shape (n_rows, n_features)
    of : {"predictions", "labels", "probabilities"}
        The label of a module is the number of its largest output, or whether its only output is
        positive.

    Returns
    -------
    array with n_rows rows
    """
    if isinstance(subject, nn.Module):
        outputs = _outputs(subject, X)
        if of != "labels":
            return outputs
        if np.isnan(outputs).any():
            raise ValueError("The outputs of a network contain nan, which has no label.")
        return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)
    found = np.asarray(subject.predict_proba(X) if of == "probabilities" else subject.predict(X))
    if of == "predictions" and found.ndim == 2 and found.shape[1] == 1:
        return found[:, 0]
    return found


def _kind(name: str, subject: Any) -> str:
    if isinstance(subject, nn.Module):
        return "module"
    if not hasattr(subject, "predict"):
        raise TypeError(
            f"{name} must be a fitted estimator, a torch module or a PruningResult; got a "
            f"{type(subject).__name__}."
        )
    return "classifier" if is_classifier(subject) else "regressor"


def _outputs(module: nn.Module, X: Any) -> np.ndarray:
    """The outputs of a module, float64 of shape (n_rows, n_outputs); its mode is kept."""
    some = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    modes = [(part, part.training) for part in module.modules()]
    rows = X.tocsr() if issparse(X) else X if isinstance(X, torch.Tensor) else np.asarray(X)
    found = []
    module.eval()
    try:
        with torch.no_grad():
            for start in range(0, rows.shape[0], _BLOCK):
                block: Any = rows[start : start + _BLOCK]
                block = torch.as_tensor(block.toarray() if issparse(block) else block)
                if block.is_floating_point() or not isinstance(X, torch.Tensor):
                    block = block.to(some.dtype)
                block = block.to(some.device).clone()  # a forward may write into its input
                found.append(output_tensor(module(block), len(block)).double().cpu().numpy())
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"A {type(module).__name__} does not take X of shape {tuple(rows.shape)}: {error}. "
            f"Pass rows with the inputs of both networks."
        ) from error
    finally:
        for part, mode in modes:
            part.training = mode
    return np.concatenate(found)
