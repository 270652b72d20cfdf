"""The input columns and hidden units that a pruned network uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from .chain import alive_units, chain_of_layers
from .compaction import read_features
from .layers import layer_of
from .patches import is_convolution


@dataclass(frozen=True)
class Support:
    """The input columns and the units of the last hidden layer that a pruned network uses.

    Attributes
    ----------
    order : tuple of str
        Names of the layers in the order in which they run.
    features : bool array of shape (n_columns,)
        Input columns that the first layer reads with a weight that can affect the outputs.
    hidden : bool array of shape (n_in,)
        Inputs of the last layer that it reads and that depend on the network's inputs.
    hidden_units : int array of shape (n_used,)
        The indices of these inputs in the network before compaction.
    begins_with_convolution, ends_in_convolution : bool
        Whether the first and the last layer are convolutions.
    """

    order: tuple[str, ...]
    features: np.ndarray
    hidden: np.ndarray
    hidden_units: np.ndarray
    begins_with_convolution: bool
    ends_in_convolution: bool

    @classmethod
    def of(cls, module: nn.Module, order: Sequence[str]) -> Support:
        """The support of a network; ``order`` names its layers in the order in which they run."""
        layers = {name: layer_of(module, name) for name in order}
        weights = {name: layer.weight.detach() for name, layer in layers.items()}
        masks = {n: (w != 0).reshape(*w.shape[:2], -1).any(2) for n, w in weights.items()}
        first, last = masks[order[0]], masks[order[-1]]
        chain = chain_of_layers(module, layers)
        alive = alive_units(masks, chain)
        used = (first & alive[order[0]][:, None] if chain else first).any(0)
        if chain:  # also in a compact network, and with an embedding
            used = read_features(module, used)
        hidden = last.any(0)
        if chain and len(order) > 1:
            before = alive[order[-2]]  # a flattened map has several columns per unit
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
        """The support after compaction; ``hidden_units`` keeps the indices from before it."""
        return replace(Support.of(module, self.order), hidden_units=self.hidden_units)
