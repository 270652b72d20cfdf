from xml.etree import ElementTree

import pandas as pd
import polars as pl
import pytest

from skec.pruning import PruningReport

ROWS = [
    {"layer": "hidden_0", "weights": 128, "sparsity": 0.123456},
    {"layer": "out<put> & more", "weights": 7, "sparsity": 1e-9},
]


def test_prints_as_an_aligned_table():
    assert str(PruningReport(ROWS)).split("\n") == [
        "layer            weights  sparsity",
        "hidden_0             128    0.1235",
        "out<put> & more        7     1e-09",
    ]


def test_html_holds_the_same_cells():
    table = ElementTree.fromstring(PruningReport(ROWS)._repr_html_())
    cells = [[cell.text for cell in row] for row in table.iter("tr")]
    assert cells == PruningReport(ROWS).table()


@pytest.mark.parametrize("text", [str, PruningReport._repr_html_])
def test_without_layers_it_says_so(text):
    assert "no layers" in text(PruningReport())


def test_becomes_a_frame():
    report = PruningReport(ROWS)
    pd.testing.assert_frame_equal(pd.DataFrame(report), pd.DataFrame.from_records(ROWS))
    assert pl.DataFrame(report).to_dicts() == ROWS
