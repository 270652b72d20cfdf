"""One pass over the calibration data: a network and samples in, statistics out."""

from .collect import CalibrationData, collect, match_targets
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
    "CalibrationData",
    "FisherMetric",
    "IdentityMetric",
    "OutputMetric",
    "PoissonMetric",
    "Probes",
    "bernoulli_metric",
    "collect",
    "fisher_metric",
    "identity_metric",
    "match_targets",
    "metric_for",
    "poisson_metric",
    "probes_for",
]
