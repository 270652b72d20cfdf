"""The estimator of a pruner before the pruner is fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import has_fit_parameter

from .adapters import Adapter, adapter_of


def unfrozen(estimator: Any) -> Any:
    """The estimator inside a ``FrozenEstimator``, or the given one."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


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


def seed(estimator: Any, random_state: Any) -> None:
    """Set the random state of an estimator if it is None and that of the pruner is not."""
    if random_state is not None and estimator.get_params().get("random_state", 0) is None:
        drawn = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        estimator.set_params(random_state=int(drawn))


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


def routed_fit_params(
    pruner: Any, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of the estimator's ``fit``, besides X and y."""
    if sample_weight is not None:
        trained = pruner.refit_epochs or not is_prefit(pruner)
        if trained and not has_fit_parameter(estimator, "sample_weight"):
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
