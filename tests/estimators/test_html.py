"""How estimators show themselves."""

import re

import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def visible(html):
    """The text of a page, without styles, scripts and tags."""
    html = re.sub(r"(?s)<(style|script).*?</\1>", "", html)
    return re.sub(r"\s+", " ", re.sub(r"(?s)<[^>]*>", " ", html))


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_the_page_says_how_much_was_pruned(case, in_pipeline):
    estimator = case.fit(pruning_ratio=0.25)
    shown = make_pipeline(StandardScaler(), estimator) if in_pipeline else estimator
    text = visible(shown._repr_html_())
    assert f"{type(estimator).__name__} ({100 * estimator.sparsity_:.1f}% pruned" in text
    n_left, n_all = estimator.n_nonzero_parameters_, estimator.n_parameters_
    assert f"{n_left:,} of {n_all:,} parameters left" in text


@pytest.mark.skipif(not hasattr(BaseEstimator, "_get_params_html"), reason="no table")
@pytest.mark.parametrize("fitted", [False, True])
def test_the_page_has_the_parameters_that_the_user_set(case, fitted):
    estimator = case.kind(lr=0.02, optimizer__weight_decay=0.25)
    if fitted:
        estimator.fit(case.X, case.y)
    table = estimator._get_params_html()
    assert set(table) == set(estimator._get_param_names())
    assert set(table.non_default) == {"lr", "optimizer__weight_decay"}
    assert dict(table)["optimizer__weight_decay"] == 0.25
    assert "callbacks__" not in visible(estimator._repr_html_())


def test_the_page_follows_the_state(case):
    estimator = case.fit()
    estimator.prune(pruning_ratio=0.75)
    assert f"{100 * estimator.sparsity_:.1f}% pruned" in visible(estimator._repr_html_())


def test_the_page_of_an_unfitted_estimator_is_plain(case):
    for estimator in (case.make(), case.make().partial_fit(case.X, case.y)):
        assert "pruned" not in visible(estimator._repr_html_())
    assert type(estimator).__name__ in visible(estimator._repr_html_())


def test_the_text_is_that_of_scikit_learn(case):
    name = case.kind.__name__
    assert repr(case.kind(hidden_layer_sizes=(7,))) == f"{name}(hidden_layer_sizes=(7,))"
    assert repr(case.kind(optimizer__weight_decay=0.3)) == f"{name}(optimizer__weight_decay=0.3)"
    fitted = case.fit()
    assert repr(fitted) == repr(case.make()) == BaseEstimator.__repr__(case.make())
