"""The lifecycle of an estimator: train the dense network, prune it, train on what is left."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from sklearn.base import BaseEstimator
from skorch.utils import check_is_fitted

from ..calibration.metric import metric_for
from ..networks.chain import hidden_layers
from ..networks.compaction import compact, feature_mask
from ..networks.layers import prunable_layers
from ..pruning.granularity import Granularity
from ..pruning.prune import PruningResult, prune
from ..pruning.report import PruningReport
from ..training import (
    MaskedWeights,
    TensorBatches,
    TensorDataset,
    mean_loss,
    small_network_mode,
)
from ..utils.sentinels import NOT_GIVEN
from ..utils.sentinels import given as only_given
from .data import DataMixin
from .network import NetworkMixin
from .parameters import (
    CONSTRAINTS,
    PRUNING_PARAMETERS,
    check_components,
    check_device,
    check_hidden_layer_sizes,
    granularity_of,
)
from .phase import PhaseMixin
from .skorch_state import SkorchStateMixin

_STEPS_WITH_TRAINING = 5  # the least number of steps with training between them
_REPORT_SAMPLES = 512  # calibration samples on which the report's losses are measured

# What "auto" does, for the documentation.
AUTO = {
    "auto_batch_size": "the power of two nearest to n_samples / 32, from 32 to 256",
    "auto_early_stopping": "there are 100 samples or more",
}


@contextmanager
def unchanged_on_error(estimator) -> Iterator[None]:
    """Give an estimator its attributes back, and its network its weights, if the body fails."""
    before = vars(estimator).copy()
    stateful = [before[name] for name in ("module_", "optimizer_") if before.get(name) is not None]
    states = [copy.deepcopy(component.state_dict()) for component in stateful]
    history = copy.copy(before.get("history_"))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        if history is not None:
            estimator.history_[:] = history
        for component, state in zip(stateful, states, strict=True):
            component.load_state_dict(state)
        raise


class PrunedMLPMixin(PhaseMixin, NetworkMixin, DataMixin, SkorchStateMixin):
    """What the regressor and the classifier share; comes before skorch's class."""

    _parameter_constraints: ClassVar[dict[str, list]] = CONSTRAINTS

    # -- the three phases -------------------------------------------------------------------

    def fit(self, X, y=None, sample_weight=None, **fit_params):
        """Train a dense network, prune it and train it on.

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
        self._check_parameters()
        with unchanged_on_error(self), small_network_mode():
            warm = self.warm_start and self.initialized_
            data = self._check_training_data(X, y, sample_weight, reset=not warm)
            if not warm:
                self.initialize()
                for name in ("dense_module_", "masks_", "_calibration_"):
                    vars(self).pop(name, None)
            self._check_layers()
            if self.output_metric == "fisher":
                metric_for("fisher", self._pruning_loss()).check(self.n_outputs_)
            dataset = self.get_dataset(*data)
            if self.refit_strategy == "rewind":
                self.initial_module_ = copy.deepcopy(self._network)
            vars(self).pop("masks_", None)
            self._train_dense(dataset, **fit_params)
            self.dense_module_ = copy.deepcopy(self._network)
            self._keep_calibration_data(dataset)
            self._prune_dense(X, y, self._training_between_steps(dataset, **fit_params))
            if self.refit_strategy != "none" and self.sparsity_ > 0:
                self._refit(dataset, self._resolved_refit_epochs(), **fit_params)
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
            With the pruned network. Call ``refit`` to train it on.
        """
        self._check_fitted("prune")
        values = locals()
        given = only_given(**{name: values[name] for name in PRUNING_PARAMETERS})
        own = {"method", "compensation"} & set(given)
        if "method" in own and self.compensation == "auto":  # it brings its compensation along
            own.add("compensation")
        for name in own:  # the estimator's parameters belong to another one
            given.setdefault(f"{name}_params", None)
        kind = self._check_parameters(**given)
        with unchanged_on_error(self), small_network_mode():
            if not hasattr(self, "dense_module_"):
                self.dense_module_ = copy.deepcopy(self._network)
            if X is not None:
                self._calibration_ = self.calibration_data(
                    X,
                    y,
                    sample_weight,
                    n_samples=self.calibration_samples,
                    batch_size=self.calibration_batch_size,
                    random_state=self._seed_,
                )
            elif getattr(self, "_calibration_", None) is None and kind.statistics:
                raise ValueError(
                    "This estimator has kept no calibration data (they come with fit and "
                    "partial_fit, and go with compact); call prune(X), or prune(X, y) with some."
                )
            self._prune_dense(X, y, **given)
        return self

    def refit(self, X, y=None, sample_weight=None, *, epochs=NOT_GIVEN, **fit_params):
        """Train on under the mask: removed weights stay exactly zero.

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
        if epochs is None:
            epochs = self._automatic_refit_epochs()
        with unchanged_on_error(self), small_network_mode():
            data = self._check_training_data(X, y, sample_weight, reset=False)
            self._refit(self.get_dataset(*data), epochs, **fit_params)
            self._count_parameters()
        return self

    def partial_fit(self, X, y=None, classes=None, sample_weight=None, **fit_params):
        """Train the network on for ``max_epochs`` epochs, without pruning it.

        On a network that is not yet fitted this is dense training; on a pruned one, training under
        the mask.

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
                self._train("refit", dataset, None, self.max_epochs, **fit_params)
            else:
                self._train_dense(dataset, **fit_params)
            self._keep_calibration_data(dataset)
            self._count_parameters()
        return self

    def compact(self):
        """Make the network smaller without changing what it computes.

        Units that nothing reads go, units that are constant become a part of the next layer's
        biases, and columns of X that nothing reads are left out (``feature_mask_``); ``predict``
        still takes all of them. See :func:`skec.compact`. The network may be trained on with
        ``refit`` and ``partial_fit``, and pickled. The dense network, the initial weights and the
        calibration samples are dropped, so ``prune`` then starts from the smaller network and
        needs X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the layers of the network do not simply follow each other.
        """
        self._check_fitted("compact")
        module, masks = compact(self._network, getattr(self, "masks_", None))
        with unchanged_on_error(self):
            self._set_network(module)
            if masks:
                self.masks_ = masks
            for name in ("dense_module_", "initial_module_", "_calibration_"):
                vars(self).pop(name, None)
            self._count_parameters()
        return self

    @property
    def feature_mask_(self):
        """Which columns of X the network takes in, bool of shape (n_features,)."""
        if not self.initialized_:
            raise AttributeError(f"This {type(self).__name__} is not fitted.")
        return feature_mask(self._network, self.n_features_in_).cpu().numpy()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for some epochs in the current phase, as skorch's method of this name."""
        dataset = self.get_dataset(*self._check_training_data(X, y, None, reset=False))
        fit_params.pop("_routing_method", None)
        epochs = self.max_epochs if epochs is None else epochs
        if hasattr(self, "masks_"):
            self._train("refit", dataset, None, epochs, **fit_params)
        else:
            self._train("dense", *self._split(dataset), epochs, **fit_params)
        return self

    def _train_dense(self, dataset, **fit_params) -> None:
        """Train, and remember for how many epochs it was worth it."""
        train, valid = self._split(dataset)
        self.dense_epochs_, self._valid_loss = self._train(
            "dense", train, valid, self.max_epochs, **fit_params
        )

    def _prune_dense(self, X, y, after_step=None, **given) -> None:
        """Replace the network by the pruned dense network."""
        self.notify("on_prune_begin", X=X, y=y)
        settings = {name: getattr(self, name) for name in PRUNING_PARAMETERS} | given
        if after_step is not None and settings["n_steps"] == "auto":
            settings["n_steps"] = max(granularity_of(self).n_steps, _STEPS_WITH_TRAINING)
        data = getattr(self, "_calibration_", None)
        result = prune(
            self.dense_module_,
            None if data is None else data.X,
            None if data is None else data.y,
            sample_weight=None if data is None else data.weights,
            layers=self._layers_to_prune(given.get("granularity", self.granularity)),
            loss=self._pruning_loss(),
            batch_size=self.calibration_batch_size,
            after_step=after_step,
            random_state=self._seed_,
            **settings,
        )
        self._install(result, given.get("pruning_ratio", self.pruning_ratio))
        self.notify("on_prune_end", X=X, y=y, result=result)

    def _training_between_steps(self, dataset, **fit_params):
        """What happens to the network between two pruning steps; None for nothing."""
        if not self.step_epochs:
            return None

        def train(module, masks):
            self._set_network(module)
            self.masks_ = masks
            self._refit(dataset, self.step_epochs, **fit_params)

        return train

    def _install(self, result: PruningResult, ratio: float) -> None:
        """Make a pruned network this estimator's own."""
        self._set_network(result.module)
        self.masks_ = result.masks
        self.sparsity_ = result.sparsity
        self.predicted_error_ = result.predicted_error
        self.n_steps_ = result.n_steps
        self._record_pruning(result, ratio)
        self._count_parameters()

    def _record_pruning(self, result: PruningResult, ratio: float) -> None:
        """Write the report and the row of the history."""
        data = getattr(self, "_calibration_", None)
        self.history.new_epoch()
        self.history.record("epoch", len(self.history))
        self.history.record("phase", "prune")
        self.history.record("pruning_ratio", float(ratio))
        self.history.record("sparsity", result.sparsity)
        if self.verbose:
            print(
                f"pruned {result.sparsity:.2%} of {sum(m.numel() for m in result.masks.values())}"
            )
        if data is None or data.y is None:
            self.pruning_report_ = result.report
            return
        data = data.take(slice(_REPORT_SAMPLES))
        batches = TensorBatches(TensorDataset(data.X, data.y, data.weights), batch_size=1024)
        before = mean_loss(self.dense_module_, self._loss_function(), batches)
        after = mean_loss(result.module, self._loss_function(), batches)
        self.history.record("train_loss", after)
        alone = self._losses_layer_by_layer(result, batches)
        self.pruning_report_ = PruningReport(
            row | {"loss_before": before, "loss_after": alone[row["layer"]]}
            for row in result.report
        )
        self.pruning_report_.loss_before, self.pruning_report_.loss_after = before, after

    def _losses_layer_by_layer(self, result: PruningResult, batches) -> dict[str, float]:
        """The loss when one layer alone is pruned."""
        changed = {name: name for name in result.masks}
        if result.unit_masks is not None:  # then it is the next layer that feels it
            hidden = hidden_layers(result.module)
            changed = {name: hidden[name].next_name for name in result.unit_masks}
        losses = {}
        for name, layer_name in changed.items():
            module = copy.deepcopy(self.dense_module_)
            _take_parameters(module, result, layer_name)
            losses[name] = mean_loss(module, self._loss_function(), batches)
        return losses

    def _layers_to_prune(self, granularity: str) -> list[str] | None:
        """Names of the layers that lose something; None for all that can."""
        names = list(prunable_layers(self._network))
        if granularity == "neuron" or self.prune_output_layer or len(names) == 1:
            return None
        return names[:-1]

    def _check_layers(self) -> None:
        """Raise if the network cannot be pruned as it is meant to be."""
        kind = granularity_of(self)
        names = kind.layers(self._network, self._layers_to_prune(self.granularity))
        kind.check_scope(kind.resolve(self.scope), names)

    def _refit(self, dataset, epochs: int, **fit_params) -> None:
        """Train under the mask, unless told otherwise on all samples."""
        if self.refit_strategy == "rewind":
            self._network.load_state_dict(self.initial_module_.state_dict(), strict=False)
            self._masked_weights().apply()
        lr = self.refit_lr
        if lr is None:
            lr = self.lr / 2 if self.refit_strategy == "finetune" else self.lr
        parts = self._split(dataset) if self._refit_holds_out() else (dataset, None)
        with self._refit_weight_decay(dataset):
            self._train("refit", *parts, epochs, lr=lr, **fit_params)

    def _refit_holds_out(self) -> bool:
        """Whether somebody asks for validation data in the refit too."""
        watched = [getattr(callback, "monitor", None) for _, callback in self.callbacks_]
        return (
            self.early_stopping is True
            or self.train_split not in ("auto", None)
            or any(isinstance(name, str) and name.startswith("valid") for name in watched)
        )

    @contextmanager
    def _refit_weight_decay(self, dataset) -> Iterator[None]:
        """Train with the weight decay of the refit."""
        groups = [group for group in self.optimizer_.param_groups if "weight_decay" in group]
        before = [group["weight_decay"] for group in groups]
        decay = self.refit_weight_decay
        if decay == "auto":
            decay = self._noise_decay(dataset)
            after = [max(value, decay) for value in before]
        else:
            after = before if decay is None else [decay] * len(groups)
        try:
            for group, value in zip(groups, after, strict=True):
                group["weight_decay"] = value
            yield
        finally:
            for group, value in zip(groups, before, strict=True):
                group["weight_decay"] = value

    def _resolved_refit_epochs(self) -> int:
        if self.refit_epochs is not None:
            return self.refit_epochs
        return self._automatic_refit_epochs()

    def _automatic_refit_epochs(self) -> int:
        return max(getattr(self, "dense_epochs_", 0), (self.max_epochs + 1) // 2)

    def _masked_weights(self) -> MaskedWeights | None:
        masks = getattr(self, "masks_", None)
        if masks is None:
            return None
        network = self._network
        return MaskedWeights(
            [(network.get_submodule(name).weight, mask) for name, mask in masks.items()]
        )

    def _count_parameters(self) -> None:
        parameters = list(self._network.parameters())
        self.n_parameters_ = sum(parameter.numel() for parameter in parameters)
        self.n_nonzero_parameters_ = sum(int(p.count_nonzero()) for p in parameters)

    def _check_parameters(self, **given) -> Granularity:
        """Check all parameters before anything is done; returns what is to be pruned, and how."""
        probe = copy.copy(self) if given else self
        vars(probe).update(given)
        BaseEstimator._validate_params(probe)
        kind = granularity_of(probe)
        check_components(self)
        check_device(self.device)
        self._layer_sizes()
        return kind

    def _layer_sizes(self) -> tuple[int, ...]:
        return check_hidden_layer_sizes(self.hidden_layer_sizes)

    def _check_fitted(self, method: str) -> None:
        check_is_fitted(
            self,
            ["module_"],
            msg=f"This {type(self).__name__} is not fitted; call fit before {method}.",
        )

    def check_is_fitted(self, attributes=None, *args, **kwargs) -> None:
        """Raise ``sklearn.exceptions.NotFittedError`` unless there is a network."""
        if attributes is None:
            self._check_fitted("this method")
        else:
            check_is_fitted(self, attributes, *args, **kwargs)

    def _generator(self, purpose: str) -> torch.Generator:
        """A source of random numbers for one purpose at this point of the history."""
        history = 0 if self.history_ is None else len(self.history_)
        salt = sum(map(ord, purpose)) * 1_000_003 + history
        return torch.Generator().manual_seed(self._seed_ + salt)


@torch.no_grad()
def _take_parameters(module, result: PruningResult, name: str) -> None:
    """Give a layer of the dense network what it has become, for all its units that stay."""
    layer, pruned = module.get_submodule(name), result.module.get_submodule(name)
    kept = (result.unit_masks or {}).get(name, slice(None))
    layer.weight[kept] = pruned.weight[kept]
    if pruned.bias is not None:
        if layer.bias is None:
            layer.bias = torch.nn.Parameter(torch.zeros_like(pruned.bias))
        layer.bias[kept] = pruned.bias[kept]
