"""The columns that ``ECPruner.transform`` returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..networks import Support, layer_of
from .adapters import Adapter

OUTPUTS = ("hidden", "output", "features")


@dataclass(frozen=True)
class Representation:
    """Hidden units, outputs or inputs of a pruned network, as columns of a table.

    Attributes
    ----------
    output : {"hidden", "output", "features"}
        The units of the last hidden layer that are used, the network's outputs, or the columns of
        X that are used.
    support : Support
    adapter : Adapter
        Of the pruned estimator.
    n_features : int
        Number of columns of X.
    """

    output: str
    support: Support
    adapter: Adapter
    n_features: int

    def check(self) -> None:
        """Raise if the network has no such columns."""
        if self.output not in OUTPUTS:
            raise ValueError(
                f"output={self.output!r} is unknown. Choose one of 'hidden', 'output', 'features'."
            )
        if self.output == "hidden" and self.support.ends_in_convolution:
            raise ValueError(
                f"output='hidden' needs a network whose last layer is linear; its last layer "
                f"{self.support.order[-1]!r} is a convolution. Use output='output'."
            )
        if self.output == "features":
            self.check_columns()

    def check_columns(self) -> None:
        """Raise unless the first layer reads the columns of X."""
        if not self.adapter.reads_columns:
            raise ValueError(
                "output='features' and get_support need a network that reads the columns of X; "
                "in this pipeline it reads what the earlier steps return. Use output='hidden', or "
                "make the pruner the last step of a pipeline: make_pipeline(..., ECPruner(net))."
            )
        first, n_columns = self.support.order[0], len(self.support.features)
        if self.support.begins_with_convolution:
            raise ValueError(
                f"output='features' and get_support need a network whose first layer reads the "
                f"input columns; its first layer {first!r} is a convolution."
            )
        if n_columns != self.n_features:
            raise ValueError(
                f"output='features' needs a network whose first layer reads the input columns; "
                f"its first layer {first!r} reads {n_columns} values, and X has {self.n_features} "
                f"columns. Use output='hidden'."
            )

    def of(self, X: Any) -> np.ndarray:
        """The hidden units or the outputs for X; X is checked already."""
        if self.output == "hidden":
            return self.adapter.inputs_of(self.support.order[-1], X)[:, self.support.hidden]
        net = self.adapter.predictor
        outputs = net.predict_proba(X) if hasattr(net, "predict_proba") else net.predict(X)
        return outputs.reshape(len(outputs), -1)

    def names(self, classes: Iterable[Any] | None) -> np.ndarray:
        """Names of the hidden units or the outputs."""
        if self.output == "hidden":
            names = [f"hidden_{unit}" for unit in self.support.hidden_units]
        else:
            layer = layer_of(self.adapter.network, self.support.order[-1])
            labels = range(len(layer.weight)) if classes is None else classes
            names = [f"output_{label}" for label in labels]
        return np.asarray(names, dtype=object)
