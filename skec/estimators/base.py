"""The base class of the regressor and the classifier: training, pruning and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from ..bounds import MaxChange
from ..networks import compact
from ..training import small_network_mode
from ..utils import NOT_GIVEN, NotGiven, given
from . import phases
from .attributes import AnyScopeLike, CompensationLike, MethodLike, MetricLike, Params, ScheduleLike
from .certification import Certification
from .convergence import warn_without_progress
from .features import read_columns
from .fit_data import FitData
from .interruption import ended_by_interrupt
from .parameters import CONSTRAINTS, check_parameters
from .prune_estimator import PruningSettings, check_given
from .rollback import unchanged_on_error
from .skorch_state import FROM_DENSE_FIT
from .streams import check_split

_Self = TypeVar("_Self", bound="PrunedMLP")


class PrunedMLP(Certification):
    """Base class of the estimators: training, pruning and fine-tuning of a network."""

    _parameter_constraints: ClassVar[dict[str, list]] = CONSTRAINTS

    # -- the three phases -------------------------------------------------------------------

    def fit(
        self: _Self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> _Self:
        """Train a dense network, prune it and fine-tune it.

        A later call of ``prune`` starts from the dense network again. It replaces the network that
        ``fit`` or ``refit`` has fine-tuned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or batches
            Finite numbers, as an array, a tensor or a frame; or a torch ``Dataset``. Batches are a
            torch ``DataLoader``, a list of batches, or an iterable of them that can be read several
            times (see Notes).
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            None for a ``Dataset`` and for batches, which contain the targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights in the loss and in the scores of the method. None for batches.
        **fit_params : dict
            Passed to the module's ``forward`` and to ``train_split``, to those that take them.

        Returns
        -------
        self

        Notes
        -----
        A batch is ``(X, y)`` or ``(X, y, sample_weight)``. The batches are those of the training,
        and ``batch_size`` is not used. They are read once for the checks, and once in each epoch;
        one at a time is in memory. Features are scaled by some rows, drawn at random, of which
        some are kept for the calibration. No rows are held out, unless ``train_split`` brings
        validation data: ``skorch.helper.predefined_split(dataset)``, with a ``Dataset`` or batches.
        """
        settings = self._check_parameters()
        check_split(self, X, finds_ratio=settings.finds_ratio and not self._stays_dense)
        with unchanged_on_error(self), small_network_mode():
            warm = self.warm_start and self.initialized_ and not self._trimmed_for_prediction
            data = self._check_training_data(X, y, sample_weight, reset=not warm)
            if not warm:
                self.initialize()
                self._forget("dense_module_", "_calibration_")
            data = FitData.of(self, self.get_dataset(*data), X, y, fit_params)
            self._forget("masks_", "pruning_ratio_", "pruning_curve_", "_held_out_")
            with ended_by_interrupt(self):
                phases.train_and_prune(self, settings, data)
                if self.refit_strategy != "none" and getattr(self, "sparsity_", 0.0) > 0:
                    phases.refit(self, data, phases.n_refit_epochs(self, self.refit_epochs))
            self._count_parameters()
            warn_without_progress(self)
        return self

    def prune(
        self: _Self,
        X: Any = None,
        y: Any = None,
        *,
        sample_weight: Any = None,
        pruning_ratio: float | Literal["auto"] | NotGiven = NOT_GIVEN,
        max_loss_increase: float | NotGiven = NOT_GIVEN,
        max_change: MaxChange | NotGiven | None = NOT_GIVEN,
        granularity: Literal["weight", "neuron"] | NotGiven = NOT_GIVEN,
        method: MethodLike | NotGiven = NOT_GIVEN,
        compensation: CompensationLike | NotGiven = NOT_GIVEN,
        method_params: Params | NotGiven = NOT_GIVEN,
        compensation_params: Params | NotGiven = NOT_GIVEN,
        scope: AnyScopeLike | NotGiven = NOT_GIVEN,
        n_steps: int | Literal["auto"] | NotGiven = NOT_GIVEN,
        schedule: ScheduleLike | NotGiven = NOT_GIVEN,
        output_metric: MetricLike | NotGiven = NOT_GIVEN,
        n_probes: int | Literal["auto"] | NotGiven | None = NOT_GIVEN,
        layers: Sequence[str] | NotGiven | None = NOT_GIVEN,
        copy: bool = False,
    ) -> _Self:
        """Prune the dense network again, without any training.

        The result replaces the present network, also a fine-tuned one: what ``refit`` or
        ``partial_fit`` learned after the pruning is lost, unless ``copy`` is true. Call ``refit``
        to fine-tune the result.

        Parameters
        ----------
        X, y, sample_weight : array-like, default=None
            Calibration data, or batches of them as in ``fit``; the batches may be ``(X,)``. None
            takes the samples kept from ``fit``.
        pruning_ratio : float or "auto", optional
            A value for this call only. By default, that of the estimator's parameter. ``"auto"``
            needs the held-out rows that ``fit`` keeps with ``pruning_ratio="auto"``.
        max_loss_increase, max_change, granularity, method, compensation : optional
            The same.
        scope, n_steps, schedule : optional
            The same.
        output_metric, n_probes, layers : optional
            The same.
        method_params, compensation_params : dict or None, optional
            The same. The estimator's ``method_params`` are used only with its own method, and its
            ``compensation_params`` only with its own compensation.
        copy : bool, default=False
            Whether to leave this estimator as it is, and to return a pruned copy of it.

        Returns
        -------
        self or a copy
        """
        self._check_trainable("prune")
        if isinstance(X, Real | str):
            raise TypeError(f"prune got X={X!r}. Pass a ratio by name: prune(pruning_ratio=0.5).")
        arguments = given(
            pruning_ratio=pruning_ratio,
            max_loss_increase=max_loss_increase,
            max_change=max_change,
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
            layers=layers,
        )
        settings = self._check_parameters(**check_given(arguments, self))
        if copy:
            return deepcopy(self).prune(X, y, sample_weight=sample_weight, **arguments)
        with unchanged_on_error(self), small_network_mode():
            if not hasattr(self, "dense_module_"):
                self.dense_module_ = deepcopy(self.network_)
            self._calibration_ = self._calibration_of_call(settings, X, y, sample_weight)
            phases.prune_dense(self, settings, X, y)
        return self

    def refit(
        self: _Self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        epochs: int | NotGiven | None = NOT_GIVEN,
        **fit_params: Any,
    ) -> _Self:
        """Fine-tune the pruned network; removed weights stay exactly zero.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        epochs : int or None, optional
            Number of epochs, in place of the parameter ``refit_epochs``. None has the same meaning
            as for the parameter.

        Returns
        -------
        self
        """
        self._check_trainable("refit")
        if epochs is NOT_GIVEN:
            epochs = self.refit_epochs
        self._check_parameters(refit_epochs=epochs)
        if self.refit_strategy == "rewind" and not hasattr(self, "initial_module_"):
            raise ValueError(
                "refit_strategy='rewind' needs the initial weights, which only a fit with that "
                "strategy keeps. Call fit again, or use refit_strategy='finetune'."
            )
        epochs = phases.n_refit_epochs(self, epochs)
        with unchanged_on_error(self), small_network_mode():
            data = self._check_training_data(X, y, sample_weight, reset=False)
            data = FitData.of(self, self.get_dataset(*data), X, y, fit_params)
            with ended_by_interrupt(self):
                phases.refit(self, data, epochs)
            self._count_parameters()
        return self

    def partial_fit(
        self: _Self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        epochs: int | None = None,
        **fit_params: Any,
    ) -> _Self:
        """Train the network on a part of the data, without pruning it.

        The first call trains a dense network. A pruned network keeps its masks. The scale of a
        regressor's targets includes all parts.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; one row is enough, unless ``batch_norm`` is true. Of a generator, which
            can be read only once, pass each batch by itself.
        classes : array-like of shape (n_classes,), default=None
            All classes, for the first call of a classifier. By default, those of ``y``.
        epochs : int, default=None
            Number of epochs; None takes ``max_epochs``.

        Returns
        -------
        self
        """
        self._check_parameters(**({} if epochs is None else {"max_epochs": epochs}))
        with unchanged_on_error(self), small_network_mode():
            first = not self.initialized_
            self.check_training_readiness()
            data = self._check_training_data(
                X, y, sample_weight, reset=first, classes=classes, part=True
            )
            if first:
                self.initialize()
            data = FitData.of(self, self.get_dataset(*data), X, y, fit_params, "partial_fit")
            with ended_by_interrupt(self):
                begin = None
                if first:
                    few = self._data.first_rows(data.dataset)
                    begin = partial(phases.check_outputs, self, few, data)
                phases.train_more(self, data, epochs, begin)
            self._keep_calibration_samples(data.dataset)
            self._forget("_held_out_")  # later parts may have these rows
            self._count_parameters()
        return self

    def compact(self: _Self) -> _Self:
        """Make the network smaller without changing its outputs.

        Units without outgoing weights are removed. Constant units are removed, and the biases of
        the next layer include their values. Columns of X without weights are not read any more
        (``feature_mask_``); ``predict`` still takes all columns. See :func:`skec.compact`.

        The smaller network can be fine-tuned with ``refit`` and ``partial_fit``, and pickled. The
        dense network, the initial weights and the calibration samples are dropped, so ``prune``
        then starts from the smaller network and needs X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the layers of the network do not form a sequence.
        """
        self._check_fitted("compact")
        module, masks = compact(self.network_, getattr(self, "masks_", None))
        with unchanged_on_error(self):
            self._set_network(module)
            if masks:
                self.masks_ = masks
            self._forget(*FROM_DENSE_FIT)
            self._count_parameters()
        return self

    @property
    def feature_mask_(self) -> np.ndarray:
        """Which columns of X can affect the outputs, bool of shape (n_features,)."""
        if not self.initialized_:
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        return read_columns(self)

    def fit_loop(
        self: _Self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any
    ) -> _Self:
        """Train for some epochs without pruning, as the method of skorch."""
        self.check_training_readiness()
        method = fit_params.pop("_routing_method", "fit")
        data = self._check_training_data(X, y, None, reset=False)
        data = FitData.of(self, self.get_dataset(*data), X, y, fit_params, method)
        with ended_by_interrupt(self):
            phases.train_more(self, data, epochs)
        return self

    # -- checks and state -------------------------------------------------------------------

    def _for_prediction(self: _Self) -> _Self:
        """A shallow copy, trimmed for prediction."""
        self._check_fitted("predict")
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.trim_for_prediction()
        return twin

    def _check_parameters(self, **values: Any) -> PruningSettings:
        """Check all parameters, with some values replaced; returns the pruning settings."""
        return check_parameters(self, values)
