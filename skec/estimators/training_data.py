"""From the user's data to datasets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from skorch.dataset import Dataset
from skorch.utils import is_dataset
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..training import TensorBatches
from ..utils import Samples, private
from .rows import drop_zero_weights, merge_equal_rows, split_indices

PREDICTION_ROWS = 1024  # rows of one forward pass
_FEW = 8  # samples for checks
_HOLD_OUT_FROM = 100  # samples from which a tenth of them says something


@contextmanager
def numbers_expected() -> Iterator[None]:
    """Say what to do about strings in X."""
    try:
        yield
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(
            f"X must hold numbers: {error}. Encode strings, for instance with OneHotEncoder."
        ) from error


class SkorchSamples(Samples, Dataset):
    """Samples in which skorch's callbacks find ``X`` and ``y``."""

    def transform(self, X, y):
        return X, y


class TrainingData:
    """The data of an estimator: checked, split into parts, and cut into batches.

    Parameters
    ----------
    net : PrunedMLP
        The estimator whose parameters say how.
    """

    def __init__(self, net: Any):
        self.net = net

    # -- checks -------------------------------------------------------------------------------

    def check(self, X, y, sample_weight=None, *, reset: bool, classes=None) -> tuple:
        """Check the data of a call; the result is what ``get_dataset`` takes."""
        net = self.net
        if is_dataset(X):
            self._check_dataset(sample_weight)
            if reset:
                net._describe_dataset(X)
            return (X,)
        if net.dataset != "auto" and (sample_weight is not None or self._has_class_weight()):
            raise ValueError(
                "sample_weight and class_weight need dataset='auto'; your own Dataset class has "
                "no place for them."
            )
        with numbers_expected():
            X, y = validate_data(
                net,
                X,
                y,
                reset=reset,
                dtype=[np.float64, np.float32],
                multi_output=True,
                y_numeric=False,
                ensure_min_samples=2,
            )
        if sample_weight is not None:
            sample_weight = private.check_sample_weight(sample_weight, X, dtype=np.float64)
        y = net._check_targets(y, reset=reset, classes=classes)
        sample_weight = net._with_class_weight(y, sample_weight)
        X, y, sample_weight = drop_zero_weights(X, y, sample_weight)
        X = _to_dtype(X, np.dtype(net.dtype))
        if net.dataset == "auto" and len(X) <= self.batch_size(len(X)):
            X, y, sample_weight = merge_equal_rows(X, y, sample_weight)
        if sample_weight is not None:
            sample_weight = sample_weight / sample_weight.mean()
        net._fit_target_scale(y, sample_weight, reset=reset)
        return X, y, sample_weight

    def _has_class_weight(self) -> bool:
        return getattr(self.net, "class_weight", None) is not None

    def _check_dataset(self, sample_weight) -> None:
        """Raise if weights come with a Dataset."""
        if sample_weight is not None:
            raise ValueError(
                "sample_weight cannot be combined with a Dataset; let the Dataset return "
                "({'X': x, 'sample_weight': w}, y), or pass X and y as arrays."
            )
        if self._has_class_weight():
            raise ValueError(
                "class_weight cannot be combined with a Dataset; pass X and y as arrays."
            )

    def features(self, X) -> Tensor:
        """Check X as ``predict`` gets it, and return it in the network's dtype and device."""
        net = self.net
        with numbers_expected():
            X = validate_data(net, X, reset=False, dtype=[np.float64, np.float32])
        return torch.from_numpy(_to_dtype(X, np.dtype(net.dtype))).to(net.device)

    # -- datasets -----------------------------------------------------------------------------

    def dataset(self, X, y=None, sample_weight=None) -> SkorchSamples:
        """The data as tensors."""
        net = self.net
        if not isinstance(X, Tensor):
            X = torch.from_numpy(_to_dtype(np.asarray(X), np.dtype(net.dtype)))
        X = X.to(net.device)
        if y is not None:
            y = torch.as_tensor(y).to(net.device)
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight).to(X)
        return SkorchSamples(X, y, sample_weight)

    def in_network_units(self, dataset: Samples | None) -> Samples | None:
        """Samples with targets as the loss takes them."""
        if dataset is None or dataset.y is None:
            return dataset
        return Samples(dataset.X, self.net._network_targets(dataset.y), dataset.sample_weight)

    def calibration(self, dataset, n_samples: int | None, random_state) -> Samples:
        """Some samples of a dataset, drawn at random, in the network's units."""
        if not isinstance(dataset, Samples):
            dataset = _gather(dataset, n_samples)
        return self.in_network_units(dataset).draw(n_samples, random_state)

    @staticmethod
    def first_rows(dataset) -> Samples:
        """A few samples of a dataset, for checks."""
        if isinstance(dataset, Samples):
            return dataset.take(slice(_FEW))
        return _gather(dataset, _FEW)

    # -- parts and batches --------------------------------------------------------------------

    def split(self, dataset, y=None) -> tuple:
        """Training and validation datasets; the latter may be None."""
        net = self.net
        if net.train_split is None or (net.train_split == "auto" and not self._holds_out(dataset)):
            return dataset, None
        if y is None and isinstance(dataset, Samples):
            y = dataset.y.cpu().numpy()
        if net.train_split != "auto":
            parts = net.train_split(dataset) if y is None else net.train_split(dataset, y)
            return tuple(_as_tensors(part) for part in parts)
        rng = np.random.RandomState(net._seed_)
        train, valid = split_indices(
            len(dataset), net.validation_fraction, rng, net._stratification(y)
        )
        if isinstance(dataset, Samples):
            return dataset.take(torch.from_numpy(train)), dataset.take(torch.from_numpy(valid))
        return Subset(dataset, train), Subset(dataset, valid)

    def _holds_out(self, dataset) -> bool:
        n_samples, early_stopping = len(dataset), self.net.early_stopping
        if early_stopping == "auto":
            return n_samples >= _HOLD_OUT_FROM
        return early_stopping and n_samples > 1

    def batch_size(self, n_samples: int) -> int:
        """Samples of a step."""
        batch_size = self.net.batch_size
        if batch_size == "auto":
            return int(np.clip(2 ** round(math.log2(max(n_samples, 1) / 32)), 32, 256))
        return n_samples if batch_size == -1 else batch_size

    def batches(self, dataset, training: bool):
        """The batches of a dataset: slices of tensors where that is possible."""
        net, name = self.net, "iterator_train" if training else "iterator_valid"
        iterator, arguments = getattr(net, name), net.get_params_for(name)
        arguments.setdefault("batch_size", self.batch_size(len(dataset)))
        if arguments["batch_size"] == -1:
            arguments["batch_size"] = len(dataset)
        if iterator != "auto":
            return iterator(dataset, **arguments)
        in_memory = isinstance(dataset, Samples)
        if training:
            arguments.setdefault("shuffle", True)
            arguments.setdefault("generator", net._generator("batches"))
            if net.batch_norm and len(dataset) % arguments["batch_size"] == 1:
                arguments.setdefault("drop_last", len(dataset) > 1)
        elif in_memory:
            arguments["batch_size"] = max(arguments["batch_size"], PREDICTION_ROWS)
        sliced = {"batch_size", "shuffle", "drop_last", "generator"}
        if in_memory and set(arguments) <= sliced:
            return TensorBatches(dataset, **arguments)
        arguments.setdefault("generator", net._generator("batches"))
        return DataLoader(dataset, **arguments)


def _to_dtype(X: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A writable copy in a dtype; float64 numbers beyond float32 stay errors, not infinities."""
    with np.errstate(over="ignore"):
        converted = np.array(X, dtype=dtype, order="C")
    if not np.isfinite(converted).all():
        raise ValueError(
            f"X has values too large for dtype={dtype.name!r}, up to {np.abs(X).max():.3g}. Scale "
            f"the features (StandardScaler), or use dtype='float64'."
        )
    return converted


def _as_tensors(dataset):
    """A subset of tensors as tensors."""
    if isinstance(dataset, Subset) and isinstance(dataset.dataset, Samples):
        return dataset.dataset.take(torch.as_tensor(np.asarray(dataset.indices)))
    return dataset


def _gather(dataset, n_samples: int | None) -> Samples:
    """The first samples of any dataset as tensors."""
    parts, taken = [], 0
    batch_size = 256 if n_samples is None else min(n_samples, 256)
    for x, y in DataLoader(dataset, batch_size=batch_size, generator=torch.Generator()):
        weights = x.get("sample_weight") if isinstance(x, Mapping) else None
        parts.append((x["X"] if isinstance(x, Mapping) else x, y, weights))
        taken += len(y)
        if n_samples is not None and taken >= n_samples:
            break
    columns = zip(*parts, strict=True)
    return Samples(*(None if c[0] is None else torch.cat(c)[:n_samples] for c in columns))
