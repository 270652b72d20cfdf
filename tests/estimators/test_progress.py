"""What a fit shows while it runs: the table of verbose, and progress bars."""

import copy
import inspect
import io
import pickle
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, PrintLog, ProgressBar
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

import skec
from skec.allocation import Schedule
from skec.networks import MLP
from skec.utils import progress_bar

PHASES = [("dense", 4, 4), ("prune", 3, 3), ("refit", 2, 2)]


def bars(text):
    """Description, count and total of the last state of each bar, in the order of their ends."""
    lines = [line.split("\r")[-1] for line in text.split("\n") if "|" in line]
    found = [re.match(r"(\w+): +\d+%\|.*\| (\d+)/(\d+) \[", line).groups() for line in lines]
    return [(name, int(count), int(total)) for name, count, total in found]


@pytest.fixture(autouse=True)
def no_bar_is_left_open():
    yield
    assert len(getattr(tqdm, "_instances", ())) == 0


# -- the table ------------------------------------------------------------------------------------


def table(text):
    """The rows of a table as dicts; all columns must start and end at the same places."""
    lines = text.rstrip("\n").split("\n")
    places = [match.span() for match in re.finditer("-+", lines[1])]
    assert {len(line) for line in lines} == {places[-1][1]}
    for line in lines:
        assert not line[: places[0][0]].strip()
        for (_, end), (start, _) in pairwise(places):
            assert line[end:start] == "  "
    rows = [[line[start:end] for start, end in places] for line in lines]
    assert all(cell == cell.strip().rjust(len(cell)) for row in rows for cell in row)
    header, _, *rows = [[cell.strip() for cell in row] for row in rows]
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_all_phases_are_rows_of_one_table(case, capsys, early_stopping):
    estimator = case.fit(verbose=1, early_stopping=early_stopping)
    rows = table(capsys.readouterr().out)
    assert list(rows[0]) == ["epoch", "phase", "train_loss", "valid_loss", "sparsity", "dur"]
    assert [row["epoch"] for row in rows] == list("1234567")
    assert [row["phase"] for row in rows] == estimator.history[:, "phase"]
    for row, recorded in zip(rows, estimator.history, strict=True):
        for name in ("train_loss", "valid_loss", "sparsity", "dur"):
            value = recorded.get(name)
            assert row[name] == ("-" if value is None else f"{value:.4f}")
    assert float(rows[4]["sparsity"]) == pytest.approx(0.5, abs=0.01)


@pytest.mark.filterwarnings("ignore:The network is not better than a constant")
def test_numbers_of_any_size_keep_their_column(regression, capsys):
    regression.y = 1e6 * regression.y
    regression.fit(verbose=1, normalize_y=False)
    rows = table(capsys.readouterr().out)
    assert float(rows[0]["train_loss"]) > 1e12


class Recording(Callback):
    """Records an event, a long name and a text; the text from the third epoch on."""

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        net.history.record("event_even", epoch % 2 == 0)
        net.history.record("a_name_longer_than_a_number", epoch)
        if epoch > 2:
            net.history.record("text", "some")


def test_callbacks_add_columns(case, capsys):
    scoring = "r2" if case.y.dtype.kind == "f" else "accuracy"
    callbacks = [EpochScoring(scoring, name="score", on_train=True), Recording()]
    case.fit(verbose=1, callbacks=callbacks)
    lines = capsys.readouterr().out.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if "epoch" in line]
    assert starts == [0, 4]  # two rows, and again with the new column
    first, second = table("".join(lines[:4])), table("".join(lines[4:]))
    fixed = ["epoch", "phase", "train_loss", "valid_loss", "sparsity"]
    assert list(first[0]) == [*fixed, "a_name_longer_than_a_number", "score", "even", "dur"]
    assert list(second[0]) == [
        *fixed,
        "a_name_longer_than_a_number",
        "score",
        "text",
        "even",
        "dur",
    ]
    assert [row["even"] for row in first + second] == list("-+-+-+-")
    assert [row["text"] for row in second] == ["some", "some", "-", "some", "some"]


def test_each_fit_has_a_header_and_later_calls_go_on(case, capsys):
    estimator = case.make(verbose=1, warm_start=True)
    for _ in range(2):
        estimator.fit(case.X, case.y)
        assert len(table(capsys.readouterr().out)) == 7
    estimator.refit(case.X, case.y)
    estimator.prune()
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines()] == ["refit", "refit", "prune"]


def test_the_table_has_parameters_and_can_be_replaced(case, capsys):
    lines = []
    case.fit(callbacks__print_log__sink=lines.append, callbacks__print_log__floatfmt=".2f")
    assert re.fullmatch(r"\d\.\d\d", table("\n".join(lines))[0]["train_loss"])
    case.fit(verbose=1, callbacks__print_log__keys_ignored=["dur", "valid_loss"])
    assert list(table(capsys.readouterr().out)[0]) == ["epoch", "phase", "train_loss", "sparsity"]
    case.fit(verbose=1, callbacks__print_log=None)
    assert capsys.readouterr().out == ""
    case.fit(verbose=1, callbacks__print_log=PrintLog(tablefmt="github"))
    assert "| " in capsys.readouterr().out
    lines.clear()
    case.fit(callbacks=[PrintLog(sink=lines.append)])
    assert len(lines) == 2 + 6  # all epochs, without the pruning
    assert capsys.readouterr().out == ""


def test_the_pruning_of_a_pruner_is_a_row(regression, capsys):
    skec.ECPruner(regression.make(verbose=1)).fit(regression.X, regression.y)
    assert [row["phase"] for row in table(capsys.readouterr().out)] == ["dense"] * 4 + ["prune"]


# -- the bars -------------------------------------------------------------------------------------


def test_there_is_a_bar_for_each_phase(case, capsys):
    case.fit(progress=True, n_steps=3, early_stopping="auto")
    shown = capsys.readouterr()
    assert bars(shown.err) == PHASES
    assert shown.out == ""
    ends = [line.split("\r")[-1] for line in shown.err.rstrip("\n").split("\n")]
    assert "train_loss=" in ends[0] and "valid_loss=" in ends[0]
    assert "train_loss=" in ends[2] and "valid_loss=" not in ends[2]
    assert all(re.search(r"\[\d\d:\d\d<\d\d:\d\d, ", end) for end in ends)


def test_the_default_is_silent(case, capsys):
    case.fit(n_steps=3)
    assert capsys.readouterr() == ("", "")


def test_later_calls_have_bars(case, capsys):
    estimator = case.fit().set_params(progress=True)
    estimator.partial_fit(case.X, case.y, epochs=3)
    estimator.refit(case.X, case.y, epochs=5).refit(case.X, case.y, epochs=0)
    estimator.prune(n_steps=2)
    assert bars(capsys.readouterr().err) == [("refit", 3, 3), ("refit", 5, 5), ("prune", 2, 2)]


def test_training_between_the_steps_has_bars_in_that_of_the_steps(case, capsys):
    case.fit(progress=True, n_steps=3, step_epochs=1)
    one = ("refit", 1, 1)
    assert bars(capsys.readouterr().err) == [
        ("dense", 4, 4), one, one, ("prune", 3, 3), ("refit", 2, 2),
    ]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Notebook(io.StringIO):
    __module__ = "ipykernel.iostream"


@pytest.mark.parametrize("live", [Terminal, Notebook])
def test_a_log_file_gets_few_states_and_a_screen_many(case, live, capsys, monkeypatch):
    settings = {"max_epochs": 300, "progress": True, "verbose": 1}
    case.fit(**settings)
    log = capsys.readouterr()
    assert 2 * 3 <= log.err.count("\r") <= 3 * 3 + 2
    monkeypatch.setattr("sys.stderr", live())
    monkeypatch.setattr("skec.utils.progress._SECONDS", 0.0)
    case.fit(**settings)
    assert sys.stderr.getvalue().count("\r") > 300
    above = table(capsys.readouterr().out)  # the lines are whole
    assert [row["train_loss"] for row in above] == [row["train_loss"] for row in table(log.out)]


def test_there_need_not_be_a_standard_error(case, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", None)
    case.fit(progress=True, verbose=1)
    assert len(table(capsys.readouterr().out)) == 7


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "every_batch"])
def test_the_training_is_the_same(case, slow, every_batch, assert_same_weights):
    settings = {
        "callbacks": [every_batch] * slow,
        "early_stopping": True,
        "dropout": 0.2,
        "n_steps": 3,
        "step_epochs": 1,
    }
    plain, shown = case.fit(**settings), case.fit(progress=True, **settings)
    assert_same_weights(plain.module_, shown.module_)
    assert_same_weights(plain.dense_module_, shown.dense_module_)
    names = "phase", "train_loss", "sparsity"
    for one, other in zip(plain.history, shown.history, strict=True):
        assert [one.get(name) for name in names] == [other.get(name) for name in names]
        assert len(one["batches"]) == len(other["batches"])
        assert slow or len(other["batches"]) <= 1  # the fast path records an epoch as one batch


class Copies(Callback):
    """Copies the estimator in all ways while a bar is open."""

    def on_epoch_end(self, net, **kwargs):
        self.copies_ = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), clone(net)]


def test_an_estimator_can_be_copied_at_any_time(case):
    copies = Copies()
    estimator = case.fit(progress=True, callbacks=[copies])
    for one in [*copies.copies_, pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)]:
        assert one.progress is True
        one.set_params(callbacks=None).fit(case.X, case.y)
        np.testing.assert_array_equal(case.outputs(one), case.outputs(estimator))


def test_prune_of_the_library_has_a_bar(capsys):
    X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    skec.prune(MLP(4, 1, (6,)), X, pruning_ratio=0.5, n_steps=4, progress=True)
    assert bars(capsys.readouterr().err) == [("prune", 4, 4)]


@pytest.mark.parametrize(
    ("settings", "refits"),
    [({}, [("refit", 4, 4), ("refit", 4, 4)]), ({"refit_all": True}, [("refit", 18, 18)])],
    ids=["elimination", "all"],
)
def test_a_search_counts_folds_and_candidates(regression, settings, refits, capsys):
    given = regression.make(progress=True, early_stopping=False).get_params(deep=False)
    for name in inspect.signature(skec.PrunedMLPRegressor).parameters:
        if name not in inspect.signature(skec.PrunedMLPRegressorCV).parameters:
            given.pop(name)
    methods = ["ec", "magnitude", "lamp"]
    net = skec.PrunedMLPRegressorCV(
        **given, pruning_ratios=[0.4, 0.8], methods=methods, cv=3, **settings
    )
    net.fit(regression.X, regression.y)
    found = bars(capsys.readouterr().err)
    assert found[:-3] == [("folds", 3, 3), *refits]
    assert [name for name, _, _ in found[-3:]] == ["dense", "prune", "refit"]  # the final fit


def test_bars_can_be_nested_for_a_search(case, capsys):
    with progress_bar(2 * 2, "search", "fit") as advance:
        for seed in range(4):
            advance(score=case.fit(random_state=seed, progress=True, n_steps=3).sparsity_)
    assert bars(capsys.readouterr().err) == PHASES * 4 + [("search", 4, 4)]


# -- phases that end early ------------------------------------------------------------------------


def test_a_phase_that_ends_early_closes_its_bar(case, capsys):
    case.fit(progress=True, max_epochs=50, n_iter_no_change=2, tol=10.0, refit_epochs=30)
    assert bars(capsys.readouterr().err) == [("dense", 3, 50), ("prune", 1, 1), ("refit", 3, 30)]
    stop = EarlyStopping(
        monitor="train_loss", patience=2, threshold=100.0, threshold_mode="abs", sink=str
    )
    estimator = case.fit(progress=True, max_epochs=50, callbacks=[stop])
    n_dense = estimator.history[:, "phase"].count("dense")
    assert bars(capsys.readouterr().err)[0] == ("dense", n_dense, 50)


class Fails(Callback):
    """Raises an error in an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise RuntimeError("no")


class Interrupting(Schedule):
    """A schedule during which the user presses Ctrl-C, or that has a mistake."""

    def __init__(self, error):
        self.error = error

    def ratio(self, final, progress):
        if progress > 0.5:
            raise self.error
        return final * progress


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"callbacks": [Fails(3)]}, RuntimeError),
        ({"callbacks": [Fails(6)]}, RuntimeError),
        ({"schedule": Interrupting(RuntimeError("no"))}, RuntimeError),
        ({"schedule": Interrupting(KeyboardInterrupt())}, KeyboardInterrupt),
    ],
    ids=["dense", "refit", "prune", "ctrl_c_in_prune"],
)
def test_an_error_closes_the_bar_and_changes_nothing(case, settings, error, weights_of, capsys):
    estimator = case.fit().set_params(progress=True, n_steps=3, **settings)
    state, weights = dict(vars(estimator)), weights_of(estimator.module_)
    outputs, n_rows = case.outputs(estimator), len(estimator.history)
    with pytest.raises(error):
        estimator.fit(case.X, case.y)
    assert bars(capsys.readouterr().err)[0][0] == "dense"
    assert vars(estimator) == state
    assert len(estimator.history) == n_rows
    for name, value in weights_of(estimator.module_).items():
        assert torch.equal(value, weights[name])
    np.testing.assert_array_equal(case.outputs(estimator), outputs)


class Interrupted(MLP):
    """A network whose user presses Ctrl-C in one of its forward passes in training."""

    countdown = 0

    def forward(self, inputs):
        if self.training:
            type(self).countdown -= 1
            if type(self).countdown == 0:
                raise KeyboardInterrupt
        return super().forward(inputs)


# three batches an epoch
@pytest.mark.parametrize(
    ("countdown", "expected"),
    [(8, [("dense", 2, 4)]), (14, [("dense", 4, 4), ("prune", 1, 1), ("refit", 0, 2)])],
)
def test_an_interrupt_leaves_the_same_estimator(
    case, countdown, expected, capsys, assert_same_weights
):
    fitted = []
    for progress in (False, True):
        Interrupted.countdown = countdown
        with pytest.warns(ConvergenceWarning, match="interrupted by the user"):
            fitted.append(case.fit(module=Interrupted, progress=progress))
    plain, shown = fitted
    assert bars(capsys.readouterr().err) == expected
    assert_same_weights(plain.module_, shown.module_)
    assert set(vars(plain)) == set(vars(shown))
    assert plain.history[:, "phase"] == shown.history[:, "phase"]
    assert plain.sparsity_ == shown.sparsity_
    assert len(case.outputs(shown)) == len(case.X)


# -- skorch's bar ---------------------------------------------------------------------------------


class Counted(ProgressBar):
    """Keeps the counts and totals of its bars."""

    def __init__(self, counts, batches_per_epoch="auto"):
        super().__init__(batches_per_epoch)
        self.counts = counts

    def on_epoch_end(self, net, **kwargs):
        self.counts.append((self.pbar_.n, self.pbar_.total))
        super().on_epoch_end(net, **kwargs)


@pytest.mark.parametrize(
    ("settings", "n_batches"),
    [
        ({"batch_size": "auto"}, 4),  # 120 samples in batches of 32
        ({"batch_size": -1}, 1),
        ({"batch_size": 50}, 3),
        ({"batch_size": "auto", "iterator_train": DataLoader, "iterator_valid": DataLoader}, 4),
        ({"batch_size": "auto", "iterator_train__batch_size": 20}, 6),
    ],
    ids=["auto", "all", "number", "DataLoader", "iterator"],
)
def test_the_bar_of_skorch_knows_the_number_of_batches(case, settings, n_batches):
    counts = []
    estimator = case.fit(callbacks=[("bar", Counted(counts))], **settings)
    assert counts == [(n_batches, n_batches)] * 6
    assert estimator.get_params()["batch_size"] == settings["batch_size"]
    assert "iterator_valid__batch_size" not in estimator.get_params()


def test_the_bar_of_skorch_counts_the_validation(case):
    counts = []
    settings = {"early_stopping": True, "iterator_valid__batch_size": 7}
    case.fit(callbacks=[Counted(counts)], batch_size="auto", **settings)
    assert counts == [(5, 5)] * 6  # of 108 samples in batches of 32, and of 12 at once


def test_a_clone_made_in_training_has_the_parameters_of_the_user(case):
    copies = Copies()
    case.fit(callbacks=[copies, ProgressBar()], batch_size="auto")
    assert "iterator_train__batch_size" not in copies.copies_[2].get_params()
    assert copies.copies_[2].batch_size == "auto"
