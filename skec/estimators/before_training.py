"""What can be known about a pruning before the network is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import indexable
from skorch.utils import is_dataset
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..calibration import metric_for
from ..networks import SHAPE_SAMPLES, copy_network, is_elementwise
from ..utils import Samples, private
from .adapters import Adapter
from .prune_estimator import PruningSettings


def check_settings(given: Adapter, settings: PruningSettings, y: Any, *, prefit: bool) -> None:
    """Check the settings with what is known of an estimator that may not be trained.

    Parameters
    ----------
    given : Adapter
        Of the given estimator.
    settings : PruningSettings
    y : array-like or None
    prefit : bool
        Whether the estimator is trained.
    """
    network = given.network if prefit else given.expected_network()
    if network is not None:
        settings.check(given, network)
    loss = given.loss if prefit else given.expected_loss(y)
    if loss is not None:
        recommended = settings.granularity.criterion.output_metric
        metric_for(settings.arguments["output_metric"], loss, recommended=recommended)


def check_network(adapter: Adapter, settings: PruningSettings, X: Any, y: Any) -> None:
    """Check the settings with the network that is about to be trained, and a few samples.

    Parameters
    ----------
    adapter : Adapter
        Of the estimator with the network.
    settings : PruningSettings
    X, y : array-like
        The training data.
    """
    network = adapter.network
    if is_dataset(X) or any(is_lazy(parameter) for parameter in network.parameters()):
        return
    X, y = indexable(X, y)
    rows = np.arange(min(X.shape[0] if hasattr(X, "shape") else len(X), SHAPE_SAMPLES))
    X = private.take_rows(X, rows)
    y = None if y is None else private.take_rows(y, rows)
    samples = adapter.calibration_data(X, y, None, n_samples=None, random_state=0)
    if adapter.compares_as_torch:
        _check_targets(adapter.loss, network, samples)
    settings.check(adapter, network, samples)


def _check_targets(loss: nn.Module, network: nn.Module, samples: Samples) -> None:
    """Raise unless a loss takes the network's outputs together with the targets."""
    y = samples.y
    with torch.no_grad():
        outputs = copy_network(network).eval()(samples.X.clone())
    if y is None or not isinstance(outputs, Tensor):
        return
    name, shapes = type(loss).__name__, f"{tuple(outputs.shape)} and {tuple(y.shape)}"
    if is_elementwise(loss) and outputs.shape != y.shape:
        raise ValueError(
            f"The outputs of the module and y must have the same shape for {name}; for "
            f"{len(y)} samples they have {shapes}. Change the number of outputs of the module. For "
            f"a single output pass y of shape (n_samples, 1), or end the module with "
            f"torch.nn.Flatten(0)."
        )
    try:
        loss(outputs, y)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{name} does not take the outputs of the module together with y: {error}. For "
            f"{len(y)} samples their shapes are {shapes}, and y is {y.dtype}. The module needs one "
            f"output for each class, and y the integers 0, 1, … of the classes."
        ) from error
