"""What a certificate says."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ChangeCertificate:
    """A bound for the share of new rows whose predictions change by more than epsilon.

    Printed, it is a sentence. The confidence is that of the whole procedure: among all samples of
    rows that could have been drawn, at most the share ``delta`` leads to a false sentence. It is
    about the two networks as they are, and about new rows that are drawn as those of the sample.

    Attributes
    ----------
    epsilon : float
        The change, in the units of the predictions. Zero for labels.
    alpha : float
        The share of new rows that changes by more than epsilon is at most this.
    delta : float
        One minus the confidence.
    n_rows, n_exceeding : int
        Number of rows of the sample, and of those that changed by more than epsilon.
    of : {"predictions", "labels", "probabilities"}
        What changes.
    norm : str
        How several outputs are put together; see :func:`skec.bounds.changes`.
    n_outputs : int
        Number of outputs.
    scale : float or None
        The standard deviation of the target, if it is known.
    wished_alpha : float or None
        A share that was wished for a given epsilon.
    about : str
        Which predictions the sentence is about.

    Examples
    --------
    >>> print(ChangeCertificate(0.0308, 0.01, 0.05, 500, 1, scale=7.6))
    With 95 % confidence, predictions change by more than 0.0308 (0.406 % of the target's standard
    deviation) for at most 1 % of new rows.
    """

    epsilon: float
    alpha: float
    delta: float
    n_rows: int
    n_exceeding: int
    of: str = "predictions"
    norm: str = "euclidean"
    n_outputs: int = 1
    scale: float | None = None
    wished_alpha: float | None = None
    about: str = ""

    @property
    def rate(self) -> float:
        """The share of the rows of the sample that changed by more than epsilon."""
        return self.n_exceeding / self.n_rows

    @property
    def holds(self) -> bool:
        """Whether the wished share is shown; true if none was wished."""
        return self.wished_alpha is None or self.alpha <= self.wished_alpha

    def __str__(self) -> str:
        share = f"at most {_percent(self.alpha)} % of new rows"
        sentence = f"With {_confidence(self.delta)} % confidence, {self._what} for {share}."
        if self.wished_alpha is None:
            return sentence
        shown = "is shown" if self.holds else "is not shown"
        return f"{sentence} The wished share, {_percent(self.wished_alpha)} %, {shown}."

    @property
    def _what(self) -> str:
        subject = {
            "predictions": "predictions",
            "labels": "predicted labels",
            "probabilities": "predicted probabilities",
        }[self.of] + (f" {self.about}" if self.about else "")
        if self.of == "labels":
            return f"{subject} change"
        notes = []
        if self.scale:
            share = _percent(self.epsilon / self.scale)
            notes.append(f"{share} % of the target's standard deviation")
        if self.n_outputs > 1:
            norm = "Euclidean norm" if self.norm == "euclidean" else "largest"
            notes.append(f"{norm} of {self.n_outputs} outputs")
        note = f" ({', '.join(notes)})" if notes else ""
        return f"{subject} change by more than {_rounded_up(self.epsilon)}{note}"


@dataclass(frozen=True)
class LossCertificate:
    """A bound for the change of the mean loss on new rows.

    Printed, it is a sentence. See :class:`ChangeCertificate` for what the confidence means.

    Attributes
    ----------
    increase : float
        The mean loss grows by at most this. If it is negative, the loss falls.
    mean_increase : float
        The mean increase on the rows of the sample.
    dense_loss, pruned_loss : float
        The mean losses on the rows of the sample.
    delta : float
        One minus the confidence.
    n_rows : int
        Number of rows of the sample.
    loss : str
        The name of the loss.
    interval : {"t", "bernstein", "betting"}
        The bound; see :func:`skec.bounds.t_upper_bound`,
        :func:`skec.bounds.bernstein_upper_bound` and :func:`skec.bounds.betting_upper_bound`.
    loss_range : tuple of float, or None
        The stated range of the loss.

    Examples
    --------
    >>> print(LossCertificate(0.0123, 0.004, 0.2, 0.204, 0.05, 800, "squared error", "t"))
    With 95 % confidence, the mean squared error on new rows grows by at most 0.0123. This assumes
    that the mean of the differences is about normal.
    """

    increase: float
    mean_increase: float
    dense_loss: float
    pruned_loss: float
    delta: float
    n_rows: int
    loss: str
    interval: str
    loss_range: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval == "t":
            assumed = "This assumes that the mean of the differences is about normal."
        elif self.loss == "zero-one loss":
            assumed = "This holds for every number of rows."
        else:
            low, high = self.loss_range or (-math.inf, math.inf)
            assumed = f"This assumes that all losses lie in [{low:g}, {high:g}]."
        how, size = "grows by at most", _rounded_up(self.increase)
        if self.increase < 0:
            how, size = "falls by at least", _rounded_up(self.increase).lstrip("-")
        return (
            f"With {_confidence(self.delta)} % confidence, the mean {self.loss} on new rows {how} "
            f"{size}. {assumed}"
        )


def _rounded_up(value: float, digits: int = 3) -> str:
    """A number with some significant digits that is not below the given one.

    Examples
    --------
    >>> _rounded_up(0.12341), _rounded_up(0.25), _rounded_up(-0.12349), _rounded_up(0.0)
    ('0.124', '0.25', '-0.123', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = f"{value:.{digits}g}"
    if float(text) < value:
        step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
        text = f"{float(text) + step:.{digits}g}"
    return text


def _percent(share: float) -> str:
    percent = 100 * share
    if math.isclose(percent, float(f"{percent:.3g}"), rel_tol=1e-12):
        return f"{percent:.3g}"  # 0.01 is one percent, in spite of rounding
    return _rounded_up(percent)


def _confidence(delta: float) -> str:
    return f"{100 - 100 * delta:.12g}"
