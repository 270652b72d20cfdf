"""The state of torch that small networks want: one thread, no denormals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def small_network_mode() -> Iterator[None]:
    """Run on one thread and flush denormal numbers to zero.

    With one thread the order of every sum is fixed, so a result does not depend on how many
    processes share the machine. On small matrices a second thread gains next to nothing. Denormals
    appear in an optimiser's moments wherever a gradient has been zero for long, at dead units and
    masked weights, and slow the step several times.
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
