"""Removed weights that stay exactly zero while a network is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import layer_of
from ..utils import private


class MaskedWeights:
    """Weights of which some stay exactly zero.

    This is the only place where removed weights are kept at zero in training: a step first loses
    the gradients of removed weights, and afterwards the weights themselves are set to zero again,
    because momentum and weight decay move them too.

    Parameters
    ----------
    masks : sequence of (tensor, bool tensor) pairs
        True marks a weight that is kept. The tensors are changed in place.

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(3))
    >>> masked = MaskedWeights([(weight, torch.tensor([True, False, True]))])
    >>> masked.apply()
    >>> weight.tolist()
    [1.0, 0.0, 1.0]
    """

    def __init__(self, masks: Sequence[tuple[Tensor, Tensor]]):
        self.parameters = [parameter for parameter, _ in masks]
        self.removed = [~mask for _, mask in masks]
        self.kept = [mask.to(parameter.dtype) for parameter, mask in masks]

    @classmethod
    def of(cls, module: nn.Module, masks: Mapping[str, Tensor]) -> MaskedWeights:
        """The masked weights of a network, by the names of its layers."""
        return cls([(layer_of(module, name).weight, mask) for name, mask in masks.items()])

    @torch.no_grad()
    def apply(self) -> None:
        """Set removed weights to zero, whatever they hold now."""
        for parameter, removed in zip(self.parameters, self.removed, strict=True):
            parameter.masked_fill_(removed, 0.0)

    def count_revived(self) -> int:
        """The number of removed weights that are not zero."""
        pairs = zip(self.parameters, self.removed, strict=True)
        return sum(int(parameter[removed].count_nonzero()) for parameter, removed in pairs)

    def mask_gradients(self) -> None:
        """Set the gradients of removed weights to zero."""
        grads = [parameter.grad for parameter in self.parameters]
        present = [(g, k) for g, k in zip(grads, self.kept, strict=True) if g is not None]
        if present:
            private.multiply([g for g, _ in present], [k for _, k in present])

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """An optimiser's ``step`` that keeps removed weights at zero.

        Parameters
        ----------
        step : callable
            Takes no argument, or a closure that computes the gradients again.
        """

        def masked_step(closure: Callable[[], Any] | None = None) -> Any:
            if closure is None:
                self.mask_gradients()
                result = step()
            else:
                result = step(self.masking(closure))
            self.apply()
            return result

        return masked_step

    def masking(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure that computes gradients, without those of removed weights."""

        def masked_closure() -> Any:
            loss = closure()
            self.mask_gradients()
            return loss

        return masked_closure
