"""The known kinds of estimators."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from sklearn.base import BaseEstimator
from torch import nn

from ._base import Adapter

ADAPTERS: list[type[Adapter]] = []  # the first that takes an estimator is used
_K = TypeVar("_K", bound=type[Adapter])


def register_adapter(kind: _K) -> _K:
    """Register a kind of estimators for :class:`skec.ECPruner`; also a class decorator.

    The adapter that was registered last has priority.

    Parameters
    ----------
    kind : Adapter class

    Raises
    ------
    TypeError
        If ``kind`` is not a subclass of :class:`Adapter`.
    """
    if not (inspect.isclass(kind) and issubclass(kind, Adapter)):
        raise TypeError(
            f"kind must be a subclass of skec.estimators.adapters.Adapter; got {kind!r}."
        )
    ADAPTERS.insert(0, kind)
    return kind


def adapter_of(estimator: Any) -> Adapter:
    """The adapter of an estimator.

    Raises
    ------
    TypeError
        If the estimator is of no known kind.

    Examples
    --------
    >>> from skec import PrunedMLPRegressor
    >>> type(adapter_of(PrunedMLPRegressor())).__name__
    'PrunedMLPAdapter'
    """
    for kind in ADAPTERS:
        if kind.takes(estimator):
            return kind(estimator)
    if inspect.isclass(estimator):
        got, hint = f"the class {estimator.__name__}", f"Pass an instance: {estimator.__name__}()."
    elif isinstance(estimator, nn.Module):
        got, hint = f"the module {type(estimator).__name__}", "Prune a module with skec.prune."
    elif isinstance(estimator, BaseEstimator):
        got = type(estimator).__name__
        hint = "For another kind, write an Adapter and pass it to register_adapter."
    else:
        got, hint = repr(estimator), "Pass an estimator, such as skec.PrunedMLPRegressor()."
    raise TypeError(
        f"estimator must be a PrunedMLPRegressor, a PrunedMLPClassifier, an MLPRegressor or "
        f"MLPClassifier of scikit-learn, a skorch net, or a Pipeline whose last step is one of "
        f"them; got {got}. {hint}"
    )
