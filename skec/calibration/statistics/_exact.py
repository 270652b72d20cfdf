"""The optimal change of the bias for the network itself, for each weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...networks import PrunableLayer, Recorder, call, copy_network, layer_of, output_tensor
from ...utils import BatchedSamples, Samples, private, repeated, without_rounding
from ..metric import OutputMetric
from ._base import NetworkStatistic

_MAX_PASSES = 3e7  # forward passes of single samples; takes minutes on a small network
_MAX_ROWS = 2**15  # that run through the network at a time
_ITERATIONS = 8


class ExactElimination(NetworkStatistic):
    """``min_Δb E‖y(x) − y(x; W_ij = 0, b_i + Δb)‖²`` for every weight of a layer.

    Attributes
    ----------
    error : float64 tensor of shape (n_out, n_in)
        The minimum. Zero if rounding of the outputs explains it.
    shift : float64 tensor of shape (n_out, n_in)
        The minimiser ``Δb``.
    """

    def __init__(self, layer: nn.Linear):
        self.error = torch.zeros_like(layer.weight, dtype=torch.float64, requires_grad=False)
        self.shift = torch.zeros_like(self.error)

    @classmethod
    def measure(
        cls,
        module: nn.Module,
        layers: Mapping[str, PrunableLayer],
        samples: Samples | BatchedSamples,
        metric: OutputMetric,
    ) -> Mapping[str, ExactElimination]:
        linear = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        if len(linear) < len(layers):
            raise ValueError(f"The statistic {cls.__name__} is not defined for convolutions.")
        n_weights = sum(int(layer.weight.count_nonzero()) for layer in linear.values())
        passes = n_weights * len(samples)
        if passes > _MAX_PASSES:
            raise ValueError(
                f"The exact error of {n_weights:,} weights on {len(samples):,} samples needs "
                f"{passes:,} forward passes for each of several iterations; at most "
                f"{_MAX_PASSES:,.0f} are allowed. Pass fewer samples, select fewer layers with "
                f"layers=[...], or use method='ec', which backpropagates once."
            )
        samples = samples.in_memory()
        measured = {name: cls(layer) for name, layer in linear.items()}
        probed = copy_network(module)  # hooks of its own may leave tensors of jvp on it
        with torch.no_grad(), tqdm(total=n_weights, unit="weight", disable=None) as bar:
            outputs = torch.cat(
                [
                    output_tensor(call(probed, part.X[:]), len(part))
                    for part in map(samples.take, _blocks(len(samples)))
                ]
            )
            for name, statistic in measured.items():
                layer = layer_of(probed, name)
                (read,) = torch.nonzero(layer.weight.any(0), as_tuple=True)
                inputs = _inputs(probed, name, samples, read)
                for unit in range(len(layer.weight)):
                    probe = _UnitProbe(probed, layer, unit, samples, outputs, metric)
                    (columns,) = torch.nonzero(layer.weight[unit, read], as_tuple=True)
                    for part in columns.split(probe.n_at_once) if len(columns) else ():
                        weights = read[part]
                        lost = (inputs[:, part] * layer.weight[unit, weights]).t()
                        error, shift = probe.minimise(lost)
                        statistic.error[unit, weights] = error
                        statistic.shift[unit, weights] = shift
                        bar.update(len(part))
        return measured


def _blocks(n_samples: int, repeated: int = 1) -> Iterator[slice]:
    """Slices of the samples, so that few rows run through the network at a time."""
    size = max(1, _MAX_ROWS // repeated)
    for start in range(0, n_samples, size):
        yield slice(start, start + size)


def _inputs(module: nn.Module, name: str, samples: Samples, columns: Tensor) -> Tensor:
    """Some columns of a layer's inputs for all samples."""
    parts = []
    with Recorder(module, {name: layer_of(module, name)}) as record:
        for rows in _blocks(len(samples)):
            record.clear()
            record.forward(module, samples.X[rows])
            parts.append(record.inputs[name][:, columns])
    return torch.cat(parts)


class _UnitProbe:
    """The network with changed pre-activations of one unit, for several changes at a time."""

    n_at_once = 64

    def __init__(
        self,
        module: nn.Module,
        layer: PrunableLayer,
        unit: int,
        samples: Samples,
        outputs: Tensor,
        metric: OutputMetric,
    ):
        self.module, self.layer, self.unit = module, layer, unit
        self.samples, self.outputs, self.metric = samples, outputs, metric
        weights = samples.sample_weight
        weights = torch.ones_like(outputs[:, 0]) if weights is None else weights
        self.weights = (weights.double() / weights.double().sum()).to(outputs.device)

    @cached_property
    def power(self) -> float:
        """``E[yᵀ M y]`` of the outputs: the squared error of a change of 100 %."""
        return float(self._product(self.outputs[None], self.outputs[None], slice(None)))

    def _changes(self, change: Tensor, rows: slice) -> Tensor:
        """Changes of the outputs for changes of the pre-activation of shape (n, n_rows)."""
        n, n_rows = change.shape
        direction = torch.zeros_like(self.layer.weight[:, 0])
        direction[self.unit] = 1.0

        def add(layer: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            return output + change.reshape(-1, 1) * direction

        handle = self.layer.register_forward_hook(add, prepend=True)
        try:
            X = self.samples.X[rows]
            outputs = call(self.module, repeated(X, n))
        finally:
            handle.remove()
        return output_tensor(outputs, n * n_rows).reshape(n, n_rows, -1) - self.outputs[rows]

    def _product(self, left: Tensor, right: Tensor, rows: slice) -> Tensor:
        """The part of some samples in ``E[leftᵀ M right]`` for each change, in float64."""
        outputs = self.outputs[rows].repeat(len(left), 1)
        right = self.metric.multiply(outputs, right.reshape(outputs.shape)).reshape(left.shape)
        return (left.double() * right.double()).sum(2) @ self.weights[rows]

    def error_and_derivatives(self, shift: Tensor, lost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The error at a shift of each removal, half its slope and half its curvature."""
        total = shift.new_zeros((3, len(shift)), dtype=torch.float64)
        for rows in _blocks(lost.shape[1], repeated=len(lost)):

            def moved(shift: Tensor, rows: slice = rows) -> Tensor:
                return self._changes(shift[:, None] - lost[:, rows], rows)

            change, slope = private.jvp(moved, (shift,), (torch.ones_like(shift),))[:2]
            total[0] += self._product(change, change, rows)
            total[1] += self._product(slope, change, rows)
            total[2] += self._product(slope, slope, rows)
        return total[0], total[1], total[2]

    def minimise(self, lost: Tensor) -> tuple[Tensor, Tensor]:
        """Minimise the error over the shift, for each of several removals.

        Takes Gauss–Newton steps and halves a step that increases the error.

        Parameters
        ----------
        lost : tensor of shape (n_removals, n_samples)
            The part of the pre-activation that each removal subtracts.

        Returns
        -------
        error, shift : float64 tensors of shape (n_removals,)
            The smallest error found, and its shift.
        """
        shift = torch.zeros_like(lost[:, 0])
        best, best_shift, step = shift, shift, torch.zeros_like(shift)
        for iteration in range(_ITERATIONS):
            error, slope, curvature = self.error_and_derivatives(shift, lost)
            if iteration == 0:
                best = error
            better = error <= best
            best = torch.where(better, error, best)
            best_shift = torch.where(better, shift, best_shift)
            newton = -slope / curvature.clamp_min(1e-300)
            newton = torch.where(curvature > 0, newton, 0.0).to(shift.dtype)
            step = torch.where(better, newton, 0.5 * step)
            shift = best_shift + step
        best = without_rounding(best, torch.full_like(best, self.power), self.outputs.dtype)
        return best, best_shift.double()
