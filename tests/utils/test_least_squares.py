import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skec.calibration.statistics import DenseFit, LayerBatch
from skec.utils import least_squares

seeds = st.integers(0, 10_000)


def solve(fit, kept, weight, damping):
    return least_squares.solve(*fit.equations(kept), weight[:, kept], damping)


def eliminate(fit, kept, weight, damping, metric):
    """Scores of all units; zero for those that are not kept."""
    scores = torch.zeros(len(kept), dtype=torch.float64)
    covariance, cross = fit.equations(kept)
    scores[kept] = least_squares.eliminate(covariance, cross, weight[:, kept], damping, metric)
    return scores


class Problem:
    """Units, targets that the weights explain in part, sample weights, and who is kept."""

    def __init__(self, n_units=6, n_next=3, n_samples=40, seed=0, n_gone=0, weighted=True):
        generator = np.random.default_rng(seed)
        self.h = generator.normal(size=(n_samples, n_units)) + 2.0
        self.W = generator.normal(size=(n_next, n_units))
        self.z = self.h @ self.W.T + generator.normal(size=(n_samples, n_next)) - 1.0
        self.w = generator.uniform(0.1, 2, n_samples) if weighted else np.ones(n_samples)
        self.root = generator.normal(size=(n_next, n_next))
        self.kept = np.ones(n_units, dtype=bool)
        self.kept[generator.permutation(n_units)[:n_gone]] = False

    @property
    def fit(self):
        fit = DenseFit(nn.Linear(self.h.shape[1], self.z.shape[1]))
        batch = {"inputs": self.h, "dense_pre_activations": self.z, "weights": self.w}
        fit.update(LayerBatch(**{name: torch.tensor(part) for name, part in batch.items()}))
        return fit

    def ridge(self, damping):
        variances = np.cov(self.h[:, self.kept].T, aweights=self.w, bias=True)
        return damping * np.trace(np.atleast_2d(variances)) / self.kept.sum()

    def lstsq(self, units, damping, targets=None, weights=None):
        """Weights, bias and squared error of the fit by some units, from the stacked system.

        The rows of the ridge are those of all units that are kept at first: one that goes is one
        whose weights become zero.
        """
        z = self.z if targets is None else targets
        W = self.W if weights is None else weights
        share = np.sqrt(self.w / self.w.sum())[:, None]
        design = share * np.column_stack([self.h[:, units], np.ones(len(self.h))])
        ridge = np.sqrt(self.ridge(damping))
        pull = ridge * np.eye(len(self.kept))[self.kept][:, units]
        A = np.vstack([design, np.column_stack([pull, np.zeros(len(pull))])])
        b = np.vstack([share * z, ridge * W.T[self.kept]])
        theta, *_ = np.linalg.lstsq(A, b)
        return theta[:-1].T, theta[-1], float(((A @ theta - b) ** 2).sum())

    def error(self, units, damping):
        """Squared error, seen through the root."""
        return self.lstsq(units, damping, self.z @ self.root, self.root.T @ self.W)[2]

    def eliminate(self, damping):
        scores = eliminate(
            self.fit,
            torch.tensor(self.kept),
            torch.tensor(self.W),
            damping,
            torch.tensor(self.root @ self.root.T),
        )
        return scores.numpy()


class TestSolve:
    @given(
        seed=seeds,
        n_units=st.integers(1, 8),
        n_gone=st.integers(0, 5),
        damping=st.sampled_from([1e-6, 1e-2, 1.0, 1e3]),
        weighted=st.booleans(),
    )
    def test_is_the_least_squares_solution_of_the_stacked_system(
        self, seed, n_units, n_gone, damping, weighted
    ):
        problem = Problem(n_units, seed=seed, n_gone=min(n_gone, n_units - 1), weighted=weighted)
        expected, _, _ = problem.lstsq(problem.kept, damping)
        found = solve(problem.fit, torch.tensor(problem.kept), torch.tensor(problem.W), damping)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)

    def test_without_a_residual_the_weights_are_found_whatever_the_damping(self):
        problem = Problem()
        problem.z = problem.h @ problem.W.T + 5.0
        kept = torch.ones(6, dtype=torch.bool)
        for damping in (1e-8, 1.0, 1e8):
            found = solve(problem.fit, kept, torch.tensor(problem.W), damping)
            np.testing.assert_allclose(found, problem.W, rtol=1e-6)

    def test_much_damping_holds_the_weights_where_they_are(self):
        problem = Problem(n_gone=2)
        kept = torch.tensor(problem.kept)
        found = solve(problem.fit, kept, torch.tensor(problem.W), 1e9)
        np.testing.assert_allclose(found, problem.W[:, problem.kept], rtol=1e-6)

    def test_units_that_do_not_vary_are_no_obstacle(self):
        problem = Problem(weighted=False)
        problem.h[:] = 3.0
        kept = torch.ones(6, dtype=torch.bool)
        found = solve(problem.fit, kept, torch.tensor(problem.W), 1e-2)
        np.testing.assert_allclose(found, problem.W)

    def test_leaves_the_statistics_alone(self):
        problem = Problem()
        fit = problem.fit
        before = fit.input_scatter.clone(), fit.target_scatter.clone()
        solve(fit, torch.tensor(problem.kept), torch.tensor(problem.W), 0.1)
        eliminate(
            fit,
            torch.tensor(problem.kept),
            torch.tensor(problem.W),
            0.1,
            torch.tensor(problem.root @ problem.root.T),
        )
        assert torch.equal(fit.input_scatter, before[0])
        assert torch.equal(fit.target_scatter, before[1])


def by_brute_force(problem, damping):
    """Fit without each unit in turn, remove the one that is missed least, and so on.

    Returns the units in the order of their going, and what each adds to the error.
    """
    units, order, costs = list(np.flatnonzero(problem.kept)), [], []
    error = problem.error(units, damping)
    while units:
        without = {j: problem.error([i for i in units if i != j], damping) for j in units}
        order.append(min(without, key=without.get))
        costs.append(without[order[-1]] - error)
        error = without[order[-1]]
        units.remove(order[-1])
    return order, np.array(costs)


def levels(costs):
    """The nearest numbers that do not fall, by their minimax formula."""
    n = len(costs)
    means = np.array(
        [[costs[j : k + 1].mean() if j <= k else np.nan for k in range(n)] for j in range(n)]
    )
    return np.array([np.nanmax([means[j, i:].min() for j in range(i + 1)]) for i in range(n)])


def order_of(scores, problem):
    return [j for j in np.argsort(scores, kind="stable") if problem.kept[j]]


class TestEliminate:
    @given(
        seed=seeds,
        n_units=st.integers(1, 7),
        n_gone=st.integers(0, 3),
        damping=st.sampled_from([1e-6, 1e-2, 1.0]),
        weighted=st.booleans(),
    )
    def test_order_and_costs_are_those_of_fits_from_scratch(
        self, seed, n_units, n_gone, damping, weighted
    ):
        n_gone = min(n_gone, n_units - 1)
        problem = Problem(n_units, n_samples=20, seed=seed, n_gone=n_gone, weighted=weighted)
        order, costs = by_brute_force(problem, damping)
        scores = problem.eliminate(damping)
        assert order_of(scores, problem) == order
        np.testing.assert_allclose(scores[order], levels(costs), rtol=1e-6)

    def test_costs_that_grow_sum_to_the_error_of_the_mean_alone(self):
        problem = Problem()
        _, costs = by_brute_force(problem, 1e-2)
        assert (np.diff(costs) > 0).all()
        total = problem.error([], 1e-2) - problem.error(list(range(6)), 1e-2)
        assert problem.eliminate(1e-2).sum() == pytest.approx(total, rel=1e-9)

    @pytest.mark.parametrize("n_units", [64, 65, 130])
    def test_of_many_units_each_is_the_one_missed_least_by_those_left(self, n_units):
        problem = Problem(n_units, n_samples=200, seed=1, n_gone=3)
        scores = problem.eliminate(1e-2)
        order = order_of(scores, problem)
        assert len(order) == n_units - 3
        ridge, costs = problem.ridge(1e-2), []
        covariance = np.cov(problem.h.T, problem.z.T, aweights=problem.w, bias=True)
        H = covariance[:n_units, :n_units] + ridge * np.eye(n_units)
        c = (covariance[:n_units, n_units:] + ridge * problem.W.T) @ problem.root
        for step in range(len(order)):
            left = np.sort(order[step:])
            theta = np.linalg.solve(H[np.ix_(left, left)], c[left])
            inverse = np.linalg.inv(H[np.ix_(left, left)])
            cost = (theta**2).sum(1) / inverse.diagonal()
            assert left[cost.argmin()] == order[step]
            costs.append(cost.min())
        np.testing.assert_allclose(scores[order], levels(np.array(costs)), rtol=1e-8)

    @given(seed=seeds, n_copies=st.integers(0, 3), constant=st.booleans())
    def test_scores_grow_strictly_in_the_order_of_going(self, seed, n_copies, constant):
        problem = Problem(8, seed=seed)
        for copy in range(n_copies):
            problem.h[:, copy + 1] = problem.h[:, 0]
        if constant:
            problem.h[:, 4:6], problem.W[:, 4:6] = 1.0, 0.0
        scores = problem.eliminate(1e-2)
        assert (scores > 0).all()
        assert len(set(scores)) == 8
        assert np.isfinite(scores).all()

    def test_of_two_units_that_say_the_same_one_stays(self):
        problem = Problem(4)
        problem.h[:, 1] = problem.h[:, 3]
        problem.W[:, :] = 0.0
        problem.W[:, 1] = problem.W[:, 3] = 1.0
        problem.z = problem.h @ problem.W.T
        scores = problem.eliminate(1e-8)
        assert max(scores[1], scores[3]) > 1e3 * min(scores[1], scores[3])
        assert np.argmax(scores) in (1, 3)

    def test_units_gone_already_score_zero_and_do_not_count(self):
        problem = Problem(7, n_gone=3)
        scores = problem.eliminate(1e-2)
        assert not scores[~problem.kept].any()
        problem.h[:, ~problem.kept] = np.random.default_rng(0).normal(size=(40, 3))
        problem.W[:, ~problem.kept] = 7.0
        np.testing.assert_allclose(problem.eliminate(1e-2), scores)

    def test_what_the_outputs_do_not_feel_costs_nothing(self):
        problem = Problem()
        problem.root[0] = 0.0  # of the first of the next units
        problem.W[1:, 2] = 0.0
        problem.z = problem.h @ problem.W.T
        scores = problem.eliminate(1e-6)
        assert np.argmin(scores) == 2
        assert scores[2] < 1e-12 * np.sort(scores)[1]
