"""BANANAS: Algorithm 1 of White et al. (2021), "BANANAS: Bayesian Optimization with Neural ...".

t_0 -> initial      random cells at the start
k -> batch          cells of a round
M -> members        networks of the ensemble that predicts accuracies
x -> parents        best cells told, of which the candidates of a round are mutations
c -> pool           candidates of a round

A candidate's score is one draw from the normal distribution with the mean and the deviation of the
ensemble: independent Thompson sampling, section 4. The paper mutates at random; a pool drawn
from the neighbours without repetition is the same but for copies. Where the parents have too few
neighbours left, neighbours of the next best cells join, and random cells once none are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from archrep.predictors.mlp import MlpEnsemble
from archrep.settings import check
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class BananasConfig(StrategyConfig):
    """Settings of BANANAS."""

    initial: int = 10
    """Random cells at the start."""
    batch: int = 10
    """Cells of a round."""
    parents: int = 10
    """Best cells whose neighbours are candidates."""
    pool: int = 100
    """Candidates of a round."""
    members: int = 5
    """Networks of the ensemble."""
    layers: int = 10
    """Hidden layers of a network."""
    width: int = 20
    """Units of a layer."""
    epochs: int = 150
    """Passes over the data in each round."""
    batch_size: int = 32
    """Data in one step of Adam."""
    learning_rate: float = 0.01
    """Of Adam."""

    def __post_init__(self) -> None:
        names = ("initial", "batch", "parents", "members", "layers", "width", "epochs")
        check(
            {
                f"`{name}` must be at least 1. Got {getattr(self, name)}.": getattr(self, name) >= 1
                for name in (*names, "batch_size")
            }
            | {
                f"`layers` must be at most 64. Got {self.layers}.": self.layers <= 64,
                f"`pool` must be at least `batch`, {self.batch}. Got {self.pool}.": (
                    self.pool >= self.batch
                ),
                f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                    0 < self.learning_rate <= 10
                ),
            }
        )


class Bananas(Strategy):
    """Thompson sampling from an ensemble of networks, among mutations of the best cells."""

    name = "bananas"
    title = "BANANAS (White et al., 2021)"
    Config = BananasConfig
    needs_features = True
    default_encoding: ClassVar = "path"
    config: BananasConfig
    device = "cpu"

    def to(self, device: str) -> None:
        self.device = device

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(self.config.initial - self.rows.shape[1])
        ensemble = self.fit()
        vectors = torch.from_numpy(self.candidates.vectors)
        chosen = []
        for run, rng in enumerate(self.rngs):
            pool = self._pool(run)
            mean, std = ensemble.predict_run(run, vectors[pool].to(self.device))
            drawn = rng.normal(mean.cpu().numpy(), std.cpu().numpy())
            chosen.append(pool[np.argsort(-drawn, kind="stable")[: self.config.batch]])
        return np.stack(chosen)

    def fit(self) -> MlpEnsemble:
        """The ensembles of all runs, trained from scratch on everything told."""
        config = self.config
        ensemble = MlpEnsemble(
            members=config.members,
            layers=config.layers,
            width=config.width,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
        )
        features = torch.from_numpy(self.candidates.vectors[self.rows]).to(self.device)
        return ensemble.fit(features, torch.from_numpy(self.values).to(self.device), self.rngs)

    def _pool(self, run: int) -> np.ndarray:
        """Candidates of a run, one of a class, `[pool]`."""
        size, rng, classes = self.config.pool, self.rngs[run], self.candidates.classes
        order = np.argsort(-self.values[run], kind="stable")
        found = np.zeros(0, np.int64)
        for start in range(0, len(order), self.config.parents):
            parents = self.rows[run, order[start : start + self.config.parents]]
            near = np.concatenate(self.candidates.neighbours(parents))
            near = rng.permutation(near[~self.taken[run, near]])
            near = np.concatenate([found, near])
            _, first = np.unique(classes[near], return_index=True)
            found = near[np.sort(first)][:size]
            if len(found) == size:
                return found
        more = self.random_untaken(run, size)
        fresh = more[~self.taken[run, more] & ~np.isin(classes[more], classes[found])]
        found = np.concatenate([found, fresh])[:size]
        if not len(found):  # nothing is left to learn; a repeat costs nothing
            return more
        return found if len(found) >= self.config.batch else np.resize(found, self.config.batch)
