"""Training of small networks on data in memory."""

from .backprop import Chain, loss_with_gradient, weighted_loss
from .batches import TensorBatches, TensorDataset
from .environment import small_network_mode
from .optimizer import AdamW, MaskedWeights, fast_step, needs_closure, supports_fused
from .schedules import LR_SCHEDULES, LearningRate
from .trainer import Trainer, mean_loss

__all__ = [
    "LR_SCHEDULES",
    "AdamW",
    "Chain",
    "LearningRate",
    "MaskedWeights",
    "TensorBatches",
    "TensorDataset",
    "Trainer",
    "fast_step",
    "loss_with_gradient",
    "mean_loss",
    "needs_closure",
    "small_network_mode",
    "supports_fused",
    "weighted_loss",
]
