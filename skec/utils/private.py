"""Access to private parts of other libraries, where there is no public API.

Every function documents why it is needed. Tests run them against the oldest and the newest
supported version of each library.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import _check_sample_weight
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

__all__ = [
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "adam_state",
    "add_one",
    "check_sample_weight",
    "content_hash",
    "eager",
    "fused_adam",
    "has_hooks",
    "jvp",
    "multiply",
    "optimizer_has_hooks",
    "take_rows",
    "threads",
    "validate_parameters",
    "validate_params",
    "visual_block",
]

_FORWARD_MODE = threading.RLock()

# HasMethods, Interval, Options, StrOptions and validate_params: scikit-learn has no public way to
# declare the allowed values of parameters. With these, the error messages are those of
# scikit-learn.


def validate_parameters(estimator: Any) -> None:
    """Check an estimator's parameters against its ``_parameter_constraints``.

    scikit-learn calls this in every ``fit`` and has no public name for it.
    """
    BaseEstimator._validate_params(estimator)  # skorch's nets have another method of this name


class _ContentHasher(NumpyHasher):
    """Hashes tensors by their content; in a pickle they have an address."""

    def save(self, obj: Any) -> None:
        if isinstance(obj, Tensor):
            values = obj.detach().cpu().contiguous()
            as_bytes = values.flatten().view(torch.uint8).numpy() if values.numel() else b""
            obj = ("tensor", str(obj.dtype), tuple(obj.shape), obj.requires_grad, as_bytes)
        elif isinstance(obj, torch.Generator):
            obj = ("generator", obj.get_state())
        super().save(obj)


def content_hash(obj: Any) -> str:
    """A hash of the content of an object: its pickle, with arrays and tensors by their values.

    ``joblib.hash`` has no public way to treat tensors.
    """
    return str(_ContentHasher(hash_name="sha1").hash(obj))


def eager(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of an optimiser without the decorator that keeps it out of compiled code.

    The decorator imports torch's compiler in the first call. Without that import there is no
    compiled code, so it has nothing to do. torch has no public way to leave it out.
    """
    function = getattr(method, "__wrapped__", None)
    if function is None or "torch._dynamo" in sys.modules:
        return method
    return partial(function, getattr(method, "__self__"))  # noqa: B009


def check_sample_weight(sample_weight: Any, X: Any, **settings: Any) -> Any:
    """Check sample weights. The checks of scikit-learn's own estimators are not public."""
    return _check_sample_weight(sample_weight, X, **settings)


def take_rows(values: Any, rows: Any) -> Any:
    """Rows of an array, a sparse matrix or a frame. There is no public function for all three."""
    return _safe_indexing(values, rows)


def visual_block(kind: str, estimators: Any, names: Any) -> Any:
    """The box of an estimator in the HTML representation, with a given name.

    ``kind`` is ``"single"`` for one estimator and name, and ``"parallel"`` for lists of them.

    Only this class sets the name of a box. It moved in scikit-learn 1.7.
    """
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # scikit-learn 1.6; the installed version has no such module
        from sklearn.utils._estimator_html_repr import (  # pyright: ignore[reportMissingImports]
            _VisualBlock,
        )
    details = str(estimators) if kind == "single" else [str(one) for one in estimators]
    return _VisualBlock(kind, estimators, names=names, name_details=details)


def has_hooks(module: nn.Module) -> bool:
    """Whether a module has hooks. torch lists them in private attributes only."""
    return any(
        getattr(module, name)
        for name in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    )


def optimizer_has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser has hooks on its step. torch lists them in private attributes only."""
    return bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)


def fused_adam(decoupled: bool) -> Callable[..., None] | None:
    """The fused kernel of Adam or AdamW; None if this version of torch has none.

    The kernel has no public name. A step of ``torch.optim`` takes several times as long as the
    kernel alone.
    """
    return getattr(torch, "_fused_adamw_" if decoupled else "_fused_adam_", None)


def adam_state(optimizer: Any, group: dict[str, Any]) -> tuple[list[Tensor], ...]:
    """Parameters with gradients, the gradients, both moments and step counts of a group.

    Creates them before the first step. The only public way is a step of ``torch.optim``, which
    imports torch's compiler, and that takes more than a second.
    """
    params, grads, means, squares, largest, steps = ([] for _ in range(6))
    optimizer._init_group(group, params, grads, means, squares, largest, steps)
    return params, grads, means, squares, steps


def multiply(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> None:
    """Multiply tensors in place, all in one call. The public way takes one call per tensor."""
    if tensors:
        # torch exports it, its type stubs do not
        torch._foreach_mul_(list(tensors), list(factors))  # pyright: ignore[reportPrivateImportUsage]


def add_one(tensors: Sequence[Tensor]) -> None:
    """Add one to tensors in place, all in one call. The public way takes one call per tensor."""
    torch._foreach_add_(list(tensors), 1)  # pyright: ignore[reportPrivateImportUsage]


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
    """``torch.func.jvp``, in one thread at a time.

    torch keeps the levels of forward differentiation in the process, not in the thread. Two threads
    at a time fail, or get wrong numbers, and there is no public way to ask for separate levels.
    """
    with _FORWARD_MODE:
        return torch.func.jvp(function, primals, tangents)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let the calling thread compute with some threads; the settings of others are not changed.

    ``torch.set_num_threads`` changes the number for threads that start later, and MKL's for all.
    OpenMP and MKL have a number for each thread, which torch does not offer. A build of torch
    without MKL needs the first only.
    """
    same = torch.get_num_threads() == number  # OpenMP's number for this thread
    with nullcontext() if same else _openmp().limit(limits=number):
        set_local = _mkl_threads_of_this_thread()
        before = set_local(number)
        try:
            yield
        finally:
            set_local(before)


@cache
def _openmp() -> Any:
    """The OpenMP libraries of the process."""
    return ThreadpoolController().select(user_api="openmp")


@cache
def _mkl_threads_of_this_thread() -> Callable[[int], int]:
    """MKL's function that sets the number of threads of the calling thread."""
    folder = Path(torch.__file__).parent / "lib"
    for library in folder.glob("*torch_cpu*"):
        with suppress(OSError, AttributeError):
            return ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local
    return lambda number: 0
