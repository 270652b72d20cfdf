"""Kinds of estimators whose network :class:`skec.ECPruner` prunes.

One kind per file; each is an :class:`Adapter`. The first one that takes an estimator has it.
"""

from __future__ import annotations

from ._base import Adapter
from ._pruned_mlp import PrunedMLPAdapter
from ._sklearn import ScikitLearnAdapter
from ._skorch import KeepMasks, SkorchAdapter

ADAPTERS: tuple[type[Adapter], ...] = (PrunedMLPAdapter, ScikitLearnAdapter, SkorchAdapter)


def adapter_of(estimator) -> Adapter:
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
        f"MLPClassifier of scikit-learn, or a skorch net; got {type(estimator).__name__}."
    )


__all__ = [
    "ADAPTERS",
    "Adapter",
    "KeepMasks",
    "PrunedMLPAdapter",
    "ScikitLearnAdapter",
    "SkorchAdapter",
    "adapter_of",
]
