"""Second moments of a layer's inputs: one matrix for each unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ._base import LayerBatch, Need, Statistic

_SAMPLES = 4096  # samples in a chunk, and in one matrix product for several units
_HELD = 2**25  # bytes of samples that are held even if the matrices take less
_CHUNK = 1024  # samples in one matrix product for a single unit
_ALONE = 192  # the matrix of a unit with at least so many inputs is computed separately


@dataclass
class RowBlock:
    """The matrices of several units, restricted to the kept weights of each unit.

    Attributes
    ----------
    rows : int64 tensor of shape (n_rows,)
        Indices of the units.
    columns : int64 tensor of shape (n_rows, size)
        Indices of their inputs: ``n_in`` is the bias, ``n_in + 1`` an unused entry.
    used : bool tensor of shape (n_rows, size)
        False marks an unused entry.
    moments : tensor of shape (n_rows, size, size)
        ``H_i = E[s_i ã ãᵀ]`` for these inputs, zero in unused entries.
    """

    rows: Tensor
    columns: Tensor
    used: Tensor
    moments: Tensor

    def take(self, chosen: Tensor) -> RowBlock:
        """Return the block of a subset of its units.

        Parameters
        ----------
        chosen : bool tensor of shape (n_rows,)
        """
        return RowBlock(
            self.rows[chosen], self.columns[chosen], self.used[chosen], self.moments[chosen]
        )

    def damped(self, damping: float) -> Tensor:
        """Return the matrices in float64 with added damping.

        Parameters
        ----------
        damping : float
            Fraction of the mean diagonal of a matrix that is added to its diagonal. One is added
            in unused entries, so that every matrix is positive definite.

        Returns
        -------
        float64 tensor of shape (n_rows, size, size)
        """
        moments = self.moments.to(torch.float64, copy=True)
        diagonal = moments.diagonal(dim1=-2, dim2=-1)
        ridge = damping * diagonal.sum(1) / self.used.sum(1)
        ridge = ridge.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        diagonal += torch.where(self.used, ridge, 1.0)
        return moments


# Transposed inputs with a row of ones and a row of zeros, and transposed sensitivities.
_Chunk = tuple[Tensor, Tensor]


class RowMoments(Statistic):
    """``H_i = E[s_i ã ãᵀ]`` for each unit i, with ``ã = [a; 1]`` the inputs and the bias.

    The matrices of all units of a wide layer do not fit into memory, and for a pruned unit only a
    small part of its matrix is needed. The inputs and sensitivities are therefore stored, and
    :meth:`blocks` computes the matrices for one block of units at a time. As soon as the samples
    take more memory than the matrices of the kept weights, the matrices are summed up instead. So
    the memory does not grow with the number of samples beyond these matrices.
    """

    needs = Need.SENSITIVITIES

    def __init__(self, layer: nn.Linear):
        self.total_weight = 0.0
        self._kept = torch.ones_like(layer.weight, dtype=torch.bool)
        self._batches: list[tuple[Tensor, Tensor]] = []  # not yet in a chunk
        self._n_waiting = 0  # samples in these batches
        self._chunks: list[_Chunk] = []
        self._sums: _Sums | None = None  # if they replace the chunks
        self._cache: tuple[Tensor, list[RowBlock]] | None = None

    def update(self, batch: LayerBatch) -> None:
        sensitivities = batch.get("sensitivities").clone()
        if batch.weights is not None:
            sensitivities *= batch.weights[:, None]
        self._cache = None
        if batch.kept is not None:
            self._kept = batch.kept
        self._batches.append((batch.inputs, sensitivities))
        self.total_weight += batch.total_weight
        self._n_waiting += len(batch.inputs)
        if self._n_waiting >= _SAMPLES:
            self._close_chunk()

    def merge(self, other: RowMoments) -> None:
        self._cache = None
        self._close_chunk()
        self._batches += other._batches
        self._close_chunk()
        if other._sums is not None:
            self._sums = self._sums or _Sums(self._kept)
            self._sums.merge(other._sums)
        self._chunks += other._chunks
        self._fold()
        self.total_weight += other.total_weight

    def blocks(self, kept: Tensor, max_memory: float) -> Iterator[RowBlock]:
        """Yield the matrices of all units with at least one kept weight, in blocks.

        Parameters
        ----------
        kept : bool tensor of shape (n_out, n_in)
            The kept weights of the batches.
        max_memory : float
            Maximum number of bytes for the matrices of a block, and for the matrices that are
            cached for the next call with the same ``kept``.
        """
        self._close_chunk()
        if self._sums is not None:
            yield from self._sums.blocks(kept, self.total_weight)
            return
        if self._cache is not None and self._cache[0] is kept:
            yield from self._cache[1]
            return
        cached, size = [], 0
        for rows, columns, used in _equal_sizes(kept, max_memory):
            moments = _moments(self._chunks, rows, columns, max_memory).div_(self.total_weight)
            block = RowBlock(rows, columns, used, moments.to(self._chunks[0][0].dtype))
            size += block.moments.nbytes
            if size <= max_memory:
                cached.append(block)
            yield block
        self._cache = (kept, cached) if size <= max_memory else None

    def diagonal(self) -> Tensor:
        """Compute ``E[s_i ã_j²]``, float64 of shape (n_out, n_in + 1)."""
        self._close_chunk()
        if self._sums is not None:
            return self._sums.diagonal / self.total_weight
        return sum(map(_diagonal, self._chunks), start=torch.zeros(())) / self.total_weight

    def _close_chunk(self) -> None:
        """Join the batches."""
        if not self._batches:
            return
        inputs, sensitivities = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
        self._batches, self._n_waiting = [], 0
        ends = inputs.new_tensor([1.0, 0.0])[:, None].expand(2, len(inputs))
        self._chunks.append((torch.cat([inputs.t(), ends]), sensitivities.t().contiguous()))
        self._fold()

    def _fold(self) -> None:
        """Sum up the matrices of the chunks if the chunks take more memory."""
        held = sum(inputs.nbytes + s.nbytes for inputs, s in self._chunks)
        if self._sums is None and (held <= _HELD or held <= _Sums.size(self._kept)):
            return
        self._sums = self._sums or _Sums(self._kept)
        self._sums.add(self._chunks)
        self._chunks = []


class _Sums:
    """The matrices of all units, summed over samples.

    Attributes
    ----------
    diagonal : float64 tensor of shape (n_out, n_in + 1)
    """

    def __init__(self, kept: Tensor):
        self._kept = kept
        self._groups = list(_equal_sizes(kept, torch.inf))
        self._totals: list[Tensor] = []
        self._dtype = torch.float64
        self.diagonal = torch.zeros((), dtype=torch.float64, device=kept.device)

    @staticmethod
    def size(kept: Tensor) -> int:
        """Approximate bytes of the matrices."""
        return 8 * int((kept.sum(1) + 1).square().sum())

    def add(self, chunks: list[_Chunk]) -> None:
        """Add samples."""
        if not chunks:
            return
        self._dtype = chunks[0][0].dtype
        self._add([_moments(chunks, rows, columns, 2**28) for rows, columns, _ in self._groups])
        self.diagonal = sum(map(_diagonal, chunks), start=self.diagonal)

    def merge(self, other: _Sums) -> None:
        """Add the sums of other samples with the same kept weights."""
        self._dtype = other._dtype
        self._add(other._totals)
        self.diagonal = self.diagonal + other.diagonal

    def _add(self, totals: list[Tensor]) -> None:
        if not self._totals:
            self._totals = [total.clone() for total in totals]
            return
        for total, further in zip(self._totals, totals, strict=True):
            total += further

    def blocks(self, kept: Tensor, total_weight: float) -> Iterator[RowBlock]:
        """Yield the mean matrices."""
        if not torch.equal(kept, self._kept):
            raise ValueError("kept must be the kept weights of the batches; got other weights.")
        for (rows, columns, used), total in zip(self._groups, self._totals, strict=True):
            yield RowBlock(rows, columns, used, (total / total_weight).to(self._dtype))


def _diagonal(chunk: _Chunk) -> Tensor:
    """``Σ s_i ã_j²`` over the samples of a chunk, float64."""
    inputs, sensitivities = chunk
    return (sensitivities @ inputs[:-1].t().square()).double()


def _moments(chunks: list[_Chunk], rows: Tensor, columns: Tensor, max_memory: float) -> Tensor:
    """``Σ s_i ã ãᵀ`` over the samples for some units and inputs, float64."""
    shape = (*columns.shape, columns.shape[1])
    total = torch.zeros(shape, dtype=torch.float64, device=columns.device)
    for inputs, sensitivities in chunks:
        weights = sensitivities[rows].sqrt()
        if len(rows) == 1:
            _add_one_unit(inputs, weights[0], columns[0], total[0])
            continue
        per_sample = columns.numel() * inputs.element_size()
        n_samples = int(min(_SAMPLES, max(min(max_memory, 2**28) / 4 / per_sample, 64)))
        for start in range(0, inputs.shape[1], n_samples):
            samples = slice(start, start + n_samples)
            total += _outer(inputs[:, samples][columns].mul_(weights[:, None, samples]))
    return total


def _add_one_unit(inputs: Tensor, weights: Tensor, columns: Tensor, total: Tensor) -> None:
    """Add ``Σ (w ã)(w ã)ᵀ`` over the samples for a subset of the inputs to ``total``.

    Samples of weight zero are skipped: for a rectified unit these are about half of them.
    """
    (sensitive,) = torch.nonzero(weights, as_tuple=True)
    all_in_order = len(columns) == len(inputs) - 1
    inputs = inputs[:-1] if all_in_order else inputs[columns]
    memory = inputs.new_empty(len(columns) * _CHUNK)  # allocating it each time would be slower
    for samples in sensitive.split(_CHUNK):
        weighted = memory[: len(columns) * len(samples)].view(len(columns), len(samples))
        torch.index_select(inputs, 1, samples, out=weighted).mul_(weights[samples])
        total += _outer(weighted[None])[0]


def _outer(factors: Tensor) -> Tensor:
    """``A Aᵀ`` for a batch of matrices; large ones are computed by blocks of one triangle."""
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
    """Group units with similar numbers of kept weights; yield rows, columns and used entries."""
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
        # the kept inputs of each row in their order, then the bias
        present = torch.cat([kept[rows], torch.ones_like(kept[rows, :1])], dim=1)
        columns = torch.argsort(present.to(torch.int8), dim=1, descending=True, stable=True)
        columns = columns[:, :size]
        used = torch.gather(present, 1, columns)
        yield rows, torch.where(used, columns, n_in + 1), used
