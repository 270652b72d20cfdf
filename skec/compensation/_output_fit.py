"""Least squares fit of a pruned network to the outputs of the dense one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from ..calibration import Calibration
from ..calibration.statistics import LayerStatistics, RowMoments
from ..networks import activation_bytes, layer_of, output_tensor
from ..utils import Samples, private
from .weights import factor_kept

_BATCH_SIZE = 4096  # at most, unless the calibration has larger batches
_BYTES = 2**27  # for what is held of all samples: activations for the pullbacks, and targets

_Pullback = Callable[[Tensor], tuple[dict[str, Tensor]]]
# Rows, columns, kept places and Cholesky factors of some units.
_Factors = tuple[Tensor, Tensor, Tensor, Tensor]
# Ridge, damped diagonal and factors of a layer; None if the factors do not fit into memory.
_LayerPart = tuple[Tensor, Tensor, list[_Factors] | None]


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
        Whether the pullback is held between two products.
    held_target : tensor of shape (n_samples, n_outputs) or None
        The outputs of the dense network, if they are held.
    pullback : callable or None
    """

    samples: Samples
    rows: slice
    holds: bool
    held_target: Tensor | None = None
    pullback: _Pullback | None = None

    @property
    def X(self) -> Tensor:
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
    """

    def __init__(self, module: nn.Module, kept: Mapping[str, Tensor], calibration: Calibration):
        self.module, self.metric = module, calibration.metric
        self.names = list(kept)
        self.parameters: dict[str, Tensor] = {}
        for name in kept:
            layer = layer_of(module, name)
            self.parameters[_join(name, "weight")] = layer.weight.detach()
            if layer.bias is not None:
                self.parameters[_join(name, "bias")] = layer.bias.detach()
        self.masks = [_kept_with_bias(module, name, mask) for name, mask in kept.items()]
        self.mask = torch.cat([mask.reshape(-1) for mask in self.masks]).double()
        self.dense, samples = calibration.dense, calibration.known_samples()
        weights = samples.sample_weight
        self.total = float(len(samples) if weights is None else weights.sum())
        self.batches = self._batches_of(samples, calibration.batch_size)

    def _batches_of(self, samples: Samples, batch_size: int) -> list[_Batch]:
        """Batches of limited memory, the first of which hold what others compute again."""
        few = samples.X[:16]
        output = output_tensor(self.dense(few.clone()), len(few))
        of_outputs = output.nbytes // len(few)
        of_activations = 2 * activation_bytes(self.dense, few) // len(few) + 1
        size = max(batch_size, min(_BATCH_SIZE, _BYTES // 2 // of_activations))
        batches: list[_Batch] = []
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
        return output_tensor(self.dense(X.clone()), len(X))

    def outputs(self, parameters: dict[str, Tensor], X: Tensor) -> Tensor:
        """The outputs of the network with other parameters."""
        return output_tensor(functional_call(self.module, parameters, (X.clone(),)), len(X))

    def _linearized(self, X: Tensor) -> tuple[Tensor, _Pullback]:
        """The outputs at the present parameters, and the product with their Jacobian's transpose.

        The latter holds the activations of all layers.
        """
        return vjp(lambda p: self.outputs(p, X), self.parameters)[:2]

    def error_and_gradient(self) -> tuple[float, Tensor]:
        """The error at the present parameters, and its gradient."""
        error, gradient = 0.0, torch.zeros_like(self.mask)
        for batch in self.batches:
            outputs, pullback = self._linearized(batch.X)
            batch.pullback = pullback if batch.holds else None
            squared, change = self._squared_error(outputs, self._target(batch), batch.weights)
            error += squared
            gradient += self._flat(pullback(change)[0])
        return error / (2 * self.total), gradient / self.total

    def product(self, direction: Tensor) -> Tensor:
        """``E[Jᵀ M J] v``, with ``J`` the Jacobian at the last call of ``error_and_gradient``."""
        tangent, total = self._by_name(direction), torch.zeros_like(self.mask)
        for batch in self.batches:
            pullback = batch.pullback or self._linearized(batch.X)[1]
            change = private.jvp(
                lambda p, X=batch.X: self.outputs(p, X), (self.parameters,), (tangent,)
            )[1]
            change = self._times_metric(self._target(batch), change, batch.weights)
            total += self._flat(pullback(change)[0])
        return total / self.total

    def error(self, direction: Tensor) -> float:
        """The error after a step from the present parameters."""
        tangent, error = self._by_name(direction), 0.0
        moved = {name: value + tangent[name] for name, value in self.parameters.items()}
        for batch in self.batches:
            outputs = self.outputs(moved, batch.X)
            error += self._squared_error(outputs, self._target(batch), batch.weights)[0]
        return error / (2 * self.total)

    def move(self, direction: Tensor) -> None:
        """Take a step: change the parameters in place."""
        for name, value in self._by_name(direction).items():
            self.parameters[name] += value

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

    def _by_name(self, direction: Tensor) -> dict[str, Tensor]:
        """A direction as tensors in the shapes of the parameters."""
        named, parts = {}, direction.split([mask.numel() for mask in self.masks])
        for name, mask, part in zip(self.names, self.masks, parts, strict=True):
            table = part.reshape(mask.shape).to(self.parameters[_join(name, "weight")])
            named[_join(name, "weight")] = table[:, :-1]
            if _join(name, "bias") in self.parameters:
                named[_join(name, "bias")] = table[:, -1]
        return named

    def _flat(self, gradient: dict[str, Tensor]) -> Tensor:
        """A gradient as a direction."""
        tables = []
        for name in self.names:
            weight = gradient[_join(name, "weight")]
            bias = gradient.get(_join(name, "bias"), weight[:, 0])
            tables.append(torch.cat([weight, bias[:, None]], dim=1).reshape(-1))
        return torch.cat(tables).double() * self.mask


class RowPreconditioner:
    """Multiplies by the inverse of each unit's matrix ``H_KK``: a block-diagonal Gauss–Newton.

    The ridge that damps these matrices also damps the whole system; see ``ridge``.
    """

    def __init__(
        self,
        module: nn.Module,
        kept: Mapping[str, Tensor],
        statistics: Mapping[str, LayerStatistics],
        damping: float,
        max_memory: float,
    ):
        self.shapes = [(mask.shape[0], mask.shape[1] + 1) for mask in kept.values()]
        self.parts = [
            self._layer_part(
                statistics[name], _kept_with_bias(module, name, mask), damping, max_memory
            )
            for name, mask in kept.items()
        ]

    @staticmethod
    def _layer_part(
        statistics: LayerStatistics, kept: Tensor, damping: float, max_memory: float
    ) -> _LayerPart:
        moments = statistics[RowMoments]
        diagonal = moments.diagonal()
        n_used = kept.sum(1).clamp_min(1)
        ridge = damping * (diagonal * kept).sum(1) / n_used
        ridge = ridge.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        if float((n_used.double() ** 2).sum()) * 4 > max_memory:
            return ridge, diagonal + ridge, None
        present = torch.ones_like(kept[:, :-1]) if statistics.kept is None else statistics.kept
        kept = torch.nn.functional.pad(kept, (0, 1), value=False)  # unused places
        factors: list[_Factors] = []
        for block in moments.blocks(present, max_memory):
            inside = kept[block.rows[:, None], block.columns] & block.used
            factor = factor_kept(block.damped(damping), inside)
            factors.append((block.rows, block.columns, inside, factor.float()))  # enough precision
        return ridge, diagonal + ridge, factors

    def ridge(self, direction: Tensor) -> Tensor:
        """The damping times a direction."""
        return torch.cat([(table * part[0]).reshape(-1) for table, part in self._tables(direction)])

    def __call__(self, direction: Tensor) -> Tensor:
        solved = []
        for table, (_, diagonal, factors) in self._tables(direction):
            if factors is None:
                solved.append((table / diagonal).reshape(-1))
                continue
            padded, result = torch.nn.functional.pad(table, (0, 1)), torch.zeros_like(table)
            for rows, columns, inside, factor in factors:
                rows = rows[:, None].expand_as(columns)
                right = (padded[rows, columns] * inside).float()
                solution = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0].double()
                result[rows[inside], columns[inside]] = solution[inside]
            solved.append(result.reshape(-1))
        return torch.cat(solved)

    def _tables(self, direction: Tensor) -> Iterator[tuple[Tensor, _LayerPart]]:
        """Each layer's part of a direction, as a matrix."""
        flat = direction.split([rows * columns for rows, columns in self.shapes])
        for shape, values, part in zip(self.shapes, flat, self.parts, strict=True):
            yield values.reshape(shape), part


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


def _kept_with_bias(module: nn.Module, name: str, kept: Tensor) -> Tensor:
    """The mask of a layer with a last column for the bias: whether there is one."""
    has_bias = torch.full_like(kept[:, :1], layer_of(module, name).bias is not None)
    return torch.cat([kept, has_bias], dim=1)


def _join(name: str, parameter: str) -> str:
    return f"{name}.{parameter}" if name else parameter
