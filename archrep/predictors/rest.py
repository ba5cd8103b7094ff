"""How well a few labelled embeddings tell all others: the data of arch2vec's Figure 2."""

from __future__ import annotations

import numpy as np
import torch

from archrep.errors import ConfigError, ShapeError
from archrep.predictors.gp import GaussianProcess
from archrep.seeding import numpy_stream


def predict_rest(
    embeddings: np.ndarray, values: np.ndarray, *, labels: int = 250, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Figures of all cells but some, predicted from those of some drawn at random.

    A Gaussian process with a squared exponential kernel, inputs scaled to the unit cube (Yan et
    al., 2020, section 4.1, with 250 labels).

    Args:
        embeddings: One a cell, `[N, D]`.
        values: Recorded figure of each, `[N]`; NaN where there is none.
        labels: Cells whose figure is seen.
        seed: Chooses them.

    Returns:
        Rows of the cells with a figure that was not seen, `[M]`, ascending, and the predictions of
        them, `[M]`.

    Raises:
        ShapeError: There is not one value a cell.
        ConfigError: There are fewer than 2 labels, or none is left to predict.
    """
    if values.shape != embeddings.shape[:1]:
        raise ShapeError(
            f"`values` must be [N], N {len(embeddings):,} as of the embeddings. Got {values.shape}."
        )
    known = np.flatnonzero(np.isfinite(values))
    if not 2 <= labels < len(known):
        raise ConfigError(
            f"`labels` must be at least 2, and below the {len(known):,} cells with a figure. Got "
            f"{labels}."
        )
    order = numpy_stream(seed, f"predictors/{labels}").permutation(len(known))
    seen, rest = known[order[:labels]], np.sort(known[order[labels:]])
    low, high = embeddings[known].min(0), embeddings[known].max(0)
    span = np.where(high > low, high - low, 1.0)
    points = torch.from_numpy((embeddings[np.concatenate([seen, rest])] - low) / span).double()
    model = GaussianProcess(most=400)
    model.fit(points[:labels][None], torch.from_numpy(values[seen].astype(np.float64))[None])
    return rest, model.predict_mean_run(0, points[labels:]).numpy()
