"""Progress bars for a terminal, a notebook and a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SECONDS_IN_LOG = 10.0  # least time between two states of a bar in a file
_SECONDS = 0.1


@contextmanager
def progress_bar(
    total: int, description: str, unit: str, *, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """Show a bar on standard error, with the time left, while the body runs.

    The bar is closed in every case, also by an error and by Ctrl-C. Bars may be nested.

    Parameters
    ----------
    total : int
        Number of units, for instance of epochs. There is no bar if it is zero.
    description : str
        Stands before the bar.
    unit : str
        What is counted.
    shown : bool, default=True
        Whether there is a bar.

    Yields
    ------
    callable
        To be called after each unit. Its keyword arguments are numbers that stand after the bar.

    Examples
    --------
    >>> with progress_bar(5 * 20, "search", "fit", shown=False) as advance:
    ...     for fold in range(5):
    ...         for candidate in range(20):
    ...             advance(score=0.9)
    """
    if not (shown and total and sys.stderr):  # a program without a console has no stderr
        yield lambda **values: None
        return
    from tqdm.auto import tqdm

    live = _is_live()
    with tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        mininterval=_SECONDS if live else _SECONDS_IN_LOG,
        miniters=1,  # the time alone says when to draw
        position=None if live else 0,  # a file has no lines above or below
    ) as bar:

        def advance(**values: Any) -> None:
            bar.set_postfix(values, refresh=False)
            bar.update()

        yield advance


def print_line(text: str, *, above_bars: bool) -> None:
    """Print a line to standard output, above the bars if some may be shown."""
    if not (above_bars and sys.stderr and _is_live()):
        print(text, flush=True)
        return
    from tqdm.auto import tqdm

    tqdm.write(text, file=sys.stdout)


def _is_live() -> bool:
    """Whether standard error is a terminal or a notebook, where a bar is drawn over itself."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
