"""A torch module seen as layers that can be pruned."""

from .chain import POOLING, HiddenLayer, NotAChain, alive_units, chain_of_layers, hidden_layers
from .compaction import compact, feature_mask
from .layers import (
    PRUNABLE,
    Recorder,
    filter_names,
    output_tensor,
    output_tensors,
    prunable_layers,
    sensitivities,
)
from .linear import LinearLayers, network_of, set_coefs
from .mlp import ACTIVATIONS, MLP, InputColumns
from .patches import (
    blocks_of_patches,
    extract_patches,
    is_convolution,
    patches_bytes,
    weight_gradients,
)
from .units import Normalization, Units, units_of

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "POOLING",
    "PRUNABLE",
    "HiddenLayer",
    "InputColumns",
    "LinearLayers",
    "Normalization",
    "NotAChain",
    "Recorder",
    "Units",
    "alive_units",
    "blocks_of_patches",
    "chain_of_layers",
    "compact",
    "extract_patches",
    "feature_mask",
    "filter_names",
    "hidden_layers",
    "is_convolution",
    "network_of",
    "output_tensor",
    "output_tensors",
    "patches_bytes",
    "prunable_layers",
    "sensitivities",
    "set_coefs",
    "units_of",
    "weight_gradients",
]
