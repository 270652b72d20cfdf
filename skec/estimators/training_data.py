"""Checks of the user's data, datasets and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.exceptions import DTypePromotionError
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data
from skorch.dataset import Dataset
from skorch.helper import SliceDataset
from skorch.utils import is_dataset
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..training import StreamBatches, TensorBatches
from ..utils import (
    BatchedSamples,
    LazyRows,
    Samples,
    in_dtype,
    is_mapped,
    is_stream,
    private,
    small_when_dense,
)
from .blockwise import check_in_memory
from .feature_modules import describe_features, give_scaling, scales_features, some_rows
from .fit_data import FitData
from .rows import drop_zero_weights, merge_equal_rows, split_indices
from .streams import TrainingStream, in_batches, prediction_stream, training_stream
from .targets import check_not_missing
from .torch_datasets import as_tensors, drawn_rows, gathered

PREDICTION_ROWS = 1024  # rows of one forward pass
_SLICED = {"batch_size", "shuffle", "drop_last", "generator"}  # what TensorBatches takes
_FEW = 8  # samples for checks
_HOLD_OUT_FROM = 100  # with fewer samples, a tenth of them is too small for validation


@contextmanager
def numbers_expected() -> Iterator[None]:
    """Explain the errors of scikit-learn for strings and dates in X."""
    try:
        yield
    except DTypePromotionError as error:
        raise ValueError(
            "X must hold numbers, and has columns of another type, such as dates. Convert dates "
            "to numbers, for instance of days."
        ) from error
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(
            f"X must hold numbers: {error}. Encode strings, for instance with OneHotEncoder."
        ) from error


def as_array(X: Any) -> Any:
    """The array in one of skorch's containers, or what is given.

    These are a ``SliceDataset``, and a mapping whose one entry is ``X``, such as a ``SliceDict``.
    """
    if isinstance(X, Mapping) and not issparse(X):  # scipy's dictionaries of keys are mappings
        if list(X) != ["X"]:
            raise ValueError(
                f"X must be one array; got a mapping with the keys {list(X)}. Only a network with "
                f"one input can be pruned: pass its array, or a mapping with the one key 'X'."
            )
        return X["X"]
    return np.asarray(X) if isinstance(X, SliceDataset) else X


class SkorchSamples(Samples, Dataset):
    """Samples of the class that skorch's callbacks expect, with ``X`` and ``y``."""

    def transform(self, X: Any, y: Any) -> tuple[Any, Any]:
        return X, y


class TrainingData:
    """The data of an estimator: checked, split into parts, and cut into batches.

    Parameters
    ----------
    net : PrunedMLP
        The estimator; its parameters set the split and the batches.
    """

    def __init__(self, net: Any):
        self.net = net

    # -- checks -------------------------------------------------------------------------------

    def check(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        reset: bool,
        classes: Any = None,
        part: bool = False,
    ) -> tuple[Any, ...]:
        """Check the data of a call, and return the arguments of ``get_dataset``.

        With ``part``, the data are one of several parts of the training data: one row is enough,
        and the scale of the targets includes those of earlier parts.
        """
        net = self.net
        check_in_memory("fit", X, y, sample_weight)
        net.check_data(X, y)
        if is_stream(X):
            settings = {"reset": reset, "classes": classes, "part": part}
            return (training_stream(net, X, y, sample_weight, **settings),)
        X, y = as_array(X), as_array(y)
        if is_dataset(X):
            self._check_dataset(sample_weight)
            if reset:
                self._describe_dataset(X, part)
            return (X,)
        self._check_weights(sample_weight)
        check_not_missing(y)
        with numbers_expected():
            X, y = validate_data(
                net,
                X,
                y,
                reset=reset,
                accept_sparse="csr",
                dtype=[np.float64, np.float32],
                multi_output=True,
                y_numeric=False,
                ensure_min_samples=1 if part and not net.batch_norm else 2,
            )
        if sample_weight is not None:
            sample_weight = private.check_sample_weight(sample_weight, X, dtype=np.float64)
        y = net._check_targets(y, reset=reset, classes=classes)
        sample_weight = net._with_class_weight(y, sample_weight)
        weight = float(len(y) if sample_weight is None else np.sum(sample_weight))
        whole = self.has_own_split or is_mapped(X)  # a split may count rows
        X, y, sample_weight = drop_zero_weights(X, y, sample_weight, keep_rows=whole)
        if reset or not net.history_:
            describe_features(net, X, sample_weight, part=part)
        if not reset:  # a network that was made without data has no scale yet
            give_scaling(net, net.network_)
        dtype = net._input_dtype(new=reset)
        if net.dataset == "auto" and is_mapped(X):
            X = LazyRows(X, dtype, net._place)
        else:
            X, y, sample_weight = self._in_memory(X, y, sample_weight, dtype, keep_rows=whole)
        if sample_weight is not None:
            sample_weight = sample_weight / sample_weight.mean()
        scale = net._scale_of_targets(y, sample_weight, weight)
        net._take_target_scale(scale, reset=reset, part=part)
        return (X, y) if sample_weight is None else (X, y, sample_weight)

    def _describe_dataset(self, dataset: Any, part: bool) -> None:
        self.net._describe_dataset(dataset)
        self.net._feature_scale = None
        if scales_features(self.net):
            some = gathered(Subset(dataset, some_rows(dataset)))
            describe_features(self.net, some.X.numpy(), some.sample_weight, part=part)

    def _in_memory(
        self, X: Any, y: Any, sample_weight: Any, dtype: torch.dtype, *, keep_rows: bool
    ) -> tuple[Any, ...]:
        """The data with X as tensor, or as array for a dataset class; equal rows are merged.

        A large sparse X remains as it is.
        """
        X, own = in_dtype(X, dtype), self.net.dataset != "auto"
        one_batch = not own and X.shape[0] <= self.batch_size(X.shape[0])
        if issparse(X) and (one_batch or small_when_dense(X)):
            X = X.toarray()
        if one_batch and not keep_rows:
            X, y, sample_weight = merge_equal_rows(X, y, sample_weight)
        return X if own or issparse(X) else torch.from_numpy(X), y, sample_weight

    def _has_class_weight(self) -> bool:
        return getattr(self.net, "class_weight", None) is not None

    def _check_weights(self, sample_weight: Any) -> None:
        """Raise if weights are given with a dataset class of the user."""
        weighted = sample_weight is not None or self._has_class_weight()
        if weighted and self.net.dataset != "auto":
            raise ValueError(
                "sample_weight and class_weight need dataset='auto': your own Dataset class gets "
                "X and y only. Set dataset='auto', or fit without weights."
            )

    def _check_dataset(self, sample_weight: Any) -> None:
        """Raise if weights are given with a Dataset."""
        if sample_weight is not None:
            raise ValueError(
                "sample_weight cannot be combined with a Dataset; let the Dataset return "
                "({'X': x, 'sample_weight': w}, y), or pass X and y as arrays."
            )
        if self._has_class_weight():
            raise ValueError(
                "class_weight cannot be combined with a Dataset; pass X and y as arrays."
            )

    def features(self, X: Any) -> LazyRows:
        """Check X for ``predict``; its rows become tensors block by block."""
        check_in_memory("This method", X)
        net, X = self.net, as_array(X)
        with numbers_expected():
            X = validate_data(
                net, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32]
            )
        return LazyRows(X, net._input_dtype(), net._place)

    def check_without_targets(self, X: Any, sample_weight: Any) -> tuple[Any, ...]:
        """Check data without targets; returns the arguments of ``get_dataset``."""
        features = self.features(X)
        if sample_weight is not None:
            sample_weight = private.check_sample_weight(
                sample_weight, features.values, dtype=np.float64, ensure_non_negative=True
            )
        return features, None, sample_weight

    # -- datasets -----------------------------------------------------------------------------

    def dataset(self, X: Any, y: Any = None, sample_weight: Any = None) -> SkorchSamples:
        """The data as tensors; a large sparse X as rows that become tensors when they are read."""
        net = self.net
        if not isinstance(X, Tensor | LazyRows):
            X = X if issparse(X) else np.asarray(X)
            X = LazyRows(X, net._input_dtype(), net._place).in_memory()
        elif isinstance(X, Tensor):
            X = X.to(net._place)
        if y is not None:
            y = torch.as_tensor(y).to(net._place)
        if sample_weight is not None:
            precision = getattr(torch, net._precision)
            weights = torch.tensor(np.asarray(sample_weight))  # a copy
            sample_weight = weights.to(X.device, precision)
        return SkorchSamples(X, y, sample_weight)

    def for_prediction(self, X: Any, *, in_blocks: bool) -> Any:
        """The dataset of a prediction; arrays become tensors as a whole or block by block."""
        net = self.net
        if is_stream(X):
            return prediction_stream(net, X)
        if is_dataset(X) or net.dataset != "auto":
            return net.get_dataset(X)
        features = self.features(X)
        return net.get_dataset(features if in_blocks else features.in_memory())

    def in_network_units(self, dataset: Any) -> Any:
        """Samples with targets in the form that the loss takes."""
        if isinstance(dataset, BatchedSamples):
            return dataset.converted(self.in_network_units)
        if dataset.y is None:
            return dataset
        return Samples(dataset.X, self.net._network_targets(dataset.y), dataset.sample_weight)

    def calibration(self, dataset: Any, n_samples: int | None, random_state: Any) -> Samples:
        """Some samples of a dataset, drawn at random, in the network's units."""
        if isinstance(dataset, TrainingStream):
            dataset = dataset.in_memory() if n_samples is None else dataset.some
        elif not isinstance(dataset, Samples):
            dataset = gathered(drawn_rows(dataset, n_samples, random_state))
        drawn = self.in_network_units(dataset).draw(n_samples, random_state)
        if isinstance(drawn.X, LazyRows):
            drawn.X = drawn.X.in_memory()
        return drawn

    def held_out(self, dataset: Any) -> Samples:
        """All samples of a validation dataset, in the network's units."""
        known = isinstance(dataset, Samples | BatchedSamples)
        return self.in_network_units(dataset.in_memory() if known else gathered(dataset))

    def some_targets(self, dataset: Any) -> Tensor:
        """The targets of data in memory, or of some rows of others, in the network's units."""
        n_samples = None if isinstance(dataset, Samples) else self.net.calibration_samples
        targets = self.calibration(dataset, n_samples, self.net._seed_).y
        assert targets is not None
        return targets

    @staticmethod
    def first_rows(dataset: Any) -> Samples:
        """A few samples of a dataset, for checks."""
        if isinstance(dataset, Samples | BatchedSamples):
            return dataset.head(_FEW)
        return gathered(Subset(dataset, range(min(_FEW, len(dataset)))))

    # -- parts and batches --------------------------------------------------------------------

    @property
    def has_own_split(self) -> bool:
        """Whether ``train_split`` is the user's. It gets all rows in their order."""
        return bool(self.net.train_split) and self.net.train_split != "auto"

    def split_for(self, data: FitData) -> tuple[Any, Any]:
        """Training and validation datasets of a call; the validation dataset may be None."""
        return self.net.get_split_datasets(data.dataset, data.y, **data.split_params)

    def split(self, dataset: Any, y: Any = None, **split_params: Any) -> tuple[Any, Any]:
        """Training and validation datasets; the validation dataset may be None.

        Parameters
        ----------
        dataset : Dataset
        y : array-like, default=None
            The user's targets, for the user's split.
        **split_params : dict
            Passed to the user's split.
        """
        net = self.net
        if self.has_own_split:
            targets = () if y is None else (np.asarray(y),)
            train, valid = net.train_split(dataset, *targets, **split_params)
            valid = in_batches(net, dataset, train, valid)
            return as_tensors(train), self._checked(as_tensors(valid))
        if not net.train_split or not self._holds_out(dataset):
            return dataset, None
        targets = getattr(dataset, "y", None) if isinstance(dataset, Samples) else None
        train, valid = split_indices(
            len(dataset),
            net.validation_fraction,
            np.random.RandomState(net._seed_),
            net._stratification(None if targets is None else targets.cpu().numpy()),
        )
        if isinstance(dataset, Samples):
            return dataset.take(torch.from_numpy(train)), dataset.take(torch.from_numpy(valid))
        return Subset(dataset, train.tolist()), Subset(dataset, valid.tolist())

    def _checked(self, valid: Any) -> Any:
        """Validation data; arrays that the user's split brings are checked like those of fit."""
        if type(valid) is not Dataset or valid.y is None or self.net.dataset != "auto":
            return valid
        X, y = as_array(valid.X), self.net._check_targets(np.asarray(valid.y), reset=False)
        return self.dataset(self.features(X).in_memory(), y, self.net._with_class_weight(y, None))

    def _holds_out(self, dataset: Any) -> bool:
        if isinstance(dataset, BatchedSamples):
            return False
        n_samples, early_stopping = len(dataset), self.net.early_stopping
        if early_stopping == "auto":
            return n_samples >= _HOLD_OUT_FROM
        return early_stopping and n_samples > 1

    def batch_size(self, n_samples: int) -> int:
        """Number of samples per step."""
        batch_size = self.net.batch_size
        if batch_size == "auto":
            return int(np.clip(2 ** round(math.log2(max(n_samples, 1) / 32)), 32, 256))
        return n_samples if batch_size == -1 else batch_size

    def batches(self, dataset: Any, training: bool) -> Any:
        """The batches of a dataset: slices of tensors if it is in memory."""
        net, name = self.net, "iterator_train" if training else "iterator_valid"
        if isinstance(dataset, BatchedSamples):
            return StreamBatches(dataset)
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
        if in_memory and self.are_sliced(name):
            return TensorBatches(dataset, **arguments)
        arguments.setdefault("generator", net._generator("batches"))
        return DataLoader(dataset, **arguments)

    def are_sliced(self, *names: str) -> bool:
        """Whether the batches of data in memory are slices, given names of iterators."""
        return all(
            getattr(self.net, name) == "auto" and set(self.net.get_params_for(name)) <= _SLICED
            for name in names
        )
