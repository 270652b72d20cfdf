"""The state of torch for small networks: one thread, no denormals, seeded random numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ..networks import PRUNABLE, is_convolution
from ..utils import plain_tensors, private

_LARGE = 2**18  # weights of a linear layer that is worth several threads: 512 × 512
_LARGE_STEP = 2**24  # weights times rows of a training step that is
_GLOBAL_GENERATOR = threading.RLock()


@contextmanager
def small_network_mode() -> Iterator[None]:
    """Run on one thread, without denormal numbers, inference mode, ``no_grad`` and autocast.

    With one thread the order of every sum is fixed, so results do not depend on how many processes
    or threads share the machine. A second thread hardly speeds up small matrices. Denormal numbers
    appear in the moments of an optimiser where gradients stay zero, that is, at dead units and
    masked weights. They make the optimiser's step several times slower.

    All these settings belong to the calling thread: the number of threads of OpenMP and MKL, the
    mode of the processor, and the modes of torch (see :func:`skec.utils.plain_tensors`). Other
    threads, and threads that start meanwhile, keep theirs.
    """
    flushes = (torch.full((1,), 1e-38, dtype=torch.float32) * 1e-3).item() == 0.0
    with private.threads(1), plain_tensors(), torch.enable_grad():
        try:
            torch.set_flush_denormal(True)
            yield
        finally:
            torch.set_flush_denormal(flushes)


@contextmanager
def threads_for_steps(module: nn.Module, n_rows: int, n_threads: int) -> Iterator[None]:
    """Run large training steps on several threads.

    A step is large if the number of weights times that of rows is 2**24 or more: from there on, two
    threads take at most 0.75 of the time of one on an idle machine. Threads of torch wait for each
    other in busy loops. If other programs use the cores, several threads take many times as long
    as one. The sums of a step, and so the trained weights, depend on the number, by rounding.

    Parameters
    ----------
    module : torch.nn.Module
    n_rows : int
        Number of rows of a batch.
    n_threads : int
    """
    work = n_rows * sum(parameter.numel() for parameter in module.parameters())
    with private.threads(n_threads) if n_threads > 1 and work >= _LARGE_STEP else nullcontext():
        yield


@contextmanager
def threads_for(module: nn.Module) -> Iterator[None]:
    """Run in :func:`small_network_mode` if a network is small, and as the caller has set if not.

    A network is small if it has no convolution, and no linear layer with 2**18 weights or more.
    :func:`skec.prune`, and so :class:`skec.ECPruner`, follow this rule. The training of the
    estimators follows :func:`threads_for_steps`.

    Parameters
    ----------
    module : torch.nn.Module
    """
    layers = (part for part in module.modules() if isinstance(part, PRUNABLE))
    large = any(is_convolution(layer) or layer.weight.numel() >= _LARGE for layer in layers)
    with nullcontext() if large else small_network_mode():
        yield


@contextmanager
def seeded_global_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generator, and restore its state afterwards.

    For modules that draw from the global generator: ``torch.nn.Dropout``, and the initial weights
    of most modules. There is one such generator for all threads, so one thread at a time runs in
    this mode. Another thread that draws from the global generator meanwhile disturbs the numbers,
    and sees some of them again.

    Parameters
    ----------
    seed : int
    """
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
