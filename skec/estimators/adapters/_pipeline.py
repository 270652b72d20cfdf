"""A pipeline whose last step has a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ...pruning import PruningReport, PruningResult
from ...utils import Samples
from ._base import Adapter, seed_estimator
from ._registry import adapter_of


class PipelineAdapter(Adapter):
    """A ``Pipeline`` whose last step is an estimator of another kind.

    The earlier steps are fitted as in ``Pipeline.fit``. They transform X for the last step.
    """

    reads_columns = False  # the network reads what the earlier steps return

    def __init__(self, estimator: Pipeline):
        super().__init__(estimator)
        self.name, last = estimator.steps[-1]
        self.last = adapter_of(last)

    @staticmethod
    def takes(estimator: Any) -> bool:
        return isinstance(estimator, Pipeline)

    @property
    def predictor(self) -> Any:
        return self.last.predictor

    @property
    def compares_as_torch(self) -> bool:
        return self.last.compares_as_torch

    @property
    def takes_weights(self) -> bool:
        return self.last.takes_weights

    # -- before the pruning -------------------------------------------------------------------

    def check_is_fitted(self) -> None:
        if len(self.estimator.steps) > 1:
            check_is_fitted(self.estimator[:-1])
        self.last.check_is_fitted()

    def check_refit(self) -> None:
        self.last.check_refit()

    def expected_network(self) -> nn.Module | None:
        return self.last.expected_network()

    def expected_loss(self, y: Any) -> nn.Module | None:
        return self.last.expected_loss(y)

    def calling_before_training(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        return self.last.calling_before_training(check)

    def features(self, owner: Any, X: Any, *, reset: bool) -> Any:
        """X for the pipeline in ``fit``, and for its last step after that."""
        X = super().features(owner, X, reset=reset)
        return X if reset else self._through(X)

    def _through(self, X: Any) -> Any:
        """X as the earlier steps transform it for the last step."""
        if len(self.estimator.steps) > 1:
            X = self.estimator[:-1].transform(X)
        return self.last.converted(X)

    def _divided(self, fit_params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of the earlier steps, and those of the last one without its name."""
        names = dict(self.estimator.steps[:-1])
        earlier = {k: v for k, v in fit_params.items() if k.partition("__")[0] in names}
        own = {k: v for k, v in fit_params.items() if k not in earlier}
        return earlier, {k.removeprefix(f"{self.name}__"): v for k, v in own.items()}

    def fit(self, X: Any, y: Any, *, random_state: Any = None, **fit_params: Any) -> None:
        """Fit all steps; parameters of earlier ones are given as ``step__parameter``."""
        pipeline = self.estimator
        earlier, own = self._divided(fit_params)
        if len(pipeline.steps) > 1:
            for _, step in pipeline.steps[:-1]:
                if hasattr(step, "get_params"):
                    seed_estimator(step, random_state)
            head = pipeline[:-1]
            X = head.fit_transform(X, y, **earlier)
            pipeline.steps = [*head.steps, pipeline.steps[-1]]  # those of a memory are copies
        self.last.fit(self.last.converted(X), y, random_state=random_state, **own)

    # -- the pruning --------------------------------------------------------------------------

    @property
    def network(self) -> nn.Module:
        return self.last.network

    @property
    def loss(self) -> nn.Module:
        return self.last.loss

    def calibration_data(self, X: Any, y: Any, sample_weight: Any, **settings: Any) -> Samples:
        return self.last.calibration_data(self._through(X), y, sample_weight, **settings)

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        self.last.install(result, dense, samples, pruning_ratio)

    def report(
        self, result: PruningResult, dense: nn.Module, samples: Samples, batch_size: int
    ) -> PruningReport:
        return self.last.report(result, dense, samples, batch_size)

    # -- after the pruning --------------------------------------------------------------------

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
        _, own = self._divided(fit_params)
        X = self._through(X)
        self.last.refit(X, y, masks, epochs=epochs, random_state=random_state, **own)

    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.last.compact(masks)

    def inputs_of(self, layer: str, X: Any) -> np.ndarray:
        return self.last.inputs_of(layer, X)
