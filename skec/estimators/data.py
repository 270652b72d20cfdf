"""From the user's data to datasets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data
from skorch.utils import is_dataset
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..calibration.collect import CalibrationData
from ..training import TensorBatches, TensorDataset
from .rows import drop_zero_weights, merge_equal_rows, split_indices
from .skorch_state import SkorchTensorDataset

PREDICTION_ROWS = 1024  # rows of one forward pass
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


class DataMixin:
    """Checks data, splits them, and cuts them into batches."""

    def _check_training_data(self, X, y, sample_weight, *, reset, classes=None):
        """Check the data; the result is what ``get_dataset`` takes."""
        self._reset_seed(reset)
        if is_dataset(X):
            if sample_weight is not None:
                raise ValueError(
                    "sample_weight cannot be combined with a Dataset; let the Dataset return "
                    "({'X': x, 'sample_weight': w}, y), or pass X and y as arrays."
                )
            if getattr(self, "class_weight", None) is not None:
                raise ValueError(
                    "class_weight cannot be combined with a Dataset; pass X and y as arrays."
                )
            if reset:
                self._describe_dataset(X)
            return (X,)
        if self.dataset != "auto" and (
            sample_weight is not None or getattr(self, "class_weight", None) is not None
        ):
            raise ValueError(
                "sample_weight and class_weight need dataset='auto'; an own Dataset class has no "
                "place for them."
            )
        dtype = np.dtype(self.dtype)
        with numbers_expected():
            X, y = validate_data(
                self,
                X,
                y,
                reset=reset,
                dtype=[np.float64, np.float32],
                multi_output=True,
                y_numeric=False,
                ensure_min_samples=2,
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        y = self._check_targets(y, reset=reset, classes=classes)
        sample_weight = self._with_class_weight(y, sample_weight)
        X, y, sample_weight = drop_zero_weights(X, y, sample_weight)
        X = _to_dtype(X, dtype)
        if self.dataset == "auto" and len(X) <= self._batch_size(len(X)):
            X, y, sample_weight = merge_equal_rows(X, y, sample_weight)
        if sample_weight is not None:
            sample_weight = sample_weight / sample_weight.mean()
        self._fit_target_scale(y, sample_weight, reset=reset)
        return X, y, sample_weight

    def _reset_seed(self, reset: bool) -> None:
        if reset or not hasattr(self, "_seed_"):
            rng = check_random_state(self.random_state)
            self._seed_ = int(rng.randint(np.iinfo(np.int32).max))

    def _checked_features(self, X) -> Tensor:
        with numbers_expected():
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return torch.from_numpy(_to_dtype(X, np.dtype(self.dtype))).to(self.device)

    def calibration_data(
        self, X, y=None, sample_weight=None, *, n_samples=None, batch_size=512, random_state=None
    ) -> CalibrationData:
        """Check data and give them in the units of the network, for :func:`skec.prune`.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; ``y`` may be left out.
        n_samples : int, default=None
            Number of samples to draw; None takes all.
        batch_size : int, default=512
        random_state : int, RandomState or None, default=None

        Returns
        -------
        CalibrationData
        """
        if y is not None or is_dataset(X):
            dataset = self.get_dataset(*self._check_training_data(X, y, sample_weight, reset=False))
        else:
            X = self._checked_features(X)
            if sample_weight is not None:
                sample_weight = _check_sample_weight(
                    sample_weight, X.numpy(), dtype=np.float64, ensure_non_negative=True
                )
            dataset = self.get_dataset(X, None, sample_weight)
        return self._draw_calibration_data(dataset, n_samples, batch_size, random_state)

    def _draw_calibration_data(self, dataset, n_samples, batch_size, random_state):
        if not isinstance(dataset, TensorDataset):
            dataset = _gather(dataset, n_samples)
        dataset = self._in_network_units(dataset)
        data = CalibrationData(dataset.X, dataset.y, dataset.sample_weight, batch_size)
        return data.sample(n_samples, random_state)

    def _keep_calibration_data(self, dataset) -> None:
        """Keep part of the training data, so that the network can be pruned again."""
        self._calibration_ = self._draw_calibration_data(
            dataset, self.calibration_samples, self.calibration_batch_size, self._seed_
        )

    def get_dataset(self, X, y=None, sample_weight=None):
        """Return the data as a torch ``Dataset``; tensors unless ``dataset`` says otherwise."""
        if is_dataset(X):
            return X
        if self.dataset != "auto":
            return super().get_dataset(X, y)
        if not isinstance(X, Tensor):
            X = torch.from_numpy(_to_dtype(np.asarray(X), np.dtype(self.dtype)))
        X = X.to(self.device)
        if y is not None:
            y = torch.as_tensor(y).to(self.device)
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight).to(X)
        return SkorchTensorDataset(X, y, sample_weight)

    def _split(self, dataset, y=None):
        """Return training and validation datasets; the latter may be None."""
        if self.train_split is None or (
            self.train_split == "auto" and not self._holds_out(dataset)
        ):
            return dataset, None
        if y is None and isinstance(dataset, TensorDataset):
            y = dataset.y.cpu().numpy()
        if self.train_split != "auto":
            parts = self.train_split(dataset) if y is None else self.train_split(dataset, y)
            return tuple(_as_tensors(part) for part in parts)
        rng = np.random.RandomState(self._seed_)
        train, valid = split_indices(
            len(dataset), self.validation_fraction, rng, self._stratification(y)
        )
        if isinstance(dataset, TensorDataset):
            return dataset.take(torch.from_numpy(train)), dataset.take(torch.from_numpy(valid))
        return Subset(dataset, train), Subset(dataset, valid)

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return training and validation datasets, as skorch's method of this name."""
        return self._split(self.get_dataset(X, y), y)

    def _holds_out(self, data) -> bool:
        n_samples = len(data)
        if self.early_stopping == "auto":
            return n_samples >= _HOLD_OUT_FROM
        return self.early_stopping and n_samples > 1

    def _stratification(self, y):
        return None

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return int(np.clip(2 ** round(math.log2(max(n_samples, 1) / 32)), 32, 256))
        return n_samples if self.batch_size == -1 else self.batch_size

    def get_iterator(self, dataset, training=False):
        """Return the batches of a dataset.

        Data in memory are sliced (:class:`skec.training.TensorBatches`) unless
        ``iterator_train`` or ``iterator_valid`` names another iterator.
        """
        name = "iterator_train" if training else "iterator_valid"
        iterator, arguments = getattr(self, name), self.get_params_for(name)
        arguments.setdefault("batch_size", self._batch_size(len(dataset)))
        if arguments["batch_size"] == -1:
            arguments["batch_size"] = len(dataset)
        if iterator != "auto":
            return iterator(dataset, **arguments)
        in_memory = isinstance(dataset, TensorDataset)
        if training:
            arguments.setdefault("shuffle", True)
            arguments.setdefault("generator", self._generator("batches"))
            if self.batch_norm and len(dataset) % arguments["batch_size"] == 1:
                arguments.setdefault("drop_last", len(dataset) > 1)
        elif in_memory:
            arguments["batch_size"] = max(arguments["batch_size"], PREDICTION_ROWS)
        sliced = {"batch_size", "shuffle", "drop_last", "generator"}
        if in_memory and set(arguments) <= sliced:
            return TensorBatches(dataset, **arguments)
        if iterator == "auto":
            arguments.setdefault("generator", self._generator("batches"))
        return DataLoader(dataset, **arguments)

    def _in_network_units(self, dataset: TensorDataset | None) -> TensorDataset | None:
        if dataset is None or dataset.y is None:
            return dataset
        return TensorDataset(dataset.X, self._network_targets(dataset.y), dataset.sample_weight)


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
    if isinstance(dataset, Subset) and isinstance(dataset.dataset, TensorDataset):
        return dataset.dataset.take(torch.as_tensor(np.asarray(dataset.indices)))
    return dataset


def _gather(dataset, n_samples: int | None) -> TensorDataset:
    """The first samples of any dataset as tensors."""
    parts, taken = [], 0
    for x, y in DataLoader(dataset, batch_size=256, generator=torch.Generator()):
        weights = x.get("sample_weight") if isinstance(x, Mapping) else None
        parts.append((x["X"] if isinstance(x, Mapping) else x, y, weights))
        taken += len(y)
        if n_samples is not None and taken >= n_samples:
            break
    columns = zip(*parts, strict=True)
    return TensorDataset(*(None if c[0] is None else torch.cat(c)[:n_samples] for c in columns))
