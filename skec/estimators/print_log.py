"""The table that ``verbose=1`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

from skorch.callbacks import PrintLog

from ..utils import print_line

_FIRST = ("epoch", "phase", "train_loss", "valid_loss", "sparsity")
_MISSING = "-"


class PhaseLog(PrintLog):
    """Print a row of a table for each epoch and for the pruning, with columns in fixed places.

    The header is printed once per fit, and again if callbacks record new columns.

    Parameters
    ----------
    keys_ignored : str or list of str, default=None
        Columns to leave out.
    sink : callable, default=print
        Takes each line. With ``print``, the estimator's ``verbose`` must be set.
    floatfmt : str, default=".4f"
        Format of numbers that are not integers.
    """

    def __init__(
        self,
        keys_ignored: str | list[str] | None = None,
        sink: Callable[[str], Any] = print,
        floatfmt: str = ".4f",
    ):
        super().__init__(keys_ignored=keys_ignored, sink=sink, floatfmt=floatfmt)

    def initialize(self):
        """Begin a new table."""
        super().initialize()
        self.keys_ignored_.add("pruning_ratio")
        self.widths_: dict[str, int] = {}
        self.phase_ = ""
        return self

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.print_last_row(net)

    def print_last_row(self, net: Any) -> None:
        """Print the last row of the history."""
        if self.sink is print and not net.verbose:
            return
        row = net.history[-1]
        keys = self._columns({*_FIRST, "dur", *self.widths_, *row})
        begins = row["phase"] == "dense" != self.phase_  # also of a warm start
        if begins or list(self.widths_) != keys:
            titles = {key: key.removeprefix("event_") for key in keys}
            least = len(format(-10.0, self.floatfmt))
            self.widths_ = {key: max(len(title), least) for key, title in titles.items()}
            self._print(net, titles.values())
            self._print(net, ("-" * width for width in self.widths_.values()))
        self.phase_ = row["phase"]
        self._print(net, (self._cell(row.get(key), width) for key, width in self.widths_.items()))

    def _columns(self, keys: set[str]) -> list[str]:
        """The keys that are shown, in their order: events and the duration come last."""

        def place(key: str) -> tuple[int, str]:
            if key in _FIRST:
                return _FIRST.index(key), key
            return len(_FIRST) + key.startswith("event_") + 2 * (key == "dur"), key

        hidden = ("_best", "_batch_count")
        return sorted(
            (key for key in keys - self.keys_ignored_ if not key.endswith(hidden)), key=place
        )

    def _cell(self, value: Any, width: int) -> str:
        """A value as text; numbers that are too long have fewer digits."""
        if value is None or isinstance(value, bool):
            return "+" if value else _MISSING
        if isinstance(value, Integral) or not isinstance(value, Real):
            return str(value)
        texts = [format(float(value), spec) for spec in (self.floatfmt, ".1f", ".1e")]
        return next((text for text in texts if len(text) <= width), texts[-1])

    def _print(self, net: Any, cells: Iterable[str]) -> None:
        pairs = zip(cells, self.widths_.values(), strict=True)
        line = "  ".join(cell.rjust(width) for cell, width in pairs)
        if self.sink is print:
            print_line(line, above_bars=net.progress)
        else:
            self.sink(line)
