"""Least squares fit of a pruned network to the outputs of the dense one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp

from ..calibration import Calibration
from ..networks import (
    ChainPoint,
    Change,
    LinearChain,
    activation_bytes,
    call,
    layer_of,
    output_tensor,
)
from ..utils import Samples, private

_BATCH_SIZE = 2048  # at most, unless the calibration has larger batches
_BYTES = 2**27  # for what is held of all samples: activations for the products, and targets


@dataclass
class _Batch:
    """A batch of samples.

    Attributes
    ----------
    samples : Samples
        All samples.
    rows : slice
        Those of this batch. They may become tensors only when they are read.
    holds : bool
        Whether the activations are held between two products.
    held_target : tensor of shape (n_samples, n_outputs) or None
        The outputs of the dense network, if they are held.
    point : ChainPoint, AutogradPoint or None
        The Jacobian at these samples, if it is held.
    """

    samples: Samples
    rows: slice
    holds: bool
    held_target: Tensor | None = None
    point: ChainPoint | AutogradPoint | None = None

    @property
    def X(self) -> Any:
        """The inputs, of shape (n_samples, ...)."""
        return self.samples.X[self.rows]

    @property
    def weights(self) -> Tensor | None:
        """The sample weights, of shape (n_samples,)."""
        weights = self.samples.sample_weight
        return None if weights is None else weights[self.rows]


class OutputFit:
    """``E‖y(x; w) − y_dense(x)‖²_M / 2`` as a function of the kept weights and biases.

    Directions are flat float64 tensors: the weight of each layer with its bias as the last
    column, one layer after the other, zero at removed weights.

    Parameters
    ----------
    module : torch.nn.Module
        The pruned network in evaluation mode.
    kept : mapping of layer name to bool tensor of shape (n_out, n_in)
    calibration : Calibration
    """

    def __init__(self, module: nn.Module, kept: Mapping[str, Tensor], calibration: Calibration):
        self.module, self.metric = module, calibration.metric
        self.names = list(kept)
        self.layers = {name: layer_of(module, name) for name in kept}
        self.masks = [kept_with_bias(module, name, mask) for name, mask in kept.items()]
        self.mask = torch.cat([mask.reshape(-1) for mask in self.masks]).double()
        self.dense, samples = calibration.dense, calibration.known_samples()
        self.samples, self.total, few = samples, samples.total_weight, samples.head(16).X
        # a chain of layers has one input
        self.chain = LinearChain.of(module, kept) if isinstance(few, Tensor) else None
        self.size, of_outputs, of_activations = self._sizes(few, calibration.batch_size)
        self.held: list[_Batch] = []
        if isinstance(samples, Samples):
            self.held = self._batches_of(samples, of_outputs, of_activations)

    @property
    def batches(self) -> Iterable[_Batch]:
        """The batches. Those of a stream hold nothing: their rows may come in another order."""
        if isinstance(self.samples, Samples):
            return self.held
        parts = self.samples.batches(self.size)
        return (_Batch(Samples(*part), slice(None), holds=False) for part in parts)

    def _sizes(self, few: Any, batch_size: int) -> tuple[int, int, int]:
        """Number of samples in a batch, and the bytes of outputs and of activations for each."""
        output = output_tensor(call(self.dense, few), len(few))
        of_outputs = output.nbytes // len(few)
        of_activations = 2 * activation_bytes(self.dense, few) // len(few) + 1
        size = max(batch_size, min(_BATCH_SIZE, _BYTES // 2 // of_activations))
        return size, of_outputs, of_activations

    def _batches_of(self, samples: Samples, of_outputs: int, of_activations: int) -> list[_Batch]:
        """Batches of limited memory, the first of which hold what others compute again."""
        batches: list[_Batch] = []
        size = self.size
        for start in range(0, len(samples), size):
            stop = min(start + size, len(samples))
            holds = start == 0 or stop * of_activations <= _BYTES
            batch = _Batch(samples, slice(start, stop), holds)
            if start * of_outputs <= _BYTES:
                batch.held_target = self._target(batch)
            batches.append(batch)
        return batches

    def _target(self, batch: _Batch) -> Tensor:
        """The outputs of the dense network."""
        if batch.held_target is not None:
            return batch.held_target
        X = batch.X
        return output_tensor(call(self.dense, X), len(X))

    def _at(self, X: Any) -> ChainPoint | AutogradPoint:
        """The network and its Jacobian at some rows."""
        return AutogradPoint(self.module, self.names, X) if self.chain is None else self.chain.at(X)

    def error_and_gradient(self) -> tuple[float, Tensor]:
        """The error at the present parameters, and its gradient."""
        error, gradient = 0.0, torch.zeros_like(self.mask)
        for batch in self.batches:
            point = self._at(batch.X)
            batch.point = point if batch.holds else None
            squared, change = self._squared_error(point.outputs, self._target(batch), batch.weights)
            error += squared
            gradient += self._flat(point.pull(change))
        return error / (2 * self.total), gradient / self.total

    def product(self, direction: Tensor) -> Tensor:
        """``E[Jᵀ M J] v``, with ``J`` the Jacobian at the last call of ``error_and_gradient``."""
        tangent, total = self._by_name(direction), torch.zeros_like(self.mask)
        for batch in self.batches:
            point = self._at(batch.X) if batch.point is None else batch.point
            change = self._times_metric(self._target(batch), point.push(tangent), batch.weights)
            total += self._flat(point.pull(change))
        return total / self.total

    def error(self, direction: Tensor) -> float:
        """The error after a step from the present parameters."""
        parameters, error = {}, 0.0
        for name, (weight, bias) in self._by_name(direction).items():
            layer = self.layers[name]
            parameters[_join(name, "weight")] = layer.weight + weight.view_as(layer.weight)
            if layer.bias is not None and bias is not None:
                parameters[_join(name, "bias")] = layer.bias + bias
        for batch in self.batches:
            X = batch.X
            outputs = output_tensor(call(self.module, X, parameters), len(X))
            error += self._squared_error(outputs, self._target(batch), batch.weights)[0]
        return error / (2 * self.total)

    def move(self, direction: Tensor) -> None:
        """Take a step: change the parameters in place."""
        for name, (weight, bias) in self._by_name(direction).items():
            layer = self.layers[name]
            layer.weight.add_(weight.view_as(layer.weight))
            if layer.bias is not None and bias is not None:
                layer.bias.add_(bias)

    def _squared_error(
        self, outputs: Tensor, target: Tensor, weights: Tensor | None
    ) -> tuple[float, Tensor]:
        """``Σ δᵀ M δ`` over a batch with ``δ`` the change of the outputs, and ``M δ``."""
        change = outputs - target
        product = self._times_metric(target, change, weights)
        return float((change.double() * product.double()).sum()), product

    def _times_metric(self, target: Tensor, change: Tensor, weights: Tensor | None) -> Tensor:
        """``M δ`` for each sample, times its weight."""
        product = self.metric.multiply(target, change)
        return product if weights is None else product * weights[:, None]

    def _by_name(self, direction: Tensor) -> Change:
        """A direction as the change of each layer's weight and bias."""
        named, parts = {}, direction.split([mask.numel() for mask in self.masks])
        for name, mask, part in zip(self.names, self.masks, parts, strict=True):
            table = part.reshape(mask.shape).to(self.layers[name].weight)
            bias = None if self.layers[name].bias is None else table[:, -1]
            named[name] = table[:, :-1], bias
        return named

    def _flat(self, gradient: Change) -> Tensor:
        """A gradient as a direction."""
        tables = []
        for name in self.names:
            weight, bias = gradient[name]
            bias = weight[:, 0] if bias is None else bias  # masked below
            tables.append(torch.cat([weight, bias[:, None]], dim=1).reshape(-1))
        return torch.cat(tables).double() * self.mask


class AutogradPoint:
    """The Jacobian of any network at some inputs, by automatic differentiation."""

    def __init__(self, module: nn.Module, names: list[str], X: Any):
        self.X, self.names = X, names
        self.layers = {name: layer_of(module, name) for name in names}
        self.parameters: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            self.parameters[_join(name, "weight")] = layer.weight.detach()
            if layer.bias is not None:
                self.parameters[_join(name, "bias")] = layer.bias.detach()

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            return output_tensor(call(module, X, parameters), len(X))

        self._outputs = outputs
        self.outputs, self._pullback = vjp(outputs, self.parameters)[:2]

    def push(self, change: Change) -> Tensor:
        """The change of the outputs for a change of the parameters, to first order."""
        tangent = {}
        for name, (weight, bias) in change.items():
            tangent[_join(name, "weight")] = weight.view_as(self.layers[name].weight)
            if bias is not None:
                tangent[_join(name, "bias")] = bias
        return private.jvp(self._outputs, (self.parameters,), (tangent,))[1]

    def pull(self, grad: Tensor) -> Change:
        """The gradient with respect to the parameters, given the one of the outputs."""
        (gradient,) = self._pullback(grad)
        return {
            name: (gradient[_join(name, "weight")].flatten(1), gradient.get(_join(name, "bias")))
            for name in self.names
        }


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Callable[[Tensor], Tensor],
    iterations: int,
) -> tuple[Tensor, int]:
    """Solve ``A x = b`` approximately, for a positive definite ``A`` given by its product.

    Parameters
    ----------
    product, precondition : callable
        Take and return flat tensors.
    right : tensor
    iterations : int

    Returns
    -------
    solution : tensor
    iterations : int
        The number of iterations done. It is smaller than the given one if the solution, or the
        limit of the floating-point precision, is reached.

    Examples
    --------
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradients(lambda v: A @ v, torch.tensor([3.0, 4.0]), lambda v: v, 2)
    (tensor([1.0000, 1.0000]), 2)
    """
    solution = torch.zeros_like(right)
    residual, direction = right, precondition(right)
    inner = residual @ direction
    for iteration in range(iterations):
        image = product(direction)
        curvature = direction @ image
        if not (inner > 0 and curvature > 0):  # solved, or at the limit of the precision
            return solution, iteration
        length = inner / curvature
        solution = solution + length * direction
        residual = residual - length * image
        preconditioned = precondition(residual)
        inner, last = residual @ preconditioned, inner
        direction = preconditioned + inner / last * direction
    return solution, iterations


def kept_with_bias(module: nn.Module, name: str, kept: Tensor) -> Tensor:
    """The mask of a layer with a last column for the bias: whether there is one."""
    has_bias = torch.full_like(kept[:, :1], layer_of(module, name).bias is not None)
    return torch.cat([kept, has_bias], dim=1)


def _join(name: str, parameter: str) -> str:
    return f"{name}.{parameter}" if name else parameter
