"""The modules between the features and the first layer of an estimator's network."""

from __future__ import annotations

from inspect import isclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..networks import MLP, FeatureScaling

_MOST_EMBEDDED = 128  # features; an embedding of more takes most of the time
_FEW_ROWS = 16  # too few for a scale; partial_fit with fewer leaves the features as they are


def feature_arguments(net: Any) -> dict[str, bool]:
    """The arguments of :class:`skec.networks.MLP` for the modules that act on features."""
    n_features = getattr(net, "n_features_in_", None) or 0
    embedded = net.feature_embedding is not None
    if net.feature_embedding == "auto":
        embedded = n_features <= _MOST_EMBEDDED
    return {
        "feature_scaling": net.feature_scaling is not None,
        "feature_embedding": embedded,
        "feature_weights": net.feature_weights is not None,
    }


def scales_features(net: Any) -> bool:
    """Whether the network of an estimator scales its features."""
    own_network = isclass(net.module) and issubclass(net.module, MLP)
    return own_network and net.feature_scaling is not None


def describe_features(net: Any, X: Any, sample_weight: Any, *, part: bool) -> None:
    """Store the scale of the features.

    Parameters
    ----------
    net : PrunedMLP
        Gets ``_feature_scale``, the state of a fitted scaling, or None.
    X : array or CSR matrix of shape (n_samples, n_features)
    sample_weight : array of shape (n_samples,) or None
    part : bool
        Whether X may be a small part of the data.
    """
    net._feature_scale = None
    if scales_features(net) and X.shape[0] >= _FEW_ROWS * part:
        scaling = FeatureScaling(X.shape[1], dtype=getattr(torch, net.dtype))
        net._feature_scale = scaling.fit(X, sample_weight).state_dict()


def give_scaling(net: Any, network: nn.Module) -> None:
    """Give a network the stored scale of the features, unless it has one already."""
    known = getattr(net, "_feature_scale", None)
    for part in network.modules():
        if known is not None and isinstance(part, FeatureScaling) and not part.is_fitted:
            part.load_state_dict(known)


def some_rows(dataset: Any, n_rows: int = 1024) -> list[int]:
    """Indices at equal distances, for a look at a dataset of the user."""
    n_samples = len(dataset)
    return np.unique(np.linspace(0, n_samples - 1, min(n_rows, n_samples)).astype(int)).tolist()
