"""Pruning of an estimator's network; used by all estimators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ..allocation import SCHEDULES
from ..bounds import MaxChange
from ..networks import layer_names, layer_of
from ..pruning import PruningResult, RatioPruner, check_scope, prune, resolve
from ..pruning.granularity import Granularity, get_granularity
from ..utils import Samples
from .adapters import Adapter, PrunedMLPAdapter

# The arguments of skec.prune that are parameters of estimators.
PRUNING_PARAMETERS = (
    "pruning_ratio",
    "granularity",
    "method",
    "compensation",
    "method_params",
    "compensation_params",
    "scope",
    "n_steps",
    "schedule",
    "output_metric",
    "n_probes",
)
_ANY_RATIO = 0.5  # for checks, where the ratio is not known yet
_STEPS_WITH_TRAINING = 5  # least automatic number of steps with training between them


@dataclass(frozen=True)
class PruningSettings:
    """How the network of an estimator is pruned.

    Attributes
    ----------
    arguments : dict
        Arguments of :func:`skec.prune`, one for each of ``PRUNING_PARAMETERS``.
    granularity : Granularity
        The granularity, method, compensation and scope of the arguments as objects.
    layers : sequence of str or None
        Names of the layers to prune; None takes all that the other settings allow.
    prune_output_layer : bool
        Whether the weights of the last layer are pruned too. Ignored if ``layers`` is given, and
        for units.
    max_loss_increase : float or None
        How much the loss may grow with an automatic ratio; None for estimators without it.
    max_change : MaxChange or None
        How much predictions may change with an automatic ratio, in place of the loss.
    """

    arguments: dict[str, Any]
    granularity: Granularity = field(repr=False)
    layers: Sequence[str] | None = None
    prune_output_layer: bool = True
    max_loss_increase: float | None = None
    max_change: MaxChange | None = None

    @classmethod
    def of(cls, estimator: Any, values: Mapping[str, Any] | None = None) -> PruningSettings:
        """The settings of an estimator, with some of them replaced by values.

        Raises
        ------
        ValueError
            If a method, compensation, scope or schedule is unknown, or the scope replaces an
            automatic ratio.
        """
        arguments = {name: getattr(estimator, name) for name in PRUNING_PARAMETERS}
        arguments |= {name: v for name, v in (values or {}).items() if name in PRUNING_PARAMETERS}
        granularity = get_granularity(
            arguments["granularity"],
            arguments["method"],
            arguments["compensation"],
            arguments["method_params"],
            arguments["compensation_params"],
            arguments["scope"],
        )
        SCHEDULES.make(arguments["schedule"])
        settings = cls(
            arguments,
            granularity,
            estimator.layers,
            estimator.prune_output_layer,
            getattr(estimator, "max_loss_increase", None),
            getattr(estimator, "max_change", None),
        )
        if settings.finds_ratio:
            check_scope(granularity.scope, "pruning_ratio='auto'")
        return settings

    @property
    def finds_ratio(self) -> bool:
        """Whether the ratio is chosen by losses or predictions on held-out data."""
        return isinstance(self.arguments["pruning_ratio"], str)

    @property
    def arguments_of_any_ratio(self) -> dict[str, Any]:
        """The arguments with some ratio, which is not used."""
        return self.arguments | {"pruning_ratio": _ANY_RATIO}

    def with_training_between_steps(self) -> PruningSettings:
        """The same with at least 5 steps, if their number is automatic."""
        if self.arguments["n_steps"] != "auto":
            return self
        n_steps = max(self.granularity.n_steps, _STEPS_WITH_TRAINING)
        return replace(self, arguments=self.arguments | {"n_steps": n_steps})

    def layers_of(self, order: Sequence[str]) -> Sequence[str] | None:
        """Names of the layers to prune.

        Parameters
        ----------
        order : sequence of str
            Names of all prunable layers in the order of their execution.
        """
        if self.layers is not None or self.granularity.name == "neuron":
            return self.layers
        return order if self.prune_output_layer or len(order) == 1 else order[:-1]

    def check(
        self,
        adapter: Adapter,
        module: nn.Module,
        samples: Samples | None = None,
    ) -> None:
        """Raise if a network cannot be pruned with these settings.

        Parameters
        ----------
        adapter : Adapter
            Of the estimator of the network.
        module : torch.nn.Module
            The network, trained or not.
        samples : Samples, default=None
            A few samples. With None only the names of layers and the scope are checked.
        """
        layers = self.layers_of(layer_names(module))
        if samples is None:
            self.granularity.check(module, layers)
        else:
            resolve(
                module,
                samples.X,
                samples.y,
                samples.sample_weight,
                loss=adapter.loss,
                layers=layers,
                batch_size=len(samples),
                random_state=0,
                **(self.arguments_of_any_ratio if self.finds_ratio else self.arguments),
            )


def prune_estimator(
    adapter: Adapter,
    network: nn.Module,
    settings: PruningSettings,
    samples: Samples | None,
    *,
    batch_size: int,
    random_state: Any,
    order: Sequence[str] | None = None,
    after_step: Callable[..., None] | None = None,
    progress: bool = False,
) -> PruningResult:
    """Prune a network, and give the result to an estimator.

    Parameters
    ----------
    adapter : Adapter
        Of the estimator.
    network : torch.nn.Module
        The dense network. It is not changed.
    settings : PruningSettings
    samples : Samples or None
        Calibration samples in the units of the network.
    batch_size, random_state, after_step, progress
        As in :func:`skec.prune`.
    order : sequence of str, default=None
        Names of the layers in the order of their execution; None takes the registered order.
    """
    order = layer_names(network) if order is None else order
    result = prune(
        network,
        None if samples is None else samples.X,
        None if samples is None else samples.y,
        sample_weight=None if samples is None else samples.sample_weight,
        loss=adapter.loss,
        layers=settings.layers_of(order),
        batch_size=batch_size,
        after_step=after_step,
        random_state=random_state,
        progress=progress,
        **settings.arguments,
    )
    adapter.install(result, network, samples, settings.arguments["pruning_ratio"])
    return result


def ratio_pruner(net: Any, settings: PruningSettings, samples: Samples | None) -> RatioPruner:
    """What prunes the dense network of an estimator at any ratio, as its method ``prune`` does.

    Parameters
    ----------
    net : PrunedMLP
    settings : PruningSettings
        Their pruning ratio is not used.
    samples : Samples or None
        Calibration samples in the units of the network.
    """
    network = getattr(net, "dense_module_", net.network_)
    request = resolve(
        network,
        None if samples is None else samples.X,
        None if samples is None else samples.y,
        None if samples is None else samples.sample_weight,
        loss=PrunedMLPAdapter(net).loss,
        layers=settings.layers_of(layer_names(network)),
        batch_size=net.calibration_batch_size,
        random_state=net._seed_,
        **settings.arguments_of_any_ratio,
    )
    return RatioPruner(request, network)


def execution_order(module: nn.Module, X: torch.Tensor) -> list[str]:
    """Names of the prunable layers in the order in which a forward pass begins to run them."""
    order: dict[str, None] = {}
    modes = [(child, child.training) for child in module.modules()]
    with ExitStack() as hooks:
        for name in layer_names(module):
            hook = layer_of(module, name).register_forward_pre_hook(
                lambda *_, name=name: order.setdefault(name)
            )
            hooks.callback(hook.remove)
        module.eval()
        try:
            with torch.no_grad():
                module(X[:2].clone())
        finally:
            for child, mode in modes:
                child.training = mode
    return list(order)


def check_given(arguments: Mapping[str, Any], own: Any) -> dict[str, Any]:
    """Arguments of a call that replace an estimator's parameters.

    The ``method_params`` of an estimator are for its own method, and its ``compensation_params``
    for its own compensation. If a call gives another method or compensation, they become None.
    """
    given = dict(arguments)
    named = {"method", "compensation"} & set(given)
    if "method" in named and own.compensation == "auto":  # the method sets the compensation
        named.add("compensation")
    for name in named:
        given.setdefault(f"{name}_params", None)
    return given
