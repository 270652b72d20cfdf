"""The estimators of this library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...networks import MLP
from ...pruning import PruningReport, PruningResult
from ...utils import Samples
from ..skorch_state import SkorchEstimator
from ._base import Adapter, expected_mlp
from ._skorch import SkorchAdapter


class PrunedMLPAdapter(SkorchAdapter):
    """A ``PrunedMLPRegressor`` or ``PrunedMLPClassifier``."""

    accepts_sparse = ("csr", "csc", "coo")
    features = Adapter.features  # the estimator checks its data
    converted = Adapter.converted
    compares_as_torch = Adapter.compares_as_torch

    @staticmethod
    def takes(estimator: Any) -> bool:
        return isinstance(estimator, SkorchEstimator)

    def expected_network(self) -> nn.Module | None:
        if self.estimator.module is not MLP:
            return super().expected_network()
        return expected_mlp(self.estimator.hidden_layer_sizes)

    def fit(self, X: Any, y: Any, *, random_state: Any = None, **fit_params: Any) -> None:
        vars(self.estimator)["_stays_dense"] = True
        try:
            Adapter.fit(self, X, y, random_state=random_state, **fit_params)
        finally:
            del self.estimator._stays_dense

    @property
    def network(self) -> nn.Module:
        return self.estimator.network_

    def calibration_data(self, X: Any, y: Any, sample_weight: Any, **settings: Any) -> Samples:
        return self.estimator.calibration_data(X, y, sample_weight, **settings)

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        self.estimator.install(result, dense, samples, pruning_ratio)

    def report(self, result: PruningResult, *args: Any) -> PruningReport:
        return self.estimator.pruning_report_  # from install

    def refit(
        self,
        X: Any,
        y: Any,
        masks: Mapping[str, Tensor],
        *,
        epochs: int,
        random_state: Any = None,
        **fit_params: Any,
    ) -> None:
        self.estimator.refit(X, y, epochs=epochs, **fit_params)

    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.estimator.compact()
        return self.estimator.masks_
