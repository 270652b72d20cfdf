"""The state of a skorch net: its network, its data, its losses and its files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from skorch.callbacks import EpochTimer, PassthroughScoring
from skorch.exceptions import SkorchTrainingImpossibleError
from skorch.history import History
from skorch.utils import check_is_fitted, is_dataset, to_device, to_tensor
from torch import Tensor, nn

from ..networks import input_dtype, weighted_loss
from ..training import (
    LossFunction,
    MaskedWeights,
    loss_with_gradient,
    supports_fused,
)
from ..utils import BatchedSamples, Samples, plain_tensors, private
from .components import is_of_library
from .interruption import stopped_by_callback
from .make_module import make_module
from .prediction import outputs_in_blocks
from .print_log import PhaseLog
from .rollback import unchanged_on_error
from .skorch_parameters import SkorchParameters
from .state_files import ModuleWithTargets
from .training_data import PREDICTION_ROWS, TrainingData
from .versions import of_this_version, with_version

# What later calls of prune need; compact and trim_for_prediction drop it.
FROM_DENSE_FIT = ("dense_module_", "initial_module_", "_calibration_", "_held_out_")
_PRECISIONS = {torch.float32: "float32", torch.float64: "float64"}


class SkorchEstimator(SkorchParameters):
    """A skorch net with the networks, the data and the losses of this library."""

    history_: History | None = None
    _stays_dense = False  # whether fit ends after the dense training: a pruner prunes the network
    _tensors_alone = False  # whether save_params writes a file that holds only tensors

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("print_log", PhaseLog()),
        ]

    def _trained(self) -> nn.ModuleList:
        """All modules and losses, whose weights training may change."""
        return nn.ModuleList(getattr(self, f"{name}_") for name in self._modules + self._criteria)

    def _component_names(self) -> list[str]:
        """The attributes with modules, losses and optimisers."""
        return [f"{name}_" for name in (*self._modules, *self._criteria, *self._optimizers)]

    def _all_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = (getattr(self, f"{name}_") for name in self._optimizers)
        return [each for each in optimizers if isinstance(each, torch.optim.Optimizer)]

    def notify(self, method_name: str, **callback_arguments: Any) -> None:
        """Call a method of the estimator, and of each callback that has it."""
        with stopped_by_callback(running=self._phase is not None):
            getattr(self, method_name)(self, **callback_arguments)
            for _, callback in self.callbacks_:
                method = getattr(callback, method_name, None)
                if method is not None:
                    method(self, **callback_arguments)
            if self._phase is not None and callback_arguments.get("training"):
                self._phase.after(method_name)

    def on_prune_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Called before the network is pruned; callbacks may define a method of this name."""

    def on_prune_end(
        self, net: Any, X: Any = None, y: Any = None, result: Any = None, **kwargs: Any
    ) -> None:
        """Called after the network was pruned, with the :class:`skec.PruningResult`."""

    def save_params(self, *args: Any, use_safetensors: bool = False, **kwargs: Any) -> None:
        """Save weights and history, as the method of skorch.

        The file of the weights also contains the scale of a regressor's targets, or the labels of
        a classifier, so that an estimator that loads it predicts the same.
        """
        self._tensors_alone = use_safetensors
        try:
            super().save_params(*args, use_safetensors=use_safetensors, **kwargs)
        finally:
            del self._tensors_alone

    def _get_module(self, name: str, msg: str) -> Any:
        """The object whose state ``save_params`` and ``load_params`` read and set."""
        module = super()._get_module(name, msg)
        if name != "module_":
            return module
        return ModuleWithTargets(module, self, self._tensors_alone)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights and history, as the method of skorch.

        The removed weights of a pruned network stay exactly zero. A file that does not fit changes
        nothing.
        """
        with unchanged_on_error(self):  # torch loads what fits before it raises for the rest
            super().load_params(*args, **kwargs)
        self._mask_loaded_weights()

    def _mask_loaded_weights(self) -> None:
        masked = self._masked_weights() if self.initialized_ else None
        if masked is not None:
            revived = masked.count_revived()
            masked.apply()
            if revived and self._phase is None:
                warnings.warn(
                    f"{revived} weights of the file were left out: they were removed from the "
                    f"present network and stay zero. Load the file into a new estimator to use "
                    f"them.",
                    UserWarning,
                    stacklevel=3,
                )
        if hasattr(self, "n_parameters_"):
            self._count_parameters()

    def trim_for_prediction(self) -> None:
        """Drop everything that only training and pruning need, as the method of skorch.

        The network, the masks, the loss and the parameters are kept. The optimiser, the callbacks,
        the history, the dense network and the calibration samples are dropped. The estimator can
        predict, and be saved and loaded. ``fit`` trains it anew; ``refit``, ``partial_fit`` and
        ``prune`` raise an error.
        """
        self._check_fitted("trim_for_prediction")
        self._forget("optimizer_", *FROM_DENSE_FIT, "history_")
        self.callbacks_, self._trimmed_for_prediction = [], True

    def check_training_readiness(self) -> None:
        """Raise if the estimator was trimmed for prediction."""
        if self._trimmed_for_prediction:
            raise SkorchTrainingImpossibleError(
                "This estimator was trimmed for prediction, so it has no optimiser, no dense "
                "network and no calibration samples. Call fit to train it anew."
            )

    def _check_trainable(self, method: str) -> None:
        self._check_fitted(method)
        self.check_training_readiness()

    def check_data(self, X: Any, y: Any = None) -> None:
        """Check nothing: the data were checked before skorch calls this method."""

    def _count_parameters(self) -> None:
        parameters = list(self.network_.parameters())
        self.n_parameters_ = sum(parameter.numel() for parameter in parameters)
        self.n_nonzero_parameters_ = sum(int(p.count_nonzero()) for p in parameters)

    def _masked_weights(self) -> MaskedWeights | None:
        masks = getattr(self, "masks_", None)
        return None if masks is None else MaskedWeights.of(self.network_, masks)

    # -- scikit-learn -------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags

    def _sk_visual_block_(self) -> Any:
        """The box of the HTML representation, with the sparsity of a fitted estimator."""
        name = type(self).__name__
        if hasattr(self, "sparsity_"):
            name += (
                f" ({self.sparsity_:.1%} pruned, {self.n_nonzero_parameters_:,} of "
                f"{self.n_parameters_:,} parameters left)"
            )
        return private.visual_block("single", self, name)

    def _get_params_html(self, deep: bool = True, doc_link: str = "") -> Any:
        """The parameters of the HTML representation: those of the signature, as the user set them.

        skorch lists the parameters of its default callbacks too.
        """
        return super()._get_params_html(False, doc_link)

    def _check_fitted(self, method: str) -> None:
        check_is_fitted(
            self,
            ["module_"],
            msg=f"This {type(self).__name__} is not fitted; call fit before {method}.",
        )

    def check_is_fitted(self, attributes: Any = None, *args: Any, **kwargs: Any) -> None:
        """Raise ``sklearn.exceptions.NotFittedError`` unless there is a network."""
        if attributes is None:
            self._check_fitted("this method")
        else:
            check_is_fitted(self, attributes, *args, **kwargs)

    # -- the network --------------------------------------------------------------------------

    @property
    def network_(self) -> nn.Module:
        """The network, without the wrapper of ``torch.compile``."""
        return getattr(self.module_, "_orig_mod", self.module_)

    @property
    def _form(self) -> tuple[str, Any]:
        """The floating-point type and the device of the network.

        Before there is one, the parameters ``dtype`` and ``device``.
        """
        parameter = next(self.network_.parameters(), None) if self.initialized_ else None
        if parameter is None:
            return self.dtype, self.device
        precision = _PRECISIONS.get(parameter.dtype, self.dtype)
        return precision, parameter.device

    @property
    def _precision(self) -> str:
        return self._form[0]

    def _input_dtype(self, new: bool = False) -> torch.dtype:
        """The dtype in which the network takes X; with ``new``, that of the next network."""
        if new or not self.initialized_ or next(self.network_.parameters(), None) is None:
            scale = getattr(self, "_feature_scale", None)
            wide = scale is not None and bool(scale["wide"])
            return torch.float64 if wide else getattr(torch, self.dtype)
        dtype = input_dtype(self.network_)
        return dtype if dtype in _PRECISIONS else getattr(torch, self.dtype)

    @property
    def _place(self) -> Any:
        return self._form[1]

    def _set_network(self, module: nn.Module) -> None:
        """Replace the network, and create a new optimiser unless only predictions are left."""
        self.module_ = self.torch_compile(to_device(module, self._place), name="module")
        if not self._trimmed_for_prediction:
            self.initialize_optimizer()

    def initialize(self):
        """Create the network, the criterion, the optimiser and the callbacks."""
        self._check_parameters()
        self._forget("history_", "_trimmed_for_prediction")
        with plain_tensors():
            super().initialize()
        for name in ("module_", "criterion_"):
            if not hasattr(self, name):
                maker = f"{type(self).__name__}.initialize_{name.rstrip('_')}"
                raise AttributeError(
                    f"{maker} must set {name}: pruning needs one network, module_, and its loss, "
                    f"criterion_. Further modules and losses may have other names."
                )
        return self

    def initialize_module(self):
        """Create the network: an :class:`skec.networks.MLP`, or the given module."""
        self._reset_seed(reset=False)
        self.module_ = make_module(self)
        return self

    def get_params_for_optimizer(self, prefix: str, named_parameters: Any) -> tuple[Any, Any]:
        """As in skorch; an optimiser uses its fused kernel by default, if it has one."""
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        if supports_fused(self.optimizer) and not {"fused", "foreach"} & set(kwargs):
            kwargs["fused"] = True
        return args, kwargs

    def _keep_calibration_samples(self, dataset: Any) -> None:
        """Keep part of the training data for later calls of ``prune``."""
        self._calibration_ = self._data.calibration(dataset, self.calibration_samples, self._seed_)

    def _forget(self, *names: str) -> None:
        """Delete attributes if they exist."""
        for name in names:  # with delattr skorch would no longer treat them as modules
            vars(self).pop(name, None)

    # -- data, for skorch ---------------------------------------------------------------------

    @property
    def _data(self) -> TrainingData:
        return TrainingData(self)

    def get_dataset(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Return the data as a torch ``Dataset``: tensors, unless ``dataset`` is a class."""
        if is_dataset(X):
            return X
        if self.dataset != "auto":
            return super().get_dataset(X, y)
        return self._data.dataset(X, y, sample_weight)

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return training and validation datasets, as the method of skorch."""
        return self._data.split(self.get_dataset(X, y), y, **fit_params)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of a dataset.

        Data in memory are sliced (:class:`skec.training.TensorBatches`), unless
        ``iterator_train`` or ``iterator_valid`` is another iterator.
        """
        return self._data.batches(dataset, training)

    # -- outputs and losses -------------------------------------------------------------------

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Outputs of the network for a batch."""
        if isinstance(x, Mapping) and "sample_weight" in x:
            x = {name: value for name, value in x.items() if name != "sample_weight"}
            x = x["X"] if list(x) == ["X"] else x
        x = to_tensor(x, device=self._place)
        if isinstance(x, Tensor) and x.is_floating_point():
            x = x.to(self._input_dtype())
        return super().infer(x, **fit_params)

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Loss of a batch; targets are in the user's units."""
        weights = X.get("sample_weight") if isinstance(X, Mapping) else None
        y_true = self._network_targets(to_tensor(y_true, device=self._place))
        return self._loss(y_pred, y_true, weights)

    def _loss(self, outputs: Any, targets: Tensor, weights: Tensor | None) -> Tensor:
        """Loss of a batch; targets are in the network's units."""
        return weighted_loss(*self._loss_arguments(outputs, targets), weights)

    def _loss_arguments(self, outputs: Any, targets: Tensor) -> tuple[nn.Module, Any, Tensor]:
        """The loss, with outputs and targets in the form that it takes."""
        return self.criterion_, outputs, targets

    def _loss_function(self) -> LossFunction:
        """The loss with its gradient, for the fast path."""
        criterion = self.criterion_
        if type(criterion) in (nn.MSELoss, nn.CrossEntropyLoss):
            return loss_with_gradient(criterion)
        return loss_with_gradient(criterion, self._loss)

    def _nonlinearity(self) -> Callable[[Any], Any]:
        """The function that ``predict_nonlinearity`` applies to the outputs of the network."""
        return self._get_predict_nonlinearity()

    def forward_iter(self, X: Any, training: bool = False, device: Any = "cpu") -> Iterator[Any]:
        """Yield the network's outputs batch by batch, as the method of skorch."""
        self.check_is_fitted()
        steps = (self.evaluation_step, self.get_iterator)
        whole = training or self.iterator_valid != "auto" or not all(map(is_of_library, steps))
        dataset = self._data.for_prediction(X, in_blocks=not whole)
        if whole or not isinstance(dataset, Samples | BatchedSamples):
            for batch in self.get_iterator(dataset, training=training):
                yield to_device(self.evaluation_step(batch, training=training), device=device)
            return
        stream = isinstance(dataset, BatchedSamples)
        parts = (rows for rows, _, _ in dataset.batches(PREDICTION_ROWS)) if stream else [dataset.X]
        for rows in parts:
            for outputs in outputs_in_blocks(self, rows):
                yield to_device(outputs, device=device)

    # -- training, for skorch -----------------------------------------------------------------

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Train or validate for one epoch, as the method of skorch."""
        if self._phase is None or not self._phase.record_epoch(iterator, training, prefix):
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Begin a row of the history and record the phase in it."""
        super().on_epoch_begin(net, dataset_train, dataset_valid, **kwargs)
        self.history.record("phase", "dense" if self._phase is None else self._phase.name)

    def _step_optimizer(self, step_fn: Any) -> None:
        """Take a step; removed weights stay zero."""
        masked = self._masked_weights() if self._phase is None else self._phase.masked
        step = super()._step_optimizer
        if masked is None:
            step(step_fn)
        else:
            masked.stepping(lambda closure=None: step(closure))(step_fn)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_phase", None)
        return with_version(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(of_this_version(self, state))
