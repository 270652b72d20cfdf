"""A bound of the difference between networks before any weight is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..pruning import PruningReport
from ..utils import check_choice, check_count, check_number, check_ratio
from .gaussian import WeightLaw, full_norm, masked_norm, threshold_level


@dataclass(frozen=True)
class LayerNorms:
    """Bounds of the norms of a layer's matrices; each holds with its own share of δ.

    Attributes
    ----------
    layer : int
        The first layer is 1.
    shape : tuple of int
        Of the weight matrix, ``(n_out, n_in · positions of the kernel)``.
    n_removed : int
        Number of removed weights, at most.
    norm : float
        Of the operator of the dense layer, and of the pruned one.
    removed_norm : float
        Of the operator of the removed weights.
    inequality : str
        Which inequality gave ``removed_norm``.
    term : float
        The layer's summand of the bound.
    """

    layer: int
    shape: tuple[int, int]
    n_removed: int
    norm: float
    removed_norm: float
    inequality: str
    term: float


@dataclass(frozen=True)
class PriorGap:
    """A bound that holds with probability 1 − δ over the random weights and the mask.

    Attributes
    ----------
    bound : float
        Of the largest Euclidean norm of the difference of the outputs over the ball.
    delta : float
    events : tuple of (str, float)
        The statements that hold together, and the probability that each may fail with. The
        probabilities sum to ``delta``.
    layers : tuple of LayerNorms
    setting : str
    """

    bound: float
    delta: float
    events: tuple[tuple[str, float], ...] = field(repr=False)
    layers: tuple[LayerNorms, ...] = field(repr=False)
    setting: str

    @property
    def report(self) -> PruningReport:
        """One row per layer: the attributes of :class:`LayerNorms`."""
        rows = [dict(vars(layer)) for layer in self.layers]
        return PruningReport([row | {"shape": "×".join(map(str, row["shape"]))} for row in rows])

    def __str__(self) -> str:
        terms = ", ".join(f"{layer.term:.3g}" for layer in self.layers)
        return (
            f"With probability at least {1 - self.delta:g}, the outputs of the pruned network "
            f"differ from those of the dense one by at most {self.bound:.4g} {self.setting}; "
            f"terms of the layers: {terms}."
        )


def a_priori_gap(
    widths: Sequence[int],
    pruning_ratio: float | None = None,
    *,
    alpha: float | None = None,
    method: Literal["random", "magnitude"] = "random",
    distribution: Literal["gaussian", "uniform"] = "gaussian",
    delta: float = 0.05,
    radius: float = 1.0,
    scale: float = 1.0,
    width: Literal["larger", "inputs"] = "larger",
    lipschitz: float = 1.0,
    bias_norm: float = 0.0,
    kernel_positions: int | Sequence[int] = 1,
    overlaps: int | Sequence[int] | None = None,
) -> PriorGap:
    """Bound what pruning changes in a network whose weights are not drawn yet.

    The weights are independent, and all of a layer have the same law. Each layer loses the same
    ratio of its weights: chosen at random, or those of smallest absolute value. With probability
    1 − δ, the bound holds for all inputs in the ball at once. It falls to zero with the width if
    each layer loses ``D^(1 − alpha)`` of its D weights. At a fixed ratio it does not, and neither
    does the true difference. See the page on bounds of the gap for the proof.

    When to use it: for statements about untrained networks. For a given network,
    :func:`a_posteriori_gap` is smaller and needs no probability.

    Parameters
    ----------
    widths : sequence of int
        Numbers of inputs, of the units of each hidden layer, and of outputs; of channels for
        convolutions.
    pruning_ratio : float, default=None
        Of each layer, in [0, 1). The product with D is rounded up. The bound holds for fewer
        removed weights too. Give either this or ``alpha``.
    alpha : float, default=None
        In (0, 1): each layer loses ``D^(1 − alpha)`` weights, rounded up.
    method : {"random", "magnitude"}, default="random"
    distribution : {"gaussian", "uniform"}, default="gaussian"
        The weights of a layer are normal with standard deviation ``scale / √width``, or uniform on
        ``± scale / √width``.
    delta : float, default=0.05
        Probability that the bound may fail with.
    radius : float, default=1.0
        Of the ball of inputs around zero, in the Euclidean norm.
    scale : float, default=1.0
    width : {"larger", "inputs"}, default="larger"
        The width of a layer in its ``1 / √width``: the larger one of the numbers of rows and
        columns of its matrix, or the number of columns.
    lipschitz : float, default=1.0
        Lipschitz constant of the activations, which map zero to zero: 1 for ReLU, LeakyReLU, ELU
        and tanh, 1.13 for GELU, 1.1 for SiLU.
    bias_norm : float, default=0.0
        Bound of the Euclidean norm of the biases of each layer. Pruning does not change them.
    kernel_positions : int or sequence of int, default=1
        For each layer, the number of weights that join an input channel to an output channel: 9 for
        a 3 × 3 convolution, 1 for a linear layer.
    overlaps : int or sequence of int, default=None
        For each layer, how many patches share an input, at most. None is ``kernel_positions``,
        which holds for stride one.

    Returns
    -------
    PriorGap
        Prints as a sentence.

    Raises
    ------
    ValueError
        If a parameter is not in its range, or not exactly one of ``pruning_ratio`` and ``alpha`` is
        given.

    References
    ----------
    .. [1] Davidson, Szarek, "Local operator theory, random matrices and Banach spaces", Handbook of
       the Geometry of Banach Spaces (2001).
    .. [2] Tropp, "An introduction to matrix concentration inequalities", Foundations and Trends in
       Machine Learning 8 (2015), theorem 4.1.1.
    .. [3] Bandeira, van Handel, "Sharp nonasymptotic bounds on the norm of random matrices with
       independent entries", Annals of Probability 44 (2016), theorem 3.1.
    .. [4] Hoeffding, "Probability inequalities for sums of bounded random variables", JASA (1963).
    .. [5] Qian, Klabjan, "A probabilistic approach to neural network pruning", ICML 2021.

    Examples
    --------
    >>> few = a_priori_gap((64, 1024, 1), alpha=0.5, method="magnitude")
    >>> half = a_priori_gap((64, 1024, 1), 0.5, method="magnitude")
    >>> bool(few.bound < 0.1 < half.bound)
    True
    """
    check_choice("method", method, ("random", "magnitude"))
    check_choice("distribution", distribution, ("gaussian", "uniform"))
    check_choice("width", width, ("larger", "inputs"))
    _check_probability(delta)
    for name, number in (("radius", radius), ("scale", scale), ("lipschitz", lipschitz)):
        check_number(name, number)
    check_number("bias_norm", bias_norm, zero=True)
    _check_removed(pruning_ratio, alpha)
    shapes, spread = _shapes(widths, kernel_positions, overlaps)
    removed = [_n_removed(m * n, pruning_ratio, alpha) for m, n in shapes]
    n_layers = len(shapes)
    share = delta / (3 * n_layers - 2)
    parts: list[tuple[float, float, str]] = []
    for (m, n), k, factor in zip(shapes, removed, spread, strict=True):
        law = WeightLaw(
            distribution == "gaussian", scale / math.sqrt(n if width == "inputs" else max(m, n))
        )
        norm = law.dominating * full_norm(m, n, share)
        removed_norm, inequality = _removed_norm(m, n, k, law, method, share)
        parts.append((factor * norm, factor * removed_norm, inequality))
    terms = _telescope([part[:2] for part in parts], radius, lipschitz, bias_norm)
    layers = tuple(
        LayerNorms(i, shape, k, *part, term)
        for i, (shape, k, part, term) in enumerate(
            zip(shapes, removed, parts, terms, strict=True), 1
        )
    )
    setting = (
        f"for all inputs of norm {radius:g} or less, if {method} pruning removes "
        f"{sum(removed)} of {sum(m * n for m, n in shapes)} {distribution} weights"
    )
    return PriorGap(
        sum(terms) * (1 + 1e-12), delta, _events(n_layers, share, method), layers, setting
    )


def _telescope(
    norms: list[tuple[float, float]], radius: float, lipschitz: float, bias_norm: float
) -> list[float]:
    """The summand of each layer: removed norm, times hidden norm before, times norms after."""
    terms: list[float] = []
    hidden = radius
    for i, (norm, removed) in enumerate(norms):
        slope = lipschitz if i < len(norms) - 1 else 1.0
        terms = [slope * norm * term for term in terms]
        terms.append(slope * removed * hidden)
        hidden = slope * (norm * hidden + bias_norm)
    return terms


def _removed_norm(
    m: int, n: int, k: int, law: WeightLaw, method: str, delta: float
) -> tuple[float, str]:
    """Bound of the norm of the removed weights of a layer, and the name of the inequality."""
    if method == "random":
        norm, name = masked_norm(m, n, k, delta)
        return law.dominating * norm, name
    norm, name = masked_norm(m, n, k, delta / 2)
    level = threshold_level(m * n, k, delta / 2)
    return law.dominating_below(level) * norm, name


def _events(n_layers: int, share: float, method: str) -> tuple[tuple[str, float], ...]:
    """The statements of the union bound."""
    events: list[tuple[str, float]] = []
    for i in range(1, n_layers + 1):
        if i < n_layers:
            events.append((f"norm of the dense layer {i}", share))
        if i > 1:
            events.append((f"norm of the pruned layer {i}", share))
        if method == "magnitude":
            events.append((f"threshold of layer {i}", share / 2))
        part = share / 2 if method == "magnitude" else share
        events.append((f"norm of the removed weights of layer {i}", part))
    return tuple(events)


def _check_probability(delta: Any) -> None:
    check_number("delta", delta)
    if not delta < 1:
        raise ValueError(f"delta must be a probability in (0, 1); got {delta!r}.")


def _check_removed(pruning_ratio: Any, alpha: Any) -> None:
    """Raise unless exactly one of the two is given, in its range."""
    if (pruning_ratio is None) == (alpha is None):
        got = "neither" if alpha is None else "both"
        raise ValueError(
            f"Give either pruning_ratio=..., in [0, 1), or alpha=..., in (0, 1); got {got}."
        )
    if alpha is None:
        check_ratio(pruning_ratio)
        return
    check_number("alpha", alpha)
    if not alpha < 1:
        raise ValueError(
            f"alpha must be in (0, 1): D^(1 − alpha) of D weights are removed; got {alpha!r}."
        )


def _n_removed(n_weights: int, pruning_ratio: float | None, alpha: float | None) -> int:
    if alpha is not None:
        return min(math.ceil(n_weights ** (1 - alpha) - 1e-9), n_weights)
    return min(math.ceil(n_weights * (pruning_ratio or 0.0) - 1e-9), n_weights)


def _shapes(
    widths: Any, kernel_positions: Any, overlaps: Any
) -> tuple[list[tuple[int, int]], list[float]]:
    """The shapes of the weight matrices, and the factors from their norms to those of operators."""
    sizes = list(widths)
    for size in sizes:
        check_count("widths", size)
    n_layers = len(sizes) - 1
    if n_layers < 1:
        raise ValueError(
            f"widths must have at least two numbers, of inputs and of outputs; got {sizes}."
        )
    overlaps = kernel_positions if overlaps is None else overlaps
    each: list[list[int]] = []
    for name, values in (("kernel_positions", kernel_positions), ("overlaps", overlaps)):
        numbers = list(values) if isinstance(values, Sequence) else [values] * n_layers
        for number in numbers:
            check_count(name, number)
        if len(numbers) != n_layers:
            raise ValueError(
                f"{name} must have one number for each of the {n_layers} layers; got {numbers}."
            )
        each.append(numbers)
    positions, shared = each
    shapes = [(sizes[i + 1], sizes[i] * positions[i]) for i in range(n_layers)]
    return shapes, [math.sqrt(number) for number in shared]
