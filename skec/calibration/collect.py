"""One pass over the calibration data: a network and samples in, statistics out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..networks import Recorder, output_tensor, sensitivities, summed_gradients
from ..utils import Samples
from .metric import OutputMetric, Probes
from .statistics import LayerBatch, LayerStatistics, Need, NetworkStatistic, Statistic


@dataclass(frozen=True)
class Calibration:
    """What a network is compared with while it is pruned.

    Attributes
    ----------
    dense : torch.nn.Module
        The network before any pruning, in evaluation mode; not to be changed.
    samples : Samples or None
        None where nothing needs samples.
    metric : OutputMetric
        How a change of the outputs is measured.
    loss : torch.nn.Module or None
        The loss of outputs and targets, where a statistic needs it.
    batch_size : int
        Samples processed at a time.
    """

    dense: nn.Module
    samples: Samples | None
    metric: OutputMetric
    loss: nn.Module | None = None
    batch_size: int = 512

    @property
    def n_probes(self) -> int | None:
        """Number of random probes of the outputs; None if every output is looked at."""
        return self.metric.n_probes if isinstance(self.metric, Probes) else None

    def known_samples(self) -> Samples:
        """The samples, or an error if there are none."""
        if self.samples is None:
            raise ValueError("This needs calibration samples; pass X.")
        return self.samples

    def collect(
        self,
        module: nn.Module,
        layers: Mapping[str, nn.Module],
        statistics: Sequence[type[Statistic]],
        *,
        n_units: Mapping[str, int] | None = None,
        kept: Mapping[str, Tensor] | None = None,
    ) -> dict[str, LayerStatistics]:
        """Compute statistics of some layers of a network; see :func:`collect`."""
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
    layers: Mapping[str, nn.Module],
    samples: Samples,
    statistics: Sequence[type[Statistic]],
    *,
    metric: OutputMetric,
    loss: nn.Module | None = None,
    dense: nn.Module | None = None,
    batch_size: int = 512,
    n_units: Mapping[str, int] | None = None,
    kept: Mapping[str, Tensor] | None = None,
) -> dict[str, LayerStatistics]:
    """Compute statistics of layers in one pass over the data, with memory of one batch.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. The ``requires_grad`` flags of its parameters are changed and restored.
    layers : mapping of str to torch.nn.Module
        Linear layers and convolutions.
    samples : Samples
    statistics : sequence of Statistic classes
    metric : OutputMetric
        How a change of the outputs is measured.
    loss : torch.nn.Module, default=None
        Needed by statistics of the loss.
    dense : torch.nn.Module, default=None
        The network before any pruning, needed by statistics that compare with it.
    batch_size : int, default=512
    n_units : mapping of layer name to int, default=None
        How many units each layer reads, for statistics of those.
    kept : mapping of layer name to bool tensor of shape (n_out, n_in), default=None
        The weights that earlier pruning steps have kept; None stands for all.

    Returns
    -------
    dict of str to LayerStatistics
    """
    summed = [kind for kind in statistics if not issubclass(kind, NetworkStatistic)]
    total = {
        name: LayerStatistics.empty(
            layer,
            summed,
            None if n_units is None else n_units.get(name),
            None if kept is None else kept[name],
        )
        for name, layer in layers.items()
    }
    if summed:
        # what the forms for convolutions and maps need, not what they take the place of
        kinds = [type(one) for layer in total.values() for one in layer.by_class.values()]
        _Pass(module, layers, total, Need.of(kinds), metric, loss, dense).run(samples, batch_size)
    for kind in statistics:
        if issubclass(kind, NetworkStatistic):
            for name, statistic in kind.measure(module, layers, samples, metric).items():
                total[name].by_class[kind] = statistic
    return total


class _Pass:
    """One pass over the data, which fills statistics."""

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, nn.Module],
        total: Mapping[str, LayerStatistics],
        need: Need,
        metric: OutputMetric,
        loss: nn.Module | None,
        dense: nn.Module | None,
    ):
        self.module, self.layers, self.total, self.need = module, layers, total, need
        self.metric, self.loss, self.dense = metric, loss, dense
        self.each_seed = bool(need & (Need.GRADIENTS | Need.INPUT_GRADIENTS))
        self.at_inputs = bool(need & (Need.INPUT_SENSITIVITIES | Need.INPUT_GRADIENTS))
        self.at_units = bool(need & Need.SENSITIVITIES) or self.each_seed
        self.weights = [layer.weight for layer in layers.values()]
        self.memory: list[Tensor] = []

    def run(self, samples: Samples, batch_size: int) -> None:
        """Pass over the data once."""
        differentiated = self.weights if self.need & Need.LOSS_GRADIENT else []
        with (
            _requiring_gradients(self.module, differentiated),
            torch.enable_grad(),
            Recorder(self.module, self.layers, self.at_inputs) as record,
        ):
            for X, y, weights in samples.batches(batch_size):
                record.clear()
                returned = record.forward(self.module, X)
                batches = self._batches(record, weights)
                self._add_sensitivities(record, output_tensor(returned, len(X)), batches)
                if self.need & Need.LOSS_GRADIENT:
                    gradients = summed_gradients(self.loss, returned, y, weights, self.weights)
                    for batch, gradient in zip(batches, gradients, strict=True):
                        batch.loss_gradient = gradient.flatten(1)
                if self.need & Need.DENSE_OUTPUTS:
                    for batch, z in zip(batches, self._dense(record, X), strict=True):
                        batch.dense_pre_activations = z
                for name, batch in zip(self.layers, batches, strict=True):
                    self.total[name].update(batch)

    def _dense(self, record: Recorder, X: Tensor) -> list[Tensor]:
        """The layers' pre-activations in the dense network."""
        if self.dense is self.module:  # before the first step
            return [record.pre_activations[name].detach() for name in self.layers]
        return _pre_activations(self.dense, self.layers, X)

    def _batches(self, record: Recorder, weights: Tensor | None) -> list[LayerBatch]:
        missing = [name for name in self.layers if name not in record.inputs]
        if missing:
            raise ValueError(
                f"Layers {missing} take no part in the network's forward pass. Name the "
                f"layers to prune with layers=[...]."
            )
        return [LayerBatch(record.inputs[name], weights=weights) for name in self.layers]

    def _add_sensitivities(self, record, outputs: Tensor, batches: list[LayerBatch]) -> None:
        """Differentiate the outputs, and fill in the squared sensitivities of each layer."""
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
        """Pass one seed's gradients on to the statistics."""
        known = [
            torch.zeros_like(point) if gradient is None else gradient
            for point, gradient in zip(points, gradients, strict=True)
        ]
        of_inputs = known[len(batches) :] or [None] * len(batches)
        for name, *seen in zip(self.layers, batches, known, of_inputs, strict=False):
            self.total[name].add_gradient(*seen)


@contextmanager
def _requiring_gradients(module: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Let only some parameters of a module require gradients."""
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
def _pre_activations(module: nn.Module, names: Iterable[str], X: Tensor) -> list[Tensor]:
    """Pre-activations of layers, given by their names."""
    layers = {name: module.get_submodule(name) for name in names}
    with Recorder(module, layers) as record:
        record.forward(module, X)
    return [record.pre_activations[name].detach() for name in layers]
