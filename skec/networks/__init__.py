"""Prunable layers of torch modules: their order, inputs, outputs, losses and compaction."""

from .calls import call
from .chain import POOLING, HiddenLayer, NotAChain, alive_units, chain_of_layers, hidden_layers
from .compaction import compact, feature_mask, read_features
from .copies import copy_network
from .features import (
    FeatureModule,
    FeatureScaling,
    FeatureWeights,
    InputColumns,
    PeriodicEmbedding,
    fixed_part,
    input_dtype,
)
from .layers import (
    PRUNABLE,
    PrunableLayer,
    check_finite,
    filter_names,
    has_own_forward,
    layer_names,
    layer_of,
    prunable_layers,
    runs_in_order,
)
from .linear import LinearLayers, network_of, set_coefs
from .linear_chain import ChainPoint, Change, LinearChain
from .losses import (
    LOSSES_BY_ACTIVATION,
    LogProbabilityLoss,
    check_reduction,
    default_loss,
    distribution_of,
    is_elementwise,
    loss_arguments,
    loss_of_outputs,
    match_targets,
    sample_losses,
    summed_gradients,
    weighted_loss,
)
from .mlp import ACTIVATIONS, MLP
from .output_layer import output_layer, scale_outputs
from .outputs import SHAPE_SAMPLES, output_tensor, output_tensors, sensitivities
from .patches import (
    blocks_of_patches,
    extract_patches,
    is_convolution,
    padding_of,
    patches_bytes,
    weight_gradients,
)
from .recorder import Recorder, activation_bytes
from .stack import StackedLinear, stacked, stacked_linear, unstack
from .support import Support
from .units import Normalization, Units, units_of

__all__ = [
    "ACTIVATIONS",
    "LOSSES_BY_ACTIVATION",
    "MLP",
    "POOLING",
    "PRUNABLE",
    "SHAPE_SAMPLES",
    "ChainPoint",
    "Change",
    "FeatureModule",
    "FeatureScaling",
    "FeatureWeights",
    "HiddenLayer",
    "InputColumns",
    "LinearChain",
    "LinearLayers",
    "LogProbabilityLoss",
    "Normalization",
    "NotAChain",
    "PeriodicEmbedding",
    "PrunableLayer",
    "Recorder",
    "StackedLinear",
    "Support",
    "Units",
    "activation_bytes",
    "alive_units",
    "blocks_of_patches",
    "call",
    "chain_of_layers",
    "check_finite",
    "check_reduction",
    "compact",
    "copy_network",
    "default_loss",
    "distribution_of",
    "extract_patches",
    "feature_mask",
    "filter_names",
    "fixed_part",
    "has_own_forward",
    "hidden_layers",
    "input_dtype",
    "is_convolution",
    "is_elementwise",
    "layer_names",
    "layer_of",
    "loss_arguments",
    "loss_of_outputs",
    "match_targets",
    "network_of",
    "output_layer",
    "output_tensor",
    "output_tensors",
    "padding_of",
    "patches_bytes",
    "prunable_layers",
    "read_features",
    "runs_in_order",
    "sample_losses",
    "scale_outputs",
    "sensitivities",
    "set_coefs",
    "stacked",
    "stacked_linear",
    "summed_gradients",
    "units_of",
    "unstack",
    "weight_gradients",
    "weighted_loss",
]
