"""The arguments of ``prune``, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..allocation import SCHEDULES, Schedule
from ..calibration import (
    Calibration,
    OutputMetric,
    metric_for,
    probes_for,
)
from ..calibration.statistics import BACKWARD, Need
from ..networks import (
    SHAPE_SAMPLES,
    Recorder,
    check_finite,
    copy_network,
    default_loss,
    layer_of,
    output_tensors,
)
from ..utils import (
    BatchedSamples,
    Inputs,
    Samples,
    check_count,
    check_probes,
    check_ratio,
    drawn_seed,
)
from .dask_samples import DaskSamples, samples_for
from .granularity import AnyGranularity, get_granularity


@dataclass(frozen=True)
class Request:
    """The checked arguments of a pruning.

    Attributes
    ----------
    granularity : Granularity
        With criterion, compensation and scope.
    names : list of str
        The layers to prune.
    pruning_ratio : float
    n_steps : int
    schedule : Schedule
    calibration : Calibration
        With a copy of the network in evaluation mode.
    generator : torch.Generator
        The source of random numbers.
    """

    granularity: AnyGranularity
    names: list[str]
    pruning_ratio: float
    n_steps: int
    schedule: Schedule
    calibration: Calibration
    generator: torch.Generator

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The weights of the dense network as matrices of shape (n_out, n_in)."""
        dense = self.calibration.dense
        return {name: layer_of(dense, name).weight.detach().flatten(1) for name in self.names}

    def ratio_after(self, step: int, final: float) -> float:
        """The pruning ratio after a step, given the ratio after the last step."""
        return self.schedule.at(final, step, self.n_steps)


def resolve(
    module: nn.Module,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    pruning_ratio: float,
    granularity: str,
    method: Any,
    compensation: Any,
    method_params: Mapping[str, Any] | None,
    compensation_params: Mapping[str, Any] | None,
    scope: Any,
    n_steps: Any,
    schedule: Any,
    output_metric: Any,
    n_probes: Any,
    loss: nn.Module | None,
    layers: Sequence[str] | None,
    batch_size: int,
    random_state: Any,
) -> Request:
    """Check the arguments of :func:`skec.prune`.

    Raises
    ------
    ValueError, TypeError
        If the request cannot be satisfied.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module; got {type(module).__name__}. Use skec.ECPruner for "
            f"estimators."
        )
    kind = get_granularity(
        granularity, method, compensation, method_params, compensation_params, scope
    )
    names = kind.check(module, layers)
    check_finite(module)
    check_ratio(pruning_ratio)
    schedule = SCHEDULES.make(schedule)
    check_probes(n_probes)
    n_steps = kind.n_steps if isinstance(n_steps, str) and n_steps == "auto" else n_steps
    check_count("n_steps", n_steps, also="'auto'")
    check_count("batch_size", batch_size)
    recommended = kind.criterion.output_metric
    metric = metric_for(output_metric, loss, recommended=recommended)
    samples: Any = _samples(kind, module, X, y, sample_weight)
    generator = torch.Generator().manual_seed(drawn_seed(random_state))
    dense, need = copy_network(module).eval(), Need.of(kind.statistics)
    if samples is not None:
        few = samples.head(min(batch_size, SHAPE_SAMPLES))
        outputs = _outputs(dense, few, kind.read_layers(dense, names))
        metric = metric_for(output_metric, loss, outputs, recommended)
        if need & Need.LOSS_GRADIENT and few.y is not None:
            loss = default_loss(loss, few.y, len(outputs))
        if need & BACKWARD:
            metric = _probed(metric, outputs, n_probes, generator)
    calibration = Calibration(dense, samples, metric, loss, batch_size)
    return Request(kind, names, pruning_ratio, n_steps, schedule, calibration, generator)


def _samples(
    kind: AnyGranularity, module: nn.Module, X: Any, y: Any, sample_weight: Any
) -> Samples | BatchedSamples | DaskSamples | None:
    """The calibration samples, or None if they are not needed; raise if X or y is missing."""
    if not kind.statistics:
        return None
    method = kind.criterion.name or type(kind.criterion).__name__
    if X is None:
        raise ValueError(
            f"method={method!r} with compensation={kind.compensation.name!r} needs calibration "
            f"data; got X=None. Pass X, or use {kind.without_data}."
        )
    samples = samples_for(module, X, y, sample_weight, needs_all=kind.all_samples_needed_by)
    if samples.head(1).y is None and Need.of(kind.statistics) & Need.LOSS_GRADIENT:
        raise ValueError(
            f"method={method!r} needs the targets of the calibration data; got y=None. Pass y, or "
            f"use method='ec', which needs none."
        )
    return samples


def _outputs(module: nn.Module, samples: Samples, names: Sequence[str]) -> list[Tensor]:
    """The outputs of the network for a few samples.

    Raises
    ------
    ValueError
        If the network does not take the samples, or if one of the named layers does not run exactly
        once, on one vector or map for each sample.
    """
    X = samples.X
    layers = {name: layer_of(module, name) for name in names}
    with torch.no_grad(), Recorder(module, layers) as record:
        try:
            outputs = record.forward(module, X)
        except (RuntimeError, IndexError, TypeError) as error:
            shape = X.shape if isinstance(X, Inputs) else tuple(X.shape)
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"The network does not take X of shape {shape}: {error}. Pass X in the form that "
                f"its forward takes: several inputs as a tuple or a dict of arrays."
            ) from error
        record.check_complete()
    return output_tensors(outputs, len(X))


def _probed(
    metric: OutputMetric, outputs: Sequence[Tensor], n_probes: Any, generator: torch.Generator
) -> OutputMetric:
    """The metric; with random probes if ``n_probes`` selects them."""
    n_outputs = sum(output[0].numel() for output in outputs)
    metric.check(n_outputs)
    probes = probes_for(n_outputs, n_probes)
    return metric if probes is None else metric.probed(probes, generator)
