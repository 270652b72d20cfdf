"""The best change of the bias for the true network, weight by weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...networks import Recorder, output_tensor
from ._base import NetworkStatistic

_MAX_PASSES = 3e7  # forward passes of single samples that take minutes on a small network
_ITERATIONS = 8


class ExactElimination(NetworkStatistic):
    """``min_Δb E‖y(x) − y(x; W_ij = 0, b_i + Δb)‖²`` for every weight of a layer.

    Attributes
    ----------
    error : float64 tensor of shape (n_out, n_in)
        The minimum.
    shift : float64 tensor of shape (n_out, n_in)
        Where it is attained.
    """

    def __init__(self, layer: nn.Linear):
        self.error = torch.zeros_like(layer.weight, dtype=torch.float64, requires_grad=False)
        self.shift = torch.zeros_like(self.error)

    @classmethod
    def measure(cls, module, layers, samples, metric):
        n_weights = sum(int(layer.weight.count_nonzero()) for layer in layers.values())
        passes = n_weights * len(samples)
        if passes > _MAX_PASSES:
            raise ValueError(
                f"The exact error of {n_weights:,} weights on {len(samples):,} samples needs "
                f"{passes:,} forward passes several times over; at most {_MAX_PASSES:,.0f} are "
                f"done. Calibrate on fewer samples, name fewer layers, or use method='ec', which "
                f"needs one backpropagation."
            )
        measured = {name: cls(layer) for name, layer in layers.items()}
        with torch.no_grad(), tqdm(total=n_weights, unit="weight", disable=None) as bar:
            outputs = output_tensor(module(samples.X.clone()), len(samples))
            with Recorder(module, layers) as record:
                record.forward(module, samples.X)
                inputs = dict(record.inputs)
            for name, layer in layers.items():
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
    """The network with another pre-activation of one unit, for several changes at once."""

    n_at_once = 64

    def __init__(self, module, layer, unit, samples, outputs, metric):
        self.module, self.layer, self.unit = module, layer, unit
        self.samples, self.outputs, self.metric = samples, outputs, metric
        weights = (
            torch.ones(len(samples)) if samples.sample_weight is None else samples.sample_weight
        )
        self.weights = (weights.double() / weights.double().sum()).to(outputs.device)

    def changes(self, change: Tensor) -> Tensor:
        """Outputs minus those of the network as it is, for changes of shape (n, n_samples)."""
        n, n_samples = change.shape
        direction = torch.zeros_like(self.layer.weight[:, 0])
        direction[self.unit] = 1.0

        def add(layer, arguments, output):
            return output + change.reshape(-1, 1) * direction

        handle = self.layer.register_forward_hook(add)
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
        """The least error over the shift, and the shift, for each of several removals.

        Gauss–Newton steps, halved where the error grows; the best point counts.

        Parameters
        ----------
        lost : tensor of shape (n_removals, n_samples)
            What each removal takes from the pre-activation.
        """
        shift = torch.zeros_like(lost[:, 0])
        one = torch.ones_like(shift)

        def moved(shift):
            return self.changes(shift[:, None] - lost)

        best, best_shift = None, shift
        for _ in range(_ITERATIONS):
            change, slope = torch.func.jvp(moved, (shift,), (one,))
            error = self.product(change, change)
            if best is None:
                best, best_shift, step = error, shift, torch.zeros_like(shift)
            better = error <= best
            best = torch.where(better, error, best)
            best_shift = torch.where(better, shift, best_shift)
            curvature = self.product(slope, slope)
            newton = -self.product(slope, change) / curvature.clamp_min(1e-300)
            newton = torch.where(curvature > 0, newton, 0.0).to(shift.dtype)
            step = torch.where(better, newton, 0.5 * step)
            shift = best_shift + step
        return best, best_shift.double()
