"""Second moments of a layer's inputs, a matrix for each unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Need, Statistic

_SAMPLES = 4096  # in one matrix product
_CHUNK = 1024  # of one unit's samples
_ALONE = 192  # inputs from which a unit's matrix is computed by itself


@dataclass
class RowBlock:
    """The matrices of some units, restricted to the weights that each of them has left.

    Attributes
    ----------
    rows : int64 tensor of shape (n_rows,)
        The units.
    columns : int64 tensor of shape (n_rows, size)
        Their inputs; ``n_in`` stands for the bias, ``n_in + 1`` for a place that is not used.
    used : bool tensor of shape (n_rows, size)
    moments : tensor of shape (n_rows, size, size)
        ``H_i = E[s_i ã ãᵀ]`` for these inputs, zero in places that are not used.
    """

    rows: Tensor
    columns: Tensor
    used: Tensor
    moments: Tensor

    def take(self, chosen: Tensor) -> RowBlock:
        """The block of some of its units, given by a bool tensor of shape (n_rows,)."""
        return RowBlock(
            self.rows[chosen], self.columns[chosen], self.used[chosen], self.moments[chosen]
        )

    def damped(self, damping: float) -> Tensor:
        """The matrices in float64 with a fraction of their mean diagonal added to it.

        Places that are not used get a one on the diagonal, so that every matrix is positive
        definite.
        """
        moments = self.moments.to(torch.float64, copy=True)
        diagonal = moments.diagonal(dim1=-2, dim2=-1)
        ridge = damping * diagonal.sum(1) / self.used.sum(1)
        ridge = ridge.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        diagonal += torch.where(self.used, ridge, 1.0)
        return moments


class RowMoments(Statistic):
    """``H_i = E[s_i ã ãᵀ]`` for each unit i, with ``ã = [a; 1]`` the inputs and the bias.

    One matrix for each unit is more than fits in memory for a wide layer, and a pruned unit needs
    but a small part of it. So the inputs and sensitivities are kept, and the matrices are computed
    when they are asked for, block by block of units.
    """

    needs = Need.SENSITIVITIES

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._joined: tuple[Tensor, Tensor] | None = None
        self._cache: tuple[Tensor, list[RowBlock]] | None = None

    def _forget(self) -> None:
        """Drop everything derived from the batches."""
        self._joined = self._cache = None

    def update(self, batch: LayerBatch) -> None:
        sensitivities = batch.get("sensitivities").clone()
        if batch.weights is not None:
            sensitivities *= batch.weights[:, None]
        self._forget()
        self._batches.append((batch.inputs, sensitivities))
        self.total_weight += batch.total_weight

    def merge(self, other: RowMoments) -> None:
        self._forget()
        self._batches += other._batches
        self.total_weight += other.total_weight

    def blocks(self, kept: Tensor, max_memory: float) -> Iterator[RowBlock]:
        """Yield the matrices of all units that have a weight left.

        Parameters
        ----------
        kept : bool tensor of shape (n_out, n_in)
        max_memory : float
            Bytes for the matrices of a block, and for those that are remembered until the next
            call with the same ``kept``.
        """
        if self._cache is not None and self._cache[0] is kept:
            yield from self._cache[1]
            return
        inputs, sensitivities = self._all_samples()
        remembered, size = [], 0
        for rows, columns, used in _equal_sizes(kept, max_memory):
            moments = self._moments(inputs, sensitivities, rows, columns, max_memory)
            block = RowBlock(rows, columns, used, moments)
            size += moments.nbytes
            if size <= max_memory:
                remembered.append(block)
            yield block
        self._cache = (kept, remembered) if size <= max_memory else None

    def diagonal(self) -> Tensor:
        """``E[s_i ã_j²]``, float64 of shape (n_out, n_in + 1)."""
        inputs, sensitivities = self._all_samples()
        return (sensitivities @ inputs[:-1].t().square()).double() / self.total_weight

    def _all_samples(self) -> tuple[Tensor, Tensor]:
        """Inputs with a one and a zero below, and sensitivities; a column is a sample."""
        if self._joined is None:
            inputs, sensitivities = (torch.cat(p) for p in zip(*self._batches, strict=True))
            self._batches = [(inputs, sensitivities)]
            ends = inputs.new_tensor([1.0, 0.0])[:, None].expand(2, len(inputs))
            self._joined = torch.cat([inputs.t(), ends]), sensitivities.t().contiguous()
        return self._joined

    def _moments(self, inputs, sensitivities, rows, columns, max_memory) -> Tensor:
        weights = sensitivities[rows].sqrt()
        if len(rows) == 1:
            return (_of_one_unit(inputs, weights[0], columns[0]) / self.total_weight)[None]
        total = inputs.new_zeros((*columns.shape, columns.shape[1]), dtype=torch.float64)
        per_sample = columns.numel() * inputs.element_size()
        n_samples = int(min(_SAMPLES, max(max_memory / 4 / per_sample, 64)))
        for start in range(0, inputs.shape[1], n_samples):
            samples = slice(start, start + n_samples)
            total += _outer(inputs[:, samples][columns].mul_(weights[:, None, samples]))
        return (total / self.total_weight).to(inputs.dtype)


def _of_one_unit(inputs: Tensor, weights: Tensor, columns: Tensor) -> Tensor:
    """``Σ (w ã)(w ã)ᵀ`` over the samples, for some of the inputs.

    Only samples of positive weight are looked at: a rectified unit is insensitive to about half of
    them.
    """
    (sensitive,) = torch.nonzero(weights, as_tuple=True)
    all_in_order = len(columns) == len(inputs) - 1
    inputs = inputs[:-1] if all_in_order else inputs[columns]
    total = inputs.new_zeros((len(columns), len(columns)), dtype=torch.float64)
    memory = inputs.new_empty(len(columns) * _CHUNK)  # fresh memory costs more than the product
    for samples in sensitive.split(_CHUNK):
        weighted = memory[: len(columns) * len(samples)].view(len(columns), len(samples))
        torch.index_select(inputs, 1, samples, out=weighted).mul_(weights[samples])
        total += _outer(weighted[None])[0]
    return total.to(inputs.dtype)


def _outer(factors: Tensor) -> Tensor:
    """``A Aᵀ`` for a batch of matrices; of large ones little more than one triangle is computed."""
    size = factors.shape[1]
    if size < _ALONE:
        return factors @ factors.mT
    product = factors.new_empty((*factors.shape[:2], size))
    edges = [size * part // 8 for part in range(9)]
    for start, stop in pairwise(edges):
        below = factors[:, start:stop] @ factors[:, :stop].mT
        product[:, start:stop, :stop] = below
        product[:, :start, start:stop] = below[:, :, :start].mT
    return product


def _equal_sizes(kept: Tensor, max_memory: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Group units with about as many weights left; yield rows, columns and what is used."""
    n_in = kept.shape[1]
    counts = kept.sum(1)
    order = torch.argsort(counts, descending=True, stable=True)
    order = order[counts[order] > 0]
    start = 0
    while start < len(order):
        size = int(counts[order[start]]) + 1
        n_rows = 1 if size >= _ALONE else max(int(min(max_memory / 16, 2**25) / (8 * size**2)), 1)
        rows = order[start : start + n_rows]
        start += n_rows
        # the kept inputs of each row first, in their order, then the bias
        present = torch.cat([kept[rows], torch.ones_like(kept[rows, :1])], dim=1)
        columns = torch.argsort(present.to(torch.int8), dim=1, descending=True, stable=True)
        columns = columns[:, :size]
        used = torch.gather(present, 1, columns)
        yield rows, torch.where(used, columns, n_in + 1), used
