"""Logistic regression on frozen features, its strength chosen on validation data alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from omnibench.errors import UsageError
from omnibench.metrics.classification import metrics_from_scores

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

# Ranking quality moves smoothly with the penalty; decisions on a few dozen samples jump. The
# last stands in where validation holds one class only.
_CRITERIA = ("auc", "auc_ovr_macro", "auc_ovr_present", "accuracy")


class Probe(NamedTuple):
    """The chosen regression and how it was chosen."""

    model: Pipeline
    classes: int
    c: float
    criterion: str  # metric id
    validation: dict[float, float]  # criterion of every C tried
    converged: bool

    def scores(self, features: Floats) -> Floats:
        """Return probabilities [N, C]; 0 for classes without training samples."""
        out = np.zeros((len(features), self.classes))
        out[:, self.model[-1].classes_] = self.model.predict_proba(features)
        return out


def choose(
    train: tuple[Floats, Ints],
    val: tuple[Floats, Ints],
    *,
    classes: int,
    grid: Sequence[float],
    max_iterations: int,
) -> Probe:
    """Fit one regression for each C and keep the best on validation, the smallest C of equals.

    Args:
        train: Features [N, D] and labels [N].
        val: Likewise.
        classes: Number of declared classes.
        grid: Inverse strengths of the L2 penalty.
        max_iterations: Limit for the solver.

    Raises:
        UsageError: If the training split holds one class only.
    """
    if len(np.unique(train[1])) < 2:
        raise UsageError(
            "the training split holds one class only, nothing can be told apart; "
            "use more images (--limit, --set max_images=…)"
        )
    best: Probe | None = None
    tried: dict[float, float] = {}
    for c in sorted(grid):
        model, converged = _fit(train, c, max_iterations)
        probe = Probe(model, classes, c, "", tried, converged)
        found = {m.id: m.value for m in metrics_from_scores(probe.scores(val[0]), val[1])}
        criterion = next(name for name in _CRITERIA if name in found)
        tried[c] = found[criterion]
        if best is None or tried[c] > tried[best.c]:
            best = probe._replace(criterion=criterion)
    assert best is not None
    return best


def _fit(train: tuple[Floats, Ints], c: float, max_iterations: int) -> tuple[Pipeline, bool]:
    """Return standardisation and regression as one model, and whether the solver arrived."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=max_iterations))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(*train)
    return model, not any(issubclass(w.category, ConvergenceWarning) for w in caught)
