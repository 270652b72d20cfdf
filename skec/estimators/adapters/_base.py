"""The interface between :class:`skec.ECPruner` and estimators."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter, validate_data
from torch import Tensor, nn

from ...networks import MLP, match_targets, weighted_loss
from ...pruning import PruningReport, PruningResult
from ...training import loss_with_gradient
from ...utils import Samples, drawn_seed
from ..reporting import with_losses


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
    reads_columns : bool
        Whether the network reads the columns of the X that ``fit`` gets.
    """

    accepts_sparse: ClassVar[bool | tuple[str, ...]] = False
    reads_columns: ClassVar[bool] = True

    @property
    def compares_as_torch(self) -> bool:
        """Whether the loss gets the outputs of the network and the targets as they are."""
        return False

    def __init__(self, estimator: Any):
        self.estimator = estimator

    @staticmethod
    @abstractmethod
    def takes(estimator: Any) -> bool:
        """Whether an estimator is of this kind."""

    @property
    def predictor(self) -> Any:
        """The estimator whose ``predict`` takes what ``features`` returns."""
        return self.estimator

    @property
    def takes_weights(self) -> bool:
        """Whether ``fit`` of the estimator takes ``sample_weight``."""
        return _takes_weights(type(self.estimator))

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

    def expected_loss(self, y: Any) -> nn.Module | None:
        """The loss of the estimator once it is trained, or None if it is not known.

        It is used to check the output metric before training.
        """
        return None

    def calling_before_training(self, check: Callable[[], None]) -> AbstractContextManager[None]:
        """In this context, ``fit`` calls a function when the network is made, before it trains.

        The function checks the network. If an adapter does not call it, the checks are those of
        ``expected_network`` and ``expected_loss``, and all others follow after the training.
        """
        return nullcontext()

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

    def converted(self, X: Any) -> Any:
        """What earlier steps of a pipeline return, in the form that the estimator takes."""
        return X

    def fit(self, X: Any, y: Any, *, random_state: Any = None, **fit_params: Any) -> None:
        """Train the dense network.

        ``random_state`` is for estimators whose own random state is None, or that have none.
        """
        seed_estimator(self.estimator, random_state)
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

    def report(
        self, result: PruningResult, dense: nn.Module, samples: Samples, batch_size: int
    ) -> PruningReport:
        """The report of a pruning, with the losses before and after it if there are targets."""
        if samples.y is None:
            return result.report
        loss = self.loss

        def matched(outputs: Tensor, targets: Any, weights: Tensor | None) -> Tensor:
            outputs = outputs.reshape(len(outputs), -1)
            return weighted_loss(loss, outputs, match_targets(targets, outputs, loss), weights)

        loss_function = loss_with_gradient(loss, matched)
        return with_losses(result, dense, samples, loss_function, batch_size)

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


@lru_cache(maxsize=128)  # scikit-learn asks for it in each call: it looks whether there is a fit
def _takes_weights(kind: type) -> bool:
    return has_fit_parameter(kind, "sample_weight")


def seed_estimator(estimator: Any, random_state: Any) -> None:
    """Set the random state of an estimator if it is None and the given one is not."""
    if random_state is not None and estimator.get_params(deep=False).get("random_state", 0) is None:
        estimator.set_params(random_state=drawn_seed(random_state))


def expected_mlp(hidden_layer_sizes: Any) -> MLP:
    """A small perceptron with as many hidden layers, for the names of its layers."""
    sizes = np.ravel(hidden_layer_sizes).astype(int)
    return MLP(1, 1, [1] * len(sizes), generator=torch.Generator())
