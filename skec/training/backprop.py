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

from ..networks import (
    FeatureScaling,
    FeatureWeights,
    InputColumns,
    PeriodicEmbedding,
    StackedLinear,
    runs_in_order,
    stacked_linear,
)
from ..utils import private
from .losses import OutputLoss

_aten = torch.ops.aten


class _Operation(ABC):
    """A layer's forward and backward pass."""

    n_parameters = 0  # parameter tensors of the layer

    def write_gradients(self, grad: Tensor) -> None:
        """Write the gradients of the parameters, given the one of the outputs."""
        raise NotImplementedError  # not called for operations without parameters

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
        torch.mm(grad.t(), self.inputs, out=self.weight_grad)
        if self.bias_grad is not None:
            torch.sum(grad, 0, out=self.bias_grad)

    def backward(self, grad: Tensor) -> Tensor:
        self.write_gradients(grad)
        return torch.mm(grad, self.weight)


class _StackedLinear(_Linear):
    """The same for a stack of networks."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs.expand(len(self.weight), *inputs.shape[-2:])
        return stacked_linear(self.inputs, self.weight, self.bias)

    def write_gradients(self, grad: Tensor) -> None:
        torch.bmm(grad.mT, self.inputs, out=self.weight_grad)
        if self.bias_grad is not None:
            torch.sum(grad, 1, out=self.bias_grad)

    def backward(self, grad: Tensor) -> Tensor:
        self.write_gradients(grad)
        return torch.bmm(grad, self.weight)


class _FeatureWeights(_Operation):
    """A learned factor for each column; of each network in a stack."""

    n_parameters = 1
    inputs: Tensor  # of the last forward pass

    def __init__(self, layer: FeatureWeights):
        self.rate, self.weight = layer.rate, layer.weight.detach()[..., None, :]
        self.weight_grad = _allocated_grad(layer.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return inputs * (self.rate * self.weight)

    def write_gradients(self, grad: Tensor) -> None:
        torch.sum(grad * self.inputs, -2, out=self.weight_grad).mul_(self.rate)

    def backward(self, grad: Tensor) -> Tensor:
        self.write_gradients(grad)
        return grad * (self.rate * self.weight)


class _PeriodicEmbedding(_Operation):
    """Each feature with linear functions of its cosines; the first operation of a chain.

    Tensors have the dimensions (feature, sample, ...). In a stack, the features of one network
    follow those of another.
    """

    n_parameters = 4
    saved: tuple[Tensor, Tensor, Tensor]  # features, angles and cosines of the last forward pass

    def __init__(self, layer: PeriodicEmbedding):
        def flat(parameter: Tensor, last: int) -> tuple[Tensor, Tensor]:
            gradient = _allocated_grad(parameter)
            return parameter.detach().flatten(0, last), gradient.flatten(0, last)

        self.n_features, self.stack = layer.n_features, layer.bias.shape[:-2]
        self.frequency, self.frequency_grad = flat(layer.frequency, -2)
        self.phase, self.phase_grad = flat(layer.phase, -2)
        self.weight, self.weight_grad = flat(layer.weight, -3)
        self.bias, self.bias_grad = flat(layer.bias, -2)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs.t()[:, :, None]
        x = x.expand(*self.stack, *x.shape).flatten(0, -3)
        angles = torch.addcmul(self.phase[:, None], x, self.frequency[:, None])
        cosines = angles.cos()
        periodic = torch.baddbmm(self.bias[:, None], cosines, self.weight.mT)
        self.saved = x, angles, cosines
        outputs = torch.cat([x, periodic], 2)
        outputs = outputs.view(*self.stack, self.n_features, *outputs.shape[1:])
        return outputs.transpose(-3, -2).flatten(-2)

    def write_gradients(self, grad: Tensor) -> None:
        x, angles, cosines = self.saved
        grad = grad.unflatten(-1, (self.n_features, -1))[..., 1:].transpose(-3, -2).flatten(0, -3)
        torch.bmm(grad.mT, cosines, out=self.weight_grad)
        torch.sum(grad, 1, out=self.bias_grad)
        angle_grad = torch.bmm(grad, self.weight).mul_(angles.sin_()).neg_()
        torch.sum(angle_grad, 1, out=self.phase_grad)
        torch.bmm(x.mT, angle_grad, out=self.frequency_grad[:, None])


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
        like = inputs if inputs.ndim == 2 else inputs[0]  # the same units in all networks
        kept = _random_bits(like, self.keep, self.generator)
        self.mask = kept.to(inputs.dtype).mul_(1.0 / max(self.keep, 1e-12))
        return inputs * self.mask

    def backward(self, grad: Tensor) -> Tensor:
        return grad * self.mask


class _Fixed(_Operation):
    """A module without parameters, before all that have some."""

    def __init__(self, layer: nn.Module):
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


def _random_bits(like: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """A bool tensor of this shape in which an entry is true with probability ``share``.

    The probability is exact to 2⁻¹⁶. An integer of 64 bits gives four entries, which is several
    times faster than ``bernoulli_``.
    """
    if like.device.type != "cpu":
        return torch.empty_like(like, dtype=torch.bool).bernoulli_(share, generator=generator)
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    limit = round(share * 2**16) - 2**15
    return (words.view(torch.int16)[: like.numel()] < min(limit, 2**15 - 1)).view(like.shape)


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
        self.first = next(i for i, o in enumerate(operations) if o.n_parameters)

    @classmethod
    def of(cls, module: nn.Module, generator: torch.Generator | None = None) -> Chain | None:
        """Return the chain of ``module``, or None if the module needs autograd.

        A module is a chain if it is a ``torch.nn.Sequential`` (nested or not) of linear layers,
        known activations, dropout and identities, all trainable and without hooks. The modules of
        :class:`skec.networks.MLP` that act on features may come first. A stack of such networks
        (:func:`skec.networks.stacked`) is a chain too.
        """
        operations: list[_Operation] = []
        for layer in _flatten(module):
            first = all(isinstance(operation, _Fixed) for operation in operations)
            if private.has_hooks(layer):
                return None
            if not all(p.requires_grad for p in layer.parameters()):
                return None
            if type(layer) is nn.Linear:
                operations.append(_Linear(layer))
            elif type(layer) is StackedLinear:
                operations.append(_StackedLinear(layer))
            elif type(layer) is FeatureWeights:
                operations.append(_FeatureWeights(layer))
            elif type(layer) is PeriodicEmbedding and first:
                operations.append(_PeriodicEmbedding(layer))
            elif type(layer) is nn.Dropout:
                if layer.p > 0:
                    operations.append(_Dropout(layer, generator))
            elif type(layer) in _ACTIVATIONS:
                operations.append(_ACTIVATIONS[type(layer)](layer))
            elif type(layer) in (InputColumns, FeatureScaling) and first:
                operations.append(_Fixed(layer))
            elif type(layer) is not nn.Identity:
                return None
        begin = next((o for o in operations if not isinstance(o, _Fixed | _Dropout)), None)
        if begin is None or not begin.n_parameters:
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
        self.operations[self.first].write_gradients(grad)
        return value


def _flatten(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of nested sequential modules in order, other modules as they are."""
    if runs_in_order(module):
        for child in module:
            yield from _flatten(child)
    else:
        yield module
