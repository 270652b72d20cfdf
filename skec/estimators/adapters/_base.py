"""The interface between :class:`skec.ECPruner` and estimators."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from ...networks import MLP
from ...pruning import PruningResult
from ...utils import Samples


class Adapter(ABC):
    """Gives access to the network of an estimator, so that it can be pruned and fine-tuned.

    Uses only public methods of the estimator.

    Parameters
    ----------
    estimator : estimator
        The methods change this object; see ``copied`` and ``cloned``.

    Attributes
    ----------
    accepts_sparse : bool or tuple of str
        The accepted sparse formats, as in :func:`sklearn.utils.check_array`.
    """

    accepts_sparse: ClassVar[bool | tuple[str, ...]] = False

    def __init__(self, estimator: Any):
        self.estimator = estimator

    @staticmethod
    @abstractmethod
    def takes(estimator: Any) -> bool:
        """Whether an estimator is of this kind."""

    # -- before the pruning -------------------------------------------------------------------

    @abstractmethod
    def check_is_fitted(self) -> None:
        """Raise ``sklearn.exceptions.NotFittedError`` if the estimator has no network."""

    def check_refit(self) -> None:  # noqa: B027
        """Raise if the estimator cannot be fine-tuned."""

    def expected_network(self) -> nn.Module | None:
        """A network with the layers of the trained one, or None if they are not known.

        It is used to check the names of layers before training.
        """
        return None

    def copied(self) -> Adapter:
        """An adapter of a copy of the fitted estimator."""
        return type(self)(copy.deepcopy(self.estimator))

    def cloned(self) -> Adapter:
        """An adapter of an unfitted estimator with the same parameters."""
        return type(self)(clone(self.estimator))

    def features(self, owner: Any, X: Any, *, reset: bool) -> Any:
        """X in the form that the estimator takes.

        Parameters
        ----------
        owner : estimator
            The pruner; its number and names of features are set or compared with those of X.
        X : array-like of shape (n_samples, n_features)
        reset : bool
            Whether the owner is being fitted to X.
        """
        if reset:  # the estimator itself checks the values
            validate_data(owner, X, skip_check_array=True)
        return X

    def fit(self, X: Any, y: Any, **fit_params: Any) -> None:
        """Train the dense network."""
        self.estimator.fit(X, y, **fit_params)

    # -- the pruning --------------------------------------------------------------------------

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network; its linear layers and convolutions are pruned."""

    @property
    @abstractmethod
    def loss(self) -> nn.Module:
        """The loss of the network's outputs and the targets of ``calibration_data``."""

    @abstractmethod
    def calibration_data(
        self, X: Any, y: Any, sample_weight: Any, *, n_samples: int | None, random_state: Any
    ) -> Samples:
        """A random part of the training data, in the network's units."""

    @abstractmethod
    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        """Replace the estimator's network by a pruned one.

        Parameters
        ----------
        result : PruningResult
        dense : torch.nn.Module
            The network that was pruned.
        samples : Samples or None
            The calibration samples.
        pruning_ratio : float
        """

    # -- after the pruning --------------------------------------------------------------------

    @abstractmethod
    def refit(
        self,
        X: Any,
        y: Any,
        masks: Mapping[str, Tensor],
        *,
        epochs: int,
        random_state: Any = None,
        **fit_params: Any,
    ) -> None:
        """Fine-tune for some epochs; removed weights stay zero."""

    @abstractmethod
    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Make the network smaller, and return the masks of the smaller layers."""

    @abstractmethod
    def inputs_of(self, layer: str, X: Any) -> np.ndarray:
        """The inputs of a layer for X, shape (n_samples, n_in)."""


def expected_mlp(hidden_layer_sizes: Any) -> MLP:
    """A small perceptron with as many hidden layers, for the names of its layers."""
    sizes = np.ravel(hidden_layer_sizes).astype(int)
    return MLP(1, 1, [1] * len(sizes), generator=torch.Generator())
