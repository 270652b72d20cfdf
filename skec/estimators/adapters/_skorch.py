"""Any skorch net."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from torch import Tensor, nn

from ...calibration import calibration_samples
from ...networks import compact, loss_of_outputs
from ...pruning import PruningResult
from ...training import MaskedWeights
from ...utils import Samples
from ._base import Adapter


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


class SkorchAdapter(Adapter):
    """A skorch net whose module has linear layers or convolutions."""

    @staticmethod
    def takes(estimator: Any) -> bool:
        return isinstance(estimator, NeuralNet)

    def check_is_fitted(self) -> None:
        self.estimator.check_is_fitted()

    def expected_network(self) -> nn.Module | None:
        module = self.estimator.module
        return module if isinstance(module, nn.Module) else None

    def features(self, owner: Any, X: Any, *, reset: bool) -> np.ndarray:
        dtypes = [np.float64, np.float32]
        checked: Any = validate_data(owner, X, reset=reset, dtype=dtypes, allow_nd=True)
        fitted = hasattr(self.estimator, "module_")
        dtype = next(self.network.parameters()).dtype if fitted else torch.float32
        return checked.astype(str(dtype).removeprefix("torch."))

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
        samples = calibration_samples(self.network, X, y, sample_weight)
        return samples.draw(n_samples, random_state)

    def install(
        self,
        result: PruningResult,
        dense: nn.Module,
        samples: Samples | None,
        pruning_ratio: float,
    ) -> None:
        self._replace_network(result.module, result.masks)

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
        net = self.estimator
        net.notify("on_train_begin", X=X, y=y)
        net.fit_loop(X, y, epochs=epochs, **fit_params)
        net.notify("on_train_end", X=X, y=y)

    def compact(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        module, masks = compact(self.network, masks)
        self._replace_network(module, masks)
        return masks

    def inputs_of(self, layer: str, X: Any) -> np.ndarray:
        recorded: list[Tensor] = []
        own = threading.get_ident()

        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if threading.get_ident() == own:  # another thread may run the network meanwhile
                recorded.append(inputs[0])

        hook = self.network.get_submodule(layer).register_forward_pre_hook(record)
        try:
            outputs = self.estimator.forward_iter(X)
            lengths = [_n_rows(batch) for batch in outputs]
        finally:
            hook.remove()
        rows = [h[:n].detach().cpu() for h, n in zip(recorded, lengths, strict=True)]
        return torch.cat(rows).numpy()


def _n_rows(outputs: Any) -> int:
    """Number of samples in the outputs of a network."""
    while not isinstance(outputs, torch.Tensor):
        outputs = next(iter(outputs.values() if isinstance(outputs, Mapping) else outputs))
    return len(outputs)
