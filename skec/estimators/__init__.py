"""Estimators that train a network, prune it and fine-tune it."""

from .classifier import PrunedMLPClassifier
from .pruner import ECPruner
from .regressor import PrunedMLPRegressor

__all__ = ["ECPruner", "PrunedMLPClassifier", "PrunedMLPRegressor"]
