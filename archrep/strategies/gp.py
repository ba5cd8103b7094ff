"""Bayesian optimisation with Gaussian processes over an encoding of the cells.

Its symbols here::

    x -> the encoding, each column scaled to [0, 1] over all candidates
    y -> accuracies told so far, standardised
    mu(x), sigma(x) -> posterior of `predictors.gp.GaussianProcess`, without the noise of a label
    y* -> what an improvement exceeds: the largest posterior mean of a cell told, since the largest
          accuracy told is in part luck

Each round scores every candidate that was not asked for, never a sample of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.predictors.gp import GaussianProcess
from archrep.settings import check, choices
from archrep.strategies.acquisition import log_expected_improvement, upper_confidence_bound
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class GpConfig(StrategyConfig):
    """Settings of Bayesian optimisation with Gaussian processes."""

    initial: int = 16
    """Random cells at the start."""
    batch: int = 5
    """Cells of a round: those with the largest acquisition."""
    acquisition: Literal["ei", "ucb", "thompson"] = "ei"
    """Logarithm of the expected improvement, upper confidence bound, or the maximum of a function
    drawn from the posterior (one a place of the batch)."""
    beta: float = 2.0
    """Standard deviations of the upper confidence bound."""
    kernel: Literal["rbf", "matern"] = "rbf"
    """Squared exponential, the default of BoTorch, or Matern-5/2."""
    steps: int = 40
    """Steps uphill when the hyper-parameters are first fitted."""
    refit_steps: int = 10
    """Steps in every later round, from where the last one ended."""
    recommend: Literal["posterior-mean", "incumbent"] = "posterior-mean"
    """The final choice: the cell told with the largest posterior mean, or the largest accuracy."""

    def __post_init__(self) -> None:
        check(
            {
                f"`{name}` must be at least {least}. Got {getattr(self, name)}.": (
                    getattr(self, name) >= least
                )
                for name, least in (("initial", 2), ("batch", 1), ("steps", 1), ("refit_steps", 0))
            }
            | {f"`beta` must not be negative. Got {self.beta}.": self.beta >= 0}
            | choices(self)
        )


class Gp(Strategy):
    """Expected improvement under a Gaussian process."""

    name = "gp"
    title = "Bayesian optimisation with a Gaussian process (BoTorch's default model)"
    Config = GpConfig
    presets: ClassVar = {"one-by-one": GpConfig(batch=1)}
    memory = ("parameters",)
    needs_features = True
    config: GpConfig
    device = "cpu"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        width = self.candidates.vectors.shape[1]
        # Of the last fit that proposed something; where the next one starts.
        self.parameters = np.full((self.runs, width + 1), np.nan)
        self._model: GaussianProcess | None = None

    def to(self, device: str) -> None:
        self.device, self._model = device, None
        self.__dict__.pop("points", None)

    @cached_property
    def points(self) -> Tensor:
        """All candidates in the unit cube, `[N, D]` of float64."""
        vectors = torch.from_numpy(self.candidates.vectors.astype(np.float64)).to(self.device)
        low, high = vectors.min(0).values, vectors.max(0).values
        return (vectors - low) / torch.where(high > low, high - low, torch.ones_like(low))

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(self.config.initial - self.rows.shape[1])
        model = self.fit()
        assert model.parameters is not None
        self.parameters = model.parameters.cpu().numpy()
        return np.stack([self._choose(model, run) for run in range(self.runs)])

    def fit(self) -> GaussianProcess:
        """The processes of all runs, given everything told."""
        if self._model is None:
            config, first = self.config, bool(np.isnan(self.parameters).any())
            model = GaussianProcess(
                kernel=config.kernel,
                steps=config.steps if first else config.refit_steps,
                first_step=0.3 if first else 0.1,
                most=self.rows.shape[1],
            )
            if not first:
                model.parameters = torch.from_numpy(self.parameters).to(self.device)
            told = torch.from_numpy(self.rows).to(self.device)
            values = torch.from_numpy(self.values).to(self.device)
            self._model = model.fit(self.points[told], values)
        return self._model

    def _choose(self, model: GaussianProcess, run: int) -> np.ndarray:
        """The candidates of largest acquisition, one of a class, `[batch]`."""
        config, rng = self.config, self.rngs[run]
        taken = torch.from_numpy(self.taken[run].copy())
        score = torch.empty(0)
        if config.acquisition != "thompson":
            mean, std = model.predict_run(run, self.points)
            best = mean[torch.from_numpy(self.rows[run]).to(mean.device)].max()
            if config.acquisition == "ei":
                score = log_expected_improvement(mean, std, best).cpu()
            else:
                score = upper_confidence_bound(mean, std, config.beta).cpu()
        chosen: list[int] = []
        for place in range(config.batch):
            if taken.all():  # nothing is left to learn; a repeat costs nothing
                return np.array(chosen + self.random_untaken(run, config.batch - place).tolist())
            if config.acquisition == "thompson":
                score = model.sample_run(run, self.points, rng).cpu()
            row = int(score.masked_fill(taken, -torch.inf).argmax())
            taken[torch.from_numpy(self.candidates.same_as(row))] = True
            chosen.append(row)
        return np.array(chosen)

    def recommend(self) -> np.ndarray | None:
        """See `GpConfig.recommend`."""
        if self.config.recommend == "incumbent" or self.rows.shape[1] < self.config.initial:
            return None
        model = self.fit()
        chosen = [
            int(model.predict_run(run, self.points[torch.from_numpy(rows)])[0].argmax())
            for run, rows in enumerate(self.rows)
        ]
        return self.rows[np.arange(self.runs), chosen]

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        self._model = None

    def keep(self, chosen: np.ndarray) -> None:
        super().keep(chosen)
        self._model = None

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        super().load_state(state)
        self._model = None
