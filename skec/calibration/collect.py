"""One pass over the calibration data: a network and samples in, statistics out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from ..networks.layers import Recorder, output_tensor, output_tensors, sensitivities
from ..training.backprop import weighted_loss
from .metric import OutputMetric
from .statistics import LayerBatch, LayerStatistics, NetworkStatistic, Statistic


@dataclass
class CalibrationData:
    """Samples on which a network is looked at, in the network's dtype and on its device.

    Attributes
    ----------
    X : tensor of shape (n_samples, n_features)
    y : tensor with n_samples rows, or None
    weights : tensor of shape (n_samples,) or None
    batch_size : int
    """

    X: Tensor
    y: Tensor | None = None
    weights: Tensor | None = None
    batch_size: int = 512

    @classmethod
    def of(cls, module: nn.Module, X, y=None, sample_weight=None, batch_size=512):
        """Check arrays or tensors and convert them for ``module``."""
        parameter = next(module.parameters())
        like = {"dtype": parameter.dtype, "device": parameter.device}
        X = _tensor(X, "X")
        if X.is_floating_point() or not _takes_indices(module):
            X = _finite(X.to(**like), "X")
        if X.ndim < 2:
            raise ValueError(
                f"X must have shape (n_samples, n_features); got {tuple(X.shape)}. Reshape a "
                f"single feature with X.reshape(-1, 1)."
            )
        if len(X) == 0:
            raise ValueError("X has no samples (n_samples=0); pruning needs at least one.")
        if y is not None:
            y = _tensor(y, "y")
            y = y.to(**like) if y.is_floating_point() else y.to(parameter.device, torch.int64)
            _finite(y, "y")
            _same_length(X, y, "y")
        if sample_weight is not None:
            sample_weight = _finite(_tensor(sample_weight, "sample_weight"), "sample_weight")
            sample_weight = sample_weight.to(**like)
            _same_length(X, sample_weight, "sample_weight")
            if sample_weight.ndim != 1 or (sample_weight < 0).any() or not sample_weight.any():
                raise ValueError(
                    "sample_weight must be one non-negative number per sample, not all zero; got "
                    f"shape {tuple(sample_weight.shape)} and minimum {float(sample_weight.min())}."
                )
        return cls(X, y, sample_weight, batch_size)

    def __len__(self) -> int:
        return len(self.X)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        for start in range(0, len(self), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield (
                self.X[rows],
                None if self.y is None else self.y[rows],
                None if self.weights is None else self.weights[rows],
            )

    def take(self, rows: Tensor | slice) -> CalibrationData:
        """The data of some rows."""
        return CalibrationData(
            self.X[rows],
            None if self.y is None else self.y[rows],
            None if self.weights is None else self.weights[rows],
            self.batch_size,
        )

    def sample(self, n_samples: int | None, random_state=None) -> CalibrationData:
        """At most ``n_samples`` rows, drawn at random without replacement; None takes all."""
        if n_samples is None or n_samples >= len(self):
            return self
        rng = check_random_state(random_state)
        return self.take(torch.from_numpy(np.sort(rng.permutation(len(self))[:n_samples])))


def _tensor(values, name: str) -> Tensor:
    try:
        if isinstance(values, Tensor):
            if values.layout is not torch.strided or values.is_complex():
                raise TypeError
            return values.detach()
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return torch.from_numpy(np.ascontiguousarray(array).copy())
    except TypeError:
        raise TypeError(
            f"{name} must be a dense array or tensor of numbers; got {type(values).__name__}. "
            f"Encode strings and objects, and make sparse matrices dense, before pruning."
        ) from None


def _takes_indices(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Embedding | nn.EmbeddingBag) for child in module.modules())


def _finite(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(f"{name} contains NaN or infinity. Impute or drop those samples.")
    return tensor


def _same_length(X: Tensor, other: Tensor, name: str) -> None:
    if len(X) != len(other):
        raise ValueError(
            f"X and {name} must have the same number of rows; got {len(X)} and {len(other)}."
        )


def collect(
    module: nn.Module,
    layers: Mapping[str, nn.Module],
    data: CalibrationData,
    statistics: Sequence[type[Statistic]],
    *,
    metric: OutputMetric,
    loss: nn.Module | None = None,
    dense: nn.Module | None = None,
    n_units: Mapping[str, int] | None = None,
) -> dict[str, LayerStatistics]:
    """Compute statistics of layers in one pass over the data, with memory of one batch.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode. Its parameters' ``requires_grad`` flags are changed and put back.
    layers : mapping of str to torch.nn.Module
        Linear layers and convolutions.
    data : CalibrationData
    statistics : sequence of Statistic classes
    metric : OutputMetric
        How a change of the outputs is measured.
    loss : torch.nn.Module, default=None
        Needed by statistics of the loss.
    dense : torch.nn.Module, default=None
        The network before any pruning, needed by statistics that compare with it.
    n_units : mapping of layer name to int, default=None
        How many units each layer reads, for statistics of those.

    Returns
    -------
    dict of str to LayerStatistics
    """
    summed = [kind for kind in statistics if not issubclass(kind, NetworkStatistic)]
    n_units = {} if n_units is None else n_units
    total = {
        name: LayerStatistics.empty(layer, summed, n_units.get(name))
        for name, layer in layers.items()
    }
    if summed:
        _sum_over_batches(total, module, layers, data, metric, loss, dense)
    for kind in statistics:
        if kind not in summed:
            for name, statistic in kind.measure(module, layers, data, metric).items():
                total[name].by_class[kind] = statistic
    return total


def _sum_over_batches(total, module, layers, data, metric, loss, dense) -> None:
    """Pass over the data once."""

    def needed(what: str) -> bool:
        return any(
            getattr(statistic, f"needs_{what}")
            for layer in total.values()
            for statistic in layer.by_class.values()
        )

    each_seed = needed("gradients") or needed("input_gradients")
    at_inputs = needed("input_sensitivities") or needed("input_gradients")
    at_units = needed("sensitivities") or each_seed

    def add_gradients(batches, points, gradients) -> None:
        known = [
            torch.zeros_like(point) if g is None else g
            for point, g in zip(points, gradients, strict=True)
        ]
        of_inputs = known[len(batches) :] or [None] * len(batches)
        for name, *seen in zip(layers, batches, known, of_inputs, strict=False):
            total[name].add_gradient(*seen)

    weights = [layer.weight for layer in layers.values()]
    memory: list[Tensor] = []
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        if needed("loss_gradient"):
            for weight in weights:
                weight.requires_grad_(True)
        with torch.enable_grad(), Recorder(module, layers, at_inputs) as record:
            for X, y, sample_weight in data:
                record.clear()
                returned = record.forward(module, X)
                outputs = output_tensor(returned, len(X))
                missing = [name for name in layers if name not in record.inputs]
                if missing:
                    raise ValueError(
                        f"Layers {missing} take no part in the network's forward pass. Name the "
                        f"layers to prune with layers=[...]."
                    )
                batches = [
                    LayerBatch(record.inputs[name], weights=sample_weight) for name in layers
                ]
                points = [record.pre_activations[name] for name in layers] if at_units else []
                points += [record.input_points[name] for name in layers] if at_inputs else []
                if points:
                    if not memory:  # the first batch is the largest
                        memory = [z.new_empty(z.shape[:2]) for z in points]
                    add = partial(add_gradients, batches, points) if each_seed else None
                    squares = iter(sensitivities(outputs, points, metric(outputs), memory, add))
                    for batch in batches if at_units else ():
                        batch.sensitivities = next(squares)
                    for batch in batches if at_inputs else ():
                        batch.input_sensitivities = next(squares)
                if needed("loss_gradient"):
                    gradients = _summed_gradient(loss, returned, y, sample_weight, weights)
                    for batch, gradient in zip(batches, gradients, strict=True):
                        batch.loss_gradient = gradient.flatten(1)
                if needed("dense"):
                    for batch, z in zip(batches, _pre_activations(dense, layers, X), strict=True):
                        batch.dense_pre_activations = z
                for name, batch in zip(layers, batches, strict=True):
                    total[name].update(batch)
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


def _summed_gradient(loss, returned, y, sample_weight, weights):
    """Gradients of the batch's summed, weighted loss; zero where it does not depend on a weight."""
    outputs, targets = _loss_arguments(loss, returned, y)
    reduction, n_samples = getattr(loss, "reduction", None), len(y)
    as_it_is = reduction == "mean" and isinstance(loss, _ELEMENTWISE)
    if sample_weight is None and reduction in ("mean", "none") and not as_it_is:
        parameter = weights[0]  # a mean over samples, whatever the batch
        sample_weight = torch.ones(n_samples, dtype=parameter.dtype, device=parameter.device)
    if sample_weight is None and reduction == "sum":
        total = loss(outputs, targets)
    else:
        total = weighted_loss(loss, outputs, targets, sample_weight) * n_samples
    return torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)


# Losses that compare outputs with targets of the same shape, entry by entry.
_ELEMENTWISE = (
    nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.BCELoss,
    nn.BCEWithLogitsLoss,
)  # fmt: skip


def _loss_arguments(loss, returned, y):
    """What the loss is called with: all that the network returned if that is several tensors."""
    tensors = output_tensors(returned, len(y))
    if len(tensors) > 1:
        return returned, y
    outputs = tensors[0].reshape(len(y), -1)
    return outputs, match_targets(y, outputs, loss)


def match_targets(y: Tensor, outputs: Tensor, loss: nn.Module | None = None) -> Tensor:
    """Give targets the shape that the loss compares with outputs of shape (n_samples, n_outputs).

    Targets of shape (n_samples,) get the column that a single output has. Those of a loss of torch
    that goes entry by entry, such as ``BCEWithLogitsLoss``, become floats in the outputs' shape.

    Examples
    --------
    >>> labels, outputs = torch.tensor([0, 1, 1]), torch.zeros(3, 1)
    >>> match_targets(labels, outputs, nn.BCEWithLogitsLoss()).shape
    torch.Size([3, 1])
    """
    if isinstance(loss, _ELEMENTWISE):
        y = y.to(outputs.dtype)
        return y.reshape(outputs.shape) if y.numel() == outputs.numel() else y
    if y.is_floating_point() and y.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] == 1:
        return y[:, None]
    return y
