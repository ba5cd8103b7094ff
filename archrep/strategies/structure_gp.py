"""archrep's own strategy: a Gaussian process over what cells compute and how they are written.

Its kernel::

    k(x, y) = s^2 ((1 - w) M(f(x), f(y)) E(a(x), a(y)) + w E'(a(x), a(y)) + trend)
    f -> square roots of `encodings.function_encoding`: paths of operations that carry a signal
    a -> `encodings.adjacency_encoding`: the cell as it is written
    M, E, E' -> Matern-5/2 and two squared exponential kernels, the second for what only the
                nearest cells share
    trend -> linear in the logarithm of the parameters, which are known without training, and, on
             request, in what another table recorded of the same cell (transfer)

Accuracies have a long tail of failures; they are centred on their median, scaled by the deviation
of the upper half and cut off at two deviations below, so that the model spends its range on what
matters. The noise is that of a few with the largest marginal likelihood; s^2 is profiled out.
The first cells are drawn from the largest ones. Length scales are fixed, since choosing them by
likelihood found worse cells in pilots (40 seeds apart from those of the reported figures, on the
three data sets of NAS-Bench-201); no other table was tried before they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.candidates import Candidates
from archrep.encodings import adjacency_encoding, function_encoding
from archrep.errors import ConfigError
from archrep.settings import check, choices
from archrep.strategies.acquisition import log_expected_improvement
from archrep.strategies.base import Strategy, StrategyConfig

_NOISES = (0.001, 0.01, 0.1)  # shares of the signal's variance


@dataclass(frozen=True, kw_only=True)
class StructureGpConfig(StrategyConfig):
    """Settings of archrep's own strategy."""

    initial: int = 10
    """Cells before the model decides."""
    batch: int = 1
    """Cells of a round: those with the largest expected improvement."""
    start: Literal["large", "random"] = "large"
    """Where the first cells come from: down the list by parameters, each taken with probability
    `share`; or anywhere."""
    share: float = 0.5
    """See `start`."""
    function_scale: float = 0.3
    """Length scale of the function kernel, in root mean square differences of a column."""
    written_scale: float = 1.0
    """Length scale of the spelling kernel, in the same unit."""
    near_scale: float = 0.35
    """Length scale of the kernel of the nearest cells."""
    near_share: float = 0.2
    """Its share of the variance, w."""
    recommended_noise: float = 0.1
    """Noise, as a share of the variance, under which the cell to recommend is chosen."""
    size_trend: bool = True
    """Let the mean depend on the logarithm of the parameters; the data say how."""
    transfer: str = ""
    """Table of the same space whose default validation accuracy, as ranks, enters the mean as well,
    such as `digits`. It counts as knowledge of another data set."""

    def __post_init__(self) -> None:
        check(
            {
                f"`initial` must be at least 2. Got {self.initial}.": self.initial >= 2,
                f"`batch` must be at least 1. Got {self.batch}.": self.batch >= 1,
                f"`share` must lie in (0, 1]. Got {self.share}.": 0 < self.share <= 1,
                f"`recommended_noise` must be positive. Got {self.recommended_noise}.": (
                    self.recommended_noise > 0
                ),
                "Length scales must be positive. "
                f"Got {self.function_scale}, {self.written_scale}, {self.near_scale}.": (
                    min(self.function_scale, self.written_scale, self.near_scale) > 0
                ),
                f"`near_share` must lie in [0, 1]. Got {self.near_share}.": (
                    0 <= self.near_share <= 1
                ),
            }
            | choices(self)
        )


class StructureGp(Strategy):
    """Expected improvement under a process that compares cells by function and by spelling."""

    name = "archrep"
    title = "archrep: Gaussian process over function and spelling of cells"
    Config = StructureGpConfig
    presets: ClassVar = {
        "no-prior": StructureGpConfig(start="random", size_trend=False),
        "transfer-digits": StructureGpConfig(transfer="digits"),
    }
    block: ClassVar = 20
    config: StructureGpConfig

    @classmethod
    def block_of(cls, candidates: Candidates) -> int:
        # A run keeps a row of N floats for every query; some gigabyte for 200 queries of a block.
        return max(1, min(cls.block, 1_000_000_000 // (4 * 200 * len(candidates))))

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._posteriors: list[tuple[Tensor, Tensor]] = []
        # Covariances of what was told with all candidates, a row a query: `[R, capacity, N]`.
        self._cross = torch.empty(self.runs, 0, len(self.candidates))
        self._filled = 0

    # Candidates -----------------------------------------------------------------------------------

    @cached_property
    def _function(self) -> Tensor:
        return torch.from_numpy(_standard(np.sqrt(function_encoding(self.candidates.cells)), False))

    @cached_property
    def _written(self) -> Tensor:
        return torch.from_numpy(_standard(adjacency_encoding(self.candidates.cells), False))

    @cached_property
    def size(self) -> np.ndarray:
        """Logarithm of the parameters of each cell, or of its operations with weights, `[N]`."""
        cells = self.candidates.cells
        count = getattr(self.candidates.space, "params", None)
        if count is not None:
            return np.log(np.maximum(count(cells), 1).astype(np.float64))
        heavy = np.array(["conv" in op for op in cells.vocabulary] + [False] * 256)[:256]
        return heavy[cells.ops].sum(1).astype(np.float64)

    @cached_property
    def _trend(self) -> Tensor:
        """Columns of the linear part, `[N, T]` of float64, the constant first."""
        columns = [np.full(len(self.candidates), 2.0)]  # a wide prior on the constant
        if self.config.size_trend:
            columns.append(_standard(self.size[:, None], True)[:, 0])
        if self.config.transfer:
            columns.append(_standard(self._transferred()[:, None], True)[:, 0])
        return torch.from_numpy(np.stack(columns, 1).astype(np.float64))

    def _transferred(self) -> np.ndarray:
        from scipy.stats import rankdata

        from archrep.tables.registry import open_recorded

        table = open_recorded(self.config.transfer)
        if table.space.name != self.candidates.space.name:
            raise ConfigError(
                f"`transfer` must be a table of {self.candidates.space.title}. "
                f"{self.config.transfer!r} is of {table.space.title}."
            )
        known = table.column("valid_accuracy")[table.index_array(self.candidates.cells)]
        return rankdata(np.nan_to_num(known, nan=float(np.nanmedian(known))))

    # The search -----------------------------------------------------------------------------------

    def propose(self) -> np.ndarray:
        told = self.rows.shape[1]
        if told < self.config.initial:
            count = self.config.initial - told
            return self.random_rows(count) if self.config.start == "random" else self._large(count)
        self._fit()
        return np.stack([self._improving(run) for run in range(self.runs)])

    def _large(self, count: int) -> np.ndarray:
        """Large cells, one of a class, `[R, count]`."""
        rows = []
        for run, rng in enumerate(self.rngs):
            order = np.lexsort((rng.random(len(self.candidates)), -self.size))
            free = order[~self.taken[run, order]]
            _, first = np.unique(self.candidates.classes[free], return_index=True)
            free = free[np.sort(first)]
            taken = free[rng.random(len(free)) < self.config.share]
            rest = free[~np.isin(free, taken)]
            rows.append(np.resize(np.concatenate([taken, rest]), count))
        return np.stack(rows)

    def _improving(self, run: int) -> np.ndarray:
        mean, std = self._posteriors[run]
        best = mean[torch.from_numpy(self.rows[run])].max()
        score = log_expected_improvement(mean, std, best)
        score[torch.from_numpy(self.taken[run])] = -torch.inf
        order = torch.topk(score, min(len(score), 50 * self.config.batch)).indices.numpy()
        _, first = np.unique(self.candidates.classes[order], return_index=True)
        return np.resize(order[np.sort(first)], self.config.batch)

    def recommend(self) -> np.ndarray | None:
        """The told cell with the largest posterior mean: less noise than the best value seen."""
        told = self.rows.shape[1]
        if told < self.config.initial:
            return None
        self._fit()
        best = []
        for run in range(self.runs):
            rows = torch.from_numpy(self.rows[run])
            covariance = self._cross[run, :told, rows].double()
            noisy = covariance + self.config.recommended_noise * torch.eye(told).double()
            target = torch.from_numpy(warp(self.values[run]))
            best.append(int((covariance @ torch.linalg.solve(noisy, target)).argmax()))
        return self.rows[np.arange(self.runs), best]

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._posteriors = []

    def keep(self, chosen: np.ndarray) -> None:
        super().keep(chosen)
        self._cross = self._with_room(self._cross[torch.from_numpy(chosen)], self._cross.shape[1])
        pairs = zip(self._posteriors, chosen, strict=False)
        self._posteriors = [posterior for posterior, stays in pairs if stays]

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        super().load_state(state)
        self._posteriors, self._filled = [], 0

    def _kernel(self, far: Tensor, apart: Tensor) -> Tensor:
        """Kernel of squared distances in function and in spelling, of their shape."""
        config = self.config
        scaled = (far * (5 / config.function_scale**2)).sqrt()
        matern = (1 + scaled + scaled.square() / 3) * (-scaled).exp()
        broad = matern * (apart * (-0.5 / config.written_scale**2)).exp()
        near = (apart * (-0.5 / config.near_scale**2)).exp()
        return (1 - config.near_share) * broad + config.near_share * near

    # The model ------------------------------------------------------------------------------------

    def _fit(self) -> None:
        if self._posteriors:
            return
        told = self.rows.shape[1]
        if told > self._cross.shape[1]:
            self._cross = self._with_room(self._cross, told + told // 2)
        # One row at a time: products round by their shape, and a resumed search adds many at once.
        for run in range(self.runs):
            for place in range(self._filled, told):
                new = torch.from_numpy(self.rows[run, place : place + 1])
                self._cross[run, place] = self._covariances(new)[0]
        self._filled = told
        self._posteriors = [self._posterior(run) for run in range(self.runs)]

    def _with_room(self, cross: Tensor, told: int) -> Tensor:
        """The covariances so far, `[R, told, N]`, each row beginning with a cache line.

        Products round by how their factors lie in memory, and a resumed search must not differ.
        """
        size = len(self.candidates)
        room = torch.empty(len(cross), told, -(-size // 16) * 16)[..., :size]
        room[:, : self._filled] = cross[:, : self._filled]
        return room

    def _covariances(self, rows: Tensor) -> Tensor:
        """Prior covariances of some cells with all candidates, `[n, N]` of float32."""
        alike = self._kernel(
            _square_distances(self._function[rows], self._function),
            _square_distances(self._written[rows], self._written),
        )
        return alike + (self._trend[rows] @ self._trend.T).float()

    def _posterior(self, run: int) -> tuple[Tensor, Tensor]:
        """Posterior mean and standard deviation of all candidates, in warped units, `[N]` each."""
        rows = torch.from_numpy(self.rows[run])
        target = torch.from_numpy(warp(self.values[run]))
        cross = self._cross[run, : len(rows)]
        covariance = cross[:, rows].double()
        covariance.diagonal().add_(_likeliest_noise(covariance, target))
        factor = torch.linalg.cholesky(covariance)
        weights = torch.cholesky_solve(target[:, None], factor)[:, 0]
        scale = (target @ weights / len(rows)).clamp(min=1e-6)
        eye = torch.eye(len(rows), dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
        mean = (weights.float() @ cross).double()
        known = (inverse.float() @ cross).square_().sum(0).double()
        prior = 1 + self._trend.square().sum(1)
        variance = scale * (prior - known).clamp(min=1e-6)
        return mean, variance.sqrt()


def warp(values: np.ndarray) -> np.ndarray:
    """Values in deviations of their upper half from their median, cut off at -2, `[n]`."""
    median = np.median(values)
    deviation = values[values >= median].std()
    return ((values - median) / max(float(deviation), 1e-9)).clip(min=-2)


def _standard(columns: np.ndarray, each: bool) -> np.ndarray:
    """Columns scaled so that squared distances are means over columns; `each` to unit deviation."""
    columns = np.asarray(columns, np.float32)
    if each:
        deviation = columns.std(0)
        return (columns - columns.mean(0)) / np.where(deviation > 1e-8, deviation, 1)
    return columns / np.float32(math.sqrt(columns.shape[1]))


def _square_distances(left: Tensor, right: Tensor) -> Tensor:
    """`[n, N]` of float32."""
    squares = left.square().sum(1)[:, None] + right.square().sum(1)
    return squares.sub_(2 * (left @ right.T)).clamp_(min=0)


def _likeliest_noise(covariance: Tensor, target: Tensor) -> float:
    """Noise of the largest marginal likelihood, the scale profiled out.

    Rasmussen and Williams (2006), Eq. 2.30.
    """
    count = len(target)
    eye = torch.eye(count, dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.stack([covariance + noise * eye for noise in _NOISES]))
    right = target[:, None].expand(len(_NOISES), -1, 1)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    fit = solved.square().sum((1, 2)).clamp(min=1e-9).log() * count / 2
    volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return _NOISES[int((fit + volume).argmin())]
