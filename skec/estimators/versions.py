"""The version of the library in pickles of its estimators."""

from __future__ import annotations

import inspect
import warnings
from importlib import import_module
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

_KEY = "_skec_version"


def version() -> str:
    """The version of the library."""
    return import_module(__name__.partition(".")[0]).__version__


def with_version(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an estimator for a pickle, with the version of the library."""
    return {**state, _KEY: version()}


def of_this_version(estimator: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an estimator in a pickle, for this version of the library.

    If another version has written it, there is a warning, and parameters that it does not have get
    their defaults.
    """
    state = dict(state)
    written_by = state.pop(_KEY, "unknown")
    if written_by == version():
        return state
    kind = type(estimator)
    warnings.warn(
        InconsistentVersionWarning(
            estimator_name=kind.__name__,
            current_sklearn_version=f"{version()} of skec",
            original_sklearn_version=f"{written_by} of skec",
        ),
        stacklevel=3,
    )
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return defaults | state
