"""The library's own estimators."""

from __future__ import annotations

from ...networks import MLP
from ..skorch_state import SkorchStateMixin
from ._base import Adapter, expected_mlp
from ._skorch import SkorchAdapter


class PrunedMLPAdapter(SkorchAdapter):
    """A ``PrunedMLPRegressor`` or ``PrunedMLPClassifier``."""

    features = Adapter.features  # it checks its data itself

    @staticmethod
    def takes(estimator) -> bool:
        return isinstance(estimator, SkorchStateMixin)

    def expected_network(self):
        if self.estimator.module is not MLP:
            return super().expected_network()
        return expected_mlp(self.estimator.hidden_layer_sizes)

    def fit(self, X, y, **fit_params) -> None:
        self.estimator.set_params(pruning_ratio=0.0, scope="auto", refit_strategy="none")
        super().fit(X, y, **fit_params)

    @property
    def network(self):
        return self.estimator.network_

    def calibration_data(self, X, y, sample_weight, **settings):
        return self.estimator.calibration_data(X, y, sample_weight, **settings)

    def install(self, result, dense, samples, pruning_ratio) -> None:
        self.estimator.install(result, dense, samples, pruning_ratio)

    def refit(self, X, y, masks, *, epochs, random_state=None, **fit_params) -> None:
        self.estimator.refit(X, y, epochs=epochs, **fit_params)

    def compact(self, masks):
        self.estimator.compact()
        return self.estimator.masks_
