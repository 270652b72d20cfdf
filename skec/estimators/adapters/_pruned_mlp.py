"""The library's own estimators."""

from __future__ import annotations

import copy

from ...networks.mlp import MLP
from ..lifecycle import PrunedMLPMixin
from ._base import Adapter, expected_mlp
from ._skorch import SkorchAdapter


class PrunedMLPAdapter(SkorchAdapter):
    """A ``PrunedMLPRegressor`` or ``PrunedMLPClassifier``, which is trained dense."""

    features = Adapter.features  # it checks its data itself

    @staticmethod
    def takes(estimator) -> bool:
        return isinstance(estimator, PrunedMLPMixin)

    def expected_network(self):
        if self.estimator.module is not MLP:
            return super().expected_network()
        return expected_mlp(self.estimator.hidden_layer_sizes)

    def fit(self, X, y, **fit_params) -> None:
        self.estimator.set_params(pruning_ratio=0.0, scope="auto", refit_strategy="none")
        super().fit(X, y, **fit_params)

    @property
    def loss(self):
        return self.estimator._pruning_loss()

    def calibration_data(self, X, y, sample_weight, **settings):
        return self.estimator.calibration_data(X, y, sample_weight, **settings)

    def install(self, result, data, ratio) -> None:
        net = self.estimator
        net.dense_module_ = copy.deepcopy(self.network)
        net._calibration_ = data
        net._install(result, ratio)

    def refit(self, X, y, masks, *, epochs, random_state=None, **fit_params) -> None:
        self.estimator.refit(X, y, epochs=epochs, **fit_params)

    def compact(self, masks):
        self.estimator.compact()
        return self.estimator.masks_
