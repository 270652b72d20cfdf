"""Any skorch net."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from ...calibration import samples_of_arrays
from ...networks import compact, is_elementwise, loss_of_outputs, runs_in_order
from ...pruning import PruningReport, PruningResult
from ...training import MaskedWeights, seeded_global_generator
from ...utils import Samples, drawn_seed
from ..interruption import check_interrupt, raised_by_callback
from ._base import Adapter

_FLOATS: Any = [np.float64, np.float32]
_LOSSES = (NeuralNet.get_loss, NeuralNetClassifier.get_loss)  # without changes of the shapes


def _network(net: NeuralNet) -> nn.Module:
    """The module of a net, without the wrapper of ``torch.compile``."""
    return getattr(net.module_, "_orig_mod", net.module_)


class KeepMasks(Callback):
    """skorch callback that keeps removed weights at zero while the net trains.

    Parameters
    ----------
    masks : dict of layer name to bool tensor
    """

    def __init__(self, masks: Mapping[str, Tensor]):
        self.masks = masks

    def _masked(self, net: Any) -> MaskedWeights:
        return MaskedWeights.of(_network(net), self.masks)

    def on_grad_computed(self, net: Any, named_parameters: Any, **kwargs: Any) -> None:
        """Set the gradients of removed weights to zero."""
        self._masked(net).mask_gradients()

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set removed weights to zero; momentum and weight decay may have changed them."""
        if training:
            self._masked(net).apply()


class BeforeTraining(Callback):
    """skorch callback that calls a function once, when the training begins.

    Parameters
    ----------
    function : callable or None
        Called without arguments.
    """

    def __init__(self, function: Callable[[], None] | None):
        self.function = function

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Call the function, and forget it: callbacks may store the net in a file."""
        function, self.function = self.function, None
        if function is not None:
            function()


class SkorchAdapter(Adapter):
    """A skorch net whose module has linear layers or convolutions."""

    @staticmethod
    def takes(estimator: Any) -> bool:
        return isinstance(estimator, NeuralNet)

    @property
    def predictor(self) -> Any:
        """The net; a ``DataLoader`` draws a seed from a generator of its own, not from torch's."""
        net = self.estimator
        if net.iterator_valid is not DataLoader or hasattr(net, "iterator_valid__generator"):
            return net
        return _with(net, iterator_valid__generator=torch.Generator())

    def check_is_fitted(self) -> None:
        self.estimator.check_is_fitted()

    def copied(self) -> SkorchAdapter:
        """A copy of the net; skorch's own way pickles the module, which may be a local class."""
        return type(self)(_with(self.estimator, **copy.deepcopy(vars(self.estimator))))

    def expected_network(self) -> nn.Module | None:
        module = self.estimator.module
        if not isinstance(module, nn.Module) or any(map(is_lazy, module.parameters())):
            return None
        return module

    @contextmanager
    def calling_before_training(self, check: Callable[[], None]) -> Iterator[None]:
        net, callbacks = self.estimator, self.estimator.callbacks
        if isinstance(callbacks, str):  # "disable"
            yield
            return
        before = ("before_training", BeforeTraining(check))
        net.callbacks = [*(callbacks or []), before]  # the last: others may change the module
        try:
            yield
        finally:
            net.callbacks = callbacks
            net.callbacks_ = [
                (name, callback)
                for name, callback in getattr(net, "callbacks_", [])
                if not isinstance(callback, BeforeTraining)
            ]

    def features(self, owner: Any, X: Any, *, reset: bool) -> np.ndarray:
        checked: Any = validate_data(owner, X, reset=reset, dtype=_FLOATS, allow_nd=True)
        return checked.astype(self._dtype)

    def converted(self, X: Any) -> np.ndarray:
        checked: Any = check_array(X, dtype=_FLOATS, allow_nd=True)
        return checked.astype(self._dtype)

    @property
    def compares_as_torch(self) -> bool:
        kind = type(self.estimator)
        return kind.get_loss in _LOSSES and all(
            getattr(kind, name) is getattr(NeuralNet, name)
            for name in ("infer", "train_step", "train_step_single")
        )

    @property
    def _dtype(self) -> str:
        """The dtype of the network, which is float32 if there is none yet."""
        fitted = hasattr(self.estimator, "module_")
        dtype = next(self.network.parameters()).dtype if fitted else torch.float32
        return str(dtype).removeprefix("torch.")

    def fit(self, X: Any, y: Any, *, random_state: Any = None, **fit_params: Any) -> None:
        with _seeded(random_state):
            super().fit(X, self._targets(y), random_state=random_state, **fit_params)

    def _targets(self, y: Any) -> Any:
        """Arrays as targets, floats in the dtype of the network, as for X."""
        if isinstance(y, list | tuple) or hasattr(y, "to_numpy"):
            y = np.asarray(y)
        is_float = isinstance(y, np.ndarray) and y.dtype.kind == "f"
        return y.astype(self._dtype, copy=False) if is_float else y

    @property
    def network(self) -> nn.Module:
        return _network(self.estimator)

    @property
    def loss(self) -> nn.Module:
        classifier = isinstance(self.estimator, NeuralNetClassifier)
        return loss_of_outputs(self.estimator.criterion_, classifier)

    def calibration_data(
        self, X: Any, y: Any, sample_weight: Any, *, n_samples: int | None, random_state: Any
    ) -> Samples:
        samples = samples_of_arrays(self.network, X, y, sample_weight)
        return samples.draw(n_samples, random_state)

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        self._replace_network(result.module, result.masks)

    def report(
        self, result: PruningResult, dense: nn.Module, samples: Samples, batch_size: int
    ) -> PruningReport:
        few, loss = samples.take(slice(2)), self.loss
        with torch.no_grad():
            outputs = result.module.eval()(few.X.clone())
        if few.y is None or not self.compares_as_torch or not isinstance(outputs, Tensor):
            return result.report
        elementwise = is_elementwise(loss) and outputs.numel() == few.y.numel()
        of_classes = not is_elementwise(loss) and (outputs.ndim, few.y.ndim) == (2, 1)
        if not (elementwise or of_classes):
            return result.report
        return super().report(result, dense, samples, batch_size)

    def _replace_network(self, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Replace the module of the net, and create a new optimiser."""
        net = self.estimator
        net.module_ = net.torch_compile(module.to(net.device), name="module")
        net.initialize_optimizer()
        kept = [(name, cb) for name, cb in net.callbacks_ if not isinstance(cb, KeepMasks)]
        net.callbacks_ = [*kept, ("keep_masks", KeepMasks(masks))]

    def refit(
        self,
        X: Any,
        y: Any,
        masks: Mapping[str, Tensor],
        *,
        epochs: int,
        random_state: Any = None,
        **fit_params: Any,
    ) -> None:
        net, y = self.estimator, self._targets(y)
        with _seeded(random_state):
            net.notify("on_train_begin", X=X, y=y)
            try:
                net.fit_loop(X, y, epochs=epochs, **fit_params)
            except KeyboardInterrupt as stop:
                MaskedWeights.of(self.network, masks).apply()
                if not raised_by_callback(stop):
                    check_interrupt(net, "refit", len(net.history))
            net.notify("on_train_end", X=X, y=y)

    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        module, masks = compact(self.network, masks)
        self._replace_network(module, masks)
        return masks

    def inputs_of(self, layer: str, X: Any) -> np.ndarray:
        """The inputs of a layer; the net is not changed, and other threads may use it."""
        network = self.network
        if runs_in_order(network) and network[-1] is network.get_submodule(layer):
            before = nn.Sequential(*list(network)[:-1])  # an activation may occur twice
            batches = _with(self.predictor, module_=before).forward_iter(X)
            return torch.cat([batch.cpu() for batch in batches]).numpy()
        replica, recorded = _replica(network), []
        replica.get_submodule(layer).register_forward_pre_hook(
            lambda _, inputs: recorded.append(inputs[0])
        )
        lengths = [
            _n_rows(batch) for batch in _with(self.predictor, module_=replica).forward_iter(X)
        ]
        if len(recorded) != len(lengths) or any(h.ndim != 2 for h in recorded):
            raise ValueError(
                f"output='hidden' needs a network whose last layer runs once, on vectors; layer "
                f"{layer!r} ran {len(recorded)} times in {len(lengths)} forward passes, on inputs "
                f"of shape {tuple(recorded[0].shape)}. Use output='output'."
            )
        rows = [h[:n].detach().cpu() for h, n in zip(recorded, lengths, strict=True)]
        return torch.cat(rows).numpy()


def _replica(network: nn.Module) -> nn.Module:
    """A copy of a network with the same tensors."""
    tensors = [*network.parameters(), *network.buffers()]
    tensors += [v for m in network.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _with(net: Any, **attributes: Any) -> Any:
    """A net with the same attributes but these."""
    other = object.__new__(type(net))
    vars(other).update(vars(net) | attributes)
    return other


def _seeded(random_state: Any) -> AbstractContextManager[None]:
    """A state in which the modules of torch draw from a seeded generator, unless it is None."""
    if random_state is None:
        return nullcontext()
    return seeded_global_generator(drawn_seed(random_state))


def _n_rows(outputs: Any) -> int:
    """Number of samples in the outputs of a network."""
    while not isinstance(outputs, torch.Tensor):
        outputs = next(iter(outputs.values() if isinstance(outputs, Mapping) else outputs))
    return len(outputs)
