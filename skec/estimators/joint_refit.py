"""Fine-tuning of several pruned networks as one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..networks import stacked, unstack
from ..training import Chain, sums_over_stacks, supports_fused
from .fast_path import overridden
from .phases import n_refit_epochs, refit_holds_out

MOST_NETWORKS = 8  # in a stack; with more of them, the weights leave the cache


def can_be_stacked(net: Any) -> bool:
    """Whether copies of an estimator, pruned in different ways, can be fine-tuned as one.

    The refit must take the same steps for all of them, and nothing may look at single networks.
    """
    return (
        net.refit_strategy == "finetune"
        and net.n_iter_no_change is None
        and net.dataset == "auto"
        and not (net.callbacks or net.compile or overridden(net) or refit_holds_out(net))
        and net._data.are_sliced("iterator_train")
        and supports_fused(net.optimizer)
        and sums_over_stacks(net.criterion_)
        and Chain.of(copy.deepcopy(net.network_)) is not None
    )


def refit_together(
    nets: Sequence[Any], data: tuple[Any, Any, Any], fit_params: Mapping[str, Any]
) -> None:
    """Fine-tune estimators whose networks were pruned from the same dense network.

    Each ends with the weights of its own ``refit``, up to rounding. If possible, the networks are
    trained as one, see :func:`skec.networks.stacked`.

    Parameters
    ----------
    nets : sequence of PrunedMLP
        Copies of one fitted estimator, pruned in different ways. They are fine-tuned in place.
    data : tuple
        X, y and the sample weights.
    fit_params : mapping
        Further arguments of ``refit``.
    """
    together = len(nets) > 1 and not fit_params and can_be_stacked(nets[0])
    if not (together and _refit_stack(nets, *data)):
        for net in nets:
            net.refit(*data, **fit_params)


def _refit_stack(nets: Sequence[Any], X: Any, y: Any, sample_weight: Any) -> bool:
    """Fine-tune several networks as one; False, and no change, if that is not possible.

    A pruned network may have biases that another one has not, and its loss may diverge.
    """
    networks = [net.network_ for net in nets]
    first, *others = [[name for name, _ in network.named_parameters()] for network in networks]
    if any(names != first for names in others):
        return False
    stack = copy.deepcopy(nets[0])
    stack._set_network(stacked(networks))
    names, n_before = list(stack.masks_), len(stack.history)
    stack.masks_ = {name: torch.stack([net.masks_[name] for net in nets]) for name in names}
    stack.refit(X, y, sample_weight)
    if len(stack.history) - n_before < n_refit_epochs(stack, stack.refit_epochs):
        return False
    unstack(stack.network_, networks)
    return True
