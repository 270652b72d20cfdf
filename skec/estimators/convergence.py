"""A warning where the training has learned nothing."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from ..training import TensorBatches, mean_loss
from ..utils import Samples
from .components import is_of_library

_CONSTANT = 1e-9  # loss of targets that do not vary


@torch.no_grad()
def warn_without_progress(net: Any) -> None:
    """Warn if a trained network is no better than a constant, on samples of the training data.

    Parameters
    ----------
    net : PrunedMLP
        With calibration samples.
    """
    samples = getattr(net, "_calibration_", None)
    if not (isinstance(samples, Samples) and samples.y is not None and net.n_iter_):
        return
    if not (is_of_library(type(net).get_loss) and is_of_library(type(net).infer)):
        return
    constant = _best_constant(net.criterion_, samples)
    if constant is None:
        return
    outputs = constant.to(getattr(torch, net._precision)).expand(len(samples), -1)
    of_constant = float(net._loss(outputs, samples.y, samples.sample_weight))
    batches = TensorBatches(samples, net.calibration_batch_size)
    loss = mean_loss(net.network_, net._loss_function(), batches)
    if of_constant > _CONSTANT and not loss < of_constant:
        ratio = getattr(net, "pruning_ratio_", net.pruning_ratio)
        scaled = "" if getattr(net, "_feature_scale", None) is not None else _SCALE
        warnings.warn(
            f"The network is not better than a constant: its loss on training samples is "
            f"{loss:.4g}, and that of the best constant {of_constant:.4g}. {scaled}Try other "
            f"values of lr (now {net.lr}) and max_epochs (now {net.max_epochs}), and a lower "
            f"pruning_ratio (now {ratio}). If nothing helps, y may not depend on X.",
            ConvergenceWarning,
            stacklevel=3,
        )


def _best_constant(criterion: Any, samples: Samples) -> Tensor | None:
    """The outputs, of shape (1, n_outputs), with the lowest loss of all constants, if known."""
    y, weight = samples.y, samples.sample_weight
    assert y is not None
    weight = torch.ones(len(y), device=y.device) if weight is None else weight
    weight = weight.double() / weight.sum()
    if type(criterion) is nn.MSELoss:
        return weight[None] @ y.double()
    if type(criterion) is nn.CrossEntropyLoss and criterion.weight is None and y.ndim == 1:
        shares, smooth = torch.bincount(y, weight)[None], criterion.label_smoothing
        return torch.log((1 - smooth) * shares + smooth / shares.shape[1]).clamp(min=-100.0)
    return None


_SCALE = (
    "The likely cause are features of very different size: scale them, for instance with "
    "StandardScaler. "
)
