"""Records the inputs and pre-activations of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from .calls import call


class Recorder:
    """Records the inputs and pre-activations of layers during one forward pass.

    Used as a context manager. autograd can differentiate with respect to every recorded
    pre-activation, even if no earlier tensor requires a gradient.

    Parameters
    ----------
    module : torch.nn.Module
    layers : mapping of str to torch.nn.Linear, Conv1d or Conv2d
        The layers to record, by name.
    at_inputs : bool, default=False
        Whether autograd can differentiate with respect to the inputs too.

    Attributes
    ----------
    inputs : dict of str to tensor of shape (n_samples, n_in)
        For a convolution (n_samples, n_channels, ...).
    input_points : dict of str to tensor of shape (n_samples, n_in)
        The inputs with respect to which autograd can differentiate; empty without ``at_inputs``.
    pre_activations : dict of str to tensor of shape (n_samples, n_out)
        For a convolution (n_samples, n_out, ...).
    """

    def __init__(self, module: nn.Module, layers: Mapping[str, nn.Module], at_inputs: bool = False):
        self.layers, self.at_inputs = layers, at_inputs
        self.copies = any(getattr(child, "inplace", False) for child in module.modules())
        self.inputs: dict[str, Tensor] = {}
        self.input_points: dict[str, Tensor] = {}
        self.pre_activations: dict[str, Tensor] = {}
        self._versions: dict[str, tuple[int, int]] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> Recorder:
        for name, layer in self.layers.items():
            # first, because hooks of the user may change the output
            hook = self._hook(name)
            handles = [layer.register_forward_hook(hook, prepend=True, with_kwargs=True)]
            if self.at_inputs:
                handles.append(layer.register_forward_pre_hook(self._pre_hook(name)))
            for handle in handles:
                self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    def clear(self) -> None:
        """Discard the recorded tensors."""
        self.inputs.clear()
        self.input_points.clear()
        self.pre_activations.clear()

    def check_complete(self) -> None:
        """Raise a ``ValueError`` if a layer has not run."""
        missing = [name for name in self.layers if name not in self.inputs]
        if missing:
            raise ValueError(
                f"Layers {missing} take no part in the network's forward pass. Select the layers "
                f"to prune with layers=[...]."
            )

    def _pre_hook(self, name: str) -> Callable[..., Any]:
        def require_gradient(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Tensor]:
            (inputs,) = arguments
            if not inputs.requires_grad:
                inputs = inputs.detach().requires_grad_()
            self.input_points[name] = inputs
            return (inputs,)

        return require_gradient

    def _hook(self, name: str) -> Callable[..., Any]:
        def record(
            layer: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Tensor
        ) -> Tensor:
            (inputs,) = arguments or keywords.values()
            if name in self.inputs:
                raise ValueError(
                    f"Layer {name!r} runs more than once in a forward pass, so its weight has no "
                    f"single input. Exclude it with layers=[...]."
                )
            _check_shape(name, layer, inputs)
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            self.inputs[name] = inputs.detach().clone() if self.copies else inputs.detach()
            self.pre_activations[name] = output
            self._versions[name] = (self.inputs[name]._version, output._version)
            return output.clone() if self.copies else output

        return record

    def forward(self, module: nn.Module, X: Any) -> Any:
        """Run the module on a copy of X; raise if it overwrote a recorded tensor."""
        message = (
            "The network's forward changes the input or output of a layer in place, so autograd "
            "cannot differentiate it. Use the out-of-place operation."
        )
        try:
            outputs = call(module, X)
        except RuntimeError as error:
            if "in-place operation" in str(error):
                raise ValueError(message) from error
            raise
        for name, output in self.pre_activations.items():
            if (self.inputs[name]._version, output._version) != self._versions[name]:
                raise ValueError(message)
        return outputs


def activation_bytes(module: nn.Module, X: Any) -> int:
    """Approximate bytes of all activations in a forward pass: the outputs of all modules.

    Examples
    --------
    >>> import torch
    >>> activation_bytes(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.zeros(4, 2))
    96
    """
    total = 0

    def add(part: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor) and not list(part.children()):
            total += output.nbytes

    with ExitStack() as hooks:
        for part in module.modules():
            hooks.callback(part.register_forward_hook(add).remove)
        call(module, X)
    return total


# Dimensions of the inputs: their number and their names after n_samples.
_SHAPES = {
    nn.Linear: (2, "n_in"),
    nn.Conv1d: (3, "n_channels, length"),
    nn.Conv2d: (4, "n_channels, height, width"),
}


def _check_shape(name: str, layer: nn.Module, inputs: Tensor) -> None:
    """Raise unless the input of a layer has the supported number of dimensions."""
    n_dimensions, names = next(s for kind, s in _SHAPES.items() if isinstance(layer, kind))
    if inputs.ndim != n_dimensions:
        raise ValueError(
            f"Layer {name!r} gets an input of shape {tuple(inputs.shape)}; pruning needs "
            f"(n_samples, {names}). Exclude the layer with layers=[...]."
        )
