"""Computes statistics of layers from a network and calibration samples."""

from .collect import Calibration, collect
from .data import calibration_samples, part_of_samples, samples_of_arrays
from .metric import (
    OUTPUT_METRICS,
    BernoulliMetric,
    FisherMetric,
    IdentityMetric,
    OutputMetric,
    PoissonMetric,
    Probes,
    bernoulli_metric,
    fisher_metric,
    identity_metric,
    metric_for,
    poisson_metric,
    probes_for,
)

__all__ = [
    "OUTPUT_METRICS",
    "BernoulliMetric",
    "Calibration",
    "FisherMetric",
    "IdentityMetric",
    "OutputMetric",
    "PoissonMetric",
    "Probes",
    "bernoulli_metric",
    "calibration_samples",
    "collect",
    "fisher_metric",
    "identity_metric",
    "metric_for",
    "part_of_samples",
    "poisson_metric",
    "probes_for",
    "samples_of_arrays",
]
