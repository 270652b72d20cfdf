"""Estimators from trained networks, and results of :func:`skec.prune` in estimators."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from torch import nn

from ..networks import MLP, feature_mask, prunable_layers
from ..pruning import PruningResult
from ..utils import Samples
from .reporting import record_pruning


def estimator_from_network(
    kind: Any, network: nn.Module, feature_names_in: Any, parameters: dict[str, Any]
) -> Any:
    """A fitted estimator of a class; the arguments are those of its ``from_network``."""
    if not isinstance(network, MLP):
        parameters = {"module": network} | parameters
    net = kind(**parameters)
    layers = list(prunable_layers(network).values())
    net.n_features_in_ = len(feature_mask(network))
    net._take_outputs(len(layers[-1].weight))
    if feature_names_in is not None:
        net.feature_names_in_ = np.asarray(feature_names_in, dtype=object)
    net.initialize()
    net._set_network(copy.deepcopy(network))
    net._count_parameters()
    return net


def install_result(
    net: Any,
    result: PruningResult,
    dense: nn.Module,
    samples: Samples | None,
    pruning_ratio: float | None,
) -> None:
    """Replace the network of an estimator; the arguments are those of its ``install``."""
    if getattr(net, "dense_module_", None) is not dense:
        net.dense_module_ = copy.deepcopy(dense)
    net._calibration_ = samples
    net._set_network(result.module)
    net.masks_, net.sparsity_ = result.masks, result.sparsity
    net.predicted_error_, net.n_steps_ = result.predicted_error, result.n_steps
    ratio = result.sparsity if pruning_ratio is None else pruning_ratio
    record_pruning(net, result, samples, ratio)
    net._count_parameters()
