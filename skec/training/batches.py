"""Batches of data in memory: slices of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..utils import BatchedSamples


class TensorBatches:
    """Batches of a :class:`skec.utils.Samples` as slices of its tensors.

    An epoch gathers the shuffled rows once. Its batches are views of the result, so no work is
    done per sample.

    Parameters
    ----------
    dataset : Samples or BatchedSamples
    batch_size : int, default=128
    shuffle : bool, default=False
    drop_last : bool, default=False
        Whether to leave out an incomplete last batch.
    generator : torch.Generator, default=None
        Source of the random order.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def tensors(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Yield features, targets and sample weights of each batch of an epoch."""
        data = self.dataset
        if self.shuffle and len(data) > self.batch_size:
            data = data.take(torch.randperm(len(data), generator=self.generator))
        yield from islice(data.batches(self.batch_size), len(self))

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for x, y, weights in self.tensors():
            x = x.clone()  # a forward may write into its input
            y = torch.zeros(len(x), 1) if y is None else y
            yield (x, y) if weights is None else ({"X": x, "sample_weight": weights}, y)


class StreamBatches(TensorBatches):
    """The batches of data that come in batches, as they come.

    Parameters
    ----------
    dataset : BatchedSamples

    Attributes
    ----------
    batch_size : int
        Mean number of samples of a batch, rounded up.
    """

    def __init__(self, dataset: BatchedSamples):
        super().__init__(dataset, -(-len(dataset) // dataset.facts.n_batches))
        self.stream = dataset

    def __len__(self) -> int:
        return self.stream.facts.n_batches

    def tensors(self) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
        """Yield features, targets and sample weights of each batch of an epoch."""
        for part in self.stream.parts():
            yield part.all_parts
