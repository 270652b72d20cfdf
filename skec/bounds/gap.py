"""A bound of the difference between two given networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ..networks import check_finite
from ..pruning import PruningReport
from .changes import unwrapped
from .enclosure import LayerEffect, Pair, through, through_affine
from .maps import Average, Diagonal
from .regions import region_of
from .steps import Activated, Affine, MaxPooled, Rearranged, Step, steps_of

_UNDERFLOW = 1e-250


@dataclass(frozen=True)
class LayerGap:
    """What a layer contributes to the bound.

    Attributes
    ----------
    layer : str
    carried : float
        Bound of the norm of the change of its pre-activations that earlier layers cause.
    own : float
        Bound of the norm of what the layer's own change adds.
    total : float
        Bound of the norm of both together. It can be less than their sum.
    share : float
        The layer's part of the bound of the outputs. The shares of all layers sum to one. The
        change after each layer is attributed to ``own`` and ``carried`` in proportion.
    """

    layer: str
    carried: float
    own: float
    total: float
    share: float


@dataclass(frozen=True)
class GapBound:
    """An upper bound of the difference of the outputs of two networks over a set of inputs.

    Attributes
    ----------
    bound : float
        Of the Euclidean norm of the difference of all outputs.
    lower, upper : float64 arrays of shape (n_outputs,)
        Bounds of each output of the pruned network minus that of the dense one.
    layers : tuple of LayerGap
        In the order in which they run.
    region : str
        The inputs for which it holds.
    units : str
        Of the outputs.
    """

    bound: float
    lower: np.ndarray = field(repr=False)
    upper: np.ndarray = field(repr=False)
    layers: tuple[LayerGap, ...] = field(repr=False)
    region: str
    units: str = "the network's outputs"

    @property
    def per_output(self) -> np.ndarray:
        """Bounds of the absolute difference of each output, shape (n_outputs,)."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    @property
    def report(self) -> PruningReport:
        """One row per layer: the attributes of :class:`LayerGap`."""
        return PruningReport([dict(vars(layer)) for layer in self.layers])

    def __str__(self) -> str:
        text = (
            f"For all inputs in {self.region}, the outputs of the two networks differ by at most "
            f"{self.bound:.4g} (Euclidean norm, in the units of {self.units})"
        )
        if self.bound > 0:
            parts = ", ".join(f"{each.layer} {each.share:.0%}" for each in self.layers)
            text += f"; shares of the layers: {parts}"
        return text + "."


def a_posteriori_gap(
    pruned: Any,
    dense: nn.Module | None = None,
    *,
    radius: float | None = None,
    center: ArrayLike | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    input_shape: Sequence[int] | None = None,
) -> GapBound:
    """Bound the difference of a pruned and a dense network over a ball or a box of inputs.

    The bound holds for every input of the region, without exception and without probability. It
    uses the parameters of both networks, and no data. Boxes and balls that contain the hidden
    values of both networks, and those of their difference, are carried from layer to layer. See
    the page on bounds of the gap.

    When to use it: for small networks or small regions. It grows with the depth, and for
    large regions it is often far larger than the difference that occurs; certificates from held-out
    data say what happens on typical inputs.

    Parameters
    ----------
    pruned : torch.nn.Module, PruningResult or estimator
        An estimator is a fitted one of this library. Its outputs are in the units of ``y`` for a
        regressor, and logits for a classifier, before any ``predict_nonlinearity``.
    dense : torch.nn.Module, default=None
        A network with the same modules; all parameters may differ. None is the dense network that a
        fitted estimator keeps.
    radius : float, default=None
        Of a ball in the Euclidean norm. Give either this or ``bounds``.
    center : array-like of shape (n_features,), or of a sample, default=None
        Of the ball; None is zero.
    bounds : pair of array-likes of shape (n_features,), or of a sample, default=None
        Lower and upper limits of each input. Numbers stand for all inputs.
    input_shape : sequence of int, default=None
        ``(n_channels, ...)``, the shape of a sample. Needed for a network that begins with a
        convolution if no array tells it.

    Returns
    -------
    GapBound
        Prints as a sentence.

    Raises
    ------
    ValueError
        If the networks have different structures or modules that are not supported, parameters
        that are not finite, or the region is not valid.
    TypeError
        If an argument is not a network, or ``dense`` is missing.

    Notes
    -----
    The networks are the functions of real numbers that their parameters define, in evaluation mode.
    All rounding errors of the computation, in float64, are bounded and added. A network that runs
    in float32 differs from this function by its own rounding errors, which are not included.

    References
    ----------
    .. [1] Paulsen, Wang, Wang, "ReluDiff: differential verification of deep neural networks",
       ICSE 2020.
    .. [2] Qian, Klabjan, "A probabilistic approach to neural network pruning", ICML 2021.

    Examples
    --------
    >>> import skec
    >>> _ = torch.manual_seed(0)
    >>> dense = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> result = skec.prune(dense, method="magnitude", pruning_ratio=0.25)
    >>> gap = a_posteriori_gap(result, dense, bounds=(-1.0, 1.0))
    >>> x = 2 * torch.rand(1000, 4) - 1
    >>> bool((result.module(x) - dense(x)).abs().max() <= gap.bound)
    True
    """
    pruned, dense, scale = _networks(pruned, dense)
    steps = _aligned(steps_of(dense, "dense"), steps_of(pruned, "pruned"))
    values, words = region_of(dense, radius, center, bounds, input_shape)
    for which, module in (("dense", dense), ("pruned", pruned)):
        _check_finite(which, module)
    if scale is not None:
        weight = torch.as_tensor(scale, dtype=torch.float64)[None]
        last = Affine("scale of y", Diagonal(), weight, torch.zeros_like(weight))
        steps.append((last, last))
    try:
        with torch.no_grad():
            values, layers = _propagated(steps, values)
    except RuntimeError as error:
        shape = tuple(values.dense.center.shape[1:])
        raise ValueError(
            f"A sample of shape {shape} does not fit the networks: {error}. Give the shape of a "
            f"sample with input_shape=..., or with the arrays of the region."
        ) from error
    change = values.change
    same = all(_equal(*pair) for pair in steps)
    bound = 0.0 if same else change.norm
    lower, upper = (
        (0.0 if same else 1.0) * t.flatten().numpy() for t in (change.lower, change.upper)
    )
    return GapBound(
        bound=float("inf") if np.isnan(bound) else bound,
        lower=np.nan_to_num(lower, nan=-np.inf, neginf=-np.inf),
        upper=np.nan_to_num(upper, nan=np.inf, posinf=np.inf),
        layers=layers,
        region=words,
        units="the network's outputs" if scale is None else "y",
    )


def _networks(pruned: Any, dense: Any) -> tuple[nn.Module, nn.Module, np.ndarray | None]:
    """Both networks, and the scale of the outputs of a regressor."""
    scale, pruned = None, unwrapped(pruned)
    if not isinstance(pruned, nn.Module) and hasattr(pruned, "network_"):
        scale = getattr(pruned, "y_scale_", None)
        dense = getattr(pruned, "dense_module_", None) if dense is None else dense
        pruned = pruned.network_
    if dense is None:
        raise TypeError(
            "dense=None: the dense network is not known. Give it, or a fitted estimator that keeps "
            "it in dense_module_."
        )
    for name, module in (("pruned", pruned), ("dense", dense)):
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"{name} must be a torch module; got a {type(module).__name__}. pruned can also be "
                f"a PruningResult or a fitted estimator."
            )
    return pruned, dense, scale


def _check_finite(which: str, module: nn.Module) -> None:
    try:
        check_finite(module)
    except ValueError as error:
        raise ValueError(f"{which} cannot be bounded. {error}") from None


def _aligned(dense: list[Step], pruned: list[Step]) -> list[tuple[Step, Step]]:
    """The steps of both networks in pairs; raise unless they have the same structure."""
    advice = (
        "Both need the same layers with the same shapes. Compare the networks before compact(); "
        "removed units may have weights of zero."
    )
    if len(dense) != len(pruned):
        raise ValueError(
            f"pruned has {len(pruned)} steps, dense has {len(dense)}, dropout not counted. {advice}"
        )
    for ours, theirs in zip(dense, pruned, strict=True):
        if _structure(ours) != _structure(theirs):
            raise ValueError(
                f"pruned and dense differ at {ours.name!r}: {_described(ours)} in dense, "
                f"{_described(theirs)} in pruned. {advice}"
            )
    return list(zip(dense, pruned, strict=True))


def _structure(step: Step) -> tuple[object, ...]:
    """What two steps must have in common."""
    if isinstance(step, Affine):
        return Affine, step.map, step.weight.shape, step.bias.shape
    if isinstance(step, Activated):
        return Activated, step.activation.name
    return type(step), step.description


def _described(step: Step) -> str:
    if isinstance(step, Affine):
        return f"a weight of shape {tuple(step.weight.shape)} ({step.map})"
    return step.activation.name if isinstance(step, Activated) else step.description


def _equal(dense: Step, pruned: Step) -> bool:
    """Whether two steps compute the same, given that their structure is the same."""
    if isinstance(dense, Affine) and isinstance(pruned, Affine):
        return torch.equal(dense.weight, pruned.weight) and torch.equal(dense.bias, pruned.bias)
    return True


def _propagated(steps: list[tuple[Step, Step]], values: Pair) -> tuple[Pair, tuple[LayerGap, ...]]:
    """The outputs of both networks, and what each layer contributes to their difference."""
    effects: list[tuple[str, LayerEffect]] = []
    parts: list[float] = []
    for dense, pruned in steps:
        if isinstance(dense, Affine) and isinstance(pruned, Affine):
            values, effect = through_affine(dense, pruned, values)
            differ = not _equal(dense, pruned)
            if not differ and isinstance(dense.map, Diagonal | Average):
                continue  # it treats the parts of all layers alike
            own = effect.own if differ else 0.0
            both = effect.carried + own
            parts = [part * effect.carried / both if both else 0.0 for part in parts]
            parts.append(own / both if both else 0.0)
            effects.append((dense.name, replace(effect, own=own)))
        elif isinstance(dense, Activated | MaxPooled | Rearranged):
            values = through(dense, values)
    rows = (
        LayerGap(name, *(_printed(number) for number in vars(effect).values()), share=part)
        for (name, effect), part in zip(effects, parts, strict=True)
    )
    return values, tuple(rows)


def _printed(number: float) -> float:
    """A number of the report: zero instead of the margin for underflow."""
    return number if number > _UNDERFLOW else 0.0
