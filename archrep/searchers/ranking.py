"""How scores of cells agree with what a benchmark table recorded of them."""

from __future__ import annotations

import numpy as np

from archrep.cells.nasbench201 import OPERATIONS, NasBench201
from archrep.errors import ShapeError
from archrep.supernets.nasbench201 import live_edges

BEST = 1000
"""Cells of the table among which a score is judged once more: finding good cells is one thing,
ordering them another."""


def agreement(scores: np.ndarray, accuracies: np.ndarray) -> dict[str, float]:
    """Rank agreement of one score of M cells with their accuracies, `[M]` each.

    Returns:
        `kendall` (tau-b) and `spearman` over all cells, `kendall_best` over the `BEST` cells by
        accuracy (NaN where that leaves nothing to order), and `top_10_percent`, the share of the
        best tenth by accuracy that is in the best tenth by score.

    Raises:
        ShapeError: The two are not of one length, or hold a NaN.
    """
    from scipy.stats import kendalltau, spearmanr

    scores, accuracies = np.asarray(scores, np.float64), np.asarray(accuracies, np.float64)
    if scores.ndim != 1 or scores.shape != accuracies.shape or len(scores) < 2:
        raise ShapeError(
            f"`scores` and `accuracies` must be [M], two cells at least. Got {scores.shape} and "
            f"{accuracies.shape}."
        )
    if np.isnan(scores).any() or np.isnan(accuracies).any():
        raise ShapeError("`scores` and `accuracies` must be numbers. Got a NaN.")
    best = np.argsort(-accuracies, kind="stable")[:BEST]
    tenth = max(1, len(scores) // 10)
    by_score = np.argsort(-scores, kind="stable")[:tenth]
    by_accuracy = np.argsort(-accuracies, kind="stable")[:tenth]
    return {
        "kendall": float(kendalltau(scores, accuracies).statistic),
        "spearman": float(spearmanr(scores, accuracies).statistic),
        "kendall_best": float(kendalltau(scores[best], accuracies[best]).statistic),
        "top_10_percent": float(np.isin(by_score, by_accuracy).mean()),
    }


def kendall(scores: np.ndarray, accuracies: np.ndarray) -> float:
    """Kendall's tau-b of scores and accuracies, `[M]` each; 0 where all scores are the same.

    Raises:
        ShapeError: One of them is not a number.
    """
    from scipy.stats import kendalltau

    if np.isnan(scores).any() or np.isnan(accuracies).any():
        raise ShapeError("Scores and accuracies must be numbers. Leave cells without them out.")
    tau = float(kendalltau(scores, accuracies).statistic)
    return 0.0 if np.isnan(tau) else tau


def baselines(space: NasBench201) -> dict[str, np.ndarray]:
    """Scores of all cells that need no training, `[15625]` each.

    Returns:
        `params`, the weights of all convolutions; and `live_params`, of those on a path of
        operations other than `none` from the input to the output.
    """
    choices = space.decisions_of_rows(np.arange(space.size))
    return {"params": _WEIGHTS[choices].sum(1), "live_params": live_params(choices)}


def live_params(choices: np.ndarray) -> np.ndarray:
    """Weights of convolutions on live paths of cells `[M, 6]`, in those of a 1 x 1, `[M]`."""
    counts, _ = live_edges(choices)
    return np.asarray((_WEIGHTS[choices] * (counts > 0)).sum(1))


_WEIGHTS = np.array([{"nor_conv_1x1": 1.0, "nor_conv_3x3": 9.0}.get(op, 0.0) for op in OPERATIONS])
