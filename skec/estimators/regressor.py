"""The regressor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from skorch import NeuralNetRegressor
from skorch.utils import to_numpy
from torch import Tensor, nn

from ..bounds import MaxChange
from ..networks import MLP, output_layer, scale_outputs
from ..training import AdamW
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .base import PrunedMLP
from .blockwise import by_blocks
from .documentation import documented
from .prediction import predictions
from .target_scale import TargetScale
from .targets import check_numbers
from .torch_datasets import first_item

_DECAY_PER_NOISE = 1500.0  # chosen on validation data, see the page on defaults
_EARLY = 0.6  # fraction of the dense epochs


REGRESSOR_PARAMETERS = (
    "normalize_y : bool\n"
    "    Whether to standardise the targets for training; predictions are in the units of y."
)


@documented(own_parameters=REGRESSOR_PARAMETERS)
class PrunedMLPRegressor(PrunedMLP, NeuralNetRegressor):
    """Multi-layer perceptron regressor that is trained, pruned and fine-tuned.

    ``fit`` trains a dense network, removes the least important weights, adjusts the biases to
    compensate for them, and fine-tunes the network. The network scales and embeds its features.

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
    (0.75, 2215)
    >>> bool(model.score(X, y) > 0.4)
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (128, 128, 128),
        *,
        activation: str = "silu",
        feature_scaling: Literal["auto", "robust"] | None = "auto",
        feature_embedding: Literal["auto", "periodic"] | None = "auto",
        feature_weights: Literal["auto", "learned"] | None = "auto",
        dropout: float = 0.0,
        batch_norm: bool = False,
        pruning_ratio: float | Literal["auto"] = 0.8,
        max_loss_increase: float = 0.01,
        max_change: MaxChange | None = None,
        granularity: Literal["weight", "neuron"] = "weight",
        method: MethodLike = "ec",
        compensation: CompensationLike = "auto",
        method_params: Params = None,
        compensation_params: Params = None,
        scope: AnyScopeLike = "auto",
        n_steps: int | Literal["auto"] = "auto",
        schedule: ScheduleLike = "geometric",
        output_metric: MetricLike = "auto",
        n_probes: int | Literal["auto"] | None = "auto",
        layers: Sequence[str] | None = None,
        step_epochs: int = 0,
        prune_output_layer: bool = True,
        calibration_samples: int | None = 1024,
        calibration_batch_size: int = 1024,
        refit_epochs: int | None = None,
        refit_lr: float | None = None,
        refit_weight_decay: float | Literal["auto"] | None = "auto",
        refit_strategy: Literal["finetune", "rewind", "none"] = "finetune",
        optimizer: Any = AdamW,
        lr: float = 1e-2,
        lr_schedule: str = "cosine",
        max_epochs: int = 64,
        batch_size: int | Literal["auto"] = "auto",
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int | None = None,
        tol: float = 0.0,
        normalize_y: bool = True,
        dtype: Literal["float32", "float64"] = "float32",
        random_state: Any = None,
        warm_start: bool = False,
        memory: Any = None,
        module: Any = MLP,
        criterion: Any = torch.nn.MSELoss,
        iterator_train: Any = "auto",
        iterator_valid: Any = "auto",
        dataset: Any = "auto",
        train_split: Any = "auto",
        callbacks: Any = None,
        predict_nonlinearity: Any = "auto",
        verbose: int = 0,
        progress: bool = False,
        n_threads: int = 1,
        device: Any = "cpu",
        compile: bool = False,
        use_caching: Any = "auto",
        torch_load_kwargs: Params = None,
        **component__params: Any,
    ):
        self._store_parameters(locals())

    _parameter_constraints: ClassVar[dict[str, list]] = {
        name: allowed
        for name, allowed in PrunedMLP._parameter_constraints.items()
        if name not in ("class_weight", "label_smoothing")
    }

    normalize_y: bool

    def _check_targets(self, y: Any, *, reset: bool, classes: Any = None) -> np.ndarray:
        y = check_numbers(y)
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if reset:
            self.n_outputs_ = n_outputs
        elif n_outputs != self.n_outputs_:
            raise ValueError(
                f"y has {n_outputs} outputs, but this estimator was fitted with "
                f"{self.n_outputs_}. Call fit for other targets."
            )
        return y.reshape(len(y), -1)

    def _describe_dataset(self, dataset: Any) -> None:
        x, y = first_item(dataset)
        self.n_features_in_ = int(np.shape(x)[0])
        self.n_outputs_ = int(np.prod(np.shape(y)))
        self.target_scale_ = TargetScale.none(self.n_outputs_)

    def _take_outputs(self, n_outputs: int) -> None:
        self.n_outputs_ = n_outputs
        self.target_scale_ = TargetScale.none(n_outputs)

    def _encoded_targets(self, y: Any) -> np.ndarray:
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def _scale_of_targets(self, y: Any, sample_weight: Any, weight: float) -> TargetScale:
        if not self.normalize_y:
            return TargetScale.none(self.n_outputs_)
        return TargetScale.of(y, sample_weight, weight)

    def _take_target_scale(self, scale: TargetScale, *, reset: bool, part: bool = False) -> None:
        if reset or not hasattr(self, "target_scale_"):
            self.target_scale_ = scale
            if not part:
                scale.warn_if_constant()
        elif part:
            self._update_target_scale(scale)

    def _update_target_scale(self, scale: TargetScale) -> None:
        """Include more targets in the mean and the standard deviation; predictions stay the same.

        The last layer of the networks takes up the change, as in Pop-Art (van Hasselt et al.,
        arXiv:1602.07714). Where that is not possible, the scale stays the same, except for targets
        that were constant so far.
        """
        before = self.target_scale_
        if math.isinf(before.weight) or math.isinf(scale.weight):  # it stays the same
            return
        after = before.merged(scale)
        networks = [self.network_]
        if hasattr(self, "dense_module_"):  # a copy: a failed call does not restore its weights
            networks.append(deepcopy(self.dense_module_))
        layers = [output_layer(network, self.n_outputs_) for network in networks]
        if None in layers:
            self.target_scale_ = before.where_constant(after)
            return
        factor, shift = map(torch.from_numpy, before.conversion(after))
        for layer in filter(None, layers):
            scale_outputs(layer, factor, shift)
        self.target_scale_ = after
        if hasattr(self, "dense_module_"):
            self.dense_module_ = networks[-1]

    @property
    def y_mean_(self) -> np.ndarray:
        """Mean of the targets, shape (n_outputs,)."""
        return self.target_scale_.mean

    @property
    def y_scale_(self) -> np.ndarray:
        """Standard deviation of the targets, shape (n_outputs,)."""
        return self.target_scale_.scale

    def _network_targets(self, y: Any) -> Tensor:
        return self._target_scale().standardise(y, getattr(torch, self._precision))

    def _noise_decay(self, dataset: Any) -> float:
        """Weight decay of the fine-tuning: proportional to the noise over the number of samples.

        The penalty of a ridge regression with a fixed prior has the same form. The noise is the
        fraction of the variance of y that the dense network did not explain on the validation
        data. It is used only if the validation loss was lowest early in the training; otherwise
        the network was still learning, and the unexplained part is not all noise.
        """
        valid_loss = getattr(self, "_valid_loss", None)
        if valid_loss is None or type(self.criterion_) is not torch.nn.MSELoss:
            return 0.0
        if self.dense_epochs_ > _EARLY * self.max_epochs:
            return 0.0
        targets = self._data.some_targets(dataset)
        variance = max(float(targets.var(0).mean()), 1e-12)
        return _DECAY_PER_NOISE * min(valid_loss / variance, 1.0) / len(dataset)

    def _target_scale(self) -> TargetScale:
        return getattr(self, "target_scale_", TargetScale.none())

    def _target_facts(self) -> dict[str, list[Any]]:
        scale: TargetScale | None = vars(self).get("target_scale_")
        if scale is None:
            return {}
        facts = {"y_mean_": scale.mean.tolist(), "y_scale_": scale.scale.tolist()}
        return facts if math.isinf(scale.weight) else facts | {"y_weight_": [scale.weight]}

    def _take_target_facts(self, facts: dict[str, list[Any]]) -> None:
        mean, scale = (np.asarray(facts.get(n, []), np.float64) for n in ("y_mean_", "y_scale_"))
        weight = facts.get("y_weight_", [math.inf])
        n_outputs = getattr(self, "n_outputs_", len(mean))
        valid = mean.shape == scale.shape == (n_outputs,) and np.isfinite(mean + scale).all()
        if not (valid and len(weight) == 1 and weight[0] > 0):
            raise ValueError(
                f"The file has no valid scale of the targets: y_mean_={mean.tolist()} and "
                f"y_scale_={scale.tolist()} for {n_outputs} outputs. Save the weights again with "
                f"save_params of a fitted estimator."
            )
        self.target_scale_ = TargetScale(mean, scale, float(weight[0]))

    def _loss_arguments(self, outputs: Any, targets: Tensor) -> tuple[nn.Module, Any, Tensor]:
        return self.criterion_, outputs.reshape(targets.shape), targets

    def _answers(self, outputs: Tensor, of: str) -> np.ndarray:
        numbers: Any = to_numpy(self._nonlinearity()(outputs))
        return self._target_scale().restore(numbers.reshape(len(outputs), -1))

    @by_blocks
    def predict(self, X: Any) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), Dataset, or batches
            Or a Dask array or dataframe.

        Returns
        -------
        array of shape (n_samples,), or (n_samples, n_outputs) for several outputs
            float64, in the units of ``y``. A Dask array, not yet computed, if X is of Dask.
        """
        y = predictions(self, X, partial(self._answers, of="predictions"))
        return y[:, 0] if y.shape[1] == 1 else y

    @property
    def predict_proba(self) -> Any:
        raise AttributeError("PrunedMLPRegressor predicts no probabilities; use predict.")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
