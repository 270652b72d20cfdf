"""The row of the history and the report of a pruning."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..networks import hidden_layers, layer_of
from ..pruning import PruningReport, PruningResult
from ..training import LossFunction, TensorBatches, mean_loss
from ..utils import Samples
from .print_log import PhaseLog

_REPORT_SAMPLES = 512  # calibration samples on which the report's losses are measured


def record_pruning(net: Any, result: PruningResult, samples: Samples | None, ratio: float) -> None:
    """Set the report of an estimator, and add a row to its history.

    Parameters
    ----------
    net : PrunedMLP
        Has the dense network and the pruned network.
    result : PruningResult
    samples : Samples or None
        Calibration samples, in the network's units.
    ratio : float
        The pruning ratio for the history.
    """
    history = net.history
    history.new_epoch()
    history.record("epoch", len(history))
    history.record("phase", "prune")
    history.record("pruning_ratio", float(ratio))
    history.record("sparsity", result.sparsity)
    if samples is None or samples.y is None:
        net.pruning_report_ = result.report
    else:
        net.pruning_report_ = with_losses(result, net.dense_module_, samples, net._loss_function())
        history.record("train_loss", net.pruning_report_.loss_after)
    for _, callback in net.callbacks_:
        if isinstance(callback, PhaseLog):
            callback.print_last_row(net)


def with_losses(
    result: PruningResult,
    dense: nn.Module,
    samples: Samples,
    loss: LossFunction,
    batch_size: int = 1024,
) -> PruningReport:
    """The report of a pruning, with the losses before and after it.

    Parameters
    ----------
    result : PruningResult
    dense : torch.nn.Module
        The network that was pruned.
    samples : Samples
        With targets, in the network's units.
    loss : LossFunction
    batch_size : int, default=1024
    """
    batches = TensorBatches(samples.take(slice(_REPORT_SAMPLES)), batch_size=batch_size)
    alone = {
        name: mean_loss(module, loss, batches) for name, module in _each_layer_alone(dense, result)
    }
    before, after = (mean_loss(module, loss, batches) for module in (dense, result.module))
    report = PruningReport(
        row | {"loss_before": before, "loss_after": alone[row["layer"]]} for row in result.report
    )
    report.loss_before, report.loss_after = before, after
    return report


def _each_layer_alone(dense: nn.Module, result: PruningResult) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each layer, and a dense network in which only this layer is pruned."""
    changed = {name: name for name in result.masks}
    if result.unit_masks is not None:  # removing units changes the weights of the next layer
        hidden = hidden_layers(result.module)
        changed = {name: hidden[name].next_name for name in result.unit_masks}
    module = copy.deepcopy(dense)
    for name, layer_name in changed.items():
        layer: Any = layer_of(module, layer_name)
        weight, bias = layer.weight.detach().clone(), layer.bias
        layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        _take_parameters(module, result, layer_name)
        yield name, module
        with torch.no_grad():
            layer.weight.copy_(weight)
        layer.bias = bias


@torch.no_grad()
def _take_parameters(module: nn.Module, result: PruningResult, name: str) -> None:
    """Copy the pruned parameters of a layer into the dense network, for all kept units."""
    layer, pruned = layer_of(module, name), layer_of(result.module, name)
    kept = (result.unit_masks or {}).get(name, slice(None))
    layer.weight[kept] = pruned.weight[kept]
    if pruned.bias is not None:
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(pruned.bias))
        layer.bias[kept] = pruned.bias[kept]
