# pyright: strict
"""A table with one row per layer."""

from __future__ import annotations

from html import escape
from numbers import Real
from typing import Any


class PruningReport(list[dict[str, Any]]):
    """A list with one dict per pruned layer, which prints as a table.

    ``pandas.DataFrame(report)`` and ``polars.DataFrame(report)`` convert it to a frame.

    Attributes
    ----------
    loss_before, loss_after : float or None
        Loss of the network on the calibration samples before and after pruning. None without
        targets.

    Examples
    --------
    >>> print(PruningReport([{"layer": "hidden_0", "weights_left": 12, "sparsity": 0.5}]))
    layer     weights_left  sparsity
    hidden_0            12       0.5
    """

    loss_before: float | None = None
    loss_after: float | None = None

    def table(self) -> list[list[str]]:
        """Header and rows as strings; empty without layers."""
        if not self:
            return []
        header = list(self[0])
        return [header] + [[_text(row[column]) for column in header] for row in self]

    def __str__(self) -> str:
        table = self.table()
        if not table:
            return "(no layers)"
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        numeric = [isinstance(value, Real) for value in self[0].values()]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in table
        )

    def _repr_html_(self) -> str:
        table = self.table() or [["(no layers)"]]
        header, *rows = [[escape(cell) for cell in row] for row in table]
        head = "".join(f"<th>{cell}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
