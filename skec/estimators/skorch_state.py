"""skorch's net as an estimator that follows scikit-learn's rules.

skorch keeps state in ``__init__`` and reads it in ``get_params``. Here ``__init__`` stores
parameters alone; the state has class-level defaults and comes to life in ``initialize``.
"""

from __future__ import annotations

import inspect
import warnings
from typing import ClassVar

from sklearn.base import BaseEstimator
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from skorch.dataset import Dataset

from ..training import TensorDataset


class SkorchTensorDataset(TensorDataset, Dataset):
    """A dataset of tensors in which skorch's callbacks find ``X`` and ``y``."""

    def transform(self, X, y):
        return X, y


class SkorchStateMixin:
    """State of a skorch net that exists before ``initialize``, and parameters that are declared.

    Comes before skorch's class in the order of bases.
    """

    history_ = None
    initialized_ = False
    virtual_params_: ClassVar[dict] = {}
    prefixes_: ClassVar[list[str]] = [
        "module",
        "criterion",
        "optimizer",
        "iterator_train",
        "iterator_valid",
        "callbacks",
        "dataset",
        "compile",
        "dense_module",
        "initial_module",
    ]
    cuda_dependent_attributes_: ClassVar[list[str]] = [
        "module_",
        "criterion_",
        "optimizer_",
        "dense_module_",
        "initial_module_",
    ]
    _modules: ClassVar[list[str]] = ["module"]
    _criteria: ClassVar[list[str]] = ["criterion"]
    _optimizers: ClassVar[list[str]] = ["optimizer"]

    __repr__ = BaseEstimator.__repr__
    get_metadata_routing = BaseEstimator.get_metadata_routing

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in vars(self) if "__" in name and not name.startswith("_")}

    def _store_parameters(self, parameters: dict) -> None:
        """Store what ``__init__`` got, given its ``locals()``."""
        components = parameters.pop("component__params")
        declared = inspect.signature(type(self)).parameters
        unknown = [name for name in components if "__" not in name]
        if unknown:
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                f"{unknown[0]!r}"
            )
        vars(self).update({name: parameters[name] for name in declared if name in parameters})
        vars(self).update(components)

    def _get_param_names(self) -> list[str]:
        declared = [
            name
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        return sorted(declared) + sorted(self._params_to_validate)

    def set_params(self, **params):
        """Set parameters; those of a fitted network's components take effect at once."""
        plain = {name for name in params if "__" not in name and name != "lr"}
        unknown = plain - set(self._get_param_names())
        if unknown:
            raise ValueError(
                f"Invalid parameter {sorted(unknown)[0]!r} for estimator {self}. Valid parameters "
                f"are: {self._get_param_names()!r}."
            )
        for name in plain:
            setattr(self, name, params.pop(name))
            if name == "callbacks" and self.initialized_:
                self._initialize_callbacks()
        return super().set_params(**params)

    @property
    def _default_callbacks(self) -> list:
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("print_log", PrintLog()),
        ]

    def notify(self, method_name: str, **callback_arguments) -> None:
        """Call a method of the net and of each callback that has it."""
        getattr(self, method_name)(self, **callback_arguments)
        for _, callback in self.callbacks_:
            method = getattr(callback, method_name, None)
            if method is not None:
                method(self, **callback_arguments)

    def on_prune_begin(self, net, X=None, y=None, **kwargs) -> None:
        """Called before the network is pruned; callbacks may have a method of this name."""

    def on_prune_end(self, net, X=None, y=None, result=None, **kwargs) -> None:
        """Called after the network was pruned, with the :class:`skec.PruningResult`."""

    def load_params(self, *args, **kwargs) -> None:
        """Load weights and history, as skorch's method of this name.

        On a pruned network removed weights stay exactly zero, whatever the file says.
        """
        try:
            super().load_params(*args, **kwargs)
        finally:  # of a file that does not fit, torch loads the layers that do
            self._mask_loaded_weights()

    def _mask_loaded_weights(self) -> None:
        masked = self._masked_weights() if self.initialized_ else None
        if masked is not None:
            pairs = zip(masked.parameters, masked.removed, strict=True)
            revived = sum(int(parameter[removed].count_nonzero()) for parameter, removed in pairs)
            masked.apply()
            if revived and "_phase_" not in vars(self):
                warnings.warn(
                    f"{revived} weights of the file were left out: the present network was pruned "
                    f"there, and removed weights stay zero. Load the file into a new estimator to "
                    f"have them.",
                    UserWarning,
                    stacklevel=3,
                )
        if hasattr(self, "n_parameters_"):
            self._count_parameters()

    def check_data(self, X, y=None) -> None:
        """Data are checked before anything starts."""
