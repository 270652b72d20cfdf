"""Parameters of a skorch net that follow scikit-learn's rules.

skorch keeps state in ``__init__`` and reads it in ``get_params``. Here ``__init__`` stores only
parameters; the state has class-level defaults, and ``initialize`` creates it.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet

from ..utils import drawn_seed
from .attributes import EstimatorAttributes
from .components import components_of, hint
from .phase import Phase
from .rollback import unchanged_on_error


class SkorchParameters(EstimatorAttributes, NeuralNet):
    """A skorch net whose parameters are those of its constructor.

    Its state has class-level defaults until ``initialize`` is called.
    """

    initialized_ = False
    _trimmed_for_prediction = False
    _phase: Phase | None = None  # the running phase
    virtual_params_: ClassVar[dict] = {}
    # initialize adds the modules, the losses and the optimisers, as in skorch
    prefixes_: ClassVar[list[str]] = [*NeuralNet.prefixes_, "dense_module", "initial_module"]
    cuda_dependent_attributes_: ClassVar[list[str]] = ["dense_module_", "initial_module_"]

    __repr__ = BaseEstimator.__repr__

    @property
    def _params_to_validate(self) -> set[str]:
        return {name for name in vars(self) if "__" in name and not name.startswith("_")}

    def _store_parameters(self, parameters: dict[str, Any]) -> None:
        """Store the arguments of ``__init__``, given its ``locals()``."""
        components = parameters.pop("component__params")
        del parameters["self"]
        for name in components:
            if "__" not in name:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                    f"{name!r}.{self._hint(name)}"
                )
        vars(self).update(parameters | components)

    def _hint(self, name: str) -> str:
        return hint(name, self._get_param_names(), components_of(self))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; modules and optimisers become components, as in skorch."""
        if "module" in vars(self):
            super().__setattr__(name, value)
        else:  # a subclass sets its own parameters before it calls the constructor of its parent
            object.__setattr__(self, name, value)

    @classmethod
    def _declared(cls) -> tuple[list[str], bool]:
        """The parameters of the constructor, and whether it takes those of components.

        If a subclass passes keyword arguments on, they include the parameters of its parents.
        """
        names: dict[str, None] = {}
        for parent in cls.__mro__:
            if "__init__" not in vars(parent):
                continue
            _, *parameters = inspect.signature(parent.__init__).parameters.values()
            variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            names.update({p.name: None for p in parameters if p.kind not in variable})
            passed_on = {p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD}
            if not passed_on or "component__params" in passed_on:
                return sorted(names), bool(passed_on)
        return sorted(names), True

    def _get_param_names(self) -> list[str]:
        declared, takes_components = type(self)._declared()
        return declared + (sorted(self._params_to_validate) if takes_components else [])

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        """Get the parameters, as the method of skorch.

        While a phase runs, its batch sizes are among the parameters of the iterators. Callbacks
        such as skorch's ``ProgressBar`` read them.
        """
        params = super().get_params(deep, **kwargs)
        return params | self._phase.batch_sizes() if deep and self._phase is not None else params

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
                f"Invalid parameter {name!r} for estimator {self}.{self._hint(name)} Valid "
                f"parameters are: {names!r}."
            )
        if self._phase is not None and not self._phase.begun and not hasattr(self, "masks_"):
            return super().set_params(**params)  # InputShapeSetter makes the network anew
        prefixes = {"lr", "callbacks", *self._criteria, *self._optimizers}
        at_once = [name for name in params if name.split("__", 1)[0] in prefixes]
        if not (self.initialized_ and at_once) or self._trimmed_for_prediction:
            vars(self).update(params)
            return self
        with unchanged_on_error(self):
            vars(self).update(params)
            self._apply({name: params[name] for name in at_once})
        return self

    def _apply(self, params: dict[str, Any]) -> None:
        """Let parameters of optimiser, loss and callbacks take effect in a fitted estimator."""
        changed: dict[str, list[str]] = {"callbacks": [], "criterion": [], "optimizer": []}
        for name in params:
            prefix = name.split("__", 1)[0]
            part = "criterion" if prefix in self._criteria else "optimizer"
            changed["callbacks" if prefix == "callbacks" else part].append(name)
        if "callbacks" in params:
            self._initialize_callbacks()
        elif changed["callbacks"]:
            self._set_params_callback(**{name: params[name] for name in changed["callbacks"]})
        if changed["criterion"]:
            self._initialize_criterion(self._format_reinit_msg("criterion", changed["criterion"]))
        rates = {name: params[name] for name in changed["optimizer"]}
        if changed["criterion"] or not all(map(self._is_in_optimizer, rates)):
            self._initialize_optimizer(self._format_reinit_msg("optimizer", list(rates)))
        else:
            self._apply_virtual_params(rates)  # keeps the moments of the optimiser

    def _is_in_optimizer(self, name: str) -> bool:
        """Whether a parameter is a value in the parameter groups of a present optimiser."""
        prefix, last = name.split("__", 1)[0], name.split("__")[-1]
        optimizer: Any = getattr(self, "optimizer_" if prefix == "lr" else f"{prefix}_", None)
        return self._is_virtual_param(name) and all(
            last in group for group in optimizer.param_groups
        )

    # -- random numbers -----------------------------------------------------------------------

    def _reset_seed(self, reset: bool) -> None:
        if reset or not hasattr(self, "_seed_"):
            self._seed_ = drawn_seed(self.random_state)

    def _generator(self, purpose: str) -> torch.Generator:
        """A random generator for one purpose; it depends on the length of the history."""
        history = 0 if self.history_ is None else len(self.history_)
        salt = sum(map(ord, purpose)) * 1_000_003 + history
        return torch.Generator().manual_seed(self._seed_ + salt)
