"""Computes statistics of layers in one pass over the calibration samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import (
    PrunableLayer,
    Recorder,
    layer_of,
    output_tensor,
    sensitivities,
    summed_gradients,
)
from ..utils import BATCHES_PER_RUN, BatchedSamples, Samples
from .metric import OutputMetric, Probes
from .statistics import (
    LayerBatch,
    LayerStatistics,
    Need,
    NetworkStatistic,
    Statistic,
    add,
    merge,
)


@dataclass(frozen=True)
class Calibration:
    """The dense network, the samples and the output metric for computing statistics.

    Attributes
    ----------
    dense : torch.nn.Module
        The network before any pruning, in evaluation mode. It must not be changed.
    samples : Samples, BatchedSamples or None
        None if no statistic needs samples.
    metric : OutputMetric
        The norm for changes of the outputs.
    loss : torch.nn.Module or None
        The loss of outputs and targets; required by statistics of the loss.
    batch_size : int
        Number of samples processed at a time.
    """

    dense: nn.Module
    samples: Samples | BatchedSamples | None
    metric: OutputMetric
    loss: nn.Module | None = None
    batch_size: int = 512

    @property
    def n_probes(self) -> int | None:
        """Number of random probes of the outputs; None if every output is differentiated."""
        return self.metric.n_probes if isinstance(self.metric, Probes) else None

    def known_samples(self) -> Samples | BatchedSamples:
        """Return the samples; raise a ``ValueError`` if there are none."""
        if self.samples is None:
            raise ValueError("Calibration samples are required; got X=None. Pass X.")
        return self.samples

    def collect(
        self,
        module: nn.Module,
        layers: Mapping[str, PrunableLayer],
        statistics: Sequence[type[Statistic]],
        *,
        n_units: Mapping[str, int] | None = None,
        kept: Mapping[str, Tensor] | None = None,
    ) -> dict[str, LayerStatistics]:
        """Compute statistics of layers; see :func:`collect`."""
        if not statistics:
            return {
                name: LayerStatistics(kept=None if kept is None else kept[name]) for name in layers
            }
        return collect(
            module,
            layers,
            self.known_samples(),
            statistics,
            metric=self.metric,
            loss=self.loss,
            dense=self.dense,
            batch_size=self.batch_size,
            n_units=n_units,
            kept=kept,
        )


def collect(
    module: nn.Module,
    layers: Mapping[str, PrunableLayer],
    samples: Samples | BatchedSamples,
    statistics: Sequence[type[Statistic]],
    *,
    metric: OutputMetric,
    loss: nn.Module | None = None,
    dense: nn.Module | None = None,
    batch_size: int = 512,
    n_units: Mapping[str, int] | None = None,
    kept: Mapping[str, Tensor] | None = None,
) -> dict[str, LayerStatistics]:
    """Compute statistics of layers in one pass over the data, batch by batch.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. The ``requires_grad`` flags of its parameters are changed and restored.
    layers : mapping of layer name to torch.nn.Linear, Conv1d or Conv2d
    samples : Samples or BatchedSamples
    statistics : sequence of Statistic classes
    metric : OutputMetric
        The norm for changes of the outputs.
    loss : torch.nn.Module, default=None
        Required by statistics of the loss.
    dense : torch.nn.Module, default=None
        The network before any pruning; required by statistics of its pre-activations.
    batch_size : int, default=512
    n_units : mapping of layer name to int, default=None
        Number of units of the previous layer that each layer reads; required by statistics of
        these units.
    kept : mapping of layer name to bool tensor of shape (n_out, n_in), default=None
        The weights kept by earlier pruning steps; None means all.

    Returns
    -------
    dict of str to LayerStatistics
    """
    summed = [kind for kind in statistics if not issubclass(kind, NetworkStatistic)]
    total = {name: LayerStatistics(kept=None if kept is None else kept[name]) for name in layers}
    if summed:
        collection = _Collection(
            list(layers), summed, metric, metric.new_seed(), loss, batch_size, n_units, kept
        )
        total = samples.reduce(collection, (module, dense), merge, batch_size)
    for kind in statistics:
        if issubclass(kind, NetworkStatistic):
            for name, statistic in kind.measure(module, layers, samples, metric).items():
                total[name].by_class[kind] = statistic
    return total


@dataclass(frozen=True)
class _Collection:
    """What to compute from samples, see :func:`collect`; ``seed`` is that of the metric."""

    names: Sequence[str]
    statistics: Sequence[type[Statistic]]
    metric: OutputMetric
    seed: int
    loss: nn.Module | None
    batch_size: int
    n_units: Mapping[str, int] | None
    kept: Mapping[str, Tensor] | None

    def __call__(
        self, networks: tuple[nn.Module, nn.Module | None], samples: Any, first_run: int
    ) -> dict[str, LayerStatistics]:
        """The statistics of samples; they are merged run by run."""
        module, dense = networks
        layers = {name: layer_of(module, name) for name in self.names}
        run = _Pass(module, layers, self._empty(layers), self.metric, self.loss, dense)
        total: dict[str, LayerStatistics] | None = None
        number = 0
        with run.prepared() as record:
            for batch in samples.batches(self.batch_size):  # enumerate would keep the last one
                if number % BATCHES_PER_RUN == 0:
                    if number:
                        total = _merged(total, run.total)
                        run.total = self._empty(layers)
                    number_of_run = first_run + number // BATCHES_PER_RUN
                    run.metric = self.metric.of_run(self.seed, number_of_run)
                run.update(record, *batch)
                number += 1
                del batch  # before the next one is made
        return _merged(total, run.total)

    def _empty(self, layers: Mapping[str, PrunableLayer]) -> dict[str, LayerStatistics]:
        return {
            name: LayerStatistics.empty(
                layer,
                self.statistics,
                None if self.n_units is None else self.n_units.get(name),
                None if self.kept is None else self.kept[name],
            )
            for name, layer in layers.items()
        }


def _merged(
    total: dict[str, LayerStatistics] | None, further: dict[str, LayerStatistics]
) -> dict[str, LayerStatistics]:
    """Add statistics to ``total``, if there are some."""
    if total is None:
        return further
    add(total, further)
    return total


class _Pass:
    """One pass over the data that updates statistics."""

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, PrunableLayer],
        total: dict[str, LayerStatistics],
        metric: OutputMetric,
        loss: nn.Module | None,
        dense: nn.Module | None,
    ):
        self.module, self.layers, self.total = module, layers, total
        self.metric, self.loss, self.dense = metric, loss, dense
        # classes of the instances: a form for convolutions or maps has needs of its own
        kinds = [type(one) for layer in total.values() for one in layer.by_class.values()]
        self.need = need = Need.of(kinds)
        self.each_seed = bool(need & (Need.GRADIENTS | Need.INPUT_GRADIENTS))
        self.at_inputs = bool(need & (Need.INPUT_SENSITIVITIES | Need.INPUT_GRADIENTS))
        self.at_units = bool(need & Need.SENSITIVITIES) or self.each_seed
        self.weights: list[Tensor] = [layer.weight for layer in layers.values()]
        self.memory: list[Tensor] = []

    @contextmanager
    def prepared(self) -> Iterator[Recorder]:
        """Record the layers; only the differentiated parameters require gradients."""
        differentiated = self.weights if self.need & Need.LOSS_GRADIENT else []
        with (
            _requiring_gradients(self.module, differentiated),
            torch.enable_grad(),
            Recorder(self.module, self.layers, self.at_inputs) as record,
        ):
            yield record

    def update(self, record: Recorder, X: Tensor, y: Tensor | None, weights: Tensor | None) -> None:
        """Update the statistics with a batch."""
        returned = record.forward(self.module, X)
        batches = self._batches(record, weights)
        self._add_sensitivities(record, output_tensor(returned, len(X)), batches)
        if self.need & Need.LOSS_GRADIENT:
            self._add_loss_gradients(returned, y, weights, batches)
        if self.need & Need.DENSE_OUTPUTS:
            for batch, z in zip(batches, self._dense(record, X), strict=True):
                batch.dense_pre_activations = z
        for name, batch in zip(self.layers, batches, strict=True):
            self.total[name].update(batch)
        record.clear()  # before the next batch is made

    def _dense(self, record: Recorder, X: Any) -> list[Tensor]:
        """The layers' pre-activations in the dense network."""
        if self.dense is None:
            raise ValueError("These statistics need the dense network; got dense=None. Pass dense.")
        if self.dense is self.module:  # before the first pruning step
            return [record.pre_activations[name].detach() for name in self.layers]
        return _pre_activations(self.dense, self.layers, X)

    def _batches(self, record: Recorder, weights: Tensor | None) -> list[LayerBatch]:
        record.check_complete()
        return [
            LayerBatch(record.inputs[name], weights=weights, kept=self.total[name].kept)
            for name in self.layers
        ]

    def _add_loss_gradients(
        self, returned: Any, y: Tensor | None, weights: Tensor | None, batches: list[LayerBatch]
    ) -> None:
        """Differentiate the loss and set ``loss_gradient`` of each batch."""
        if self.loss is None or y is None:
            raise ValueError(
                f"These statistics need a loss and targets; got loss={self.loss!r} and "
                f"y={'None' if y is None else 'targets'}. Pass loss and y."
            )
        gradients = summed_gradients(self.loss, returned, y, weights, self.weights)
        for batch, gradient in zip(batches, gradients, strict=True):
            batch.loss_gradient = gradient.flatten(1)

    def _add_sensitivities(
        self, record: Recorder, outputs: Tensor, batches: list[LayerBatch]
    ) -> None:
        """Differentiate the outputs and set the squared sensitivities of each batch."""
        points = [record.pre_activations[name] for name in self.layers] if self.at_units else []
        points += [record.input_points[name] for name in self.layers] if self.at_inputs else []
        if not points:
            return
        if not self.memory:  # the first batch is the largest
            self.memory = [z.new_empty(z.shape[:2]) for z in points]
        add = partial(self._add_gradients, batches, points) if self.each_seed else None
        squares = iter(sensitivities(outputs, points, self.metric(outputs), self.memory, add))
        for batch in batches if self.at_units else ():
            batch.sensitivities = next(squares)
        for batch in batches if self.at_inputs else ():
            batch.input_sensitivities = next(squares)

    def _add_gradients(
        self,
        batches: list[LayerBatch],
        points: list[Tensor],
        gradients: Sequence[Tensor | None],
    ) -> None:
        """Add one seed's gradients to the statistics; None is a zero gradient."""
        known = [
            torch.zeros_like(point) if gradient is None else gradient
            for point, gradient in zip(points, gradients, strict=True)
        ]
        n_layers = len(batches)
        at_inputs = known[n_layers:] if self.at_inputs else [None] * n_layers
        every = zip(self.layers, batches, known[:n_layers], at_inputs, strict=True)
        for name, batch, gradient, input_gradient in every:
            self.total[name].add_gradient(batch, gradient, input_gradient)


@contextmanager
def _requiring_gradients(module: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Set ``requires_grad`` for the given parameters of a module only, and restore it after."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@torch.no_grad()
def _pre_activations(module: nn.Module, names: Iterable[str], X: Any) -> list[Tensor]:
    """Pre-activations of the layers of these names."""
    layers = {name: module.get_submodule(name) for name in names}
    with Recorder(module, layers) as record:
        record.forward(module, X)
    return [record.pre_activations[name].detach() for name in layers]
