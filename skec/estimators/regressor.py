"""The regressor."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from skorch import NeuralNetRegressor
from torch import Tensor

from ..networks import MLP
from ..training import AdamW
from .base import AUTO, PrunedMLP
from .documentation import documented
from .state_files import ModuleWithScale
from .target_scale import TargetScale

_DECAY_PER_NOISE = 1500.0  # chosen on validation data, see the page on defaults
_EARLY = 0.6  # part of the dense epochs


@documented(
    own_parameters="normalize_y : bool\n"
    "    Whether targets are standardised inside; predictions are in the units of y.",
    **AUTO,
)
class PrunedMLPRegressor(PrunedMLP, NeuralNetRegressor):
    """Multi-layer perceptron regressor that is trained, pruned and trained on.

    ``fit`` trains a dense network, removes the weights that matter least while the biases make up
    for them, and trains on what is left. Scale the features, for instance with ``StandardScaler``.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    y_mean_, y_scale_ : array of shape (n_outputs,)
        Mean and standard deviation of the targets; the latter is zero for a constant target.

    See Also
    --------
    PrunedMLPClassifier : The same for classes.
    skec.ECPruner : Prunes the network of another estimator.
    skec.prune : Prunes any torch module.

    References
    ----------
    .. [1] Ballini, Muscarnera, Fumagalli, Scotti, Regazzoni, "Elimination-compensation pruning
       for fully-connected neural networks", arXiv:2602.20467 (2026).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skec import PrunedMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(
    ...     StandardScaler(),
    ...     PrunedMLPRegressor((32,), max_epochs=20, pruning_ratio=0.75, random_state=0),
    ... )
    >>> net = model.fit(X, y)[-1]
    >>> net.sparsity_, net.n_parameters_
    (0.75, 385)
    >>> bool(model.score(X, y) > 0.4)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes=(128, 128, 128),
        *,
        activation="silu",
        dropout=0.0,
        batch_norm=False,
        pruning_ratio=0.8,
        granularity="weight",
        method="ec",
        compensation="auto",
        method_params=None,
        compensation_params=None,
        scope="auto",
        n_steps="auto",
        schedule="geometric",
        output_metric="auto",
        n_probes="auto",
        step_epochs=0,
        prune_output_layer=True,
        calibration_samples=1024,
        calibration_batch_size=512,
        refit_epochs=None,
        refit_lr=None,
        refit_weight_decay="auto",
        refit_strategy="finetune",
        optimizer=AdamW,
        lr=1e-2,
        lr_schedule="cosine",
        max_epochs=64,
        batch_size="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=None,
        tol=0.0,
        normalize_y=True,
        dtype="float32",
        random_state=None,
        warm_start=False,
        module=MLP,
        criterion=torch.nn.MSELoss,
        iterator_train="auto",
        iterator_valid="auto",
        dataset="auto",
        train_split="auto",
        callbacks=None,
        predict_nonlinearity="auto",
        verbose=0,
        device="cpu",
        compile=False,
        use_caching="auto",
        torch_load_kwargs=None,
        **component__params,
    ):
        self._store_parameters(locals())

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: allowed
        for name, allowed in PrunedMLP._parameter_constraints.items()
        if name != "class_weight"
    }

    _tensors_alone = False  # whether the file that is written holds nothing but tensors

    def _check_targets(self, y, *, reset, classes=None):
        y = np.asarray(y)
        if y.dtype.kind not in "fiub":
            try:
                y = y.astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError(
                    f"y must be numbers for a regressor; got values like {y.ravel()[0]!r}. Use "
                    f"PrunedMLPClassifier for labels."
                ) from None
        y = y.astype(np.float64)
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if reset:
            self.n_outputs_ = n_outputs
            self._single_column_ = y.ndim == 1
        elif n_outputs != self.n_outputs_:
            raise ValueError(
                f"y has {n_outputs} outputs, but this estimator was fitted with "
                f"{self.n_outputs_}. Call fit for other targets."
            )
        return y.reshape(len(y), -1)

    def _with_class_weight(self, y, sample_weight):
        return sample_weight

    def _describe_dataset(self, dataset) -> None:
        x, y = dataset[0]
        x = x["X"] if isinstance(x, dict) else x
        self.n_features_in_ = int(np.shape(x)[0])
        self._single_column_ = np.ndim(y) == 0
        self.n_outputs_ = 1 if self._single_column_ else int(np.shape(y)[0])
        self._fit_target_scale(None, None, reset=True)

    def _take_outputs(self, n_outputs: int) -> None:
        """Be fitted to a network with so many outputs."""
        self.n_outputs_, self._single_column_ = n_outputs, n_outputs == 1
        self.target_scale_ = TargetScale.none(n_outputs)

    def _fit_target_scale(self, y, sample_weight, *, reset) -> None:
        """Remember the mean and the standard deviation of the targets."""
        if reset or not hasattr(self, "target_scale_"):
            raw = y is None or not self.normalize_y
            self.target_scale_ = (
                TargetScale.none(self.n_outputs_) if raw else TargetScale.of(y, sample_weight)
            )

    @property
    def y_mean_(self) -> np.ndarray:
        """Mean of the targets, shape (n_outputs,)."""
        return self.target_scale_.mean

    @property
    def y_scale_(self) -> np.ndarray:
        """Standard deviation of the targets, shape (n_outputs,)."""
        return self.target_scale_.scale

    def _network_targets(self, y: Tensor) -> Tensor:
        return self._target_scale().standardise(y, getattr(torch, self.dtype))

    def _noise_decay(self, dataset) -> float:
        """Weight decay of the refit: proportional to the noise, and to one over the samples.

        That is how the penalty of a ridge regression with a fixed prior moves. The noise is the
        part of the targets' variance that the dense network left unexplained on held-out data.
        It counts where the network began to overfit early: what is still being learnt at the end
        of the training is no noise.
        """
        valid_loss = getattr(self, "_valid_loss", None)
        if valid_loss is None or type(self.criterion_) is not torch.nn.MSELoss:
            return 0.0
        if self.dense_epochs_ > _EARLY * self.max_epochs:
            return 0.0
        targets = self._data.in_network_units(dataset).y
        variance = max(float(targets.var(0).mean()), 1e-12)
        return _DECAY_PER_NOISE * min(valid_loss / variance, 1.0) / len(targets)

    def _target_scale(self) -> TargetScale:
        return getattr(self, "target_scale_", TargetScale.none())

    def save_params(
        self,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        use_safetensors=False,
        **kwargs,
    ) -> None:
        """Save weights and history, as skorch's method of this name.

        The scale of the targets goes with the weights, so that ``load_params`` brings back
        predictions in the units of ``y``.
        """
        self._tensors_alone = use_safetensors
        try:
            super().save_params(
                f_params, f_optimizer, f_criterion, f_history, use_safetensors, **kwargs
            )
        finally:
            del self._tensors_alone

    def _get_module(self, name, msg):
        """What ``save_params`` and ``load_params`` take a state from and give one to."""
        module = super()._get_module(name, msg)
        if name != "module_":
            return module
        return ModuleWithScale(module, self, self._tensors_alone)

    def _loss(self, outputs, targets, weights):
        return super()._loss(outputs.reshape(targets.shape), targets, weights)

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
            float64, in the units of ``y``.
        """
        outputs = super().predict_proba(X)
        outputs = outputs.reshape(len(outputs), -1)
        y = self._target_scale().restore(outputs)
        return y[:, 0] if getattr(self, "_single_column_", True) and y.shape[1] == 1 else y

    @property
    def predict_proba(self):
        raise AttributeError("PrunedMLPRegressor predicts no probabilities; use predict.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
