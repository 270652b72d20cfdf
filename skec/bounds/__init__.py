"""How far a pruned network can be from the dense one."""

from .binomial import (
    certificate_sample_size,
    change_at_rate,
    check_enough,
    rate_p_value,
    rate_upper_bound,
)
from .certificates import ChangeCertificate, LossCertificate
from .certify import certify
from .changes import changes
from .gap import GapBound, LayerGap, a_posteriori_gap
from .inverse import ratio_for_gap, width_for_gap
from .max_change import MaxChange
from .means import bernstein_upper_bound, betting_upper_bound, t_upper_bound
from .norms import convolution_norm_bound, operator_norm, spectral_norm_bound
from .prior import LayerNorms, PriorGap, a_priori_gap
from .rows import equal_rows

__all__ = [
    "ChangeCertificate",
    "GapBound",
    "LayerGap",
    "LayerNorms",
    "LossCertificate",
    "MaxChange",
    "PriorGap",
    "a_posteriori_gap",
    "a_priori_gap",
    "bernstein_upper_bound",
    "betting_upper_bound",
    "certificate_sample_size",
    "certify",
    "change_at_rate",
    "changes",
    "check_enough",
    "convolution_norm_bound",
    "equal_rows",
    "operator_norm",
    "rate_p_value",
    "rate_upper_bound",
    "ratio_for_gap",
    "spectral_norm_bound",
    "t_upper_bound",
    "width_for_gap",
]
