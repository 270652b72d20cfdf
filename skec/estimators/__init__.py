"""Estimators that train a network, prune it and train it on."""

from ._classifier import PrunedMLPClassifier
from ._regressor import PrunedMLPRegressor

__all__ = ["PrunedMLPClassifier", "PrunedMLPRegressor"]
