"""arch2vec-BO: Bayesian optimisation with DNGO over embeddings (Yan et al., 2020, section 4.2).

phi_d(z) -> tanh units of a network of one layer, trained from scratch in every round
alpha, beta -> precisions of its output weights and of the noise
mu(z), sigma(z) -> mean and standard deviation of Bayesian linear regression on the units
EI -> expected improvement over the best accuracy so far (Snoek et al., 2015)

Each round scores every candidate that was not asked for, never a sample of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from archrep.predictors.adaptive_basis import (
    BayesianRegression,
    Network,
    Score,
    Scorer,
    regress,
    train,
)
from archrep.settings import check, choices
from archrep.strategies.acquisition import log_expected_improvement, upper_confidence_bound
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class DngoConfig(StrategyConfig):
    """Settings of arch2vec-BO."""

    initial: int = 16
    """Random cells at the start."""
    batch: int = 5
    """Cells of a round: those with the largest acquisition."""
    hidden: int = 128
    """Tanh units, a multiple of 16."""
    epochs: int = 100
    """Passes over the data in each round."""
    batch_size: int = 10
    """Data in one step of Adam."""
    learning_rate: float = 1e-2
    """Of Adam."""
    acquisition: Literal["ei", "ucb", "thompson"] = "ei"
    """Expected improvement, upper confidence bound, or the maximum of a function drawn from the
    posterior (one a place of the batch)."""
    beta: float = 2.0
    """Standard deviations of the upper confidence bound."""
    repeats: bool = False
    """Propose, and pay for, cells that are known: the authors' test for visited cells never holds,
    because it compares tensors by identity."""
    variance_as_std: bool = False
    """Give the predictive variance to the acquisition in place of its root, as the authors do."""
    best: float | None = None
    """Accuracy that an improvement must exceed, if it is not the best so far; the authors'
    constants are close to the optima of the tables."""
    raw_values: bool = False
    """Regress accuracies as they are, not standardised."""
    evidence: Literal["largest", "arch2vec-2020"] = "largest"
    """How alpha and beta are chosen: by the evidence, or by the likelihood of the authors' code,
    whose data term is not squared and whose determinant overflows, from a random start."""

    def __post_init__(self) -> None:
        check(
            {
                f"`{name}` must be at least 1. Got {getattr(self, name)}.": getattr(self, name) >= 1
                for name in ("initial", "batch", "epochs", "batch_size")
            }
            | {
                f"`hidden` must be a positive multiple of 16. Got {self.hidden}.": (
                    self.hidden > 0 and self.hidden % 16 == 0
                ),
                f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                    0 < self.learning_rate <= 10
                ),
                f"`beta` must not be negative. Got {self.beta}.": self.beta >= 0,
            }
            | choices(self)
        )

    @property
    def charge_repeats(self) -> bool:
        return self.repeats


# Not taken over: the authors' script for NAS-Bench-101 seeds every round alike, so that all rounds
# share the order of batches and the start of the search for alpha and beta.
_FAULTS = DngoConfig(
    repeats=True, variance_as_std=True, best=0.95, raw_values=True, evidence="arch2vec-2020"
)


class Dngo(Strategy):
    """Expected improvement under a network with a Bayesian last layer."""

    name = "dngo"
    title = "arch2vec-BO: DNGO over embeddings (Yan et al., 2020)"
    Config = DngoConfig
    presets: ClassVar = {
        "paper": DngoConfig(),
        # The authors' script for NAS-Bench-201 proposes one cell a round.
        "paper-nasbench201": DngoConfig(batch=1),
        "arch2vec-2020": _FAULTS,
        "arch2vec-2020-nasbench201": DngoConfig(
            batch=1,
            repeats=True,
            variance_as_std=True,
            best=1.0,
            raw_values=True,
            evidence="arch2vec-2020",
        ),
    }
    needs_features = True
    config: DngoConfig
    device = "cpu"

    def to(self, device: str) -> None:
        self.device = device
        self._scorer = None

    _scorer: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """All candidates, ready to be scored."""
        if self._scorer is None:
            labels = self.candidates.classes
            if (
                self.config.repeats
            ):  # whoever pays for repeats does not know that cells are the same
                labels = np.arange(len(labels))
            self._scorer = Scorer(self.candidates.vectors, labels, self.device)
        return self._scorer

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(self.config.initial - self.rows.shape[1])
        network, regression, best = self.fit()
        excluded = None if self.config.repeats else self.taken
        if self.config.acquisition == "thompson":
            return self._thompson(network, regression)
        scores = [self._score(value) for value in best.tolist()]
        return self.scorer.best(network, regression, scores, excluded, self.config.batch)

    def fit(self) -> tuple[Network, BayesianRegression, Tensor]:
        """Networks, regressions and the value to improve on, `[R]`, from all that was told."""
        config = self.config
        features = torch.from_numpy(self.candidates.vectors[self.rows]).to(self.device)
        values = torch.from_numpy(self.values).to(self.device)
        centre, scale = torch.zeros_like(values[:, 0]), torch.ones_like(values[:, 0])
        if not config.raw_values:
            centre = values.mean(1)
            scale = (values - centre[:, None]).square().mean(1).sqrt().clamp(min=1e-8)
        targets = (values - centre[:, None]) / scale[:, None]
        network = train(
            features,
            targets.float(),
            self.rngs,
            hidden=config.hidden,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
        )
        ones = torch.ones(*features.shape[:2], 1, device=features.device)
        inputs = torch.cat([features, ones], 2).double()
        weight = network.folded().double()
        units = torch.stack(
            [(row[:, :, None] * w).sum(1) for row, w in zip(inputs, weight, strict=True)]
        ).tanh()
        precisions = None
        if config.evidence == "arch2vec-2020":
            precisions = published_precisions(self.rngs)
        regression = regress(units, targets, precisions)
        best = values.max(1).values if config.best is None else torch.full_like(centre, config.best)
        return network, regression, (best - centre) / scale

    def _score(self, best: float) -> Score:
        config = self.config

        def score(mean: Tensor, std: Tensor) -> Tensor:
            spread = std.square() if config.variance_as_std else std
            if config.acquisition == "ucb":
                return upper_confidence_bound(mean, spread, config.beta)
            return log_expected_improvement(mean, spread, best)

        return score

    def _thompson(self, network: Network, regression: BayesianRegression) -> np.ndarray:
        """The best cell under each of `batch` functions drawn from the posterior."""
        hidden = regression.mean.shape[1]
        taken, places = self.taken.copy(), []
        for _ in range(self.config.batch):
            normal = np.stack([rng.standard_normal(hidden) for rng in self.rngs])
            along = torch.from_numpy(normal).to(regression.mean.device) * regression.spread.sqrt()
            drawn = BayesianRegression(
                regression.mean + (regression.basis * along[:, None]).sum(2),
                regression.basis,
                torch.zeros_like(regression.spread),
                torch.zeros_like(regression.noise),
            )
            rows = self.scorer.best(network, drawn, [_only_mean] * self.runs, taken, 1)[:, 0]
            places.append(rows)
            for run, row in enumerate(rows.tolist()):
                taken[run, self.candidates.same_as(row)] = True
        return np.stack(places, 1)


def _only_mean(mean: Tensor, std: Tensor) -> Tensor:
    return mean


def published_precisions(
    rngs: list[np.random.Generator],
) -> Callable[[Tensor, Tensor, Tensor, int, int], tuple[Tensor, Tensor]]:
    """How the authors' code chooses alpha and beta, faults included.

    Nelder and Mead (1965) from one draw of the prior, on `(H log alpha + n log beta - beta r -
    alpha |m|^2 - log(det K + 1e-10)) / 2` with the residual norm r where its square belongs, and a
    determinant of K that overflows; alpha and 1 / beta are kept between e^-10 and e^10.
    """

    def choose(
        eigenvalues: Tensor, along: Tensor, total: Tensor, count: int, hidden: int
    ) -> tuple[Tensor, Tensor]:
        from scipy.optimize import fmin

        chosen = []
        for run, rng in enumerate(rngs):
            eigen, projection = eigenvalues[run].cpu().numpy(), along[run].cpu().numpy()
            square = float(total[run])

            def loss(
                theta: np.ndarray,
                eigen: np.ndarray = eigen,
                projection: np.ndarray = projection,
                square: float = square,
            ) -> float:
                if (np.abs(theta) > 10).any():
                    return math.inf
                alpha, beta = math.exp(theta[0]), math.exp(-theta[1])
                precision = beta * eigen + alpha
                weights = beta * projection / precision
                residual = square - 2 * weights @ projection + weights @ (eigen * weights)
                logarithm = np.log(precision).sum()
                determinant = math.exp(logarithm) if logarithm < 709 else math.inf
                likelihood = hidden * theta[0] - count * theta[1] - count * math.log(2 * math.pi)
                likelihood -= beta * math.sqrt(max(residual, 0.0)) + alpha * weights @ weights
                return -(likelihood - math.log(determinant + 1e-10)) / 2

            start = rng.normal((0.0, -3.0), 1.0)
            best = fmin(loss, start, disp=False)
            if not np.isfinite(loss(best)):
                best = start
            chosen.append(np.exp(best * (1, -1)))
        values = torch.from_numpy(np.array(chosen)).to(eigenvalues.device)
        return values[:, 0], values[:, 1]

    return choose
