"""Masks that keep removed weights at exactly zero during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import layer_of
from ..utils import private


class MaskedWeights:
    """Weights with masks; removed weights stay exactly zero.

    A masked step first sets the gradients of removed weights to zero. After the step it sets the
    removed weights to zero again, because momentum and weight decay change them too.

    Parameters
    ----------
    masks : sequence of (tensor, bool tensor) pairs
        Weights and their masks. True marks a kept weight. The weights are changed in place.

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
        """The masked weights of a network, given masks by layer name."""
        return cls([(layer_of(module, name).weight, mask) for name, mask in masks.items()])

    @torch.no_grad()
    def apply(self) -> None:
        """Set removed weights to zero."""
        for parameter, removed in zip(self.parameters, self.removed, strict=True):
            parameter.masked_fill_(removed, 0.0)

    def count_revived(self) -> int:
        """Count the removed weights that are not zero."""
        pairs = zip(self.parameters, self.removed, strict=True)
        return sum(int(parameter[removed].count_nonzero()) for parameter, removed in pairs)

    def mask_gradients(self) -> None:
        """Set the gradients of removed weights to zero."""
        grads = [parameter.grad for parameter in self.parameters]
        present = [(g, k) for g, k in zip(grads, self.kept, strict=True) if g is not None]
        private.multiply([g for g, _ in present], [k for _, k in present])

    @torch.no_grad()
    def _multiply(self) -> None:
        """Set removed weights to zero, or to minus zero; several times faster than ``apply``."""
        private.multiply(self.parameters, self.kept)

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return an optimiser's ``step`` that keeps removed weights at zero.

        Parameters
        ----------
        step : callable
            Takes no argument, or a closure that evaluates the loss and its gradients.
        """

        def masked_step(closure: Callable[[], Any] | None = None) -> Any:
            if closure is None:
                self.mask_gradients()
                result = step()
            else:
                result = step(self.masking(closure))
            self._multiply()
            return result

        return masked_step

    def masking(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """Return an optimiser's closure that sets the gradients of removed weights to zero."""

        def masked_closure() -> Any:
            loss = closure()
            self.mask_gradients()
            return loss

        return masked_closure
