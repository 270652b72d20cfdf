"""Loaders of the benchmark data, and the diffusion–sorption equation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad, solve_bvp, trapezoid
from scipy.optimize import brentq
from scipy.stats import kstest

from skec import datasets


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKEC_DATA_HOME", str(tmp_path))
    return tmp_path


def test_the_folder_is_that_of_the_environment(home, monkeypatch):
    assert datasets.data_home() == home
    monkeypatch.delenv("SKEC_DATA_HOME")
    assert datasets.data_home().name == "skec_data"


def test_a_set_in_the_folder_is_read(home):
    (home / "uci").mkdir()
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    np.savez(home / "uci" / "yacht.npz", X=X, y=y)
    found = datasets.fetch_uci("yacht", download=False)
    np.testing.assert_array_equal(found[0], X)
    np.testing.assert_array_equal(found[1], y)


def test_mnist_in_the_folder_is_scaled(home):
    pixels, labels = np.full((2, 28, 28), 255, np.uint8), np.array([3, 4], np.uint8)
    np.savez(home / "mnist.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    X_train, y_train, X_test, _ = datasets.fetch_mnist(download=False)
    assert X_train.shape == X_test.shape == (2, 784)
    assert X_train.dtype == np.float32 and X_train.max() == 1.0
    assert y_train.tolist() == [3, 4] and y_train.dtype == np.int64


def test_what_is_not_there_says_where_it_should_be(home):
    with pytest.raises(FileNotFoundError, match="SKEC_DATA_HOME"):
        datasets.fetch_uci("energy", download=False)
    with pytest.raises(ValueError, match="'boston' is unknown"):
        datasets.fetch_uci("boston")


def test_a_download_is_kept(home, monkeypatch):
    calls = []

    def fetch_openml(**arguments):
        calls.append(arguments["data_id"])
        return np.ones((4, 2)), np.zeros(4)

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    for _ in range(2):
        X, y = datasets.fetch_uci("energy")
    assert len(calls) == 1
    assert X.shape == (4, 2) and y.shape == (4,)


def test_without_a_network_the_error_says_what_to_do(home, monkeypatch):
    def fetch_openml(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    with pytest.raises(FileNotFoundError, match="Put the file there"):
        datasets.fetch_mnist()


@pytest.mark.parametrize("name", datasets.UCI_NAMES)
def test_the_real_sets(name):
    try:
        X, y = datasets.fetch_uci(name, download=False)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the data folder")
    assert X.ndim == 2 and X.shape[0] == len(y) > 300
    assert np.isfinite(X).all() and np.isfinite(y).all()
    assert X.dtype == y.dtype == np.float64


@pytest.mark.parametrize("name", datasets.CLASSIFICATION_NAMES)
def test_the_real_sets_of_classes(name):
    try:
        X, y = datasets.fetch_classification(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the data folder")
    assert X.ndim == 2 and X.shape[0] == len(y) > 200
    assert X.dtype == np.float64 or name == "german"
    assert 2 <= len(np.unique(y)) <= 3


def test_a_set_of_classes_is_read_from_the_folder(home):
    (home / "classification").mkdir()
    X, y = np.array([["A1", "3"], ["A2", "4"]]), np.array(["1", "2"])
    np.savez(home / "classification" / "german.npz", X=X, y=y)
    for found, expected in zip(datasets.fetch_classification("german"), (X, y), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(FileNotFoundError, match=r"classification.*haberman"):
        datasets.fetch_classification("haberman")
    with pytest.raises(ValueError, match="'titanic' is unknown"):
        datasets.fetch_classification("titanic")


# The diffusion–sorption equation. Its constants once more, so that those of the module are tested.
DIFFUSION, POROSITY, BULK_DENSITY, FREUNDLICH, EXPONENT = 5e-4, 0.29, 2880, 3.5e-4, 0.874
SORBED = (1 - POROSITY) / POROSITY * BULK_DENSITY * FREUNDLICH


@pytest.fixture(scope="module")
def solution():
    return datasets._solve_diffusion_sorption(0.1, 512)


def heat_series(x, t, *, initial, diffusion, n_terms=400):
    """u_t = D u_xx with u(0) = 1 and u(1) = −D u_x(1): the steady line and sines that decay.

    A sine of frequency μ keeps the condition at x = 1 if tan μ = −D μ, which has one root in
    each (n π − π/2, n π).
    """
    mu = np.array(
        [
            brentq(lambda m: np.sin(m) + diffusion * m * np.cos(m), (n - 0.5) * np.pi, n * np.pi)
            for n in range(1, n_terms + 1)
        ]
    )
    # The sines are orthogonal; below, the integrals of sin μx, x sin μx and sin² μx over (0, 1).
    sine = (1 - np.cos(mu)) / mu
    moment = (np.sin(mu) - mu * np.cos(mu)) / mu**2
    square = 0.5 - np.sin(2 * mu) / (4 * mu)
    amplitude = ((initial - 1) * sine + moment / (1 + diffusion)) / square
    decay = np.exp(-diffusion * mu**2 * t[:, None])
    return 1 - x / (1 + diffusion) + (decay * np.sin(mu * x[:, None])) @ amplitude


@pytest.mark.parametrize(("diffusion", "duration"), [(DIFFUSION, 500.0), (0.5, 0.5)])
@pytest.mark.parametrize("initial", [0.0, 0.15])
def test_without_sorption_it_is_the_heat_equation(diffusion, duration, initial):
    """The large coefficient is for the outlet: with the small one u is nearly 0 there."""
    u = datasets._solve_diffusion_sorption(
        initial, 512, diffusion=diffusion, sorption=0.0, duration=duration
    )
    x, t = np.meshgrid(np.linspace(0, 1, 41), duration * np.linspace(0.02, 1, 15))
    x, t = x.ravel(), t.ravel()
    exact = heat_series(x, t, initial=initial, diffusion=diffusion)
    np.testing.assert_allclose(u(x, t), exact, rtol=0, atol=3e-5)
    assert exact[x == 1].max() > (0.15 if diffusion == 0.5 else 1e-4)


def test_the_front_is_the_self_similar_one():
    """Before it feels the outlet, u depends on η = x / √t alone: 2 D u'' = −η R(u) u'."""
    X, y = datasets.make_diffusion_sorption(20_000, noise=0, initial=0.1, random_state=0)

    def equation(eta, f):
        retardation = 1 + SORBED * EXPONENT * (f[0] + 1e-6) ** (EXPONENT - 1)
        return np.stack([f[1], -eta * retardation * f[1] / (2 * DIFFUSION)])

    mesh = np.linspace(0, 0.11, 200)
    guess = np.stack([0.1 + 0.9 * np.exp(-mesh / 0.02), -45 * np.exp(-mesh / 0.02)])
    similar = solve_bvp(
        equation, lambda a, b: np.array([a[0] - 1, b[0] - 0.1]), mesh, guess, tol=1e-6
    )
    assert similar.success
    x, t = X.T
    early = (x < 0.5) & (t > 5) & (t < 20)
    assert early.sum() > 200
    exact = similar.sol(np.minimum(x / np.sqrt(t), 0.11)[early])[0]
    assert np.ptp(exact) > 0.85
    np.testing.assert_allclose(y[early], exact, rtol=0, atol=1e-4)


def test_what_flows_in_and_out_is_what_is_stored(solution):
    """The equation integrated over x: stored mass changes by −D u_x(0) − u(1)."""
    grid = (1 - np.cos(np.linspace(0, np.pi, 4001))) / 2

    def mass(t):
        u = solution(grid, np.full_like(grid, t))
        return trapezoid(u + SORBED * (u + 1e-6) ** EXPONENT, grid)

    def flow(root):  # over dt = 2 √t d√t: the inflow starts as 1/√t
        at_inlet = solution(np.array([0.0, 1e-5]), np.full(2, root**2))
        outflow = solution(np.ones(1), np.full(1, root**2))[0]
        return 2 * root * (DIFFUSION * (at_inlet[0] - at_inlet[1]) / 1e-5 - outflow)

    # At first u is interpolated across a jump.
    for start, end, tolerance in [(0, 1, 1e-3), (1, 50, 2e-5), (50, 500, 2e-5)]:
        exchanged, _ = quad(flow, np.sqrt(start), np.sqrt(end), epsabs=1e-7, limit=200)
        stored = mass(end) - mass(start)
        assert stored > 0.03
        assert stored == pytest.approx(exchanged, rel=tolerance)


def test_the_error_falls_with_the_square_of_the_number_of_cells():
    x, t = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, 101), np.linspace(5, 500, 30)))
    coarse, middle, fine, exact = (
        datasets._solve_diffusion_sorption(0.1, n)(x, t) for n in (64, 128, 256, 1024)
    )
    errors = [np.abs(u - exact).max() for u in (coarse, middle, fine)]
    assert errors[-1] < 3e-4
    assert min(errors[0] / errors[1], errors[1] / errors[2]) > 3.3


def test_boundary_and_initial_values(solution):
    t = np.linspace(0.1, 500, 50)
    np.testing.assert_array_equal(solution(np.zeros(50), t), 1)
    # A one-sided difference of second order, wider than the cells at the outlet.
    h, late = 0.01, t[10:]
    last = [solution(np.full(late.shape, 1 - k * h), late) for k in range(3)]
    gradient = (3 * last[0] - 4 * last[1] + last[2]) / (2 * h)
    np.testing.assert_allclose(last[0], -DIFFUSION * gradient, rtol=0.01)
    x = np.linspace(0.05, 0.95, 30)
    np.testing.assert_allclose(solution(x, np.full(30, 1e-3)), 0.1, atol=1e-6)


@pytest.mark.parametrize("initial", [0, 0.2, 1])
def test_the_concentration_is_between_zero_and_that_at_the_inlet(initial):
    _, y = datasets.make_diffusion_sorption(5000, noise=0, initial=initial, n_cells=64)
    assert y.min() > -1e-8 and y.max() < 1 + 1e-8


def test_points_and_noise_are_uniform():
    X, y = datasets.make_diffusion_sorption(20_000, noise=0.005, n_cells=64, random_state=1)
    assert X.shape == (20_000, 2) and y.shape == (20_000,)
    assert X.dtype == y.dtype == np.float64
    _, clean = datasets.make_diffusion_sorption(20_000, noise=0, n_cells=64, random_state=1)
    added = (y - clean) / 0.005
    assert np.abs(added).max() <= 1 + 1e-12
    assert abs(added.mean()) < 4 / np.sqrt(3 * 20_000)
    assert added.var() == pytest.approx(1 / 3, rel=0.03)
    for draws in (X[:, 0], X[:, 1] / 500, (added + 1) / 2):
        assert kstest(draws, "uniform").pvalue > 0.01
    assert np.abs(np.corrcoef([X[:, 0], X[:, 1], added]) - np.eye(3)).max() < 0.03


def test_the_initial_value_is_drawn_from_zero_to_a_fifth():
    """Where the fronts have not come yet, u is what it was."""
    random, found = np.random.RandomState(0), []
    for _ in range(25):
        X, y = datasets.make_diffusion_sorption(2000, noise=0, n_cells=8, random_state=random)
        found.append(y[np.argmin((X[:, 0] - 0.5) ** 2 + (X[:, 1] / 100) ** 2)])
    assert min(found) >= 0 and max(found) <= 0.2 + 1e-8
    assert kstest(np.array(found) / 0.2, "uniform").pvalue > 0.01


def test_random_state_decides_everything():
    first, again, other = (
        datasets.make_diffusion_sorption(50, n_cells=16, random_state=seed) for seed in (3, 3, 4)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.isclose(a, c).all()
    # The points are those of the seed, whatever the solution.
    X, _ = datasets.make_diffusion_sorption(50, initial=1, noise=0, n_cells=8, random_state=3)
    np.testing.assert_array_equal(X, first[0])


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("n_samples", 0, r"int in the range \[1, inf\)"),
        ("n_samples", 10.0, r"int in the range \[1, inf\)"),
        ("noise", -0.1, r"float in the range \[0(.0)?, inf\)"),
        ("noise", float("nan"), r"float in the range \[0(.0)?, inf\)"),
        ("noise", float("inf"), r"float in the range \[0(.0)?, inf\)"),
        ("initial", 1.5, r"float in the range \[0(.0)?, 1(.0)?\] or None"),
        ("n_cells", 7, r"int in the range \[8, inf\)"),
        ("random_state", "zero", "instance of '.*RandomState'"),
    ],
)
def test_a_wrong_parameter_is_named(name, value, allowed):
    message = f"'{name}' parameter of make_diffusion_sorption .*{allowed}.* Got {value!r}"
    with pytest.raises(ValueError, match=message):
        datasets.make_diffusion_sorption(**{name: value})


def test_a_failed_integration_gives_no_data(monkeypatch):
    failed = SimpleNamespace(success=False, message="step size too small")
    monkeypatch.setattr(datasets, "solve_ivp", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="not solved: step size too small"):
        datasets.make_diffusion_sorption(5)
