"""Seeds of random number generators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state


def drawn_seed(random_state: Any) -> int:
    """A seed from a random state of scikit-learn.

    Parameters
    ----------
    random_state : int, RandomState or None

    Examples
    --------
    >>> drawn_seed(0) == drawn_seed(0)
    True
    """
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
