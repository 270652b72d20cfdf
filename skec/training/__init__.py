"""Training of small networks on data in memory."""

from .backprop import Chain
from .batches import StreamBatches, TensorBatches
from .environment import (
    seeded_global_generator,
    small_network_mode,
    threads_for,
    threads_for_steps,
)
from .losses import LossFunction, loss_with_gradient, sums_over_stacks
from .masks import MaskedWeights
from .optimizer import AdamW, fast_step, needs_closure, supports_fused
from .schedules import LR_SCHEDULES, LearningRate
from .trainer import Trainer, mean_loss

__all__ = [
    "LR_SCHEDULES",
    "AdamW",
    "Chain",
    "LearningRate",
    "LossFunction",
    "MaskedWeights",
    "StreamBatches",
    "TensorBatches",
    "Trainer",
    "fast_step",
    "loss_with_gradient",
    "mean_loss",
    "needs_closure",
    "seeded_global_generator",
    "small_network_mode",
    "sums_over_stacks",
    "supports_fused",
    "threads_for",
    "threads_for_steps",
]
