"""Training data that come in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.utils.validation import validate_data
from skorch.dataset import Dataset
from torch import Tensor

from ..utils import (
    BatchedSamples,
    Samples,
    StreamFacts,
    check_alone,
    check_reiterable,
    in_dtype,
    is_stream,
    loaded,
    naming_batch,
    parts_of,
)
from .feature_modules import describe_features, give_scaling
from .target_scale import TargetScale
from .targets import check_labels, check_not_missing, is_indicator

_KEPT = 2**14  # rows that describe the features; there may be more for the calibration
_INSTEAD = "train_split=skorch.helper.predefined_split(dataset), with a Dataset or a DataLoader"


class TrainingStream(BatchedSamples):
    """Batches of an estimator's data, with some rows of them in memory.

    Attributes
    ----------
    some : Samples
        All rows if there are few, or rows drawn at random.
    """

    some: Samples


def check_no_stream(owner: Any, X: Any) -> None:
    """Raise for data in batches, where an estimator takes arrays only."""
    if is_stream(X):
        name = type(owner).__name__
        raise TypeError(
            f"{name} takes arrays, because it selects rows; got batches in a {type(X).__name__}. "
            f"Fit a PrunedMLPRegressor or PrunedMLPClassifier to the batches, which prunes it too."
        )


def check_split(net: Any, X: Any, *, finds_ratio: bool) -> None:
    """Raise if a fit to batches needs held-out rows and has none."""
    if is_stream(X) and finds_ratio and not net._data.has_own_split:
        raise ValueError(
            f"pruning_ratio='auto' needs held-out rows, and none are taken from batches. Pass "
            f"{_INSTEAD}, or give pruning_ratio a number."
        )


def training_stream(
    net: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    classes: Any = None,
    part: bool = False,
    trains: bool = True,
) -> TrainingStream:
    """Read all batches once, check them, and describe the data to an estimator.

    Parameters
    ----------
    net : PrunedMLP
    X : iterable of batches
    y, sample_weight : object
        They must be None: the batches contain them.
    reset, classes, part
        As in ``TrainingData.check``.
    trains : bool, default=True
        Whether the network is trained on the data. Otherwise they do not describe it, and the
        batches need no targets.
    """
    check_alone(X, y=y, sample_weight=sample_weight)
    check_reiterable(X)
    if trains:
        _check_settings(net)
    seen = _Description(net, reset, classes, part, trains)
    for number, batch in enumerate(X):
        with naming_batch(number):
            seen.add(number, *parts_of(batch))
    if not seen.n_samples:
        raise ValueError(f"X, a {type(X).__name__}, has no batches. Pass at least one batch.")
    return seen.stream(X)


def prediction_stream(net: Any, X: Any) -> BatchedSamples:
    """The features of batches for ``predict``."""
    return BatchedSamples(X, lambda X, y, w: Samples(net._data.features(X)))


def in_batches(net: Any, dataset: Any, train: Any, valid: Any) -> Any:
    """The validation data of the user's split; those in batches, or for batches, are checked.

    Parameters
    ----------
    net : PrunedMLP
    dataset : Dataset
        All data of the call.
    train, valid : Dataset
        The parts that the split returned.
    """
    stream = isinstance(dataset, BatchedSamples)
    if stream and train is not dataset:
        raise ValueError(
            f"train_split={net.train_split!r} divides rows, and batches have no row numbers. Pass "
            f"{_INSTEAD}."
        )
    in_memory = valid is None or type(valid) is Dataset or isinstance(valid, Samples)
    if not is_stream(valid):
        if in_memory or not stream:
            return valid
        valid = loaded(valid)
    found = training_stream(net, valid, None, None, reset=False, trains=False)
    if found.some.y is None:
        raise ValueError("The validation data of train_split have no targets: pass batches (X, y).")
    return found


def _check_settings(net: Any) -> None:
    """Raise for parameters that need another form of the data."""
    own = sorted(name for name in vars(net) if name.startswith("iterator_train__"))
    if net.iterator_train != "auto" or own:
        raise ValueError(
            f"{own[0] if own else 'iterator_train'} makes batches of rows, and X has batches "
            f"already. Leave it out, and set the batch size and the shuffling in the DataLoader."
        )
    if net.dataset != "auto":
        raise ValueError(
            f"dataset={net.dataset!r} takes arrays, and X has batches. Set dataset='auto'."
        )
    if getattr(net, "class_weight", None) is not None:
        raise ValueError(
            f"class_weight={net.class_weight!r} cannot be combined with batches. Put weights into "
            f"the batches: (X, y, sample_weight)."
        )
    if net.early_stopping is True and not net._data.has_own_split:
        raise ValueError(
            f"early_stopping=True needs held-out rows, and none are taken from batches. Pass "
            f"{_INSTEAD}, or set early_stopping=False."
        )


@dataclass
class _Reservoir:
    """Rows drawn at random from batches: all rows in their order, until there are too many.

    Attributes
    ----------
    size : int
    rng : numpy.random.RandomState
    """

    size: int
    rng: np.random.RandomState
    n_seen: int = 0
    columns: list[Any] = field(default_factory=list)

    def add(self, parts: Sequence[np.ndarray | None]) -> None:
        """Add the rows of arrays of the same length."""
        (n_rows,) = {len(part) for part in parts if part is not None}
        free = min(n_rows, max(self.size - self.n_seen, 0))
        if free:
            new = [None if part is None else part[:free].copy() for part in parts]
            self.columns.append(new)
        if free < n_rows:  # row i replaces another with the probability size / (i + 1)
            self._join()
            numbers = np.arange(self.n_seen + free, self.n_seen + n_rows)
            places = (self.rng.random_sample(len(numbers)) * (numbers + 1)).astype(np.int64)
            taken = places < self.size
            for column, part in zip(self.columns[0], parts, strict=True):
                if part is not None:
                    column[places[taken]] = part[free:][taken]
        self.n_seen += n_rows

    def _join(self) -> None:
        if len(self.columns) > 1:
            columns = zip(*self.columns, strict=True)
            self.columns = [[None if c[0] is None else np.concatenate(c) for c in columns]]

    def rows(self) -> list[Any]:
        """The arrays of the drawn rows."""
        self._join()
        return self.columns[0]


class _Description:
    """What one pass over the batches finds out."""

    def __init__(self, net: Any, reset: bool, classes: Any, part: bool, trains: bool):
        self.net, self.reset, self.classes = net, reset, classes
        self.part, self.trains = part, trains
        size = max(_KEPT, net.calibration_samples or 0)
        self.kept = _Reservoir(size, np.random.RandomState(net._seed_))
        self.n_batches, self.weight, self.largest = 0, 0.0, 0.0
        self.parts: tuple[bool, bool] | None = None  # whether there are targets and weights
        self.labels: np.ndarray | None = None  # of a classifier with one class per sample
        self.scale: TargetScale | None = None

    @property
    def n_samples(self) -> int:
        return self.kept.n_seen

    def add(self, number: int, X: Any, y: Any, weights: Any) -> None:
        """Check a batch, and include it."""
        net, present = self.net, (y is not None, weights is not None)
        if self.trains and y is None:
            raise ValueError("it has no targets. A batch must be (X, y) or (X, y, sample_weight).")
        self.parts = present if self.parts is None else self.parts
        for name, had, has in zip(("y", "sample_weight"), self.parts, present, strict=True):
            if had != has:
                raise ValueError(
                    f"it has {'' if has else 'no '}{name}, unlike batch 0. Give all batches the "
                    f"same parts."
                )
        check_not_missing(y)
        checked: Any = validate_data(
            net,
            X,
            "no_validation" if y is None else y,
            reset=self.reset and not number,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if net.batch_norm and self.trains else 1,
            **({} if y is None else {"multi_output": True, "y_numeric": False}),
        )
        X, y = (checked, None) if y is None else checked
        X = X.toarray() if issparse(X) else X
        self.largest = max(self.largest, float(X.max()), float(-X.min()))
        if weights is not None:
            weights = _checked_weights(weights, len(X))
        weight = float(len(X) if weights is None else weights.sum())
        if y is not None:
            y = _as_column(y)
            self._add_targets(number, y, weights, weight)
            y = y.astype(object) if y.dtype.kind in "US" else y  # of any length
        self.weight, self.n_batches = self.weight + weight, self.n_batches + 1
        self.kept.add((X, y, weights))

    def _add_targets(self, number: int, y: np.ndarray, weights: Any, weight: float) -> None:
        net, first = self.net, self.reset and not number
        if is_classifier(net) and (self.labels is not None or (not number and _is_single(y))):
            labels = np.unique(check_labels(y))
            self.labels = labels if self.labels is None else np.union1d(self.labels, labels)
            return
        y = net._check_targets(y, reset=first, classes=self.classes)
        scale = net._scale_of_targets(y, weights, weight) if weight else None
        if scale is not None:
            self.scale = scale if self.scale is None else self.scale.merged(scale)

    def stream(self, source: Any) -> TrainingStream:
        """The batches for the estimator, which learns what was found."""
        net, reset, part = self.net, self.reset, self.part
        if not self.weight:
            raise ValueError("sample_weight is zero for every sample; give some a weight.")
        if self.labels is not None:
            net._check_targets(self.labels, reset=reset, classes=self.classes)
        X, y, weights = self.kept.rows()
        if self.trains and (reset or not net.history_):
            describe_features(net, X, weights, part=part)
        if not reset:  # a network that was made without data has no scale yet
            give_scaling(net, net.network_)
        dtype = net._input_dtype(new=reset)
        in_dtype(np.array([[self.largest]]), dtype)  # raises if it is too large
        if self.scale is not None and self.trains:
            net._take_target_scale(self.scale, reset=reset, part=part)
        mean, precision, place = self.weight / self.n_samples, net._precision, net._place

        def convert(X: Any, y: Any, weights: Any) -> Samples:
            if weights is not None:
                weights = torch.as_tensor(np.asarray(weights, np.float64) / mean)
                weights = weights.to(place, getattr(torch, precision))
            if y is not None:
                y = torch.as_tensor(net._encoded_targets(_as_column(y))).to(place)
            return Samples(_features(X, dtype).to(place), y, weights)

        some = convert(X, y, weights)
        first = some if weights is None else some.take(torch.from_numpy(weights > 0))
        facts = StreamFacts(self.n_samples, self.n_batches, float(self.n_samples), first)
        stream = TrainingStream(source, convert, facts)
        stream.some = some
        return stream


def _checked_weights(weights: Any, n_rows: int) -> np.ndarray:
    """Sample weights of a batch, which may all be zero."""
    values = np.asarray(weights, np.float64)
    if values.shape != (n_rows,) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(
            f"sample_weight must be one finite, non-negative number for each of the {n_rows} "
            f"rows; got shape {values.shape} and minimum {values.min()}."
        )
    return values


def _features(X: Any, dtype: torch.dtype) -> Tensor:
    """The features of a batch as a new tensor."""
    if isinstance(X, Tensor):
        return X.detach().to(dtype, copy=True)
    X = X.toarray() if issparse(X) else np.asarray(X)
    return torch.from_numpy(in_dtype(X, dtype))


def _as_column(y: Any) -> Any:
    """Targets; a single column, as torch's losses take it, in one dimension."""
    y = y if issparse(y) else np.asarray(y)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and not issparse(y) else y


def _is_single(y: np.ndarray) -> bool:
    return not is_indicator(y)
