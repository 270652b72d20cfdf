"""The estimator of a pruner before the pruner is fitted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

from sklearn import get_config
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import process_routing

from .adapters import Adapter, adapter_of


def unfrozen(estimator: Any) -> Any:
    """The estimator inside a ``FrozenEstimator``, or the given one."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def parts_of(estimator: Any) -> list[Any]:
    """An estimator and the objects inside it that have parameters, such as steps and callbacks."""
    if inspect.isclass(estimator) or not hasattr(estimator, "get_params"):
        return []
    inside = estimator.get_params(deep=True).values()
    return [estimator, *(part for part in inside if hasattr(part, "get_params"))]


def is_prefit(pruner: Any) -> bool:
    """Whether the estimator of a pruner is fitted already."""
    return pruner.prefit or isinstance(pruner.estimator, FrozenEstimator)


def inner_has(method: str) -> Callable[[Any], bool]:
    """A check for ``available_if``: whether the estimator of a pruner has a method."""

    def check(pruner: Any) -> bool:
        fitted = hasattr(pruner, "estimator_")
        estimator = pruner.estimator_ if fitted else unfrozen(pruner.estimator)
        getattr(estimator, method)  # raises the AttributeError of the estimator itself
        return True

    return check


def check_estimator(pruner: Any, y: Any) -> Adapter:
    """Return an adapter of the given estimator; raise if it cannot be pruned or fine-tuned."""
    adapter = adapter_of(unfrozen(pruner.estimator))
    if is_prefit(pruner):
        adapter.check_is_fitted()
    elif y is None:
        raise ValueError(
            f"Fitting {type(adapter.estimator).__name__} requires y to be passed, but the "
            f"target y is None. Pass y, or a fitted estimator in a FrozenEstimator."
        )
    if pruner.refit_epochs and y is None:
        raise ValueError(
            f"refit_epochs={pruner.refit_epochs} needs y; got y=None. Pass y, or set "
            f"refit_epochs=0."
        )
    if pruner.refit_epochs:
        adapter.check_refit()
    return adapter


def takes_weights(pruner: Any) -> bool:
    """Whether a pruner can use sample weights; in the pruning alone it always can."""
    if is_prefit(pruner) and not pruner.refit_epochs:
        return True
    try:
        return adapter_of(unfrozen(pruner.estimator)).takes_weights
    except TypeError:  # fit says what is wrong with the estimator
        return True


class fit_with_weights:
    """Decorator of ``fit``: its signature names ``sample_weight`` only if the pruner takes weights.

    Meta-estimators of scikit-learn look into the signature to see whether they can pass weights.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function

        @wraps(function)
        def without_weights(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        signature = inspect.signature(function)
        shown = [p for name, p in signature.parameters.items() if name != "sample_weight"]
        vars(without_weights)["__signature__"] = signature.replace(parameters=shown)
        self.without_weights = without_weights

    def __get__(self, pruner: Any, owner: Any = None) -> Callable[..., Any]:
        if pruner is None:
            return self.function
        return MethodType(self.function if takes_weights(pruner) else self.without_weights, pruner)


def routed_fit_params(
    pruner: Any, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of the estimator's ``fit``, besides X and y."""
    if sample_weight is not None:
        if not takes_weights(pruner):
            raise ValueError(
                f"sample_weight was given, but {type(estimator).__name__}.fit does not take it. "
                f"Use PrunedMLPRegressor or PrunedMLPClassifier, or fit without weights."
            )
        fit_params = fit_params | {"sample_weight": sample_weight}
    if get_config()["enable_metadata_routing"]:
        return process_routing(pruner, "fit", **fit_params).estimator.fit
    return fit_params


def selects_columns(pruner: Any) -> bool:
    """Whether the pruner selects columns of X, so that they can be put back."""
    if pruner.output != "features":
        raise AttributeError(
            f"inverse_transform needs output='features'; got output={pruner.output!r}."
        )
    return True
