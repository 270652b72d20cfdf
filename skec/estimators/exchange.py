"""Estimators from trained networks, and the connection to :func:`skec.prune`."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
from skorch.utils import is_dataset
from torch import nn

from ..networks import MLP, feature_mask, prunable_layers
from ..pruning import PruningResult
from ..utils import Samples, private
from .reporting import record_pruning
from .skorch_state import SkorchEstimator

_Self = TypeVar("_Self", bound="NetworkExchange")


class NetworkExchange(SkorchEstimator):
    """An estimator whose network can be given, pruned elsewhere and replaced."""

    @classmethod
    def from_network(
        cls: type[_Self],
        network: nn.Module,
        *,
        feature_names_in: np.ndarray | None = None,
        **parameters: Any,
    ) -> _Self:
        """Make a fitted estimator from a trained network.

        Parameters
        ----------
        network : torch.nn.Module
            It is copied. The numbers of features and outputs are those of its first and its last
            layer.
        feature_names_in : array of str, default=None
            Names of the features.
        **parameters : dict
            Parameters of the estimator. ``module`` is the network by default, unless that is a
            :class:`skec.networks.MLP`.

        Returns
        -------
        estimator
            Call ``prune(X)`` to prune it.

        Examples
        --------
        >>> import numpy as np, torch, skec
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
        ... )
        >>> net = skec.PrunedMLPRegressor.from_network(network)
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> net.prune(X, pruning_ratio=0.5).sparsity_
        0.5
        """
        if not isinstance(network, MLP):
            parameters = {"module": network} | parameters
        net = cls(**parameters)
        layers = list(prunable_layers(network).values())
        net.n_features_in_ = len(feature_mask(network))
        net._take_outputs(len(layers[-1].weight))
        if feature_names_in is not None:
            net.feature_names_in_ = np.asarray(feature_names_in, dtype=object)
        net.initialize()
        net._set_network(copy.deepcopy(network))
        net._count_parameters()
        return net

    def install(
        self: _Self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None = None,
        pruning_ratio: float | None = None,
    ) -> _Self:
        """Replace the network of this estimator by a result of :func:`skec.prune`.

        Parameters
        ----------
        result : PruningResult
            Its module and masks are not copied.
        dense : torch.nn.Module
            The network that was pruned. It is copied, and a later ``prune`` starts from it.
        samples : Samples, default=None
            The calibration samples, in the network's units (see ``calibration_data``).
        pruning_ratio : float, default=None
            The ratio that the history records; by default the sparsity.

        Returns
        -------
        self
        """
        if getattr(self, "dense_module_", None) is not dense:
            self.dense_module_ = copy.deepcopy(dense)
        self._calibration_ = samples
        self._set_network(result.module)
        self.masks_ = result.masks
        self.sparsity_ = result.sparsity
        self.predicted_error_ = result.predicted_error
        self.n_steps_ = result.n_steps
        record_pruning(
            self, result, samples, result.sparsity if pruning_ratio is None else pruning_ratio
        )
        self._count_parameters()
        return self

    def calibration_data(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        n_samples: int | None = None,
        random_state: Any = None,
    ) -> Samples:
        """Check data and return them in the units of the network, for :func:`skec.prune`.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; ``y`` is optional.
        n_samples : int, default=None
            Number of samples to draw; None takes all.
        random_state : int, RandomState or None, default=None

        Returns
        -------
        Samples
        """
        if y is not None or is_dataset(X):
            dataset = self.get_dataset(*self._check_training_data(X, y, sample_weight, reset=False))
        else:
            X = self._data.features(X)
            if sample_weight is not None:
                sample_weight = private.check_sample_weight(
                    sample_weight, X.numpy(), dtype=np.float64, ensure_non_negative=True
                )
            dataset = self.get_dataset(X, None, sample_weight)
        return self._data.calibration(dataset, n_samples, random_state)

    @property
    def feature_mask_(self) -> np.ndarray:
        """Which columns of X the network reads, bool of shape (n_features,)."""
        if not self.initialized_:
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        return feature_mask(self.network_, self.n_features_in_).cpu().numpy()

    def _check_training_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, classes: Any = None
    ) -> tuple[Any, ...]:
        """Check the data of a call, and return the arguments of ``get_dataset``."""
        self._reset_seed(reset)
        return self._data.check(X, y, sample_weight, reset=reset, classes=classes)
