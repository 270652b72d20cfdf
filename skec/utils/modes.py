"""Modes of torch that a caller may have set, and that the library does not compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Compute with normal tensors in their own precision, whatever mode the caller has set.

    ``torch.inference_mode`` makes tensors that cannot be differentiated, now or later, and
    ``torch.autocast`` computes in a lower precision. Both modes belong to the calling thread.
    """
    with ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
