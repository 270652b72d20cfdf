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
from .max_change import MaxChange
from .means import bernstein_upper_bound, betting_upper_bound, t_upper_bound
from .rows import equal_rows

__all__ = [
    "ChangeCertificate",
    "LossCertificate",
    "MaxChange",
    "bernstein_upper_bound",
    "betting_upper_bound",
    "certificate_sample_size",
    "certify",
    "change_at_rate",
    "changes",
    "check_enough",
    "equal_rows",
    "rate_p_value",
    "rate_upper_bound",
    "t_upper_bound",
]
