"""The lifecycle of an estimator: train the dense network, prune it, train on what is left."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data
from skorch.utils import check_is_fitted, is_dataset, to_device, to_tensor
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..calibration import CalibrationData
from ..mlp import MLP
from ..network import prunable_layers
from ..pruning import PruningResult, prune
from ..report import PruningReport
from ..training import (
    MaskedWeights,
    TensorBatches,
    TensorDataset,
    loss_with_gradient,
    mean_loss,
    small_network_mode,
    supports_fused,
    weighted_loss,
)
from ._data import drop_zero_weights, merge_equal_rows, split_indices
from ._parameters import CONSTRAINTS, check_components, check_device, check_hidden_layer_sizes
from ._phase import PhaseMixin
from ._skorch import SkorchStateMixin

_PREDICTION_ROWS = 1024  # rows of one forward pass; a multiple of _ROW_BLOCK
_ROW_BLOCK = 64  # with whole blocks of rows a row's prediction does not depend on the others
_REPORT_SAMPLES = 1024  # calibration samples on which the report's losses are measured


# What "auto" does, for the documentation.
AUTO = {
    "auto_batch_size": "128",
    "auto_early_stopping": "the data do not fit in one batch",
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


class PrunedMLPMixin(PhaseMixin, SkorchStateMixin):
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
            self.notify("on_train_begin", X=X, y=y)
            train, valid = self._split(*data)
            if self.refit_strategy == "rewind":
                self.initial_module_ = copy.deepcopy(self._network)
            vars(self).pop("masks_", None)
            self._train("dense", train, valid, self.max_epochs, **fit_params)
            self.dense_module_ = copy.deepcopy(self._network)
            self._keep_calibration_data(train)
            self._prune_dense(X, y)
            if self.refit_strategy != "none" and self.sparsity_ > 0:
                self._refit(train, valid, self._resolved_refit_epochs(), **fit_params)
            self._count_parameters()
            self.notify("on_train_end", X=X, y=y)
        return self

    def prune(
        self,
        X=None,
        y=None,
        *,
        sample_weight=None,
        pruning_ratio=None,
        method=None,
        compensation=None,
        scope=None,
        n_steps=None,
        schedule=None,
    ):
        """Prune again from the kept dense weights, without any training.

        Parameters
        ----------
        X, y, sample_weight : array-like, default=None
            Calibration data. None takes the samples kept from ``fit``.
        pruning_ratio, method, compensation, scope, n_steps, schedule : default=None
            Values for this call alone; None takes the estimator's parameter.

        Returns
        -------
        self
            With the pruned network. Call ``refit`` to train it on.
        """
        self._check_fitted("prune")
        given = {
            "pruning_ratio": pruning_ratio,
            "method": method,
            "compensation": compensation,
            "scope": scope,
            "n_steps": n_steps,
            "schedule": schedule,
        }
        given = {name: value for name, value in given.items() if value is not None}
        self._check_parameters(**given)
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
            elif getattr(self, "_calibration_", None) is None:
                raise ValueError(
                    "This estimator has kept no calibration data; call prune(X, y) with some."
                )
            self._prune_dense(X, y, **given)
        return self

    def refit(self, X, y=None, sample_weight=None, *, epochs=None, **fit_params):
        """Train on under the mask: removed weights stay exactly zero.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        epochs : int, default=None
            None takes ``refit_epochs``.

        Returns
        -------
        self
        """
        self._check_fitted("refit")
        self._check_parameters()
        if epochs is None:
            epochs = self._resolved_refit_epochs()
        with unchanged_on_error(self), small_network_mode():
            train, valid = self._split(*self._check_training_data(X, y, sample_weight, reset=False))
            self.notify("on_train_begin", X=X, y=y)
            self._refit(train, valid, epochs, **fit_params)
            self._count_parameters()
            self.notify("on_train_end", X=X, y=y)
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
            self.notify("on_train_begin", X=X, y=y)
            phase = "refit" if hasattr(self, "masks_") else "dense"
            train, valid = self._split(*data)
            self._train(phase, train, valid, self.max_epochs, **fit_params)
            self._keep_calibration_data(train)
            self._count_parameters()
            self.notify("on_train_end", X=X, y=y)
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for some epochs in the current phase, as skorch's method of this name."""
        train, valid = self._split(*self._check_training_data(X, y, None, reset=False))
        phase = "refit" if hasattr(self, "masks_") else "dense"
        fit_params.pop("_routing_method", None)
        self._train(
            phase, train, valid, self.max_epochs if epochs is None else epochs, **fit_params
        )
        return self

    # -- pruning ------------------------------------------------------------------------------

    def _prune_dense(self, X, y, **given) -> None:
        """Replace the network by the pruned dense network."""
        self.notify("on_prune_begin", X=X, y=y)
        settings = {
            name: getattr(self, name)
            for name in (
                "pruning_ratio", "method", "compensation", "scope", "n_steps", "schedule",
                "output_metric",
            )
        }  # fmt: skip
        data = self._calibration_
        result = prune(
            self.dense_module_,
            data.X,
            data.y,
            sample_weight=data.weights,
            layers=self._layers_to_prune(),
            loss=self.criterion_,
            batch_size=self.calibration_batch_size,
            random_state=self._seed_,
            **(settings | given),
        )
        self._install(result, given.get("pruning_ratio", self.pruning_ratio))
        self.notify("on_prune_end", X=X, y=y, result=result)

    def _install(self, result: PruningResult, ratio: float) -> None:
        """Make a pruned network this estimator's own."""
        self._set_network(result.module)
        self.masks_ = result.masks
        self.sparsity_ = result.sparsity
        self.predicted_error_ = result.predicted_error
        self._record_pruning(result, ratio)
        self._count_parameters()

    def _record_pruning(self, result: PruningResult, ratio: float) -> None:
        """Write the report and the row of the history."""
        data = self._calibration_
        self.history.new_epoch()
        self.history.record("epoch", len(self.history))
        self.history.record("phase", "prune")
        self.history.record("pruning_ratio", float(ratio))
        self.history.record("sparsity", result.sparsity)
        if data.y is None:
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
        losses = {}
        for name in result.masks:
            module = copy.deepcopy(self.dense_module_)
            layer, pruned = module.get_submodule(name), result.module.get_submodule(name)
            layer.weight, layer.bias = pruned.weight, pruned.bias
            losses[name] = mean_loss(module, self._loss_function(), batches)
        return losses

    def _layers_to_prune(self) -> list[str]:
        names = list(prunable_layers(self._network))
        return names if self.prune_output_layer or len(names) == 1 else names[:-1]

    def _refit(self, train, valid, epochs, **fit_params) -> None:
        if self.refit_strategy == "rewind":
            self._network.load_state_dict(self.initial_module_.state_dict(), strict=False)
            self._masked_weights().apply()
        self._train("refit", train, valid, epochs, lr=self.refit_lr, **fit_params)

    def _resolved_refit_epochs(self) -> int:
        if self.refit_epochs is not None:
            return self.refit_epochs
        return self.max_epochs if self.refit_strategy == "rewind" else (self.max_epochs + 1) // 2

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

    def calibration_data(
        self, X, y=None, sample_weight=None, *, n_samples=None, batch_size=512, random_state=None
    ) -> CalibrationData:
        """Check data and give them in the units of the network, for :func:`skec.prune`.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``; ``y`` may be left out.
        n_samples : int, default=None
            Number of samples to draw; None takes all.
        batch_size : int, default=512
        random_state : int, RandomState or None, default=None

        Returns
        -------
        CalibrationData
        """
        if y is not None or is_dataset(X):
            dataset = self.get_dataset(*self._check_training_data(X, y, sample_weight, reset=False))
        else:
            dataset = TensorDataset(self._checked_features(X))
        return self._draw_calibration_data(dataset, n_samples, batch_size, random_state)

    def _draw_calibration_data(self, dataset, n_samples, batch_size, random_state):
        if not isinstance(dataset, TensorDataset):
            dataset = _gather(dataset, n_samples)
        dataset = self._in_network_units(dataset)
        data = CalibrationData(dataset.X, dataset.y, dataset.sample_weight, batch_size)
        return data.sample(n_samples, random_state)

    def _keep_calibration_data(self, dataset) -> None:
        """Keep part of the training data, so that the network can be pruned again."""
        self._calibration_ = self._draw_calibration_data(
            dataset, self.calibration_samples, self.calibration_batch_size, self._seed_
        )

    # -- checks -------------------------------------------------------------------------------

    def _check_parameters(self, **given) -> None:
        """Check all parameters before anything is done."""
        probe = copy.copy(self) if given else self
        vars(probe).update(given)
        BaseEstimator._validate_params(probe)
        check_components(self)
        check_device(self.device)
        self._layer_sizes()

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

    def _check_training_data(self, X, y, sample_weight, *, reset, classes=None):
        """Check the data and give them to :meth:`_split`."""
        self._reset_seed(reset)
        if is_dataset(X):
            if sample_weight is not None:
                raise ValueError(
                    "sample_weight cannot be combined with a Dataset; let the Dataset return "
                    "({'X': x, 'sample_weight': w}, y), or pass X and y as arrays."
                )
            self._describe_dataset(X)
            return (X,)
        dtype = np.dtype(self.dtype)
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=False,
            ensure_min_samples=2,
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        y = self._check_targets(y, reset=reset, classes=classes)
        X, y, sample_weight = drop_zero_weights(X, y, sample_weight)
        sample_weight = self._with_class_weight(y, sample_weight)
        X = _to_dtype(X, dtype)
        if self.dataset == "auto" and len(X) <= self._batch_size(len(X)):
            X, y, sample_weight = merge_equal_rows(X, y, sample_weight)
        if sample_weight is not None:
            sample_weight = sample_weight / sample_weight.mean()
        self._fit_target_scale(y, sample_weight, reset=reset)
        return X, y, sample_weight

    def _reset_seed(self, reset: bool) -> None:
        if reset or not hasattr(self, "_seed_"):
            rng = check_random_state(self.random_state)
            self._seed_ = int(rng.randint(np.iinfo(np.int32).max))

    def _checked_features(self, X) -> Tensor:
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return torch.from_numpy(_to_dtype(X, np.dtype(self.dtype))).to(self.device)

    # -- datasets -----------------------------------------------------------------------------

    def get_dataset(self, X, y=None, sample_weight=None):
        """Return the data as a torch ``Dataset``; tensors unless ``dataset`` says otherwise."""
        if is_dataset(X):
            return X
        if self.dataset != "auto":
            return super().get_dataset(X, y)
        if not isinstance(X, Tensor):
            X = torch.from_numpy(_to_dtype(np.asarray(X), np.dtype(self.dtype)))
        X = X.to(self.device)
        if y is not None:
            y = torch.as_tensor(y).to(self.device)
        if sample_weight is not None:
            sample_weight = torch.as_tensor(sample_weight).to(X)
        return TensorDataset(X, y, sample_weight)

    def _split(self, X, y=None, sample_weight=None):
        """Return training and validation datasets; the latter may be None."""
        dataset = self.get_dataset(X, y, sample_weight)
        if self.train_split is None or (self.train_split == "auto" and not self._holds_out(X)):
            return dataset, None
        if self.train_split != "auto":
            parts = self.train_split(dataset) if y is None else self.train_split(dataset, y)
            return tuple(_as_tensors(part) for part in parts)
        rng = np.random.RandomState(self._seed_)
        classes = self._stratification(y)
        train, valid = split_indices(len(dataset), self.validation_fraction, rng, classes)
        if isinstance(dataset, TensorDataset):
            return dataset.take(torch.from_numpy(train)), dataset.take(torch.from_numpy(valid))
        return Subset(dataset, train), Subset(dataset, valid)

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return training and validation datasets, as skorch's method of this name."""
        return self._split(X, y)

    def _holds_out(self, data) -> bool:
        n_samples = len(data)
        if self.early_stopping == "auto":
            return n_samples > self._batch_size(n_samples)
        return self.early_stopping and n_samples > 1

    def _stratification(self, y):
        return None

    def _batch_size(self, n_samples: int) -> int:
        if self.batch_size == "auto":
            return 128
        return n_samples if self.batch_size == -1 else self.batch_size

    def get_iterator(self, dataset, training=False):
        """Return the batches of a dataset.

        Data in memory are sliced (:class:`skec.training.TensorBatches`) unless
        ``iterator_train`` or ``iterator_valid`` names another iterator.
        """
        name = "iterator_train" if training else "iterator_valid"
        iterator, arguments = getattr(self, name), self.get_params_for(name)
        arguments.setdefault("batch_size", self._batch_size(len(dataset)))
        if arguments["batch_size"] == -1:
            arguments["batch_size"] = len(dataset)
        if iterator != "auto":
            return iterator(dataset, **arguments)
        in_memory = isinstance(dataset, TensorDataset)
        if training:
            arguments.setdefault("shuffle", True)
            arguments.setdefault("generator", self._generator("batches"))
            if self.batch_norm and len(dataset) % arguments["batch_size"] == 1:
                arguments.setdefault("drop_last", len(dataset) > 1)
        elif in_memory:
            arguments["batch_size"] = max(arguments["batch_size"], _PREDICTION_ROWS)
        sliced = {"batch_size", "shuffle", "drop_last", "generator"}
        if in_memory and set(arguments) <= sliced:
            return TensorBatches(dataset, **arguments)
        return DataLoader(dataset, **arguments)

    def _generator(self, purpose: str) -> torch.Generator:
        """A source of random numbers for one purpose at this point of the history."""
        history = 0 if self.history_ is None else len(self.history_)
        salt = sum(map(ord, purpose)) * 1_000_003 + history
        return torch.Generator().manual_seed(self._seed_ + salt)

    # -- network ------------------------------------------------------------------------------

    @property
    def _network(self) -> nn.Module:
        """The module without the wrapper of ``torch.compile``."""
        return getattr(self.module_, "_orig_mod", self.module_)

    def _set_network(self, module: nn.Module) -> None:
        """Put a module in place of the network, with a new optimiser."""
        self.module_ = self.torch_compile(to_device(module, self.device), name="module")
        self.initialize_optimizer()

    def initialize(self):
        """Create the network, the criterion, the optimiser and the callbacks."""
        self._check_parameters()
        self._reset_seed(reset=False)
        self.history_ = None
        return super().initialize()

    def initialize_module(self):
        """Create the network: an :class:`skec.mlp.MLP`, or the given module."""
        arguments = self.get_params_for("module")
        module = self.module
        if isinstance(module, nn.Module) and not arguments:
            module = copy.deepcopy(module)
        else:
            kind = type(module) if isinstance(module, nn.Module) else module
            arguments = self._module_defaults(kind) | arguments
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed_)
                module = kind(**arguments)
        self.module_ = module.to(getattr(torch, self.dtype))
        return self

    def _module_defaults(self, kind) -> dict:
        """What this estimator knows of a module's parameters."""
        defaults = {
            "n_features": getattr(self, "n_features_in_", None),
            "n_outputs": getattr(self, "n_outputs_", None),
            "hidden_layer_sizes": self._layer_sizes(),
            "activation": self.activation,
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
        }
        if inspect.isclass(kind) and issubclass(kind, MLP):
            missing = [
                name
                for name in ("n_features", "n_outputs")
                if defaults[name] is None and f"module__{name}" not in vars(self)
            ]
            if missing:
                raise ValueError(
                    f"The network's {' and '.join(missing)} are not known before fit. Call fit, or "
                    f"set {' and '.join('module__' + name for name in missing)} before initialize."
                )
            self.n_features_in_ = vars(self).get("module__n_features", defaults["n_features"])
            self.n_outputs_ = vars(self).get("module__n_outputs", defaults["n_outputs"])
            return defaults | {"generator": torch.Generator().manual_seed(self._seed_)}
        accepted = inspect.signature(kind).parameters
        known = {"n_features", "n_outputs"} & set(accepted)
        return {name: defaults[name] for name in known if defaults[name] is not None}

    def get_params_for_optimizer(self, prefix, named_parameters):
        """As in skorch; an optimiser with a fused kernel uses it unless told otherwise."""
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if supports_fused(self.optimizer) and not {"fused", "foreach"} & set(kwargs):
            kwargs["fused"] = True
        return args, kwargs

    def infer(self, x, **fit_params):
        """Outputs of the network for a batch."""
        if isinstance(x, Mapping) and "sample_weight" in x:
            x = {name: value for name, value in x.items() if name != "sample_weight"}
            x = x["X"] if list(x) == ["X"] else x
        x = to_tensor(x, device=self.device)
        if isinstance(x, Tensor) and x.is_floating_point():
            x = x.to(getattr(torch, self.dtype))
        return super().infer(x, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Loss of a batch; targets are in the user's units."""
        weights = X.get("sample_weight") if isinstance(X, Mapping) else None
        y_true = self._network_targets(to_tensor(y_true, device=self.device))
        return self._loss(y_pred, y_true, weights)

    def _loss(self, outputs, targets, weights):
        """Loss of a batch; targets are in the network's units."""
        return weighted_loss(self.criterion_, outputs, targets, weights)

    def _loss_function(self):
        """The loss with its gradient, for the fast path."""
        criterion = self.criterion_
        if type(criterion) is nn.MSELoss:
            return loss_with_gradient(criterion)
        return loss_with_gradient(criterion, self._loss)

    def _in_network_units(self, dataset: TensorDataset | None) -> TensorDataset | None:
        if dataset is None or dataset.y is None:
            return dataset
        return TensorDataset(dataset.X, self._network_targets(dataset.y), dataset.sample_weight)

    # -- prediction ---------------------------------------------------------------------------

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the network's outputs batch by batch, as skorch's method of this name."""
        self.check_is_fitted()
        if not is_dataset(X) and not isinstance(X, Mapping) and self.dataset == "auto":
            X = self._checked_features(X)
        dataset = self.get_dataset(X)
        if training or not isinstance(dataset, TensorDataset) or self.iterator_valid != "auto":
            for batch in self.get_iterator(dataset, training=training):
                yield to_device(self.evaluation_step(batch, training=training), device=device)
            return
        with small_network_mode():
            outputs = list(self._forward_blocks(dataset.X))
        for output in outputs:
            yield to_device(output, device=device)

    @torch.no_grad()
    def _forward_blocks(self, X: Tensor) -> Iterator:
        """Outputs for whole blocks of rows, so that no row's sums depend on the others."""
        self._set_training(False)
        for start in range(0, len(X), _PREDICTION_ROWS):
            rows = X[start : start + _PREDICTION_ROWS]
            padding = -len(rows) % _ROW_BLOCK
            padded = nn.functional.pad(rows, (0, 0) * (X.ndim - 1) + (0, padding))
            outputs = self.infer(padded)
            if isinstance(outputs, tuple):
                yield tuple(output[: len(rows)] for output in outputs)
            else:
                yield outputs[: len(rows)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.target_tags.required = True
        return tags

    def _sk_visual_block_(self):
        """The box of the HTML representation; says what was pruned."""
        from sklearn.utils._repr_html.estimator import _VisualBlock

        name = type(self).__name__
        if hasattr(self, "sparsity_"):
            name += (
                f" ({self.sparsity_:.1%} pruned, {self.n_nonzero_parameters_:,} of "
                f"{self.n_parameters_:,} parameters left)"
            )
        return _VisualBlock("single", self, names=name, name_details=str(self), name_caption=None)


def _to_dtype(X: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A writable copy in a dtype; float64 numbers beyond float32 stay errors, not infinities."""
    with np.errstate(over="ignore"):
        converted = np.array(X, dtype=dtype, order="C")
    if not np.isfinite(converted).all():
        raise ValueError(
            f"X has values too large for dtype={dtype.name!r}, up to {np.abs(X).max():.3g}. Scale "
            f"the features (StandardScaler), or use dtype='float64'."
        )
    return converted


def _as_tensors(dataset):
    """A subset of tensors as tensors."""
    if isinstance(dataset, Subset) and isinstance(dataset.dataset, TensorDataset):
        return dataset.dataset.take(torch.as_tensor(np.asarray(dataset.indices)))
    return dataset


def _gather(dataset, n_samples: int | None) -> TensorDataset:
    """The first samples of any dataset as tensors."""
    parts, taken = [], 0
    for x, y in DataLoader(dataset, batch_size=256):
        weights = x.get("sample_weight") if isinstance(x, Mapping) else None
        parts.append((x["X"] if isinstance(x, Mapping) else x, y, weights))
        taken += len(y)
        if n_samples is not None and taken >= n_samples:
            break
    columns = zip(*parts, strict=True)
    return TensorDataset(*(None if c[0] is None else torch.cat(c)[:n_samples] for c in columns))
