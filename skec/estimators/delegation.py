"""What a pruner leaves to its estimator: predictions, scores, tags and metadata."""

from __future__ import annotations

from inspect import isclass
from typing import Any

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .adapters import Adapter, adapter_of
from .blockwise import by_blocks, check_in_memory
from .inner import inner_has, unfrozen


class Delegation:
    """Predicts with the pruned estimator; the base class of :class:`skec.ECPruner`."""

    estimator: Any
    estimator_: Any

    @property
    def _adapter(self) -> Adapter:
        """The pruned estimator in its adapter."""
        return adapter_of(self.estimator_)

    @by_blocks
    def _predict(self, X: Any, method: str) -> Any:
        return self._call(method, X)

    def _call(self, method: str, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the pruned estimator with X in the form that it takes."""
        check_is_fitted(self)
        check_in_memory(method, X, *args, *kwargs.values())
        adapter = self._adapter
        X = adapter.features(self, X, reset=False)
        return getattr(adapter.predictor, method)(X, *args, **kwargs)

    @available_if(inner_has("predict"))
    def predict(self, X: Any) -> np.ndarray:
        """Predict with the pruned estimator."""
        return self._predict(X, "predict")

    @available_if(inner_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities with the pruned estimator."""
        return self._predict(X, "predict_proba")

    @available_if(inner_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of probabilities with the pruned estimator."""
        return self._predict(X, "predict_log_proba")

    @available_if(inner_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Decision function of the pruned estimator."""
        return self._predict(X, "decision_function")

    @available_if(inner_has("score"))
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score the pruned estimator."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._call("score", X, y, **weights)

    @property
    def classes_(self) -> np.ndarray:
        """Class labels of a classifier."""
        if not hasattr(self, "estimator_"):
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        return self.estimator_.classes_

    def get_metadata_routing(self) -> MetadataRouter:
        """Route ``fit`` parameters to the estimator."""
        return MetadataRouter(owner=type(self).__name__).add(
            estimator=unfrozen(self.estimator),
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        estimator = unfrozen(self.estimator)
        if isclass(estimator) or not hasattr(estimator, "__sklearn_tags__"):
            return tags  # fit says what is wrong with the estimator
        inner = get_tags(estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.target_tags = inner.target_tags
        tags.input_tags = inner.input_tags
        tags.transformer_tags.preserves_dtype = []
        return tags
