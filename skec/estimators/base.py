"""What the regressor and the classifier share: training, pruning and fine-tuning."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
from skorch import NeuralNet
from skorch.utils import is_dataset
from torch import nn

from ..networks import MLP, compact, feature_mask, prunable_layers
from ..pruning import PruningResult
from ..training import small_network_mode
from ..utils import NOT_GIVEN, Samples, given, private
from . import phases
from .parameters import CONSTRAINTS, check_hidden_layer_sizes, check_parameters
from .prune_estimator import PruningSettings, check_given
from .reporting import record_pruning
from .rollback import unchanged_on_error
from .skorch_state import SkorchStateMixin

# What "auto" does, for the documentation.
AUTO = {
    "auto_batch_size": "the power of two nearest to n_samples / 32, from 32 to 256",
    "auto_early_stopping": "there are 100 samples or more",
}
_FROM_DENSE_FIT = ("dense_module_", "initial_module_", "_calibration_")  # dropped by compact


class PrunedMLP(SkorchStateMixin, NeuralNet):
    """Base class of the estimators: training, pruning and fine-tuning of a network."""

    _parameter_constraints: ClassVar[dict[str, list]] = CONSTRAINTS

    # -- the three phases -------------------------------------------------------------------

    def fit(self, X, y=None, sample_weight=None, **fit_params):
        """Train a dense network, prune it and fine-tune it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers, as an array, a tensor or a frame; or a torch ``Dataset``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights in the loss and in the scores of the pruning method.
        **fit_params : dict
            Passed to the module's ``forward``, as in skorch.

        Returns
        -------
        self
        """
        settings = self._check_parameters()
        with unchanged_on_error(self), small_network_mode():
            warm = self.warm_start and self.initialized_
            data = self._check_training_data(X, y, sample_weight, reset=not warm)
            if not warm:
                self.initialize()
                self._forget("dense_module_", "_calibration_")
            dataset = self.get_dataset(*data)
            phases.check_pruning(self, settings, dataset)
            if self.refit_strategy == "rewind":
                self.initial_module_ = copy.deepcopy(self.network_)
            self._forget("masks_")
            phases.train_and_prune(self, settings, dataset, X, y, **fit_params)
            if self.refit_strategy != "none" and self.sparsity_ > 0:
                epochs = phases.n_refit_epochs(self, self.refit_epochs)
                phases.refit(self, dataset, epochs, **fit_params)
            self._count_parameters()
        return self

    def prune(
        self,
        X=None,
        y=None,
        *,
        sample_weight=None,
        pruning_ratio=NOT_GIVEN,
        granularity=NOT_GIVEN,
        method=NOT_GIVEN,
        compensation=NOT_GIVEN,
        method_params=NOT_GIVEN,
        compensation_params=NOT_GIVEN,
        scope=NOT_GIVEN,
        n_steps=NOT_GIVEN,
        schedule=NOT_GIVEN,
        output_metric=NOT_GIVEN,
        n_probes=NOT_GIVEN,
    ):
        """Prune again from the kept dense weights, without any training.

        Parameters
        ----------
        X, y, sample_weight : array-like, default=None
            Calibration data. None takes the samples kept from ``fit``.
        pruning_ratio, granularity, method, compensation, scope, n_steps, schedule : optional
            Values for this call only. An argument that is not given has the value of the
            estimator's parameter.
        output_metric, n_probes : optional
            The same.
        method_params, compensation_params : dict or None, optional
            The same. The estimator's ``method_params`` are used only with its own method, and its
            ``compensation_params`` only with its own compensation.

        Returns
        -------
        self
            With the pruned network in place of the present one, also if that was refitted. Call
            ``refit`` to fine-tune it.
        """
        self._check_fitted("prune")
        arguments = given(
            pruning_ratio=pruning_ratio,
            granularity=granularity,
            method=method,
            compensation=compensation,
            method_params=method_params,
            compensation_params=compensation_params,
            scope=scope,
            n_steps=n_steps,
            schedule=schedule,
            output_metric=output_metric,
            n_probes=n_probes,
        )
        settings = self._check_parameters(**check_given(arguments, self))
        with unchanged_on_error(self), small_network_mode():
            if not hasattr(self, "dense_module_"):
                self.dense_module_ = copy.deepcopy(self.network_)
            if X is not None:
                self._calibration_ = self.calibration_data(
                    X,
                    y,
                    sample_weight,
                    n_samples=self.calibration_samples,
                    random_state=self._seed_,
                )
            elif getattr(self, "_calibration_", None) is None and settings.granularity.statistics:
                raise ValueError(
                    "This estimator has no calibration samples: they are kept by fit and "
                    "partial_fit, and dropped by compact. Call prune(X), or prune(X, y)."
                )
            phases.prune_dense(self, settings, X, y)
        return self

    def refit(self, X, y=None, sample_weight=None, *, epochs=NOT_GIVEN, **fit_params):
        """Fine-tune the pruned network: removed weights stay exactly zero.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        epochs : int or None, optional
            Number of epochs. None has the meaning that it has for the parameter ``refit_epochs``.
            If not given, ``refit_epochs`` is used.

        Returns
        -------
        self
        """
        self._check_fitted("refit")
        if epochs is NOT_GIVEN:
            epochs = self.refit_epochs
        self._check_parameters(refit_epochs=epochs)
        if self.refit_strategy == "rewind" and not hasattr(self, "initial_module_"):
            raise ValueError(
                "refit_strategy='rewind' needs the initial weights, which are kept by a fit with "
                "that strategy. Call fit again, or take refit_strategy='finetune'."
            )
        epochs = phases.n_refit_epochs(self, epochs)
        with unchanged_on_error(self), small_network_mode():
            data = self._check_training_data(X, y, sample_weight, reset=False)
            phases.refit(self, self.get_dataset(*data), epochs, **fit_params)
            self._count_parameters()
        return self

    def partial_fit(self, X, y=None, classes=None, sample_weight=None, **fit_params):
        """Train the network for ``max_epochs`` more epochs, without pruning it.

        The first call trains a dense network. A pruned network keeps its masks.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        classes : array-like of shape (n_classes,), default=None
            All classes, for the first call of a classifier whose first batch may lack some.

        Returns
        -------
        self
        """
        self._check_parameters()
        with unchanged_on_error(self), small_network_mode():
            first = not self.initialized_
            data = self._check_training_data(X, y, sample_weight, reset=first, classes=classes)
            if first:
                self.initialize()
            dataset = self.get_dataset(*data)
            if hasattr(self, "masks_"):
                phases.train(self, "refit", dataset, None, self.max_epochs, **fit_params)
            else:
                phases.train_dense(self, dataset, **fit_params)
            self._keep_calibration_samples(dataset)
            self._count_parameters()
        return self

    def compact(self):
        """Make the network smaller without changing what it computes.

        Units that nothing reads are removed. Units that are constant become a part of the next
        layer's biases. Columns of X that nothing reads are left out (``feature_mask_``);
        ``predict`` still takes all of them. See :func:`skec.compact`. The smaller network can be
        fine-tuned with ``refit`` and ``partial_fit``, and pickled. The dense network, the initial
        weights and the calibration samples are dropped, so ``prune`` then starts from the smaller
        network and needs X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the layers of the network do not simply follow each other.
        """
        self._check_fitted("compact")
        module, masks = compact(self.network_, getattr(self, "masks_", None))
        with unchanged_on_error(self):
            self._set_network(module)
            if masks:
                self.masks_ = masks
            self._forget(*_FROM_DENSE_FIT)
            self._count_parameters()
        return self

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None = None,
        pruning_ratio: float | None = None,
    ):
        """Take a result of :func:`skec.prune` as this estimator's network.

        Parameters
        ----------
        result : PruningResult
        dense : torch.nn.Module
            The network that was pruned. It is copied, and a later ``prune`` starts from it.
        samples : Samples, default=None
            The calibration samples, in the network's units (see ``calibration_data``).
        pruning_ratio : float, default=None
            The ratio for the history; by default the sparsity.

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
        self, X, y=None, sample_weight=None, *, n_samples=None, random_state=None
    ) -> Samples:
        """Check data and return them in the units of the network, for :func:`skec.prune`.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; ``y`` may be left out.
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
    def feature_mask_(self):
        """Which columns of X the network takes in, bool of shape (n_features,)."""
        if not self.initialized_:
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        return feature_mask(self.network_, self.n_features_in_).cpu().numpy()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for some epochs in the current phase, as skorch's method of this name."""
        dataset = self.get_dataset(*self._check_training_data(X, y, None, reset=False))
        fit_params.pop("_routing_method", None)
        epochs = self.max_epochs if epochs is None else epochs
        if hasattr(self, "masks_"):
            phases.train(self, "refit", dataset, None, epochs, **fit_params)
        else:
            phases.train(self, "dense", *self._data.split(dataset), epochs, **fit_params)
        return self

    @classmethod
    def from_network(
        cls,
        network: nn.Module,
        *,
        feature_names_in: np.ndarray | None = None,
        **parameters: Any,
    ):
        """Make a fitted estimator of a trained network.

        Parameters
        ----------
        network : torch.nn.Module
            It is copied. Its first and its last linear layer have the numbers of features and
            outputs.
        feature_names_in : array of str, default=None
            Names of the features.
        **parameters : dict
            Parameters of the estimator. For a network that is no :class:`skec.networks.MLP`,
            ``module`` is set to it.

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

    # -- checks and state -------------------------------------------------------------------

    def _check_training_data(self, X, y, sample_weight, *, reset, classes=None):
        """Check the data of a call; the result is what ``get_dataset`` takes."""
        self._reset_seed(reset)
        return self._data.check(X, y, sample_weight, reset=reset, classes=classes)

    def _keep_calibration_samples(self, dataset) -> None:
        """Keep part of the training data, so that the network can be pruned again."""
        self._calibration_ = self._data.calibration(dataset, self.calibration_samples, self._seed_)

    def _forget(self, *names: str) -> None:
        """Drop attributes, where they exist."""
        for name in names:  # not by delattr, which makes skorch forget that they are modules
            vars(self).pop(name, None)

    def _count_parameters(self) -> None:
        parameters = list(self.network_.parameters())
        self.n_parameters_ = sum(parameter.numel() for parameter in parameters)
        self.n_nonzero_parameters_ = sum(int(p.count_nonzero()) for p in parameters)

    def _check_parameters(self, **values: Any) -> PruningSettings:
        """Check all parameters before anything is done; returns how the network is pruned."""
        return check_parameters(self, values)

    def _stratification(self, y):
        """Class indices for a stratified split; None for a plain one."""
        return None

    def _layer_sizes(self) -> tuple[int, ...]:
        return check_hidden_layer_sizes(self.hidden_layer_sizes)
