"""Training data that come in batches: a DataLoader, a list, or any iterable of batches."""

import weakref

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EpochScoring, ProgressBar
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skec import ECPruner, PrunedMLPClassifierCV, PrunedMLPRegressor, PrunedMLPRegressorCV
from skec.estimators.streams import _Reservoir

SIZE = 32
IN_ORDER = {"batch_size": SIZE, "iterator_train__shuffle": False, "early_stopping": False}


def in_batches(*parts, size=SIZE):
    return [tuple(p[i : i + size] for p in parts) for i in range(0, len(parts[0]), size)]


def tensors(X, y):
    y = y.astype(np.float32) if y.dtype.kind == "f" else y
    return TensorDataset(torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y))


class Anew(IterableDataset):
    """Batches that are made anew for every pass, and counts of what happens to them."""

    def __init__(self, *parts, size=SIZE):
        self.parts, self.size = parts, size
        self.passes, self.made, self.most = 0, [], 0

    def __iter__(self):
        self.passes += 1
        for batch in in_batches(*self.parts, size=self.size):
            X = batch[0].copy()
            self.made.append(weakref.ref(X))
            self.most = max(self.most, sum(one() is not None for one in self.made))
            yield (X, *batch[1:])
            del X


@pytest.fixture
def single(case):
    """The case with features in single precision, so that tensors lose nothing."""
    case.X = case.X.astype(np.float32)
    if case.y.dtype.kind == "f":
        case.y = case.y.astype(np.float32)
    return case


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"feature_scaling": "auto", "feature_embedding": "auto", "feature_weights": "auto"},
        {"dropout": 0.2},
        {"dtype": "float64"},
        {"step_epochs": 1, "n_steps": 3},
        {"refit_strategy": "rewind"},
        {"granularity": "neuron", "scope": "auto"},
        {"batch_norm": True},
        {"method": "taylor", "calibration_samples": 200},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_fit_is_that_of_the_array_in_order(case, settings, weighted):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(case.y)) if weighted else None
    expected = case.make(**(IN_ORDER | settings)).fit(case.X, case.y, sample_weight=weights)
    parts = (case.X, case.y, weights) if weighted else (case.X, case.y)
    net = case.make(early_stopping=False, **settings).fit(in_batches(*parts))
    np.testing.assert_allclose(case.outputs(net), case.outputs(expected), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        net.history[:, "train_loss"], expected.history[:, "train_loss"], rtol=1e-5
    )


FORMS = {
    "list": in_batches,
    "lists": lambda X, y: list(map(list, in_batches(X, y))),
    "loader": lambda X, y: DataLoader(tensors(X, y), batch_size=SIZE),
    "loader of columns": lambda X, y: DataLoader(tensors(X, y[:, None]), batch_size=SIZE),
    "iterable": Anew,
    "iterable in a loader": lambda X, y: DataLoader(Anew(X, y), batch_size=None),
    "sparse": lambda X, y: [(sparse.csr_array(a), b) for a, b in in_batches(X, y)],
    "skorch": lambda X, y: [({"X": a}, b) for a, b in in_batches(X, y)],
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_gives_the_same(single, form):
    expected = single.make().fit(in_batches(single.X, single.y))
    net = single.make().fit(FORMS[form](single.X, single.y))
    np.testing.assert_allclose(single.outputs(net), single.outputs(expected), atol=1e-6)


def test_weights_in_a_mapping(single):
    weights = np.arange(len(single.y)) % 3 + 1.0
    batches = in_batches(single.X, single.y, weights)
    expected = single.make().fit(batches)
    net = single.make().fit([({"X": X, "sample_weight": w}, y) for X, y, w in batches])
    np.testing.assert_array_equal(single.outputs(net), single.outputs(expected))


def test_a_shuffling_loader_shuffles(single):
    def fitted(seed):
        loader = DataLoader(
            tensors(single.X, single.y),
            batch_size=SIZE,
            shuffle=True,
            generator=torch.Generator().manual_seed(seed),
        )
        return single.outputs(single.make().fit(loader))

    np.testing.assert_array_equal(fitted(0), fitted(0))
    assert not np.array_equal(fitted(0), fitted(1))


def test_the_slow_loop_trains_the_same(case):
    class EveryBatch(Callback):
        def on_batch_end(self, net, **kwargs):
            pass

    batches = in_batches(case.X, case.y)
    expected = case.make().fit(batches)
    net = case.make(callbacks=[EveryBatch()]).fit(batches)
    np.testing.assert_allclose(case.outputs(net), case.outputs(expected), atol=1e-5)


def test_the_progress_bar_of_skorch_knows_the_batches(case, capsys):
    bar = ProgressBar(detect_notebook=False)
    case.make(callbacks=[bar]).fit(in_batches(case.X, case.y))
    assert "/4 [" in capsys.readouterr().err


class TestReading:
    def test_each_epoch_reads_once_and_the_checks_once_more(self, case):
        stream = Anew(case.X, case.y)
        case.make(max_epochs=3, refit_epochs=2).fit(stream)
        assert stream.passes == 1 + 3 + 2

    def test_no_more_than_two_batches_are_in_memory(self, case):
        stream = Anew(case.X, case.y, size=10)
        case.make(calibration_samples=20).fit(stream)
        assert stream.most <= 2

    def test_nothing_is_changed(self, case):
        batches = in_batches(case.X.copy(), case.y.copy())
        case.make().fit(batches).refit(batches).partial_fit(batches).prune(batches)
        for (X, y), (a, b) in zip(batches, in_batches(case.X, case.y), strict=True):
            np.testing.assert_array_equal(X, a)
            np.testing.assert_array_equal(y, b)

    def test_a_read_only_batch(self, case):
        case.X.flags.writeable = False
        case.make().fit(in_batches(case.X, case.y))

    def test_the_batches_are_those_of_the_training(self, case):
        sizes = []

        class Sizes(Callback):
            def on_batch_begin(self, net, batch, training, **kwargs):
                sizes.append(len(batch[1]))

        case.make(max_epochs=1, pruning_ratio=0.0, callbacks=[Sizes()], batch_size=7).fit(
            in_batches(case.X, case.y, size=50)
        )
        assert sizes[:3] == [50, 50, 20]


class TestDescription:
    def test_of_targets_is_that_of_the_array(self, regression):
        y = regression.y * 1e3 + 1e6
        net = regression.make().fit(in_batches(regression.X, y))
        np.testing.assert_allclose(net.y_mean_, y.mean(), rtol=1e-14)
        np.testing.assert_allclose(net.y_scale_, y.std(), rtol=1e-12)

    def test_classes_may_come_in_any_batch(self, classification):
        order = np.argsort(classification.y)
        labels = np.array(["a", "bb", "a long name"])[classification.y]
        X, y = classification.X[order], labels[order]
        net = classification.make().fit(in_batches(X, y))
        assert net.classes_.tolist() == sorted(set(labels))
        expected = classification.make(**IN_ORDER).fit(X, y)
        np.testing.assert_allclose(net.predict_proba(X), expected.predict_proba(X), atol=1e-6)

    def test_several_labels_and_several_targets(self, case):
        Y = np.column_stack([case.y > 0.5, case.X[:, 0] > 0]).astype(int)
        Y = Y if hasattr(case.make(), "class_weight") else Y + case.X[:, :2]
        net = case.make().fit(in_batches(case.X, Y))
        expected = case.make(**IN_ORDER).fit(case.X, Y)
        np.testing.assert_allclose(case.outputs(net), case.outputs(expected), atol=1e-6)

    def test_a_constant_target_warns(self, regression):
        with pytest.warns(UserWarning, match="y is constant"):
            regression.make().fit(in_batches(regression.X, np.full(120, 3.0)))

    def test_rows_are_drawn_evenly(self):
        counts = np.zeros(200)
        for seed in range(400):
            kept = _Reservoir(20, np.random.RandomState(seed))
            for start in range(0, 200, 7):
                kept.add([np.arange(start, min(start + 7, 200)), None])
            (rows, nothing) = kept.rows()
            assert nothing is None
            assert len(set(rows)) == 20
            counts[rows] += 1
        assert abs(counts.mean() - 40) < 1e-9
        assert counts.min() > 15  # standard deviation 6
        assert counts.max() < 70

    def test_few_rows_stay_in_their_order(self):
        kept = _Reservoir(20, np.random.RandomState(0))
        for start in range(0, 20, 6):
            kept.add([np.arange(start, min(start + 6, 20))])
        assert kept.rows()[0].tolist() == list(range(20))


class TestOtherMethods:
    def test_partial_fit_and_refit(self, case):
        net, expected = case.make(), case.make(**IN_ORDER)
        classes = {} if case.kind is PrunedMLPRegressor else {"classes": np.unique(case.y)}
        for part in (slice(0, 64), slice(64, 120)):
            X, y = case.X[part], case.y[part]
            net.partial_fit(in_batches(X, y), epochs=2, **classes)
            expected.partial_fit(X, y, epochs=2, **classes)
        np.testing.assert_allclose(case.outputs(net), case.outputs(expected), atol=1e-6)
        net.prune().refit(in_batches(case.X, case.y), epochs=2)
        expected.prune().refit(case.X, case.y, epochs=2)
        np.testing.assert_allclose(case.outputs(net), case.outputs(expected), atol=1e-5)

    def test_prune_and_its_path(self, case):
        net = case.fit()
        for parts in ((case.X, case.y), (case.X,)):
            expected = case.fit().prune(*parts, pruning_ratio=0.3)
            net.prune(in_batches(*parts), pruning_ratio=0.3)
            np.testing.assert_array_equal(case.outputs(net), case.outputs(expected))
        found = net.pruning_path(in_batches(case.X, case.y))
        np.testing.assert_allclose(found.losses, net.pruning_path(case.X, case.y).losses)

    def test_predictions_are_those_of_the_array_bit_for_bit(self, case):
        net = case.fit()
        expected = case.outputs(net)
        for X in (
            in_batches(case.X, case.y, size=7),
            in_batches(case.X),
            (batch for batch in in_batches(case.X)),
            DataLoader(torch.from_numpy(case.X), batch_size=11),
        ):
            np.testing.assert_array_equal(case.outputs(net, X), expected)
        assert net.score(in_batches(case.X), case.y) == net.score(case.X, case.y)
        with pytest.raises(ValueError, match=r"Batch 1.* 3 features"):
            net.predict([(case.X,), (case.X[:, :3],)])

    def test_a_cache_is_left_out(self, case, tmp_path):
        with pytest.warns(UserWarning, match="batches, and are not compared"):
            case.make(memory=tmp_path).fit(in_batches(case.X, case.y))


class TestValidation:
    def valid(self, case):
        return tensors(case.X[90:], case.y[90:])

    @pytest.mark.parametrize("form", ["dataset", "skorch", "loader", "list"])
    def test_data_of_the_user(self, single, form):
        X, y = single.X[90:], single.y[90:]
        valid = {
            "dataset": self.valid(single),
            "skorch": Dataset(X, y),
            "loader": DataLoader(self.valid(single), batch_size=7),
            "list": in_batches(X, y, size=7),
        }[form]
        settings = {"train_split": predefined_split(valid), "refit_weight_decay": "auto"}
        net = single.make(**settings).fit(in_batches(single.X[:90], single.y[:90]))
        settings["train_split"] = predefined_split(Dataset(X, y))
        expected = single.make(**(IN_ORDER | settings)).fit(single.X[:90], single.y[:90])
        rows = [row for row in range(len(net.history)) if "valid_loss" in net.history[row]]
        assert len(rows) == 6
        for row in rows:
            assert net.history[row, "valid_loss"] == pytest.approx(
                expected.history[row, "valid_loss"], rel=1e-5
            )

    def test_batches_for_an_array(self, single):
        valid = in_batches(single.X[90:], single.y[90:], size=7)
        X, y = single.X[:90], single.y[:90]
        net = single.make(train_split=predefined_split(valid)).fit(X, y)
        valid = Dataset(single.X[90:], single.y[90:])
        expected = single.make(train_split=predefined_split(valid)).fit(X, y)
        np.testing.assert_allclose(single.outputs(net), single.outputs(expected), atol=1e-6)

    def test_a_score_of_each_epoch(self, single):
        name = "r2" if single.kind is PrunedMLPRegressor else "accuracy"
        net = single.make(
            callbacks=[EpochScoring(name, lower_is_better=False)],
            train_split=predefined_split(self.valid(single)),
        ).fit(in_batches(single.X, single.y))
        assert np.isfinite(net.history[0, name])

    def test_an_automatic_ratio(self, single):
        valid, batches = self.valid(single), in_batches(single.X[:90], single.y[:90])
        net = single.make(pruning_ratio="auto", train_split=predefined_split(valid)).fit(batches)
        assert net.pruning_curve_.n_samples == 30
        with pytest.raises(ValueError, match=r"pruning_ratio='auto' needs held-out.*predefined"):
            single.make(pruning_ratio="auto").fit(batches)

    def test_rows_are_not_held_out(self, case):
        net = case.make(early_stopping="auto").fit(in_batches(case.X, case.y))
        assert "valid_loss" not in net.history[0]
        with pytest.raises(ValueError, match=r"early_stopping=True needs held-out.*predefined"):
            case.make(early_stopping=True).fit(in_batches(case.X, case.y))
        with pytest.raises(ValueError, match=r"divides rows.*predefined_split"):
            case.make(train_split=ValidSplit(3)).fit(in_batches(case.X, case.y))


def test_a_batch_may_have_weights_of_zero(case):
    weights = (np.arange(120) >= 2 * SIZE).astype(float)
    net = case.make().fit(in_batches(case.X, case.y, weights))
    assert np.isfinite(case.outputs(net)).all()
    if case.kind is PrunedMLPRegressor:
        np.testing.assert_allclose(net.y_mean_, case.y[2 * SIZE :].mean())


class TestErrors:
    @pytest.mark.parametrize(
        ("form", "error", "message"),
        [
            (lambda X, y: (b for b in [(X, y)]), TypeError, "generator.*read only once.*DataLoad"),
            (lambda X, y: [(X,), (X,)], ValueError, "Batch 0.*no targets"),
            (lambda X, y: [(X, y), (X, y, y)], ValueError, "Batch 1.*has sample_weight"),
            (lambda X, y: [(X, y), (X[:, :3], y)], ValueError, "Batch 1.*3 features"),
            (lambda X, y: [(X, y), (X * np.nan, y)], ValueError, "Batch 1.*NaN"),
            (lambda X, y: [(X, y), (X, y[:5])], ValueError, "Batch 1.*number"),
            (lambda X, y: [(X, y, -np.ones(len(y)))], ValueError, "Batch 0.*non-negative"),
            (lambda X, y: [(X, y, np.zeros(len(y)))], ValueError, "zero for every"),
            (lambda X, y: [(X, y, y, y)], ValueError, "4 parts"),
            (lambda X, y: DataLoader(tensors(X, y), batch_size=None), ValueError, "Batch 0.*2D"),
            (lambda X, y: Anew(X[:0]), ValueError, "no batches"),
            (lambda X, y: [(X * 1e300, y)], ValueError, "too large"),
        ],
    )
    def test_come_before_the_training(self, case, form, error, message, monkeypatch):
        monkeypatch.setattr("skec.estimators.phases.train", None)
        for method in ("fit", "partial_fit"):
            with pytest.raises(error, match=message):
                getattr(case.make(), method)(form(case.X, case.y))

    def test_a_batch_of_one_row_with_batch_norm(self, case):
        with pytest.raises(ValueError, match=r"Batch 1.*1 sample"):
            case.make(batch_norm=True).fit([(case.X, case.y), (case.X[:1], case.y[:1])])

    def test_one_class(self, classification):
        batches = in_batches(classification.X, np.zeros(120, int))
        with pytest.raises(ValueError, match="1 class"):
            classification.make().fit(batches)

    def test_targets_and_weights_are_in_the_batches(self, case):
        batches = in_batches(case.X, case.y)
        with pytest.raises(ValueError, match=r"y cannot be combined.*batches \(X, y\)"):
            case.make().fit(batches, case.y)
        with pytest.raises(ValueError, match="sample_weight cannot be combined"):
            case.make().fit(batches, sample_weight=np.ones(120))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"iterator_train": DataLoader}, "iterator_train makes batches"),
            ({"iterator_train__shuffle": True}, "iterator_train__shuffle makes batches"),
            ({"dataset": Dataset}, "dataset=.*takes arrays"),
        ],
    )
    def test_parameters_for_rows(self, case, settings, message):
        with pytest.raises(ValueError, match=message):
            case.make(**settings).fit(in_batches(case.X, case.y))

    def test_weights_of_classes(self, classification):
        with pytest.raises(ValueError, match=r"class_weight='balanced'.*\(X, y, sample_weight\)"):
            classification.make(class_weight="balanced").fit(
                in_batches(classification.X, classification.y)
            )

    def test_those_that_select_rows_take_arrays(self, case):
        batches = in_batches(case.X, case.y)
        with pytest.raises(TypeError, match="ECPruner takes arrays"):
            ECPruner(case.make()).fit(batches)
        search = {PrunedMLPRegressor: PrunedMLPRegressorCV}.get(case.kind, PrunedMLPClassifierCV)
        for targets in ((), (case.y,)):
            with pytest.raises(TypeError, match="CV takes arrays"):
                search().fit(batches, *targets)


class Counting(torch.utils.data.Dataset):
    """Items whose reads are counted."""

    def __init__(self, X, y):
        self.X, self.y, self.read = X.astype(np.float32), y, []

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        self.read.append(row)
        return self.X[row], self.y[row]


def test_calibration_samples_of_a_dataset_are_drawn(classification):
    X, y = classification.X.astype(np.float32), classification.y
    net, dataset = classification.fit(), Counting(X, y)
    drawn = net.calibration_data(dataset, n_samples=20, random_state=0)
    assert len(dataset.read) == 20
    expected = net.calibration_data(X, y, n_samples=20, random_state=0)
    torch.testing.assert_close(drawn.X, expected.X)


@pytest.mark.filterwarnings("ignore:The network is not better")  # y is not standardised
def test_the_weight_decay_of_a_refit_does_not_load_a_dataset(regression):
    dataset = Counting(regression.X, regression.y)
    net = regression.make(
        calibration_samples=10,
        refit_weight_decay="auto",
        early_stopping=True,
        max_epochs=10,
    ).fit(dataset)
    dataset.read.clear()
    net._data.some_targets(dataset)
    assert len(dataset.read) == 10


def test_warnings_of_a_network_that_learns_nothing(regression):
    batches = in_batches(regression.X, regression.y)
    with pytest.warns(ConvergenceWarning, match="not better than a constant"):
        regression.make(lr=1e-9, refit_lr=1e-9, max_epochs=1).fit(batches)
