"""Data sets of the benchmarks: tables of the UCI repository, MNIST, a differential equation.

The data of the equation are computed. The other sets are read from the folder named by the
environment variable ``SKEC_DATA_HOME``, by default ``~/skec_data``. A set that is not in the folder
is downloaded with scikit-learn's ``fetch_openml`` and stored there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import eye
from sklearn.datasets import fetch_openml
from sklearn.utils import check_random_state, gen_batches

from .utils.private import Interval, validate_params

# The ids of the sets on OpenML; None if OpenML does not have a set in this form.
_OPENML_IDS = {
    "concrete": 44959,
    "energy": 44960,
    "kin8nm": 44980,
    "naval-propulsion-plant": 44969,
    "power-plant": None,
    "protein-tertiary-structure": 44963,
    "wine-quality-red": 44972,
    "yacht": None,
    "autompg": None,
    "bike": None,
    "kin40k": None,
    "pendulum": None,
    "stock": None,
}

UCI_NAMES = tuple(_OPENML_IDS)
CLASSIFICATION_NAMES = ("german", "haberman", "new-thyroid", "oil-spill", "phoneme")

# The constants of PDEBench's diffusion–sorption equation: the diffusion coefficient in m²/s; the
# sorption factor (1−φ)/φ ρ_s k with porosity φ, bulk density ρ_s and Freundlich's parameter k;
# Freundlich's exponent n_f; and the end time of the simulation in s.
_DIFFUSION = 5e-4
_SORPTION = (1 - 0.29) / 0.29 * 2880 * 3.5e-4
_EXPONENT = 0.874
_DURATION = 500.0


def data_home() -> Path:
    """The folder of the data sets.

    Returns
    -------
    pathlib.Path
        ``$SKEC_DATA_HOME`` if set, else ``~/skec_data``. It need not exist.
    """
    return Path(os.environ.get("SKEC_DATA_HOME") or Path.home() / "skec_data").expanduser()


def fetch_uci(name: str, *, download: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Load one of thirteen tables for regression, most of them from the UCI repository.

    Parameters
    ----------
    name : str
        One of ``skec.datasets.UCI_NAMES``.
    download : bool, default=True
        Whether to download the set if it is not in the data folder.

    Returns
    -------
    X : float64 array of shape (n_samples, n_features)
    y : float64 array of shape (n_samples,)

    Raises
    ------
    ValueError
        If ``name`` is unknown.
    FileNotFoundError
        If the set is not in the data folder and cannot be downloaded.
    """
    if name not in _OPENML_IDS:
        raise ValueError(f"name={name!r} is unknown. Choose one of {list(UCI_NAMES)}.")

    def fetch() -> dict[str, Any] | None:
        data_id = _OPENML_IDS[name]
        if data_id is None:
            return None
        X, y = fetch_openml(data_id=data_id, as_frame=False, return_X_y=True, parser="liac-arff")
        return {"X": X.astype(np.float64), "y": y.astype(np.float64)}

    arrays = _load(Path("uci") / f"{name}.npz", fetch if download else None)
    return arrays["X"].astype(np.float64), arrays["y"]


def fetch_classification(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one of five small tables for classification.

    They have 215 to 5,404 rows and two or three classes. They are not downloaded: the file
    ``classification/<name>.npz`` with the arrays ``X`` and ``y`` has to be in the data folder.

    Parameters
    ----------
    name : str
        One of ``skec.datasets.CLASSIFICATION_NAMES``.

    Returns
    -------
    X : float64 array of shape (n_samples, n_features)
        For german, an array of strings: 13 of its columns hold categories.
    y : array of shape (n_samples,)
        Class labels, as strings.

    Raises
    ------
    ValueError
        If ``name`` is unknown.
    FileNotFoundError
        If the set is not in the data folder.
    """
    if name not in CLASSIFICATION_NAMES:
        raise ValueError(f"name={name!r} is unknown. Choose one of {list(CLASSIFICATION_NAMES)}.")
    arrays = _load(Path("classification") / f"{name}.npz", None)
    return arrays["X"], arrays["y"]


def fetch_mnist(*, download: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load MNIST with its standard split.

    Parameters
    ----------
    download : bool, default=True
        Whether to download the set if it is not in the data folder.

    Returns
    -------
    X_train : float32 array of shape (60000, 784)
        Pixels in [0, 1].
    y_train : int64 array of shape (60000,)
    X_test : float32 array of shape (10000, 784)
    y_test : int64 array of shape (10000,)

    Raises
    ------
    FileNotFoundError
        If the set is not in the data folder and cannot be downloaded.
    """

    def fetch() -> dict[str, Any]:
        X, y = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
        X, y = X.astype(np.uint8).reshape(-1, 28, 28), y.astype(np.uint8)
        return {
            "x_train": X[:60000],
            "y_train": y[:60000],
            "x_test": X[60000:],
            "y_test": y[60000:],
        }

    arrays = _load(Path("mnist.npz"), fetch if download else None)
    pixels = [arrays[k].reshape(-1, 784).astype(np.float32) / 255 for k in ("x_train", "x_test")]
    labels = [arrays[k].astype(np.int64) for k in ("y_train", "y_test")]
    return pixels[0], labels[0], pixels[1], labels[1]


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "initial": [Interval(Real, 0, 1, closed="both"), None],
        "n_cells": [Interval(Integral, 8, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_diffusion_sorption(
    n_samples: int = 10_000,
    *,
    noise: float = 0.005,
    initial: float | None = None,
    n_cells: int = 512,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sample one solution u(x, t) of the diffusion–sorption equation, for regression.

    A solute diffuses into a porous medium that binds it. The solution has a front that is steep at
    early times, and a thin boundary layer at the outlet.

    Parameters
    ----------
    n_samples : int, default=10_000
        Number of points (x, t).
    noise : float, default=0.005
        Half width of the uniform noise on ``y``; 0 means no noise.
    initial : float, default=None
        The concentration u(x, 0) in [0, 1], the same for all x. None draws it from [0, 0.2].
    n_cells : int, default=512
        Number of finite volumes, at least 8. The numerical error of ``y`` is proportional to
        ``1 / n_cells**2``.
    random_state : int, RandomState or None, default=None
        Draws the initial concentration, the points and the noise. The draws do not depend on
        ``noise``, ``initial`` and ``n_cells``: the same integer with ``noise=0`` gives the
        targets of the same points without noise.

    Returns
    -------
    X : float64 array of shape (n_samples, 2)
        The position x in [0, 1) m and the time t in (0, 500] s, not scaled.
    y : float64 array of shape (n_samples,)
        The concentration u relative to the inlet, in [0, 1] plus noise.

    Raises
    ------
    ValueError, TypeError
        If a parameter has an invalid value or type.
    RuntimeError
        If the time integration fails.

    Notes
    -----
    The equation is that of PDEBench [1]_::

        ∂u/∂t = D/R(u) ∂²u/∂x²,    R(u) = 1 + (1 − φ)/φ ρ_s k n_f u^(n_f − 1),
        u(0, t) = 1,    u(1, t) = −D ∂u/∂x(1, t)

    with D = 5e-4, φ = 0.29, ρ_s = 2880, k = 3.5e-4 and n_f = 0.874. R is singular at u = 0, so it
    is evaluated at ``u + 1e-6``. The sign at the outlet is that of PDEBench's simulator. The paper
    prints u = D ∂u/∂x, with which the solution would grow as exp(t / (D R)), where D R is about
    2 ms.

    The points are drawn uniformly from [0, 1) × (0, 500], not from a grid. So no point is drawn
    twice, and training and test sets have no points in common. Each call samples one solution:
    split one call into training and test data, or pass the same ``initial`` to both calls.

    The equation is solved by finite volumes in x and a stiff solver with error control in t. The
    volumes are narrow at both ends, where the boundary layers are. With the default ``n_cells``
    and ``initial`` up to 0.2, the error of u is below 1e-4 for t of at least 5 s, and below 2e-3
    for t of at least 0.01 s, with the largest errors near the jump at x = 0 and t = 0.

    References
    ----------
    .. [1] M. Takamoto et al., "PDEBench: An Extensive Benchmark for Scientific Machine Learning",
       NeurIPS 2022, arXiv:2210.07182, section D.8.

    Examples
    --------
    >>> from skec.datasets import make_diffusion_sorption
    >>> X, y = make_diffusion_sorption(1000, random_state=0)
    >>> X.shape, y.shape
    ((1000, 2), (1000,))
    >>> _, clean = make_diffusion_sorption(1000, noise=0, random_state=0)
    >>> bool(abs(y - clean).max() <= 0.005)
    True
    """
    random = check_random_state(random_state)
    drawn = random.uniform(0, 0.2)
    x = random.uniform(size=n_samples)
    t = _DURATION * (1 - random.uniform(size=n_samples))  # in (0, duration]
    unit_noise = random.uniform(-1, 1, size=n_samples)
    u = _solve_diffusion_sorption(drawn if initial is None else initial, n_cells)
    return np.column_stack([x, t]), u(x, t) + noise * unit_noise


def _solve_diffusion_sorption(
    initial: float,
    n_cells: int,
    *,
    diffusion: float = _DIFFUSION,
    sorption: float = _SORPTION,
    duration: float = _DURATION,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The solution u(x, t) as a function of arrays x in [0, 1] and t in [0, duration]."""
    # Chebyshev points, which are dense at x=0 and x=1: the boundary layers have width zero at t=0.
    faces = (1 - np.cos(np.pi * np.arange(n_cells + 1) / n_cells)) / 2
    volumes = np.diff(faces)
    nodes = np.concatenate([[0], (faces[1:] + faces[:-1]) / 2, [1]])
    distances = np.diff(nodes)
    # u(1) = −D (u(1) − u_last) / distance, solved for u(1).
    outlet = diffusion / (diffusion + distances[-1])

    def with_boundaries(u: np.ndarray) -> np.ndarray:
        return np.concatenate([np.ones_like(u[:1]), u, outlet * u[-1:]])

    def slope(_: float, u: np.ndarray) -> np.ndarray:
        flux = diffusion * np.diff(with_boundaries(u)) / distances
        # Newton's iterates may be negative, where the power is not real.
        power = (np.maximum(u, 0) + 1e-6) ** (_EXPONENT - 1)
        return np.diff(flux) / volumes / (1 + sorption * _EXPONENT * power)

    solution = solve_ivp(
        slope,
        (0, duration),
        np.full(n_cells, float(initial)),
        method="BDF",
        rtol=1e-7,
        atol=1e-9,
        jac_sparsity=eye(n_cells, k=-1) + eye(n_cells) + eye(n_cells, k=1),
        dense_output=True,
    )
    if not solution.success:
        raise RuntimeError(
            f"The diffusion–sorption equation was not solved: {solution.message} Try another "
            f"n_cells."
        )
    return lambda x, t: _interpolate(nodes, lambda t: with_boundaries(solution.sol(t)), x, t)


def _interpolate(
    nodes: np.ndarray,
    values_at: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    t: np.ndarray,
) -> np.ndarray:
    """Interpolate linearly in x between the nodes; ``values_at`` gives their values at times t."""
    result = np.empty(len(x))
    order = np.argsort(t)  # so that a batch covers few of the solver's steps
    for batch in gen_batches(len(x), 1024):  # bounds the memory
        at = order[batch]
        values = values_at(t[at])
        right = np.clip(np.searchsorted(nodes, x[at]), 1, len(nodes) - 1)
        part = (x[at] - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
        columns = np.arange(len(at))
        result[at] = (1 - part) * values[right - 1, columns] + part * values[right, columns]
    return result


def _load(
    relative: Path, fetch: Callable[[], dict[str, Any] | None] | None
) -> dict[str, np.ndarray]:
    """Read arrays from the data folder. If they are not there, fetch and store them."""
    path = data_home() / relative
    if path.exists():
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    arrays, cause = None, None
    if fetch is not None:
        try:
            arrays = fetch()
        except OSError as error:  # no network
            cause = error
    if arrays is None:
        raise FileNotFoundError(
            f"{path} does not exist and the set could not be downloaded. Put the file there, or "
            f"set SKEC_DATA_HOME to the folder that holds {relative.as_posix()}."
        ) from cause
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return arrays
