"""The outputs of a network as tensors, and their sensitivities to its units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

SHAPE_SAMPLES = 61  # samples that show the form of outputs; hardly a dimension of something else


def output_tensors(outputs: Any, n_samples: int) -> list[Tensor]:
    """Return the tensors that count as outputs of the network.

    Parameters
    ----------
    outputs : tensor, or tuple, list or dict of tensors
        The return value of the network, nested or not.
    n_samples : int

    Returns
    -------
    list of tensors of shape (n_samples, ...)
        The floating-point tensors with one row per sample, in their order. Anything else in a
        tuple, list or dict is ignored.

    Raises
    ------
    ValueError
        If there is no such tensor.

    Examples
    --------
    >>> outputs = {"mean": torch.zeros(4, 2), "variance": torch.ones(4), "state": None}
    >>> [tuple(tensor.shape) for tensor in output_tensors(outputs, 4)]
    [(4, 2), (4,)]
    """
    found = [
        tensor
        for tensor in _leaves(outputs)
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.ndim > 0
        and len(tensor) == n_samples
    ]
    if not found:
        raise ValueError(
            "The network must return a floating-point tensor with one row per sample, or a tuple, "
            f"list or dict with at least one such tensor; for {n_samples} samples it returned "
            f"{_described(outputs)}."
        )
    return found


def _leaves(outputs: Any) -> Iterator[Any]:
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, tuple | list):
        for part in outputs:
            yield from _leaves(part)
    else:
        yield outputs


def _described(outputs: Any) -> str:
    if isinstance(outputs, Tensor):
        return f"a {outputs.dtype} Tensor of shape {tuple(outputs.shape)}"
    return f"a {type(outputs).__name__}"


def output_tensor(outputs: Any, n_samples: int) -> Tensor:
    """Return the network's outputs as one tensor of shape (n_samples, n_outputs).

    Several tensors (see :func:`output_tensors`) are concatenated along the columns.
    """
    tensors = [tensor.reshape(n_samples, -1) for tensor in output_tensors(outputs, n_samples)]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)


def sensitivities(
    outputs: Tensor,
    pre_activations: Sequence[Tensor],
    seeds: Iterable[Tensor],
    out: Sequence[Tensor] | None = None,
    also: Callable[[Sequence[Tensor | None]], None] | None = None,
) -> list[Tensor]:
    """Squared output sensitivity of every unit, ``s_i(x) = g_i(x)ᵀ M(x) g_i(x)``.

    Parameters
    ----------
    outputs : tensor of shape (n_samples, n_outputs)
    pre_activations : sequence of tensors of shape (n_samples, n_out) or (n_samples, n_out, ...)
        The tensors with respect to which to differentiate. The gradients of a unit with many
        positions are summed over them, like the gradient of its bias.
    seeds : iterable of tensors of shape (n_samples, n_outputs)
        The rows of a square root of the output metric ``M``.
    out : sequence of tensors of shape (at least n_samples, n_out), default=None
        Memory for the result, such as that of an earlier batch.
    also : callable, default=None
        Called with the gradients of each seed; None for a tensor that does not affect the outputs.

    Returns
    -------
    list of tensors of shape (n_samples, n_out)
    """
    if out is None:
        out = [z.new_empty(z.shape[:2]) for z in pre_activations]
    totals = [memory[: len(outputs)] for memory in out]
    written = [False] * len(totals)
    for seed in seeds:
        grads = torch.autograd.grad(
            outputs, pre_activations, seed, retain_graph=True, allow_unused=True
        )
        if also is not None:
            also(grads)
        for i, grad in enumerate(grads):
            if grad is None:
                continue
            if grad.ndim > 2:
                grad = grad.flatten(2).sum(2)
            if written[i]:
                totals[i].addcmul_(grad, grad)
            else:
                torch.mul(grad, grad, out=totals[i])
                written[i] = True
    return [t if done else t.zero_() for t, done in zip(totals, written, strict=True)]
