"""The loss of a classifier: of one class, or of several labels per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import loss_of_outputs
from .base import PrunedMLP

_LOSSES_OF_ONE_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)


class ClassLoss(PrunedMLP):
    """An estimator with a loss of classes."""

    label_smoothing: float
    _multilabel_ = False  # whether y is a matrix with a column of zeros and ones for each label

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """As in skorch; the default loss gets ``label_smoothing``."""
        params = super().get_params_for(prefix)
        if prefix == "criterion" and self.criterion is nn.CrossEntropyLoss:
            params = {"label_smoothing": self.label_smoothing} | params
        return params

    def initialize_criterion(self):
        """Create the loss; the default for several labels per sample is ``BCEWithLogitsLoss``."""
        if self._multilabel_ and self.criterion is nn.CrossEntropyLoss:
            self.criterion_ = nn.BCEWithLogitsLoss(**super().get_params_for("criterion"))
            return self
        super().initialize_criterion()
        if self._multilabel_ and isinstance(self.criterion_, _LOSSES_OF_ONE_CLASS):
            raise ValueError(
                f"criterion={type(self.criterion_).__name__} is the loss of one class per sample; "
                f"y has several labels per sample. Use torch.nn.BCEWithLogitsLoss, or leave "
                f"criterion out."
            )
        return self

    def _nonlinearity(self) -> Callable[[Any], Any]:
        nonlinearity = super()._nonlinearity()
        logits = isinstance(self.criterion_, nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss)
        if self._multilabel_ and logits and self.predict_nonlinearity == "auto":
            return torch.sigmoid  # skorch's is that of two classes and one logit
        return nonlinearity

    def _mismatch(self, shape: tuple[int, ...]) -> str:
        categorical = isinstance(self.criterion_, nn.CrossEntropyLoss | nn.NLLLoss)
        checked = categorical or self._multilabel_
        if not checked or (len(shape) >= 2 and shape[1] == self.n_outputs_):
            return ""
        kind = "labels" if self._multilabel_ else "classes"
        return f"it needs one output for each of the {self.n_outputs_} {kind}"

    def _network_targets(self, y: Any) -> Tensor:
        return y.to(getattr(torch, self._precision)) if self._multilabel_ else y.long()

    def _loss_arguments(self, outputs: Any, targets: Tensor) -> tuple[nn.Module, Any, Tensor]:
        return loss_of_outputs(self.criterion_, classifier=True), outputs, targets
