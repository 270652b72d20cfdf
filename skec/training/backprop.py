"""Forward and backward passes of a chain of layers, without the autograd graph.

On small networks, bookkeeping takes most of the time of a training step: building the graph,
dispatching its nodes, allocating gradients. A chain of linear layers and elementwise activations
needs none of it. :class:`Chain` runs the same kernels as autograd in the same order, and writes
the gradients in place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import InputColumns, runs_in_order
from ..utils import private
from .losses import OutputLoss

_aten = torch.ops.aten


class _Operation(ABC):
    """A layer's forward and backward pass."""

    n_parameters = 0  # parameter tensors of the layer

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs, and save what ``backward`` needs."""

    def backward(self, grad: Tensor) -> Tensor:
        """Return the gradient with respect to the inputs, given the one of the outputs."""
        raise NotImplementedError  # not called for operations before the first linear layer


class _Linear(_Operation):
    """An affine map whose gradients are written into ``weight.grad`` and ``bias.grad``."""

    inputs: Tensor  # of the last forward pass

    def __init__(self, layer: nn.Linear):
        self.weight = layer.weight.detach()
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.weight_grad = _allocated_grad(layer.weight)
        self.bias_grad = None if layer.bias is None else _allocated_grad(layer.bias)
        self.n_parameters = 1 if layer.bias is None else 2

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return nn.functional.linear(inputs, self.weight, self.bias)

    def write_gradients(self, grad: Tensor) -> None:
        """Write the gradients of weight and bias."""
        torch.mm(grad.t(), self.inputs, out=self.weight_grad)
        if self.bias_grad is not None:
            torch.sum(grad, 0, out=self.bias_grad)

    def backward(self, grad: Tensor) -> Tensor:
        self.write_gradients(grad)
        return torch.mm(grad, self.weight)


class _Activation(_Operation):
    """An elementwise function given by its value and its vector-Jacobian product."""

    saved: Tensor  # inputs or outputs of the last forward pass

    def __init__(
        self,
        value: Callable[[Tensor], Tensor],
        gradient: Callable[[Tensor, Tensor], Tensor],
        *,
        from_output: bool,
    ):
        self.value, self.gradient, self.from_output = value, gradient, from_output

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.value(inputs)
        self.saved = outputs if self.from_output else inputs
        return outputs

    def backward(self, grad: Tensor) -> Tensor:
        return self.gradient(grad, self.saved)


class _Dropout(_Operation):
    """Inverted dropout with its own generator."""

    mask: Tensor  # of the last forward pass

    def __init__(self, layer: nn.Dropout, generator: torch.Generator | None):
        self.keep, self.generator = 1.0 - layer.p, generator

    def forward(self, inputs: Tensor) -> Tensor:
        self.mask = torch.empty_like(inputs).bernoulli_(self.keep, generator=self.generator)
        self.mask.div_(max(self.keep, 1e-12))
        return inputs * self.mask

    def backward(self, grad: Tensor) -> Tensor:
        return grad * self.mask


class _Columns(_Operation):
    """A selection of input columns."""

    def __init__(self, layer: InputColumns):
        self.index = layer.get_buffer("index")

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.index_select(1, self.index)


def _relu(layer: nn.ReLU) -> _Activation:
    return _Activation(
        torch.relu,
        lambda grad, h: _aten.threshold_backward(grad, h, 0),
        from_output=True,
    )


def _leaky_relu(layer: nn.LeakyReLU) -> _Activation:
    slope = layer.negative_slope
    return _Activation(
        lambda z: nn.functional.leaky_relu(z, slope),
        lambda grad, z: _aten.leaky_relu_backward(grad, z, slope, False),
        from_output=False,
    )


def _elu(layer: nn.ELU) -> _Activation:
    alpha = layer.alpha
    return _Activation(
        lambda z: nn.functional.elu(z, alpha),
        lambda grad, z: _aten.elu_backward(grad, alpha, 1.0, 1.0, False, z),
        from_output=False,
    )


def _gelu(layer: nn.GELU) -> _Activation:
    approximate = layer.approximate
    return _Activation(
        lambda z: nn.functional.gelu(z, approximate=approximate),
        lambda grad, z: _aten.gelu_backward(grad, z, approximate=approximate),
        from_output=False,
    )


_ACTIVATIONS: dict[type[nn.Module], Callable[[Any], _Activation]] = {
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.ELU: _elu,
    nn.GELU: _gelu,
    nn.SiLU: lambda _: _Activation(nn.functional.silu, _aten.silu_backward, from_output=False),
    nn.Mish: lambda _: _Activation(nn.functional.mish, _aten.mish_backward, from_output=False),
    nn.Tanh: lambda _: _Activation(torch.tanh, _aten.tanh_backward, from_output=True),
    nn.Sigmoid: lambda _: _Activation(torch.sigmoid, _aten.sigmoid_backward, from_output=True),
}


def _allocated_grad(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


class Chain:
    """The training step of a sequential network without autograd.

    Parameters
    ----------
    operations : sequence
        The layers' operations in order.
    """

    def __init__(self, operations: Sequence[_Operation]):
        self.operations = operations
        self.first, self._first_linear = next(
            (i, o) for i, o in enumerate(operations) if isinstance(o, _Linear)
        )

    @classmethod
    def of(cls, module: nn.Module, generator: torch.Generator | None = None) -> Chain | None:
        """Return the chain of ``module``, or None if the module needs autograd.

        A module is a chain if it is a ``torch.nn.Sequential`` (nested or not) of linear layers,
        known activations, dropout and identities, all trainable and without hooks. An
        :class:`skec.networks.InputColumns` may come first.
        """
        operations: list[_Operation] = []
        for layer in _flatten(module):
            if private.has_hooks(layer):
                return None
            if type(layer) is nn.Linear:
                if not all(p.requires_grad for p in layer.parameters()):
                    return None
                operations.append(_Linear(layer))
            elif type(layer) is nn.Dropout:
                if layer.p > 0:
                    operations.append(_Dropout(layer, generator))
            elif type(layer) in _ACTIVATIONS:
                operations.append(_ACTIVATIONS[type(layer)](layer))
            elif type(layer) is InputColumns and not operations:
                operations.append(_Columns(layer))
            elif type(layer) is not nn.Identity:
                return None
        first = next((o for o in operations if not isinstance(o, _Columns | _Dropout)), None)
        if not isinstance(first, _Linear):
            return None
        if len(list(module.parameters())) < sum(o.n_parameters for o in operations):
            return None  # the two gradients of a shared parameter would overwrite each other
        return cls(operations)

    def step(self, inputs: Tensor, loss: OutputLoss) -> Tensor:
        """Write the gradients of one batch and return its loss.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_features)
        loss : callable
            Takes the outputs; returns the loss and its gradient with respect to the outputs.
        """
        for operation in self.operations:
            inputs = operation.forward(inputs)
        value, grad = loss(inputs)
        for operation in reversed(self.operations[self.first + 1 :]):
            grad = operation.backward(grad)
        self._first_linear.write_gradients(grad)
        return value


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested sequential modules in order, other modules as they are."""
    if runs_in_order(module):
        for child in module:
            yield from _flatten(child)
    else:
        yield module
