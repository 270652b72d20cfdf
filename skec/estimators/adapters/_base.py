"""What the pruner asks of an estimator that has a network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from ...networks import MLP
from ...pruning import PruningResult
from ...utils import Samples


class Adapter(ABC):
    """An estimator, seen as a network that can be pruned, put back and fine-tuned.

    Uses public methods of the estimator only.

    Parameters
    ----------
    estimator : estimator
        What the other methods change is this object; see ``copied`` and ``cloned``.

    Attributes
    ----------
    accepts_sparse : bool or tuple of str
        The sparse formats that it takes, as in :func:`sklearn.utils.check_array`.
    """

    accepts_sparse: ClassVar[bool | tuple[str, ...]] = False

    def __init__(self, estimator):
        self.estimator = estimator

    @staticmethod
    @abstractmethod
    def takes(estimator) -> bool:
        """Whether an estimator is of this kind."""

    # -- before the pruning -------------------------------------------------------------------

    @abstractmethod
    def check_is_fitted(self) -> None:
        """Raise ``sklearn.exceptions.NotFittedError`` unless there is a network."""

    def check_refit(self) -> None:  # noqa: B027
        """Raise if the estimator cannot be fine-tuned."""

    def expected_network(self) -> nn.Module | None:
        """A network with the layers that the trained one will have, or None if they are not known.

        It serves to check the names of layers before anything is trained.
        """
        return None

    def copied(self) -> Adapter:
        """The same for a copy of the fitted estimator."""
        return type(self)(copy.deepcopy(self.estimator))

    def cloned(self) -> Adapter:
        """The same for an estimator with the same parameters that is not fitted."""
        return type(self)(clone(self.estimator))

    def features(self, owner, X, *, reset: bool):
        """X as the estimator takes it.

        Parameters
        ----------
        owner : estimator
            The pruner, whose number and names of features are set or looked at.
        X : array-like of shape (n_samples, n_features)
        reset : bool
            Whether X is what the owner is fitted to.
        """
        if reset:  # the estimator itself checks the values
            validate_data(owner, X, skip_check_array=True)
        return X

    def fit(self, X, y, **fit_params) -> None:
        """Train the dense network."""
        self.estimator.fit(X, y, **fit_params)

    # -- the pruning --------------------------------------------------------------------------

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network; its linear layers are what is pruned."""

    @property
    @abstractmethod
    def loss(self) -> nn.Module:
        """The loss of the network's outputs and the targets of ``calibration_data``."""

    @abstractmethod
    def calibration_data(self, X, y, sample_weight, *, n_samples, random_state) -> Samples:
        """A random part of the training data, in the network's units."""

    @abstractmethod
    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        """Make a pruned network the estimator's own.

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
        self, X, y, masks: Mapping[str, Tensor], *, epochs: int, random_state=None, **fit_params
    ) -> None:
        """Fine-tune for some epochs; removed weights stay zero."""

    @abstractmethod
    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Make the network smaller, and return the masks of the smaller layers."""

    @abstractmethod
    def inputs_of(self, layer: str, X) -> np.ndarray:
        """The inputs of a layer for X, shape (n_samples, n_in)."""


def expected_mlp(hidden_layer_sizes) -> MLP:
    """A perceptron with the names of layers that one with some hidden layers has."""
    sizes = np.ravel(hidden_layer_sizes).astype(int)
    with torch.random.fork_rng(devices=[]):
        return MLP(1, 1, [1] * len(sizes))
