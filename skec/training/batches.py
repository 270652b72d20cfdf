"""Data in memory: tensors, and batches that are slices of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset


class TensorDataset(Dataset):
    """Features, targets and sample weights as tensors.

    Indexing gives ``(x, y)`` as skorch expects, or ``({"X": x, "sample_weight": w}, y)`` where
    there are weights, so that any ``DataLoader`` can be put in place of :class:`TensorBatches`.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    y : tensor with n_samples rows, default=None
    sample_weight : tensor of shape (n_samples,), default=None
    """

    def __init__(self, X: Tensor, y: Tensor | None = None, sample_weight: Tensor | None = None):
        self.X, self.y, self.sample_weight = X, y, sample_weight

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index):
        x, y = self.X[index], torch.zeros(1) if self.y is None else self.y[index]
        if self.sample_weight is None:
            return x, y
        return {"X": x, "sample_weight": self.sample_weight[index]}, y

    def take(self, indices: Tensor | slice) -> TensorDataset:
        """The dataset of some rows."""
        return type(self)(
            self.X[indices],
            None if self.y is None else self.y[indices],
            None if self.sample_weight is None else self.sample_weight[indices],
        )


class TensorBatches:
    """Batches of a :class:`TensorDataset` as slices of its tensors.

    An epoch gathers the shuffled rows once; its batches are views of the result. Nothing is done
    per sample.

    Parameters
    ----------
    dataset : TensorDataset
    batch_size : int, default=128
    shuffle : bool, default=False
    drop_last : bool, default=False
        Whether to leave out a last batch that is not full.
    generator : torch.Generator, default=None
        Source of the order.
    """

    def __init__(
        self,
        dataset: TensorDataset,
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
        """Yield features, targets and weights of each batch of an epoch."""
        data = self.dataset
        if self.shuffle and len(data) > self.batch_size:
            data = data.take(torch.randperm(len(data), generator=self.generator))
        for i in range(len(self)):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            yield (
                data.X[rows],
                None if data.y is None else data.y[rows],
                None if data.sample_weight is None else data.sample_weight[rows],
            )

    def __iter__(self):
        for x, y, weights in self.tensors():
            y = torch.zeros(len(x), 1) if y is None else y
            yield (x, y) if weights is None else ({"X": x, "sample_weight": weights}, y)
