"""The optimal change of the bias for the network itself, for each weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...networks import PrunableLayer, Recorder, output_tensor
from ...utils import Samples, private
from ..metric import OutputMetric
from ._base import NetworkStatistic

_MAX_PASSES = 3e7  # forward passes of single samples; takes minutes on a small network
_ITERATIONS = 8


class ExactElimination(NetworkStatistic):
    """``min_Δb E‖y(x) − y(x; W_ij = 0, b_i + Δb)‖²`` for every weight of a layer.

    Attributes
    ----------
    error : float64 tensor of shape (n_out, n_in)
        The minimum.
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
        samples: Samples,
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
        measured = {name: cls(layer) for name, layer in linear.items()}
        with torch.no_grad(), tqdm(total=n_weights, unit="weight", disable=None) as bar:
            outputs = output_tensor(module(samples.X.clone()), len(samples))
            with Recorder(module, linear) as record:
                record.forward(module, samples.X)
                inputs = dict(record.inputs)
            for name, layer in linear.items():
                for unit in range(layer.out_features):
                    probe = _UnitProbe(module, layer, unit, samples, outputs, metric)
                    (columns,) = torch.nonzero(layer.weight[unit], as_tuple=True)
                    for part in columns.split(probe.n_at_once) if len(columns) else ():
                        lost = (inputs[name][:, part] * layer.weight[unit, part]).t()
                        error, shift = probe.minimise(lost)
                        measured[name].error[unit, part] = error
                        measured[name].shift[unit, part] = shift
                        bar.update(len(part))
        return measured


class _UnitProbe:
    """The network with changed pre-activations of one unit, for several changes at a time."""

    n_at_once = 64

    def __init__(
        self,
        module: nn.Module,
        layer: nn.Linear,
        unit: int,
        samples: Samples,
        outputs: Tensor,
        metric: OutputMetric,
    ):
        self.module, self.layer, self.unit = module, layer, unit
        self.samples, self.outputs, self.metric = samples, outputs, metric
        weights = (
            torch.ones(len(samples)) if samples.sample_weight is None else samples.sample_weight
        )
        self.weights = (weights.double() / weights.double().sum()).to(outputs.device)

    def changes(self, change: Tensor) -> Tensor:
        """Changes of the outputs for changes of the pre-activation of shape (n, n_samples)."""
        n, n_samples = change.shape
        direction = torch.zeros_like(self.layer.weight[:, 0])
        direction[self.unit] = 1.0

        def add(layer: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            return output + change.reshape(-1, 1) * direction

        handle = self.layer.register_forward_hook(add, prepend=True)
        try:
            X = self.samples.X
            outputs = self.module(X.repeat(n, *[1] * (X.ndim - 1)))
        finally:
            handle.remove()
        return output_tensor(outputs, n * n_samples).reshape(n, n_samples, -1) - self.outputs

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """``E[leftᵀ M right]`` for each change, in float64."""
        n = len(left)
        outputs = self.outputs.repeat(n, 1)
        right = self.metric.multiply(outputs, right.reshape(outputs.shape)).reshape(left.shape)
        return (left.double() * right.double()).sum(2) @ self.weights

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
        one = torch.ones_like(shift)

        def moved(shift: Tensor) -> Tensor:
            return self.changes(shift[:, None] - lost)

        best, best_shift, step = shift, shift, torch.zeros_like(shift)
        for iteration in range(_ITERATIONS):
            change, slope = private.jvp(moved, (shift,), (one,))[:2]
            error = self.product(change, change)
            if iteration == 0:
                best = error
            better = error <= best
            best = torch.where(better, error, best)
            best_shift = torch.where(better, shift, best_shift)
            curvature = self.product(slope, slope)
            newton = -self.product(slope, change) / curvature.clamp_min(1e-300)
            newton = torch.where(curvature > 0, newton, 0.0).to(shift.dtype)
            step = torch.where(better, newton, 0.5 * step)
            shift = best_shift + step
        return best, best_shift.double()
