"""Which inputs and hidden units of a network are still used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from .chain import alive_units, chain_of_layers
from .compaction import feature_mask
from .layers import layer_of
from .patches import is_convolution


@dataclass(frozen=True)
class Support:
    """The inputs and the units of the last hidden layer that a pruned network still uses.

    Attributes
    ----------
    order : tuple of str
        Names of the layers in the order in which they run.
    features : bool array of shape (n_columns,)
        Columns that the first layer reads with a weight that matters.
    hidden : bool array of shape (n_in,)
        Inputs of the last layer that it reads, and that depend on the network's inputs.
    hidden_units : int array of shape (n_used,)
        The numbers of these inputs in the network before it was made smaller.
    begins_with_convolution, ends_in_convolution : bool
    """

    order: tuple[str, ...]
    features: np.ndarray
    hidden: np.ndarray
    hidden_units: np.ndarray
    begins_with_convolution: bool
    ends_in_convolution: bool

    @classmethod
    def of(cls, module: nn.Module, order: Sequence[str]) -> Support:
        """The support of a network, given the order in which it runs its layers."""
        layers = {name: layer_of(module, name) for name in order}
        weights = {name: layer.weight.detach() for name, layer in layers.items()}
        masks = {n: (w != 0).reshape(*w.shape[:2], -1).any(2) for n, w in weights.items()}
        first, last = masks[order[0]], masks[order[-1]]
        chain = chain_of_layers(module, layers)
        alive = alive_units(masks, chain)
        used = (first & alive[order[0]][:, None] if chain else first).any(0)
        columns = feature_mask(module)
        if chain and len(columns) != len(used):  # a network that was made smaller
            used = torch.zeros_like(columns).masked_scatter_(columns, used)
        hidden = last.any(0)
        if chain and len(order) > 1:
            before = alive[order[-2]]  # several columns each where their maps were flattened
            hidden &= before.repeat_interleave(len(hidden) // len(before))
        hidden = hidden.cpu().numpy()
        return cls(
            tuple(order),
            used.cpu().numpy(),
            hidden,
            np.flatnonzero(hidden),
            is_convolution(layers[order[0]]),
            is_convolution(layers[order[-1]]),
        )

    def after_compaction(self, module: nn.Module) -> Support:
        """The support of the same network after it was made smaller; units keep their numbers."""
        return replace(Support.of(module, self.order), hidden_units=self.hidden_units)
