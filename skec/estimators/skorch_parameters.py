"""Parameters of a skorch net that follow scikit-learn's rules.

skorch keeps state in ``__init__`` and reads it in ``get_params``. Here ``__init__`` stores only
parameters; the state has class-level defaults, and ``initialize`` creates it.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from skorch import NeuralNet

from .attributes import EstimatorAttributes
from .components import hint
from .rollback import unchanged_on_error

_AT_ONCE = ("lr", "optimizer", "criterion", "callbacks")


class SkorchParameters(EstimatorAttributes, NeuralNet):
    """A skorch net whose parameters are those of its constructor.

    Its state has class-level defaults until ``initialize`` is called.
    """

    initialized_ = False
    _trimmed_for_prediction = False
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
    get_metadata_routing: Any = BaseEstimator.get_metadata_routing

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in vars(self) if "__" in name and not name.startswith("_")}

    def _store_parameters(self, parameters: dict[str, Any]) -> None:
        """Store the arguments of ``__init__``, given its ``locals()``."""
        components = parameters.pop("component__params")
        declared = inspect.signature(type(self)).parameters
        unknown = [name for name in components if "__" not in name]
        if unknown:
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                f"{unknown[0]!r}.{hint(unknown[0], self._get_param_names())}"
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

    def _callback_names(self) -> list[str]:
        return [name for name, _ in self._uniquely_named_callbacks()]

    def set_params(self, **params: Any):
        """Set parameters; most of them take effect at the next ``fit``, as in scikit-learn.

        As in skorch, ``lr`` and the parameters of the optimiser, the loss and the callbacks take
        effect at once in a fitted estimator. The network always keeps its weights and its masks,
        also if ``module`` or one of its parameters is set.

        Parameters
        ----------
        **params : dict
            Names and values, such as ``pruning_ratio=0.5`` or ``optimizer__weight_decay=0.1``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no such parameter. Nothing is changed then.
        """
        names = self._get_param_names()
        unknown = sorted({name for name in params if "__" not in name} - set(names))
        if unknown:
            name = unknown[0]
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {self}.{hint(name, names)} Valid "
                f"parameters are: {names!r}."
            )
        at_once = [name for name in params if name.split("__", 1)[0] in _AT_ONCE]
        if not (self.initialized_ and at_once) or self._trimmed_for_prediction:
            vars(self).update(params)
            return self
        with unchanged_on_error(self):
            vars(self).update(params)
            self._apply({name: params[name] for name in at_once})
        return self

    def _apply(self, params: dict[str, Any]) -> None:
        """Let parameters of optimiser, loss and callbacks take effect in a fitted estimator."""
        changed: dict[str, list[str]] = {part: [] for part in _AT_ONCE}
        for name in params:
            changed[name.split("__", 1)[0]].append(name)
        if "callbacks" in params:
            self._initialize_callbacks()
        elif changed["callbacks"]:
            self._set_params_callback(**{name: params[name] for name in changed["callbacks"]})
        if changed["criterion"]:
            self._initialize_criterion(self._format_reinit_msg("criterion", changed["criterion"]))
        rates = {name: params[name] for name in changed["lr"] + changed["optimizer"]}
        if changed["criterion"] or not all(map(self._is_in_optimizer, rates)):
            self._initialize_optimizer(self._format_reinit_msg("optimizer", list(rates)))
        else:
            self._apply_virtual_params(rates)  # keeps the moments of the optimiser

    def _is_in_optimizer(self, name: str) -> bool:
        """Whether a parameter is a value in the parameter groups of the present optimiser."""
        last = name.split("__")[-1]
        return self._is_virtual_param(name) and all(
            last in group for group in self.optimizer_.param_groups
        )
