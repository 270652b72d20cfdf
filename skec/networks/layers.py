"""A torch module seen as a list of prunable layers with their inputs and sensitivities."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)


def prunable_layers(module: nn.Module, layers: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Return the linear layers and convolutions of a module by name, in their registered order.

    Parameters
    ----------
    module : torch.nn.Module
    layers : sequence of str, default=None
        Names, or patterns of names such as ``"features.*"``, of the layers to take; None takes
        every ``torch.nn.Linear``, ``Conv1d`` and ``Conv2d``.

    Raises
    ------
    ValueError
        If there is no such layer, or if one weight belongs to two layers.

    Examples
    --------
    >>> from torch import nn
    >>> list(prunable_layers(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))))
    ['0', '2']
    """
    found = {name: layer for name, layer in module.named_modules() if isinstance(layer, PRUNABLE)}
    if not found:
        raise ValueError(
            f"{type(module).__name__} has no prunable layer: pruning needs at least one "
            f"torch.nn.Linear, Conv1d or Conv2d, and found only {_kinds(module)}."
        )
    if layers is not None:
        if isinstance(layers, str):
            layers = [layers]
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers must be a list of names or None; got {layers!r}.")
        unknown = [pattern for pattern in layers if not filter_names(found, pattern)]
        if unknown or not len(layers):
            raise ValueError(
                f"layers={list(layers)!r} names no prunable layer for {unknown}. The prunable "
                f"layers of this network are {list(found)}."
            )
        names = {name for pattern in layers for name in filter_names(found, pattern)}
        found = {name: layer for name, layer in found.items() if name in names}
    _check_weights(module, found)
    return found


def filter_names(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a name or pattern stands for."""
    names = list(names)
    if pattern in names or not isinstance(pattern, str):
        return [name for name in names if name == pattern]
    return fnmatch.filter(names, pattern)


def _check_weights(module: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Raise unless each layer's weight is a parameter that it alone has."""
    owners: dict[int, list[str]] = {}
    for name, child in module.named_modules():
        for parameter in child._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    for name, layer in layers.items():
        if "weight" not in layer._parameters:
            raise ValueError(
                f"The weight of layer {name!r} is computed by a parametrization. Make it a plain "
                f"parameter first: with skec.from_torch_prune, or torch.nn.utils.prune.remove, "
                f"where torch.nn.utils.prune made it, and else with "
                f"torch.nn.utils.parametrize.remove_parametrizations."
            )
        sharing = owners[id(layer.weight)]
        if len(sharing) > 1:
            raise ValueError(
                f"Layers {sharing[0]!r} and {sharing[1]!r} share one weight, so it has no single "
                f"score. Leave them out with layers=[...], or give each layer its own weight."
            )


def _kinds(module: nn.Module) -> list[str]:
    kinds = {type(child).__name__ for child in module.modules() if child is not module}
    return sorted(kinds) or [type(module).__name__]


class Recorder:
    """Records what enters and leaves each layer during one forward pass.

    Used as a context manager. Every recorded pre-activation is a point at which autograd can
    differentiate, also where nothing before it asks for a gradient.

    Parameters
    ----------
    layers : mapping of str to torch.nn.Module
    at_inputs : bool, default=False
        Whether the inputs are such points too.

    Attributes
    ----------
    inputs : dict of str to tensor of shape (n_samples, n_in)
        For a convolution (n_samples, n_channels, ...).
    input_points : dict of str to tensor of shape (n_samples, n_in)
        The inputs as points of the graph; there with ``at_inputs``.
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
            handles = [layer.register_forward_hook(self._hook(name), with_kwargs=True)]
            if self.at_inputs:
                handles.append(layer.register_forward_pre_hook(self._point(name)))
            for handle in handles:
                self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *exception) -> None:
        self._hooks.close()

    def clear(self) -> None:
        """Forget the last forward pass."""
        self.inputs.clear()
        self.input_points.clear()
        self.pre_activations.clear()

    def _point(self, name: str) -> Callable:
        def make_point(layer, arguments):
            (inputs,) = arguments
            if not inputs.requires_grad:
                inputs = inputs.detach().requires_grad_()
            self.input_points[name] = inputs
            return (inputs,)

        return make_point

    def _hook(self, name: str) -> Callable:
        def record(layer, arguments, keywords, output):
            (inputs,) = arguments or keywords.values()
            if name in self.inputs:
                raise ValueError(
                    f"Layer {name!r} runs more than once in a forward pass; its weight then has "
                    f"no single input. Leave it out with layers=[...]."
                )
            if inputs.ndim != _N_DIMENSIONS[_kind(layer)]:
                needed = {2: "n_in", 3: "n_channels, length", 4: "n_channels, height, width"}
                raise ValueError(
                    f"Layer {name!r} gets an input of shape {tuple(inputs.shape)}; pruning needs "
                    f"(n_samples, {needed[_N_DIMENSIONS[_kind(layer)]]}). Leave the layer out with "
                    f"layers=[...]."
                )
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            self.inputs[name] = inputs.detach().clone() if self.copies else inputs.detach()
            self.pre_activations[name] = output
            self._versions[name] = (self.inputs[name]._version, output._version)
            return output.clone() if self.copies else output

        return record

    def forward(self, module: nn.Module, X: Tensor):
        """Run the module on a copy of X, and raise if it wrote over something recorded."""
        message = (
            "The network's forward writes in place over the input or output of a linear layer, "
            "which cannot be differentiated. Use the out-of-place operation."
        )
        try:
            outputs = module(X.clone())
        except RuntimeError as error:
            if "in-place operation" in str(error):
                raise ValueError(message) from error
            raise
        for name, output in self.pre_activations.items():
            if (self.inputs[name]._version, output._version) != self._versions[name]:
                raise ValueError(message)
        return outputs


_N_DIMENSIONS = {nn.Linear: 2, nn.Conv1d: 3, nn.Conv2d: 4}


def _kind(layer: nn.Module) -> type[nn.Module]:
    return next(kind for kind in PRUNABLE if isinstance(layer, kind))


def output_tensors(outputs, n_samples: int) -> list[Tensor]:
    """Return all that counts as outputs of the network: what it may be asked to leave as it is.

    Parameters
    ----------
    outputs : tensor, or tuple, list or dict of tensors
        What the network returned, nested or not.
    n_samples : int

    Returns
    -------
    list of tensors of shape (n_samples, ...)
        The floating-point tensors with one row per sample, in their order. Anything else in a
        tuple, list or dict is left out.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> outputs = {"mean": torch.zeros(4, 2), "variance": torch.ones(4), "state": None}
    >>> [tuple(tensor.shape) for tensor in output_tensors(outputs, 4)]
    [(4, 2), (4,)]
    """
    found = [
        tensor
        for tensor in _leaves(outputs)
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.ndim > 0
        and len(tensor) == n_samples
    ]
    if not found:
        raise ValueError(
            "The network must return a floating-point tensor with one row per sample, or a tuple, "
            f"list or dict with at least one; for {n_samples} samples it returned "
            f"{_described(outputs)}."
        )
    return found


def _leaves(outputs) -> Iterator:
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, tuple | list):
        for part in outputs:
            yield from _leaves(part)
    else:
        yield outputs


def _described(outputs) -> str:
    if isinstance(outputs, Tensor):
        return f"a {outputs.dtype} Tensor of shape {tuple(outputs.shape)}"
    return f"a {type(outputs).__name__}"


def output_tensor(outputs, n_samples: int) -> Tensor:
    """Return the network's outputs as one tensor of shape (n_samples, n_outputs).

    Several tensors (see :func:`output_tensors`) stand side by side.
    """
    tensors = [tensor.reshape(n_samples, -1) for tensor in output_tensors(outputs, n_samples)]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)


def sensitivities(
    outputs: Tensor,
    pre_activations: Sequence[Tensor],
    seeds: Iterable[Tensor],
    out: Sequence[Tensor] | None = None,
    also: Callable[[Sequence[Tensor | None]], None] | None = None,
) -> list[Tensor]:
    """Squared output sensitivity of every unit, ``s_i(x) = g_i(x)ᵀ M(x) g_i(x)``.

    Parameters
    ----------
    outputs : tensor of shape (n_samples, n_outputs)
    pre_activations : sequence of tensors of shape (n_samples, n_out) or (n_samples, n_out, ...)
        The points of the graph at which to differentiate. A unit with many positions is moved at
        all of them alike, as its bias would move it.
    seeds : iterable of tensors of shape (n_samples, n_outputs)
        The rows of a square root of the output metric ``M``.
    out : sequence of tensors of shape (at least n_samples, n_out), default=None
        Memory to write the result into, such as that of a batch before.
    also : callable, default=None
        Called with the gradients of each seed, None for a point that the outputs do not depend on.

    Returns
    -------
    list of tensors of shape (n_samples, n_out)
    """
    if out is None:
        out = [z.new_empty(z.shape[:2]) for z in pre_activations]
    totals = [memory[: len(outputs)] for memory in out]
    written = [False] * len(totals)
    for seed in seeds:
        grads = torch.autograd.grad(
            outputs, pre_activations, seed, retain_graph=True, allow_unused=True
        )
        if also is not None:
            also(grads)
        for i, grad in enumerate(grads):
            if grad is None:
                continue
            if grad.ndim > 2:
                grad = grad.flatten(2).sum(2)
            if written[i]:
                totals[i].addcmul_(grad, grad)
            else:
                torch.mul(grad, grad, out=totals[i])
                written[i] = True
    return [t if done else t.zero_() for t, done in zip(totals, written, strict=True)]
