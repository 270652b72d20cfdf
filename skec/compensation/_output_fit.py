"""The least squares of a pruned network on the outputs of the dense one, and its solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from ..calibration import Calibration
from ..calibration.statistics import LayerStatistics, RowMoments
from ..networks import layer_of, output_tensor
from .weights import factor_kept

_BATCH_SIZE = 4096  # the activations of all samples are held anyway


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
        samples = calibration.known_samples()
        batches = samples.batches(max(calibration.batch_size, _BATCH_SIZE))
        self.batches = [
            (X, output_tensor(calibration.dense(X.clone()), len(X)), w) for X, _, w in batches
        ]
        weights = samples.sample_weight
        self.total = float(len(samples) if weights is None else weights.sum())
        self.pullbacks: list[Callable] = []

    def outputs(self, parameters: dict[str, Tensor], X: Tensor) -> Tensor:
        return output_tensor(functional_call(self.module, parameters, (X.clone(),)), len(X))

    def error_and_gradient(self) -> tuple[float, Tensor]:
        """The error of the network as it is, and its gradient."""
        error, gradient, self.pullbacks = 0.0, torch.zeros_like(self.mask), []
        for X, target, weights in self.batches:
            outputs, pullback = vjp(lambda p, X=X: self.outputs(p, X), self.parameters)
            self.pullbacks.append(pullback)
            part, measured = self._part(outputs, target, weights)
            error += part
            gradient += self._flat(pullback(measured)[0])
        return error / (2 * self.total), gradient / self.total

    def product(self, direction: Tensor) -> Tensor:
        """``E[Jᵀ M J] v``, with ``J`` the Jacobian of the outputs where the gradient was taken."""
        tangent, total = self._named(direction), torch.zeros_like(self.mask)
        for (X, target, weights), pullback in zip(self.batches, self.pullbacks, strict=True):
            _, moved = jvp(lambda p, X=X: self.outputs(p, X), (self.parameters,), (tangent,))
            total += self._flat(pullback(self._measured(target, moved, weights))[0])
        return total / self.total

    def error(self, direction: Tensor) -> float:
        """The error after a step."""
        tangent, error = self._named(direction), 0.0
        moved = {name: value + tangent[name] for name, value in self.parameters.items()}
        for X, target, weights in self.batches:
            error += self._part(self.outputs(moved, X), target, weights)[0]
        return error / (2 * self.total)

    def move(self, direction: Tensor) -> None:
        """Take a step."""
        for name, value in self._named(direction).items():
            self.parameters[name] += value

    def _part(self, outputs, target, weights) -> tuple[float, Tensor]:
        """A batch's part of twice the error, and half the part's gradient in the outputs."""
        change = outputs - target
        measured = self._measured(target, change, weights)
        return float((change.double() * measured.double()).sum()), measured

    def _measured(self, target, change, weights) -> Tensor:
        measured = self.metric.multiply(target, change)
        return measured if weights is None else measured * weights[:, None]

    def _named(self, direction: Tensor) -> dict[str, Tensor]:
        """A direction as tensors in the shapes of the parameters."""
        named, parts = {}, direction.split([mask.numel() for mask in self.masks])
        for name, mask, part in zip(self.names, self.masks, parts, strict=True):
            table = part.reshape(mask.shape).to(self.parameters[_join(name, "weight")])
            named[_join(name, "weight")] = table[:, :-1]
            if _join(name, "bias") in self.parameters:
                named[_join(name, "bias")] = table[:, -1]
        return named

    def _flat(self, gradient: dict[str, Tensor]) -> Tensor:
        tables = []
        for name in self.names:
            weight = gradient[_join(name, "weight")]
            bias = gradient.get(_join(name, "bias"), weight[:, 0])
            tables.append(torch.cat([weight, bias[:, None]], dim=1).reshape(-1))
        return torch.cat(tables).double() * self.mask


class RowPreconditioner:
    """Divides by the units' own matrices ``H_KK``, those of a block-diagonal Gauss–Newton.

    Also holds the ridge that damps them, so that it can damp the whole system too.
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
            self._factors(
                statistics[name], _kept_with_bias(module, name, mask), damping, max_memory
            )
            for name, mask in kept.items()
        ]

    @staticmethod
    def _factors(statistics: LayerStatistics, stays: Tensor, damping: float, max_memory: float):
        """Ridge, diagonal and Cholesky factors of one layer; no factors beyond the memory."""
        moments = statistics[RowMoments]
        diagonal = moments.diagonal()
        n_used = stays.sum(1).clamp_min(1)
        ridge = damping * (diagonal * stays).sum(1) / n_used
        ridge = ridge.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        if float((n_used.double() ** 2).sum()) * 4 > max_memory:
            return ridge, diagonal + ridge, None
        stays = torch.nn.functional.pad(stays, (0, 1), value=False)
        factors = []
        for block in moments.blocks(statistics.kept, max_memory):
            inside = stays[block.rows[:, None], block.columns] & block.used
            factor = factor_kept(block.damped(damping), inside).float()  # close is enough
            factors.append((block.rows, block.columns, inside, factor))
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

    def _tables(self, direction: Tensor):
        parts = direction.split([rows * columns for rows, columns in self.shapes])
        for shape, part, own in zip(self.shapes, parts, self.parts, strict=True):
            yield part.reshape(shape), own


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
        The number of iterations done. It is smaller than the given one where the solution is
        reached, or the precision of the sums.

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
        if not (inner > 0 and curvature > 0):  # solved, or beyond the precision of the sums
            return solution, iteration
        length = inner / curvature
        solution = solution + length * direction
        residual = residual - length * image
        preconditioned = precondition(residual)
        inner, last = residual @ preconditioned, inner
        direction = preconditioned + inner / last * direction
    return solution, iterations


def _kept_with_bias(module: nn.Module, name: str, kept: Tensor) -> Tensor:
    """What a layer keeps, with a last column for its bias, if it has one."""
    has_bias = torch.full_like(kept[:, :1], layer_of(module, name).bias is not None)
    return torch.cat([kept, has_bias], dim=1)


def _join(name: str, parameter: str) -> str:
    return f"{name}.{parameter}" if name else parameter
