"""Approximate inverses of the Gauss–Newton matrix, for conjugate gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..calibration.statistics import LayerStatistics, RowMoments, SensitivityMoments
from ._output_fit import kept_with_bias
from .weights import factor_kept

# Rows, columns, kept places and Cholesky factors of some units.
_Factors = tuple[Tensor, Tensor, Tensor, Tensor]
# Damped diagonal of a layer, and its factors; None if they do not fit into memory.
_LayerPart = tuple[Tensor, list[_Factors] | None]


class Preconditioner(ABC):
    """Multiplies a direction by an approximate inverse of the damped Gauss–Newton matrix.

    The ridge that damps the diagonal also damps the whole system; see ``ridge``. Directions are
    flat, as in :class:`OutputFit`.

    Parameters
    ----------
    module : torch.nn.Module
    kept : mapping of layer name to bool tensor of shape (n_out, n_in)
    statistics : mapping of layer name to LayerStatistics
    damping : float
        The ridge of a unit, as a fraction of the mean diagonal of its kept entries.
    """

    def __init__(
        self,
        module: nn.Module,
        kept: Mapping[str, Tensor],
        statistics: Mapping[str, LayerStatistics],
        damping: float,
    ):
        self.kept = [kept_with_bias(module, name, mask) for name, mask in kept.items()]
        self.ridges, self.diagonals = [], []
        for name, mask in zip(kept, self.kept, strict=True):
            diagonal = self._diagonal(statistics[name])
            ridge = damping * (diagonal * mask).sum(1) / mask.sum(1).clamp_min(1)
            ridge = ridge.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
            self.ridges.append(ridge)
            self.diagonals.append(diagonal + ridge)

    @abstractmethod
    def _diagonal(self, statistics: LayerStatistics) -> Tensor:
        """``E[s_i ã_j²]``, float64 of shape (n_out, n_in + 1)."""

    @abstractmethod
    def _solve(self, number: int, table: Tensor) -> Tensor:
        """The part of a direction that belongs to one layer, times the inverse."""

    def __call__(self, direction: Tensor) -> Tensor:
        solved = [self._solve(i, table) for i, table in enumerate(self._tables(direction))]
        return torch.cat([table.reshape(-1) for table in solved])

    def ridge(self, direction: Tensor) -> Tensor:
        """The damping times a direction."""
        tables = zip(self._tables(direction), self.ridges, strict=True)
        return torch.cat([(table * ridge).reshape(-1) for table, ridge in tables])

    def _tables(self, direction: Tensor) -> Iterator[Tensor]:
        """Each layer's part of a direction, as a matrix."""
        parts = direction.split([mask.numel() for mask in self.kept])
        for mask, part in zip(self.kept, parts, strict=True):
            yield part.reshape(mask.shape)


class DiagonalPreconditioner(Preconditioner):
    """The inverse of the diagonal, from the moments that ``"ec"`` uses."""

    def _diagonal(self, statistics: LayerStatistics) -> Tensor:
        moments = statistics[SensitivityMoments]
        sensitivity = moments.sensitivity[:, None]
        squares = moments.scatter + sensitivity * moments.mean.square()
        return torch.cat([squares, sensitivity], dim=1) / moments.total_weight

    def _solve(self, number: int, table: Tensor) -> Tensor:
        return table / self.diagonals[number]


class RowPreconditioner(Preconditioner):
    """The inverse of each unit's matrix ``H_KK``: a block-diagonal Gauss–Newton matrix.

    Parameters
    ----------
    max_memory : float
        Bytes for the factors of a layer. If they do not fit, its diagonal is used.
    """

    def __init__(
        self,
        module: nn.Module,
        kept: Mapping[str, Tensor],
        statistics: Mapping[str, LayerStatistics],
        damping: float,
        max_memory: float,
    ):
        super().__init__(module, kept, statistics, damping)
        self.factors = [
            self._layer_factors(statistics[name], mask, damping, max_memory)
            for name, mask in zip(kept, self.kept, strict=True)
        ]

    def _diagonal(self, statistics: LayerStatistics) -> Tensor:
        return statistics[RowMoments].diagonal()

    @staticmethod
    def _layer_factors(
        statistics: LayerStatistics, kept: Tensor, damping: float, max_memory: float
    ) -> list[_Factors] | None:
        n_used = kept.sum(1).clamp_min(1)
        if float((n_used.double() ** 2).sum()) * 4 > max_memory:
            return None
        present = torch.ones_like(kept[:, :-1]) if statistics.kept is None else statistics.kept
        kept = torch.nn.functional.pad(kept, (0, 1), value=False)  # unused places
        factors: list[_Factors] = []
        for block in statistics[RowMoments].blocks(present, max_memory):
            inside = kept[block.rows[:, None], block.columns] & block.used
            factor = factor_kept(block.damped(damping), inside)
            factors.append((block.rows, block.columns, inside, factor.float()))  # enough precision
        return factors

    def _solve(self, number: int, table: Tensor) -> Tensor:
        factors = self.factors[number]
        if factors is None:
            return table / self.diagonals[number]
        padded, result = torch.nn.functional.pad(table, (0, 1)), torch.zeros_like(table)
        for rows, columns, inside, factor in factors:
            rows = rows[:, None].expand_as(columns)
            right = (padded[rows, columns] * inside).float()
            solution = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0].double()
            result[rows[inside], columns[inside]] = solution[inside]
        return result
