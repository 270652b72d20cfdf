"""The kinds of estimators whose network :class:`skec.ECPruner` prunes.

Each file has the :class:`Adapter` of one kind. An estimator gets the first adapter that takes it.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from ._base import Adapter
from ._pruned_mlp import PrunedMLPAdapter
from ._sklearn import ScikitLearnAdapter
from ._skorch import KeepMasks, SkorchAdapter

ADAPTERS: list[type[Adapter]] = [PrunedMLPAdapter, ScikitLearnAdapter, SkorchAdapter]
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
    raise TypeError(
        f"estimator must be a PrunedMLPRegressor, a PrunedMLPClassifier, an MLPRegressor or "
        f"MLPClassifier of scikit-learn, or a skorch net; got {type(estimator).__name__}. For "
        f"another kind, write an Adapter and pass it to register_adapter."
    )


__all__ = [
    "ADAPTERS",
    "Adapter",
    "KeepMasks",
    "PrunedMLPAdapter",
    "ScikitLearnAdapter",
    "SkorchAdapter",
    "adapter_of",
    "register_adapter",
]
