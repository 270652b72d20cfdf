"""A network as a sequence of linear maps, activations and rearrangements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks import (
    POOLING,
    PRUNABLE,
    FeatureScaling,
    FeatureWeights,
    InputColumns,
    NotAChain,
    PeriodicEmbedding,
    hidden_layers,
)
from .activations import SUPPORTED, Activation, activation_of, cosines, smooth_limit
from .maps import Average, Blocks, Convolution, Diagonal, LinearMap

_DROPOUT = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
_AVERAGES = nn.AvgPool1d | nn.AvgPool2d | nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d


@dataclass(frozen=True)
class Affine:
    """``map(weight, values) + bias``.

    Attributes
    ----------
    name : str
    map : LinearMap
    weight, bias : float64 tensors
        The bias is broadcast to the results.
    rounded : bool
        Whether the weight has rounding errors of its own, because it is computed from parameters.
    """

    name: str
    map: LinearMap
    weight: Tensor
    bias: Tensor
    rounded: bool = False


@dataclass(frozen=True)
class Activated:
    """An activation of each entry."""

    name: str
    activation: Activation


@dataclass(frozen=True)
class MaxPooled:
    """The maximum over windows.

    Attributes
    ----------
    name : str
    description : str
        Equal for two equal modules.
    pooling : torch.nn.Module
    shared : int
        Number of windows that share an input, at most.
    """

    name: str
    description: str
    pooling: nn.Module
    shared: int


@dataclass(frozen=True)
class Rearranged:
    """Another order or shape of the same values, or some of them.

    Attributes
    ----------
    name : str
    description : str
        Equal for two equal modules.
    function : callable
    """

    name: str
    description: str
    function: Callable[[Tensor], Tensor]


Step = Affine | Activated | MaxPooled | Rearranged


def steps_of(module: nn.Module, which: str) -> list[Step]:
    """The steps of a network in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Nested ``torch.nn.Sequential`` modules of supported parts.
    which : str
        Name of the argument, for messages.

    Raises
    ------
    ValueError
        If the network has another structure or a part that is not supported.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Dropout(), nn.Linear(2, 1))
    >>> [type(step).__name__ for step in steps_of(network, "dense")]
    ['Affine', 'Activated', 'Affine']
    """
    try:
        hidden_layers(module)
    except NotAChain as error:
        raise ValueError(f"{which} is not a network that can be bounded. {error}") from None
    parts = [
        (name, part)
        for name, part in module.named_modules(remove_duplicate=False)
        if not isinstance(part, nn.Sequential)
    ]
    first = next((part for _, part in parts if isinstance(part, PRUNABLE)), None)
    if first is None:
        raise ValueError(f"{which} has no linear layer and no convolution, so it has no weights.")
    n_dims = _dimensions(first)
    steps: list[Step] = []
    for name, part in parts:
        if isinstance(part, (*PRUNABLE, nn.Flatten)):
            n_dims = _dimensions(part)
        steps += _steps_of_part(name, part, which, n_dims)
    return steps


def _dimensions(part: nn.Module) -> int:
    """How many dimensions of a map a layer leaves."""
    return len(part.kernel_size) if isinstance(part, nn.Conv1d | nn.Conv2d) else 0


def _steps_of_part(name: str, part: nn.Module, which: str, n_dims: int) -> Iterator[Step]:
    """The steps of a module that reads maps of ``n_dims`` dimensions."""
    activation = activation_of(part)
    if activation is not None:
        yield Activated(name, activation)
    elif isinstance(part, PRUNABLE):
        yield _layer(name, part)
    elif isinstance(part, FeatureScaling | FeatureWeights | PeriodicEmbedding):
        yield from _features(name, part)
    elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
        yield from _normalization(name, part, which, n_dims)
    elif isinstance(part, InputColumns | nn.Flatten | nn.Unflatten):
        description = f"{part}"
        if isinstance(part, InputColumns):
            description += f"{part.dim} {part.index.tolist()}"
            part = InputColumns(part.mask.cpu(), part.dim)
        yield Rearranged(name, description, part)
    elif isinstance(part, _AVERAGES) and (getattr(part, "divisor_override", None) or 1) > 0:
        weight = torch.ones(1, dtype=torch.float64)
        yield Affine(name, Average(_settings(part), part), weight, torch.zeros_like(weight))
    elif isinstance(part, nn.MaxPool1d | nn.MaxPool2d) and not part.return_indices:
        yield MaxPooled(name, _settings(part), part, _shared(part))
    elif not isinstance(part, _DROPOUT):
        pooling = ", ".join(kind.__name__ for kind in POOLING if "vg" in kind.__name__)
        raise ValueError(
            f"{which} has the module {name!r}, {part}, whose values cannot be bounded. Supported "
            f"are linear layers, convolutions, batch normalisation, dropout, MaxPool1d, MaxPool2d, "
            f"{pooling}, the modules of skec.networks for features, and the activations "
            f"{', '.join(SUPPORTED)} (GELU with approximate='none')."
        )


def _settings(part: nn.Module) -> str:
    """All settings of a pooling module; its representation leaves some out."""
    public = {k: v for k, v in vars(part).items() if not k.startswith("_") and k != "training"}
    return f"{type(part).__name__} {public}"


def _double(values: Tensor) -> Tensor:
    return values.detach().cpu().double()


def _layer(name: str, layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> Affine:
    """A linear layer or convolution."""
    weight = _double(layer.weight)
    bias = weight.new_zeros(len(weight)) if layer.bias is None else _double(layer.bias)
    if isinstance(layer, nn.Linear):
        return Affine(name, Blocks(), weight[None], bias[None])
    mode = layer.padding_mode
    geometry = (type(layer), layer.stride, layer.padding, layer.dilation, mode)
    bias = bias.reshape(1, -1, *[1] * (weight.ndim - 2))
    return Affine(name, Convolution(geometry, layer), weight, bias)


def _features(
    name: str, part: FeatureScaling | FeatureWeights | PeriodicEmbedding
) -> Iterator[Step]:
    """A module that acts on each feature."""
    if isinstance(part, FeatureWeights):
        weight = part.rate * _double(part.weight)[None]
        yield Affine(name, Diagonal(), weight, torch.zeros_like(weight), rounded=True)
        return
    if isinstance(part, FeatureScaling):
        center = (_double(part.center) + _double(part.remainder))[None]
        yield from _shift_and_scale(name, -center, 1 / _double(part.scale)[None])
        yield Activated(name, smooth_limit(part.limit))
        return
    n_features, n_frequencies = part.phase.shape
    one, zero = torch.ones(n_features, 1).double(), torch.zeros(n_features, 1).double()
    weight = torch.cat([one, _double(part.frequency)], 1)[:, :, None]
    angles = torch.cat([zero, _double(part.phase)], 1)
    yield Affine(f"{name} (angles)", Blocks(), weight, angles.reshape(1, -1))
    yield Activated(name, cosines(n_features))
    of_cosines = _double(part.weight)
    weight = of_cosines.new_zeros(n_features, 1 + of_cosines.shape[1], 1 + n_frequencies)
    weight[:, 0, 0], weight[:, 1:, 1:] = 1.0, of_cosines
    bias = torch.cat([zero, _double(part.bias)], 1)
    yield Affine(f"{name} (cosines)", Blocks(), weight, bias.reshape(1, -1))


def _shift_and_scale(
    name: str, shift: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Iterator[Affine]:
    """``(h + shift) scale + bias`` in two steps, so that no error is larger than its number."""
    yield Affine(name, Diagonal(), torch.ones_like(scale), shift)
    bias = torch.zeros_like(scale) if bias is None else bias
    yield Affine(name, Diagonal(), scale, bias, rounded=True)


def _normalization(
    name: str, part: nn.BatchNorm1d | nn.BatchNorm2d, which: str, n_dims: int
) -> Iterator[Affine]:
    """Batch normalisation with its running statistics."""
    if part.running_mean is None or part.running_var is None:
        raise ValueError(
            f"The batch normalisation {name!r} of {which} has no running statistics, so it depends "
            f"on the batch. Train it with track_running_stats=True."
        )
    shape = (1, -1, *[1] * n_dims)
    scale = 1 / torch.sqrt(_double(part.running_var) + part.eps)
    bias = torch.zeros_like(scale)
    if part.affine:
        scale, bias = scale * _double(part.weight), _double(part.bias)
    shift = -_double(part.running_mean)
    yield from _shift_and_scale(name, *(t.reshape(shape) for t in (shift, scale, bias)))


def _shared(part: nn.MaxPool1d | nn.MaxPool2d) -> int:
    """How many windows share an input, at most."""
    n_dims = 2 if isinstance(part, nn.MaxPool2d) else 1

    def each(value: int | tuple[int, ...]) -> tuple[int, ...]:
        return (value,) * n_dims if isinstance(value, int) else tuple(value)

    shared = 1
    for k, s, d in zip(*map(each, (part.kernel_size, part.stride, part.dilation)), strict=True):
        shared *= k if d > 1 else -(-k // s)
    return shared
