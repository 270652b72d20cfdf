"""The columns of X that a network reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..networks import (
    alive_units,
    chain_of_layers,
    feature_mask,
    prunable_layers,
    read_features,
)


@torch.no_grad()
def read_columns(net: Any) -> np.ndarray:
    """Which columns of X can affect the outputs of an estimator.

    These are the columns that remain after ``compact``. A column that only dead units read is not
    among them. In a network whose layers do not form a sequence, all columns are.

    Parameters
    ----------
    net : PrunedMLP
        In layers without a mask in ``masks_``, the non-zero weights are kept.

    Returns
    -------
    bool array of shape (n_features,)
    """
    masks, layers = getattr(net, "masks_", {}), prunable_layers(net.network_)
    if not chain_of_layers(net.network_, layers):
        return feature_mask(net.network_, net.n_features_in_).cpu().numpy()
    kept = {name: masks.get(name, layer.weight != 0) for name, layer in layers.items()}
    kept = {name: mask.reshape(*mask.shape[:2], -1).any(2) for name, mask in kept.items()}
    first = next(iter(kept))
    read = (kept[first] & alive_units(kept, chain=True)[first][:, None]).any(0)
    return read_features(net.network_, read).cpu().numpy()
