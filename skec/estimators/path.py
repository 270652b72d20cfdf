"""The pruning path of a fitted estimator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from torch import nn

from ..pruning import check_path
from ..training import TensorBatches, mean_loss, small_network_mode
from ..utils import NOT_GIVEN, NotGiven, Samples, given
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .exchange import NetworkExchange
from .prune_estimator import check_given, ratio_pruner


class PruningPath(NetworkExchange):
    """A net whose dense network can be pruned at several ratios for comparison."""

    def pruning_path(
        self,
        X: Any = None,
        y: Any = None,
        *,
        pruning_ratios: ArrayLike | None = None,
        sample_weight: Any = None,
        granularity: Literal["weight", "neuron"] | NotGiven = NOT_GIVEN,
        method: MethodLike | NotGiven = NOT_GIVEN,
        compensation: CompensationLike | NotGiven = NOT_GIVEN,
        method_params: Params | NotGiven = NOT_GIVEN,
        compensation_params: Params | NotGiven = NOT_GIVEN,
        scope: AnyScopeLike | NotGiven = NOT_GIVEN,
        n_steps: int | Literal["auto"] | NotGiven = NOT_GIVEN,
        schedule: ScheduleLike | NotGiven = NOT_GIVEN,
        output_metric: MetricLike | NotGiven = NOT_GIVEN,
        n_probes: int | Literal["auto"] | NotGiven | None = NOT_GIVEN,
        layers: Sequence[str] | NotGiven | None = NOT_GIVEN,
    ) -> Bunch:
        """Prune the dense network at several ratios, and measure the loss at each.

        The estimator is not changed. Each ratio is that of ``prune(pruning_ratio=...)``, without
        training, its warnings and its calls of callbacks.

        Parameters
        ----------
        X, y, sample_weight : array-like, default=None
            Calibration data, as in ``prune``; the losses are those on them. None takes the samples
            kept from ``fit``.
        pruning_ratios : array-like of floats, default=None
            Ratios in [0, 1). None takes 0, 0.1, …, 0.9, 0.95 and 0.98.
        granularity, method, compensation, scope, n_steps, schedule : optional
            Values for this call only. By default, those of the estimator's parameters.
        output_metric, n_probes, layers, method_params, compensation_params : optional
            The same, as in ``prune``.

        Returns
        -------
        Bunch
            A dictionary with attributes, as in :func:`skec.pruning_path`. The arrays
            ``pruning_ratios``, ``sparsities``, ``n_weights``, ``predicted_errors`` and ``losses``
            have one entry for each ratio. ``dense_loss`` is the loss before pruning. The losses are
            those of training, before any refit. They are nan without targets.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from skec import PrunedMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> net = PrunedMLPRegressor((16,), max_epochs=10, random_state=0).fit(X, y)
        >>> path = net.pruning_path(pruning_ratios=[0.0, 0.5, 0.9])
        >>> bool(path.losses[0] == path.dense_loss)
        True
        >>> path.n_weights
        array([656, 328,  66])
        """
        self._check_trainable("pruning_path")
        ratios = check_path(pruning_ratios)
        arguments = given(
            granularity=granularity,
            method=method,
            compensation=compensation,
            method_params=method_params,
            compensation_params=compensation_params,
            scope=scope,
            n_steps=n_steps,
            schedule=schedule,
            output_metric=output_metric,
            n_probes=n_probes,
            layers=layers,
        )
        settings = self._check_parameters(**check_given(arguments, self), pruning_ratio=0.0)
        twin = _twin(self)
        with small_network_mode():
            samples = twin._calibration_of_call(settings, X, y, sample_weight)
            pruner = ratio_pruner(twin, settings, samples)
            return pruner.path(ratios, partial(_loss, twin, samples))


def _twin(net: Any) -> Any:
    """An estimator with the state of another, whose checks of data do not change the other."""
    twin = object.__new__(type(net))
    vars(twin).update(vars(net))
    own = {"module_": net.network_, "criterion_": net.criterion_}
    vars(twin).update({name: copy.deepcopy(part) for name, part in own.items()})
    return twin


def _loss(net: Any, samples: Samples | None, module: nn.Module) -> float:
    """The loss of a network on calibration samples; nan without targets."""
    if samples is None or samples.y is None:
        return np.nan
    batches = TensorBatches(samples, net.calibration_batch_size)
    return mean_loss(module, net._loss_function(), batches)
