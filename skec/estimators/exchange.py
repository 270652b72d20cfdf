"""Exchange of networks with :func:`skec.prune`: in, out, and the data for it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
from skorch.utils import is_dataset
from torch import nn

from ..networks import MLP, feature_mask, prunable_layers
from ..pruning import PruningResult
from ..utils import Samples, is_stream
from .blockwise import check_in_memory
from .prune_estimator import PruningSettings
from .reporting import record_pruning
from .skorch_state import SkorchEstimator
from .streams import training_stream

_Self = TypeVar("_Self", bound="NetworkExchange")


class NetworkExchange(SkorchEstimator):
    """A net that can be made from a network, and that takes results of :func:`skec.prune`."""

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
            The ratio that the history and ``pruning_ratio_`` record; by default the sparsity.

        Returns
        -------
        self
        """
        if getattr(self, "dense_module_", None) is not dense:
            self.dense_module_ = copy.deepcopy(dense)
        self._calibration_ = samples
        self._set_network(result.module)
        self.masks_, self.sparsity_ = result.masks, result.sparsity
        self.predicted_error_, self.n_steps_ = result.predicted_error, result.n_steps
        ratio = result.sparsity if pruning_ratio is None else pruning_ratio
        self.pruning_ratio_ = float(ratio)
        self._forget("pruning_curve_")
        record_pruning(self, result, samples, ratio)
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
        if is_stream(X):
            data = (training_stream(self, X, y, sample_weight, reset=False, trains=False),)
        elif y is not None or is_dataset(X):
            data = self._check_training_data(X, y, sample_weight, reset=False)
        else:
            data = self._data.check_without_targets(X, sample_weight)
        return self._data.calibration(self.get_dataset(*data), n_samples, random_state)

    def _calibration_of_call(
        self, settings: PruningSettings, X: Any, y: Any, sample_weight: Any
    ) -> Samples | None:
        """The calibration samples of a pruning: those of the call, or those kept from ``fit``."""
        check_in_memory("prune", X, y, sample_weight)
        if X is not None:
            return self.calibration_data(
                X, y, sample_weight, n_samples=self.calibration_samples, random_state=self._seed_
            )
        samples = getattr(self, "_calibration_", None)
        if samples is None and settings.granularity.statistics:
            raise ValueError(
                "This estimator has no calibration samples: fit and partial_fit keep them, "
                "compact drops them. Call prune(X) or prune(X, y), or pass X and y to pruning_path."
            )
        return samples

    def _check_training_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool, **settings: Any
    ) -> tuple[Any, ...]:
        """Check the data of a call, and return the arguments of ``get_dataset``."""
        self._reset_seed(reset)
        reset = reset or not hasattr(self, "n_outputs_")  # initialized without data
        return self._data.check(X, y, sample_weight, reset=reset, **settings)
