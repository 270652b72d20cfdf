"""Settings of torch for small networks: one thread, no denormal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def small_network_mode() -> Iterator[None]:
    """Run on one thread and flush denormal numbers to zero.

    With one thread the order of every sum is fixed, so results do not depend on how many processes
    share the machine. A second thread hardly speeds up small matrices. Denormal numbers appear in
    the moments of an optimiser where gradients stay zero, that is, at dead units and masked
    weights. They make the optimiser's step several times slower.
    """
    threads = torch.get_num_threads()
    flushes = (torch.full((1,), 1e-38) * 1e-3).item() == 0.0
    if threads != 1:
        torch.set_num_threads(1)
    if not flushes:
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if not flushes:
            torch.set_flush_denormal(False)
        if threads != 1:
            torch.set_num_threads(threads)
