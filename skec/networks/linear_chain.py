"""Jacobian products of a chain of linear layers, without autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .chain import NotAChain, hidden_layers
from .layers import layer_of, prunable_layers

_FEW_UNREAD = 0.9  # with a larger share of columns in use, leaving out the others gains nothing

# The change of the weight, of shape (n_out, n_in), and of the bias of each layer.
Change = dict[str, tuple[Tensor, Tensor | None]]


@dataclass
class _Stage:
    """A linear layer with the modules before it.

    Attributes
    ----------
    name : str
    layer : torch.nn.Linear
    read : int64 tensor or None
        The inputs that some unit reads; None stands for all.
    before : callable or None
        Maps the pre-activations of the previous layer to the inputs of this one, entry by entry.
        For the first layer, it maps the inputs of the network.
    """

    name: str
    layer: nn.Linear
    read: Tensor | None
    before: Callable[[Tensor], Tensor] | None


class LinearChain:
    """A network of linear layers with modules between them that act on each entry.

    The Jacobian of its outputs with respect to all weights and biases is known in closed form. With
    ``h_l`` the inputs of layer l and ``D_l`` the derivatives of the modules before it, a change of
    the parameters changes the pre-activations by ``δz_l = (D_l δz_{l−1}) W_lᵀ + h_l δW_lᵀ + δb_l``.
    The gradient runs back in the same way. A pass takes two matrix products per layer. Inputs that
    no unit of a layer reads are left out.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    kept : mapping of layer name to bool tensor of shape (n_out, n_in)
        The layers whose parameters change, and their kept weights. The others are zero and stay so.
    """

    def __init__(self, stages: list[_Stage], names: Iterable[str]):
        self.stages, self.names = stages, set(names)

    @classmethod
    def of(cls, module: nn.Module, kept: Mapping[str, Tensor]) -> LinearChain | None:
        """The chain of a network; None if it has another structure."""
        try:
            hidden = hidden_layers(module)
        except NotAChain:
            return None
        layers = prunable_layers(module)
        if not all(isinstance(layer, nn.Linear) for layer in layers.values()):
            return None
        every = module.named_modules(remove_duplicate=False)  # an activation may occur twice
        parts = [(name, part) for name, part in every if not isinstance(part, nn.Sequential)]
        order = [*hidden, list(layers)[-1]] if hidden else list(layers)
        place = {name: i for i, (name, _) in enumerate(parts)}
        if place[order[-1]] != len(parts) - 1:  # the outputs are not those of a linear layer
            return None
        stages, start = [], 0
        for name in order:
            between = [part for _, part in parts[start : place[name]]]
            layer = layer_of(module, name)
            assert isinstance(layer, nn.Linear)
            stages.append(_Stage(name, layer, _read(kept.get(name)), _composed(between)))
            start = place[name] + 1
        return cls(stages, kept)

    def at(self, X: Tensor) -> ChainPoint:
        """The outputs for some rows, and what their Jacobian needs."""
        return ChainPoint(self, X)


class ChainPoint:
    """The Jacobian of a :class:`LinearChain` at some inputs.

    Attributes
    ----------
    outputs : tensor of shape (n_samples, n_outputs)
    """

    def __init__(self, chain: LinearChain, X: Tensor):
        self.chain, self.inputs, self.slopes = chain, [], []
        z = X
        for number, stage in enumerate(chain.stages):
            h, slope = (z, None) if stage.before is None else _with_slope(stage.before, z, number)
            weight = stage.layer.weight
            if stage.read is not None:
                h, weight = h[:, stage.read], weight[:, stage.read]
            self.inputs.append(h)
            self.slopes.append(slope)
            z = nn.functional.linear(h, weight, stage.layer.bias)
        self.outputs = z

    def push(self, change: Mapping[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        """The change of the outputs for a change of the parameters, to first order."""
        moved: Tensor | None = None
        for stage, h, slope in zip(self.chain.stages, self.inputs, self.slopes, strict=True):
            if moved is not None:
                moved = (moved if slope is None else moved * slope) @ stage.layer.weight.t()
            if stage.name in self.chain.names:
                weight, bias = change[stage.name]
                weight = weight if stage.read is None else weight[:, stage.read]
                own = nn.functional.linear(h, weight, bias)
                moved = own if moved is None else moved.add_(own)
        return torch.zeros_like(self.outputs) if moved is None else moved

    def pull(self, grad: Tensor) -> Change:
        """The gradient with respect to the parameters, given the one of the outputs.

        It is zero for weights of inputs that no unit reads.
        """
        gradients: Change = {}
        left = len(self.chain.names)
        every = zip(self.chain.stages, self.inputs, self.slopes, strict=True)
        for stage, h, slope in reversed(list(every)):
            if stage.name in self.chain.names:
                bias = None if stage.layer.bias is None else grad.sum(0)
                weight = grad.t() @ h
                if stage.read is not None:
                    weight = torch.zeros_like(stage.layer.weight).index_copy_(1, stage.read, weight)
                gradients[stage.name] = weight, bias
                left -= 1
            if not left:
                break
            grad = grad @ stage.layer.weight
            if slope is not None:
                grad = grad * slope
        return gradients


def _read(kept: Tensor | None) -> Tensor | None:
    """The columns with a kept weight; None if there are none without, or nearly none."""
    columns = None if kept is None else kept.any(0)
    if columns is None or columns.double().mean() > _FEW_UNREAD:
        return None
    return torch.nonzero(columns)[:, 0]


def _composed(parts: list[nn.Module]) -> Callable[[Tensor], Tensor] | None:
    """The function of some modules in evaluation mode; None if they change nothing."""
    changing = [p for p in parts if not isinstance(p, nn.Identity | nn.Dropout)]
    return nn.Sequential(*changing).eval() if changing else None


def _with_slope(
    function: Callable[[Tensor], Tensor], z: Tensor, number: int
) -> tuple[Tensor, Tensor | None]:
    """The values of a function that acts on each entry, and its derivatives.

    Before the first layer no derivatives are needed.
    """
    if not number:
        return function(z.clone()), None
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        h = function(z.clone())  # it may work in place
        (slope,) = torch.autograd.grad(h.sum(), z)
    return h.detach(), slope
