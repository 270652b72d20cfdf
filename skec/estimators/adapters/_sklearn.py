"""scikit-learn's own multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_random_state, gen_batches, indexable
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor, nn

from ...calibration import samples_of_arrays
from ...networks import (
    LOSSES_BY_ACTIVATION,
    MLP,
    LinearLayers,
    compact,
    feature_mask,
    network_of,
    set_coefs,
)
from ...pruning import PruningResult
from ...training import MaskedWeights
from ...utils import Samples, private
from ._base import Adapter, expected_mlp

_PREDICTION_ROWS = 1024  # rows of one forward pass


class ScikitLearnAdapter(Adapter):
    """An ``MLPRegressor`` or ``MLPClassifier``.

    Its network is a torch module made from ``coefs_`` and ``intercepts_``, which are replaced by
    the parameters of the pruned module. Fine-tuning uses the public ``partial_fit``.
    """

    accepts_sparse = ("csr", "csc")

    @staticmethod
    def takes(estimator: Any) -> bool:
        return isinstance(estimator, MLPRegressor | MLPClassifier)

    def check_is_fitted(self) -> None:
        check_is_fitted(self.estimator)

    def check_refit(self) -> None:
        if self.estimator.solver == "lbfgs":
            raise ValueError(
                f"refit_epochs needs an estimator with partial_fit; {type(self.estimator).__name__}"
                f" has none with solver={self.estimator.solver!r}. Use solver='adam' or 'sgd', or "
                f"set refit_epochs=0."
            )

    def expected_network(self) -> MLP:
        return expected_mlp(self.estimator.hidden_layer_sizes)

    def expected_loss(self, y: Any) -> nn.Module:
        mlp = self.estimator
        if not is_classifier(mlp):
            poisson = getattr(mlp, "loss", "squared_error") == "poisson"
            return LOSSES_BY_ACTIVATION["exp" if poisson else "identity"]()
        several = type_of_target(y) == "multiclass"
        return LOSSES_BY_ACTIVATION["softmax" if several else "logistic"]()

    @property
    def network(self) -> MLP:
        return network_of(self.estimator)

    @property
    def loss(self) -> nn.Module:
        return LOSSES_BY_ACTIVATION[self.estimator.out_activation_]()

    # -- data ---------------------------------------------------------------------------------

    def calibration_data(
        self, X: Any, y: Any, sample_weight: Any, *, n_samples: int | None, random_state: Any
    ) -> Samples:
        X = self._checked(X)
        y = None if y is None else self._targets(y)
        if sample_weight is not None:
            sample_weight = private.check_sample_weight(sample_weight, X)
        check_consistent_length(X, y)
        order = check_random_state(random_state).permutation(X.shape[0])
        rows = np.sort(order[:n_samples])
        return samples_of_arrays(
            self.network,
            _dense(X[rows]),
            None if y is None else y[rows],
            None if sample_weight is None else sample_weight[rows],
        )

    def _checked(self, X: Any) -> Any:
        """X as an array or a CSR matrix; raises as ``predict`` does."""
        return validate_data(
            self.estimator, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32]
        )

    def _targets(self, y: Any) -> np.ndarray:
        """Targets of the loss: numbers, class indices, or zeros and ones."""
        mlp, y = self.estimator, _plain(y)
        if not is_classifier(mlp):
            return y.astype(np.float64)
        if y.ndim == 2:  # multilabel
            return _dense(y).astype(np.float64)
        unknown = np.setdiff1d(y, mlp.classes_)
        if len(unknown):
            raise ValueError(
                f"y has labels {unknown[:5]} that are not among the classes {mlp.classes_} of "
                f"the estimator. Remove those samples, or fit the estimator to all classes."
            )
        indices = np.searchsorted(mlp.classes_, y)
        return indices.astype(np.float64) if mlp.n_outputs_ == 1 else indices

    # -- after the pruning --------------------------------------------------------------------

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        self._set_network(result.module)

    def _set_network(self, module: nn.Module) -> None:
        set_coefs(self.estimator, LinearLayers(module))

    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Remove hidden units; ``coefs_`` keep a row for each column of X."""
        module, masks = compact(self.network, masks)
        columns = feature_mask(module)
        if "hidden_0" in masks and masks["hidden_0"].shape[1] != len(columns):
            whole = torch.zeros(len(masks["hidden_0"]), len(columns), dtype=torch.bool)
            whole[:, columns] = masks["hidden_0"]
            masks["hidden_0"] = whole
        self._set_network(module)
        self.estimator.hidden_layer_sizes = tuple(map(len, self.estimator.coefs_[1:]))
        return masks

    @torch.no_grad()
    def inputs_of(self, layer: str, X: Any) -> np.ndarray:
        X, network = self._checked(X), self.network
        *before, _ = network
        dtype = next(network.parameters()).dtype
        batches = [
            torch.tensor(_dense(X[rows]), dtype=dtype)
            for rows in gen_batches(X.shape[0], _PREDICTION_ROWS)
        ]
        return torch.cat([nn.Sequential(*before)(batch) for batch in batches]).numpy()

    # -- training -----------------------------------------------------------------------------

    def refit(
        self,
        X: Any,
        y: Any,
        masks: Mapping[str, Tensor],
        *,
        epochs: int,
        random_state: Any = None,
        sample_weight: Any = None,
    ) -> None:
        """Fine-tune in batches. Each is one step of the solver, followed by the masks."""
        mlp = self.estimator
        if not hasattr(mlp, "loss_curve_"):
            raise ValueError(
                f"refit_epochs needs an estimator that was fitted with solver='adam' or 'sgd'; "
                f"this {type(mlp).__name__} was fitted with 'lbfgs', and scikit-learn cannot "
                f"continue with another solver. Fit it again, or set refit_epochs=0."
            )
        (X,), y = indexable(X), _plain(y)
        weights = None if sample_weight is None else private.check_sample_weight(sample_weight, X)
        rows = np.arange(len(y)) if weights is None else np.flatnonzero(weights)
        rng = check_random_state(mlp.random_state if random_state is None else random_state)
        batch_size = min(200 if mlp.batch_size == "auto" else mlp.batch_size, len(rows))
        shuffle = mlp.shuffle
        n_iter, curve, losses = mlp.n_iter_, list(mlp.loss_curve_), []
        with _one_step_each(mlp):
            for _ in range(epochs):
                order = rng.permutation(rows) if shuffle else rows
                total = 0.0
                for batch in gen_batches(len(order), batch_size):
                    total += self._step(X, y, weights, order[batch], masks)
                losses.append(total / len(order))
        mlp.n_iter_, mlp.loss_curve_, mlp.loss_ = n_iter + epochs, curve + losses, losses[-1]
        if mlp.best_loss_ is not None:
            mlp.best_loss_ = min(losses)

    def _step(
        self, X: Any, y: Any, weights: Any, rows: np.ndarray, masks: Mapping[str, Tensor]
    ) -> float:
        """One step of the solver on some rows; returns their summed loss."""
        mlp = self.estimator
        mlp.batch_size = len(rows)
        weight = {} if weights is None else {"sample_weight": weights[rows]}
        mlp.partial_fit(private.take_rows(X, rows), private.take_rows(y, rows), **weight)
        self._masked_weights(masks).apply()
        return mlp.loss_ * len(rows)

    def _masked_weights(self, masks: Mapping[str, Tensor]) -> MaskedWeights:
        """The masked weights; their tensors share the memory of ``coefs_``."""
        coefs = self.estimator.coefs_
        names = [f"hidden_{i}" for i in range(len(coefs) - 1)] + ["output"]
        tensors = {
            name: torch.from_numpy(coef).t() for name, coef in zip(names, coefs, strict=True)
        }
        return MaskedWeights([(tensors[name], mask) for name, mask in masks.items()])


@contextmanager
def _one_step_each(mlp: Any) -> Iterator[None]:
    """Set parameters with which a ``partial_fit`` of one batch is one step of the solver.

    A batch may then lack classes, is not shuffled, and does not count for early stopping.
    """
    settings = {
        "early_stopping": False,
        "n_iter_no_change": np.inf,
        "shuffle": False,
        "batch_size": mlp.batch_size,
        "verbose": False,
        "warm_start": False,
    }
    before = {name: getattr(mlp, name) for name in settings}
    best_loss = mlp.best_loss_
    vars(mlp).update(settings, best_loss_=np.inf)
    try:
        yield
    finally:
        vars(mlp).update(before, best_loss_=best_loss)


def _plain(y: Any) -> Any:
    """Targets as an array or a sparse matrix; a single column in one dimension."""
    y = y.tocsr() if issparse(y) else np.asarray(y)
    return y.ravel() if y.ndim == 2 and y.shape[1] == 1 and not issparse(y) else y


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if issparse(values) else values
