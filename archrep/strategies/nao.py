"""NAO-style search: Luo et al. (2018), "Neural Architecture Optimization", over fixed embeddings.

e -> embedding of a cell; theirs comes from an encoder that is trained along, ours is given
f(e) -> accuracy predicted by a small network, trained anew on everything told in each round
e' = e + eta df/de, some steps of it from the best cells that are known (Algorithm 1, step 4)
D(e') -> the next cells: the nearest candidates that were not asked for, or what a decoder makes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.errors import ConfigError
from archrep.predictors.adaptive_basis import regress, train
from archrep.settings import check, choices
from archrep.strategies.base import Strategy, StrategyConfig

if TYPE_CHECKING:
    from archrep.embeddings import TrainedEncoder


@dataclass(frozen=True, kw_only=True)
class NaoConfig(StrategyConfig):
    """Settings of NAO-style search."""

    initial: int = 16
    """Random cells at the start."""
    batch: int = 5
    """Cells of a round: one from each of so many of the best known."""
    steps: int = 10
    """Steps along the gradient of the prediction."""
    step_size: float = 0.05
    """Length of a step, root mean square over the dimensions, in deviations of the embeddings."""
    decode: Literal["nearest", "decoder"] = "nearest"
    """How an end point becomes a cell: as the nearest candidate that was not asked for, or by the
    decoder of the packaged encoder, and as the nearest where that gives no such candidate."""
    hidden: int = 128
    """Tanh units of the predictor, a multiple of 16."""
    epochs: int = 100
    """Passes over the data in each round."""
    batch_size: int = 10
    """Data in one step of Adam."""
    learning_rate: float = 1e-2
    """Of Adam."""

    def __post_init__(self) -> None:
        check(
            {
                f"`{name}` must be at least 1. Got {getattr(self, name)}.": getattr(self, name) >= 1
                for name in ("initial", "batch", "steps", "epochs", "batch_size")
            }
            | {
                f"`step_size` must be positive. Got {self.step_size}.": self.step_size > 0,
                f"`hidden` must be a positive multiple of 16. Got {self.hidden}.": (
                    self.hidden > 0 and self.hidden % 16 == 0
                ),
                f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                    0 < self.learning_rate <= 10
                ),
            }
            | choices(self)
        )


class Predictor:
    """R predicted accuracies over embeddings, in units of their deviation: `m . tanh(W e + b)`.

    Args:
        weight: W and, in the last row, b of each run, `[R, D + 1, H]`.
        mean: m, `[R, H]`.
    """

    def __init__(self, weight: Tensor, mean: Tensor) -> None:
        self.weight, self.mean = weight, mean

    def units(self, points: Tensor) -> Tensor:
        """`tanh(W e + b)` of points `[R, P, D]`: `[R, P, H]`."""
        return (torch.bmm(points, self.weight[:, :-1]) + self.weight[:, -1:]).tanh()

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient of the prediction at points `[R, P, D]`, of the same shape."""
        slopes = (1 - self.units(points).square()) * self.mean[:, None]
        return torch.bmm(slopes, self.weight[:, :-1].transpose(1, 2))


def nearest_free(vectors: Tensor, lengths: Tensor, point: Tensor, taken: np.ndarray) -> int:
    """Row of the nearest vector that is not taken, the first of equals.

    A product in float32 finds a few that are near, distances in float64 decide.

    Args:
        vectors: `[N, D]` of float32.
        lengths: Half their squared lengths, `[N]`.
        point: `[D]` of float64.
        taken: `[N]` of bool.
    """
    gap = lengths - torch.mv(vectors, point.float())
    excluded = torch.from_numpy(taken).to(gap.device)
    gap[excluded] = torch.inf
    near = gap.topk(min(8, len(gap)), largest=False).indices.sort().values
    exact = (vectors[near].double() - point).square().sum(1)
    exact[excluded[near]] = torch.inf
    return int(near[exact.argmin()])


class Nao(Strategy):
    """Walks uphill on a predicted accuracy, from the best cells, and looks which cell is there."""

    name = "nao"
    title = "NAO-style gradient steps over embeddings (Luo et al., 2018)"
    Config = NaoConfig
    needs_features = True
    config: NaoConfig
    device = "cpu"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if self.config.decode == "decoder" and self.candidates.encoding != "archrep":
            raise ConfigError(
                "`decode = decoder` needs embeddings of the packaged encoder, `archrep`, which it "
                f"decodes. Got {self.candidates.encoding!r}; use `decode = nearest`."
            )

    def to(self, device: str) -> None:
        self.device = device
        self._table = None

    _table: tuple[Tensor, Tensor] | None = None

    @property
    def _vectors(self) -> tuple[Tensor, Tensor]:
        """Embeddings `[N, D]` and half their squared lengths `[N]`."""
        if self._table is None:
            vectors = torch.from_numpy(self.candidates.vectors).to(self.device)
            self._table = vectors, vectors.square().sum(1) / 2
        return self._table

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(self.config.initial - self.rows.shape[1])
        points = self.climb(self.fit())
        taken, rows = self.taken.copy(), np.full(points.shape[:2], -1)
        if self.config.decode == "decoder":
            rows = self._decoded(points)
        for k in range(rows.shape[1]):
            for run in range(self.runs):
                row = int(rows[run, k])
                if row < 0 or taken[run, row]:
                    row = nearest_free(*self._vectors, points[run, k], taken[run])
                rows[run, k] = row
                taken[run, self.candidates.same_as(row)] = True
        return rows

    def fit(self) -> Predictor:
        """Predictors trained on everything that was told."""
        config = self.config
        features = torch.from_numpy(self.candidates.vectors[self.rows]).to(self.device)
        values = self.values - self.values.mean(1, keepdims=True)
        values = values / np.sqrt(np.square(values).mean(1, keepdims=True)).clip(min=1e-8)
        targets = torch.from_numpy(values).to(self.device)
        network = train(
            features,
            targets.float(),
            self.rngs,
            hidden=config.hidden,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
        )
        predictor = Predictor(network.folded().double(), targets.new_zeros(0))
        # Output weights of a network stopped after some epochs are noisy; a ridge regression with
        # the most evident penalty gives smoother ones.
        # Equal values leave nothing to regress on.
        mean = regress(predictor.units(features.double()), targets).mean
        predictor.mean = mean.nan_to_num()
        return predictor

    def climb(self, predictor: Predictor) -> Tensor:
        """End points of the walks from the best cells, `[R, batch, D]` of float64."""
        best = np.argsort(-self.values, axis=1, kind="stable")[:, : self.config.batch]
        starts = self.candidates.vectors[np.take_along_axis(self.rows, best, 1)]
        points = torch.from_numpy(starts).to(self.device).double()
        # Dimensions count alike, however much the embeddings spread along each.
        scale = self._vectors[0].double().std(0, correction=0)
        length = self.config.step_size * points.shape[2] ** 0.5
        for _ in range(self.config.steps):
            uphill = predictor.gradient(points) * scale
            uphill = uphill / uphill.norm(dim=2, keepdim=True).clamp(min=1e-12)
            points = points + length * scale * uphill
        return points

    # Decoding -------------------------------------------------------------------------------------

    _decoder: TrainedEncoder | None = None
    _row_of_hash: dict[int, int] | None = None

    def _decoded(self, points: Tensor) -> np.ndarray:
        """Candidates that the decoder makes of points, `[R, P]`; -1 where it makes none."""
        from archrep.embeddings import load_encoder

        if self._decoder is None or self._row_of_hash is None:
            self._decoder = load_encoder(self.candidates.space.name).to(self.device)
            hashes = self.candidates.cells.colour_hash().tolist()
            self._row_of_hash = {key: row for row, key in enumerate(hashes)}
        found = np.full(points.shape[:2], -1)
        for run, part in enumerate(points.float().cpu().numpy()):  # each as if it were alone
            cells = self._decoder.decode(part, candidates=1)  # the likeliest, as in the paper
            legal = [k for k, cell in enumerate(cells) if cell is not None]
            packed = self.candidates.space.pack([cell for cell in cells if cell is not None])
            for k, key in zip(legal, packed.colour_hash().tolist(), strict=True):
                found[run, k] = self._row_of_hash.get(key, -1)
        return found
