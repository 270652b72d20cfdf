"""The parameters, attributes and hooks of the estimators, with their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.utils import Bunch
from skorch.history import History
from torch import Tensor, nn

from ..allocation import Schedule, ScopeLike, UnitScopeLike
from ..bounds import MaxChange
from ..calibration import OutputMetric
from ..compensation import Compensation, UnitCompensation
from ..criteria import Criterion, UnitCriterion
from ..pruning import PruningReport
from ..utils import Samples
from .target_scale import TargetScale

MethodLike: TypeAlias = str | Criterion | UnitCriterion
CompensationLike: TypeAlias = str | Compensation | UnitCompensation
AnyScopeLike: TypeAlias = ScopeLike | UnitScopeLike
ScheduleLike: TypeAlias = str | Schedule
MetricLike: TypeAlias = str | OutputMetric
Params: TypeAlias = Mapping[str, Any] | None


class EstimatorAttributes:
    """The parameters, fitted attributes and hooks that the estimators share.

    The annotations are for type checkers. They have no values, so they create no attributes. What
    the history says of the training are properties, with the names of scikit-learn's perceptrons.
    """

    # -- parameters ---------------------------------------------------------------------------

    hidden_layer_sizes: int | Sequence[int]
    activation: str
    feature_scaling: Literal["auto", "robust"] | None
    feature_embedding: Literal["auto", "periodic"] | None
    feature_weights: Literal["auto", "learned"] | None
    dropout: float
    batch_norm: bool
    pruning_ratio: float | Literal["auto"]
    max_loss_increase: float
    max_change: MaxChange | None
    granularity: Literal["weight", "neuron"]
    method: MethodLike
    compensation: CompensationLike
    method_params: Params
    compensation_params: Params
    scope: AnyScopeLike
    n_steps: int | Literal["auto"]
    schedule: ScheduleLike
    output_metric: MetricLike
    n_probes: int | Literal["auto"] | None
    layers: Sequence[str] | None
    step_epochs: int
    prune_output_layer: bool
    calibration_samples: int | None
    calibration_batch_size: int
    refit_epochs: int | None
    refit_lr: float | None
    refit_weight_decay: float | Literal["auto"] | None
    refit_strategy: Literal["finetune", "rewind", "none"]
    optimizer: Any
    lr: float
    lr_schedule: str
    max_epochs: int
    batch_size: int | Literal["auto"]
    early_stopping: bool | Literal["auto"]
    validation_fraction: float
    n_iter_no_change: int | None
    tol: float
    dtype: Literal["float32", "float64"]
    random_state: Any
    warm_start: bool
    memory: Any
    module: Any
    criterion: Any
    iterator_train: Any
    iterator_valid: Any
    dataset: Any
    train_split: Any
    callbacks: Any
    predict_nonlinearity: Any
    verbose: int
    progress: bool
    n_threads: int
    device: Any
    compile: bool
    use_caching: Any
    torch_load_kwargs: Params

    # -- set by fit ---------------------------------------------------------------------------

    n_features_in_: int
    n_outputs_: int
    feature_names_in_: np.ndarray
    module_: Any
    criterion_: nn.Module
    optimizer_: Any
    callbacks_: list[tuple[str, Any]]
    history_: History | None
    dense_module_: nn.Module
    initial_module_: nn.Module
    masks_: dict[str, Tensor]
    sparsity_: float
    pruning_ratio_: float
    pruning_curve_: Bunch  # with an automatic ratio
    predicted_error_: float | None
    n_steps_: int
    pruning_report_: PruningReport
    n_parameters_: int
    n_nonzero_parameters_: int
    target_scale_: TargetScale
    dense_epochs_: int
    _calibration_: Samples | None
    _held_out_: Samples  # by the dense training, kept for an automatic ratio
    _valid_loss: float | None  # of the dense network
    _seed_: int

    # -- read from the history ----------------------------------------------------------------

    def _recorded(self, name: str) -> list[float]:
        """The values of the epochs that have this entry in the history."""
        if self.history_ is None:
            raise AttributeError(f"This {type(self).__name__} has no history; it is not fitted.")
        rows = [row for row in self.history_ if row.get("phase") != "prune"]
        return [float(row[name]) for row in rows if name in row]

    @property
    def n_iter_(self) -> int:
        """Number of epochs of training, in all phases since ``fit`` was called."""
        return len(self._recorded("train_loss"))

    @property
    def loss_curve_(self) -> list[float]:
        """Training loss of each of these epochs."""
        return self._recorded("train_loss")

    @property
    def loss_(self) -> float:
        """Training loss of the last epoch."""
        losses = self._recorded("train_loss")
        if not losses:
            raise AttributeError(f"This {type(self).__name__} was not trained and has no loss_.")
        return losses[-1]

    @property
    def best_loss_(self) -> float | None:
        """Lowest training loss of an epoch; None if data were held out."""
        return None if self.validation_scores_ else min(self._recorded("train_loss"), default=None)

    @property
    def validation_scores_(self) -> list[float] | None:
        """Negative validation loss of each epoch with held-out data; None without such epochs."""
        return [-loss for loss in self._recorded("valid_loss")] or None

    @property
    def best_validation_score_(self) -> float | None:
        """The highest of ``validation_scores_``; None if no data were held out."""
        return max(self.validation_scores_ or [], default=None)

    # -- hooks that subclasses define ---------------------------------------------------------

    def _check_parameters(self, **values: Any) -> Any:
        """Check all parameters, with some values replaced; returns the pruning settings."""
        raise NotImplementedError

    def _check_targets(self, y: Any, *, reset: bool, classes: Any = None) -> np.ndarray:
        """Check targets and return them as numbers; with ``reset``, describe them."""
        raise NotImplementedError

    def _describe_dataset(self, dataset: Any) -> None:
        """Set the numbers of features and outputs from a torch ``Dataset``."""
        raise NotImplementedError

    def _take_outputs(self, n_outputs: int) -> None:
        """Set the attributes of targets for a given network with this number of outputs."""
        raise NotImplementedError

    def _with_class_weight(self, y: np.ndarray, sample_weight: Any) -> Any:
        """Sample weights times class weights; None if there are neither."""
        return sample_weight

    def _encoded_targets(self, y: Any) -> np.ndarray:
        """Targets that were checked before, as the numbers that ``_check_targets`` returns."""
        raise NotImplementedError

    def _scale_of_targets(self, y: Any, sample_weight: Any, weight: float) -> Any:
        """The :class:`TargetScale` of targets; None if they are not numbers.

        ``weight`` is the sum of the sample weights, or the number of rows.
        """
        return None

    def _take_target_scale(self, scale: Any, *, reset: bool, part: bool = False) -> None:
        """Store a scale of targets; with ``part``, include it in that of earlier targets."""

    def _target_facts(self) -> dict[str, list[Any]]:
        """What a file of weights says of the targets, as lists of numbers and strings."""
        raise NotImplementedError

    def _take_target_facts(self, facts: dict[str, list[Any]]) -> None:
        """Set what a file says of the targets; raise if it is malformed."""
        raise NotImplementedError

    def _mismatch(self, shape: tuple[int, ...]) -> str:
        """Why outputs of this shape do not fit the targets; empty if they do."""
        return ""

    def _answers(self, outputs: Tensor, of: str) -> np.ndarray:
        """Predictions, probabilities or labels (as numbers) from outputs of the network."""
        raise NotImplementedError

    def _network_targets(self, y: Any) -> Tensor:
        """Targets in the form that the loss takes."""
        raise NotImplementedError

    def _noise_decay(self, dataset: Any) -> float:
        """The weight decay of ``refit_weight_decay="auto"``; zero keeps the optimiser's."""
        return 0.0

    def _stratification(self, y: Any) -> np.ndarray | None:
        """Class indices for a stratified split; None for a plain one."""
        return None
