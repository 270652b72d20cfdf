"""The forms in which calibration data may come."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from torch import nn

import skec
from skec.calibration import calibration_samples
from skec.utils import LazyRows

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

VALUES = np.array([[1.0, 0.0], [3.0, 4.0], [5.0, 6.0]])
READ_ONLY = VALUES.copy()
READ_ONLY.flags.writeable = False

FORMS = {
    "list": VALUES.tolist(),
    "tuples": tuple(map(tuple, VALUES)),
    "list of arrays": list(VALUES),
    "list of tensors": list(torch.from_numpy(VALUES)),
    "big-endian": VALUES.astype(">f8"),
    "big-endian integers": VALUES.astype(">i4"),
    "long double": VALUES.astype(np.longdouble),
    "Fortran order": np.asfortranarray(VALUES),
    "every other row": np.repeat(VALUES, 2, axis=0)[::2],
    "negative strides": VALUES[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": READ_ONLY,
    "objects": VALUES.astype(object),
    "integer objects": VALUES.astype(int).astype(object),
    "decimals": np.vectorize(Decimal, otypes=[object])(VALUES),
    "fractions": np.vectorize(Fraction, otypes=[object])(VALUES),
    "no mask": np.ma.masked_invalid(VALUES),
    "pandas": pd.DataFrame(VALUES),
    "pandas Int64": pd.DataFrame(VALUES).astype("Int64"),
    "pandas Float32": pd.DataFrame(VALUES).astype("Float32"),
    "pandas mixed": pd.DataFrame(VALUES).astype({0: "Int64", 1: "float32"}),
    "pandas objects": pd.DataFrame(VALUES).astype(object),
    "pandas categories": pd.DataFrame(VALUES).astype("category"),
    "polars": pl.DataFrame(VALUES),
    "polars integers": pl.DataFrame(VALUES.astype(int)),
    "tensor": torch.from_numpy(VALUES),
    "integer tensor": torch.from_numpy(VALUES).int(),
    "half tensor": torch.from_numpy(VALUES).half(),
    "tensor with gradient": torch.from_numpy(VALUES).requires_grad_(),
} | {dtype: VALUES.astype(dtype) for dtype in ("f2", "f4", "i1", "i8", "u1", "u2", "u4", "u8")}

NO_NUMBERS = {
    "strings": np.array([["1", "2"]] * 3),
    "string objects": np.array([[1.0, "2"]] * 3, dtype=object),
    "complex": VALUES + 1j,
    "complex objects": (VALUES + 1j).astype(object),
    "complex tensor": torch.from_numpy(VALUES + 1j),
    "dates": np.full((3, 2), np.datetime64("2026-01-01")),
    "no dates": np.full((3, 2), np.datetime64("NaT")),
    "durations": np.full((3, 2), np.timedelta64(1, "D")),
    "sparse matrix": sparse.csr_matrix(VALUES),
    "sparse array": sparse.csr_array(VALUES),
    "sparse tensor": torch.from_numpy(VALUES).to_sparse(),
    "pandas strings": pd.DataFrame({"a": ["x", "y", "z"], "b": [1.0, 2.0, 3.0]}),
    "polars strings": pl.DataFrame({"a": ["x", "y", "z"], "b": [1.0, 2.0, 3.0]}),
    "text": "abc",
}

MISSING = {
    "None": [[1.0, None]] * 3,
    "NaN": VALUES * np.nan,
    "infinity": VALUES + np.inf,
    "masked": np.ma.masked_greater(VALUES, 2.0),
    "pandas NaN": pd.DataFrame(VALUES).replace(3.0, np.nan),
    "pandas NA": pd.DataFrame(VALUES).astype("Int64").replace(3, pd.NA),
    "NA object": np.array([[1.0, pd.NA]] * 3, dtype=object),
    "NaT object": np.array([[1.0, pd.NaT]] * 3, dtype=object),
    "polars null": pl.DataFrame({"a": [1, None, 3], "b": [1.0, 2.0, 3.0]}),
    "NaN tensor": torch.full((3, 2), torch.nan),
    "too large": VALUES * 1e300,  # for float32
}


def samples(X, *rest):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return calibration_samples(nn.Linear(2, 1), X, *rest)


@pytest.mark.parametrize("form", sorted(FORMS))
class TestForms:
    def test_of_features(self, form):
        X = samples(FORMS[form]).X
        assert X.dtype == torch.float32
        assert torch.equal(X, torch.from_numpy(VALUES).float())

    def test_of_targets_and_weights(self, form):
        y = FORMS[form]
        column = y.iloc[:, 1] if hasattr(y, "iloc") else y[:, 1] if hasattr(y, "shape") else None
        if column is None:
            column = [row[1] for row in y]
        found = samples(VALUES, column, column)
        assert found.y.tolist() == found.sample_weight.tolist() == [0.0, 4.0, 6.0]
        integers = "int" in form.lower() or form in ("i1", "i8", "u1", "u2", "u4", "u8")
        assert found.y.dtype == (torch.int64 if integers else torch.float32)

    def test_does_not_matter_to_pruning(self, form):
        torch.manual_seed(0)
        module = nn.Linear(2, 4)
        expected = skec.prune(module, VALUES, pruning_ratio=0.25)
        found = skec.prune(module, FORMS[form], pruning_ratio=0.25)
        assert torch.equal(found.module.weight, expected.module.weight)


@pytest.mark.parametrize("name", sorted(NO_NUMBERS))
@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_what_is_no_number_is_refused(name, argument):
    arguments = {"X": VALUES} | {argument: NO_NUMBERS[name]}
    with pytest.raises(TypeError, match=f"{argument} must be a dense array or tensor of numbers"):
        calibration_samples(nn.Linear(2, 1), **arguments)


@pytest.mark.parametrize("argument", ["y", "sample_weight"])
def test_only_inputs_come_by_name(argument):
    with pytest.raises(TypeError, match=f"{argument} must be a dense array or tensor of numbers"):
        calibration_samples(nn.Linear(2, 1), VALUES, **{argument: {"a": [1.0, 2.0, 3.0]}})


@pytest.mark.parametrize("name", sorted(MISSING))
@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_what_is_missing_is_refused(name, argument):
    arguments = {"X": VALUES} | {argument: MISSING[name]}
    with pytest.raises(ValueError, match=f"{argument} contains (missing|NaN)"):
        calibration_samples(nn.Linear(2, 1), **arguments)


@pytest.mark.parametrize("values", [[[1.0, 2.0], [3.0]], [[1.0], [2.0, [3.0]]]])
def test_rows_have_one_length(values):
    with pytest.raises(ValueError, match="X must be an array of numbers"):
        samples(values)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pd.Series([0, 1, 2], dtype="Int64"), [0, 1, 2]),
        (pd.Series([0, 1, 2], dtype="category"), [0, 1, 2]),
        (pd.DataFrame({"y": [0, 1, 2]}, dtype="Int64"), [[0], [1], [2]]),
        (pl.Series([0, 1, 2]), [0, 1, 2]),
        (np.array([0, 1, 2], dtype=object), [0, 1, 2]),
        ([True, False, True], [1, 0, 1]),
        (pd.Series([True, False, True], dtype="boolean"), [1, 0, 1]),
    ],
)
def test_labels_stay_integers(labels, expected):
    y = samples(VALUES, labels).y
    assert y.dtype == torch.int64
    assert y.tolist() == expected


@given(
    values=arrays.arrays(
        st.sampled_from(["f2", "f4", "f8", ">f4", ">f8", "i2", ">i8", "u4", "?"]),
        st.tuples(st.integers(1, 4), st.just(2)),
        elements={"min_value": 0, "max_value": 100},
    ),
    writeable=st.booleans(),
)
def test_arrays_are_copied_and_not_changed(values, writeable):
    values.flags.writeable = writeable
    before = values.copy()
    X = samples(values).X
    assert np.array_equal(X.numpy(), values.astype(np.float32))
    X.fill_(-1.0)
    assert np.array_equal(values, before)


def test_a_network_with_embeddings_takes_integers():
    module = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 1))
    for form in (np.array([[0, 1]]), np.array([[0, 1]], dtype=object), [[0, 1]]):
        assert calibration_samples(module, form).X.dtype == torch.int64


@pytest.mark.parametrize("method", ["ec", "surgeon", "taylor", "wanda"])
def test_an_array_in_a_file_stays_there(method, tmp_path, monkeypatch):
    monkeypatch.setattr("skec.utils.lazy_rows._SMALL", 0)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    X, y = np.random.default_rng(0).normal(size=(90, 5)), np.zeros((90, 2))
    mapped = np.memmap(tmp_path / "X", np.float64, "w+", shape=X.shape)
    mapped[:] = X
    samples = calibration_samples(module, mapped, y)
    assert isinstance(samples.X, LazyRows)
    found, expected = (
        skec.prune(module, data, y, pruning_ratio=0.5, method=method, batch_size=32)
        for data in (mapped, X)
    )
    for name, value in expected.module.state_dict().items():
        assert torch.equal(found.module.state_dict()[name], value)
    mapped[7, 2] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        skec.prune(module, mapped, pruning_ratio=0.5)
