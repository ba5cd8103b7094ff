"""REINFORCE on the discrete encoding: Williams (1992), as used by Ying et al. (2019), Appendix S3.

pi -> independent categorical distributions, one a choice of the cell, softmax of free logits
r -> validation accuracy of the cell that was drawn
b -> exponential moving average of the rewards, this one included
logits -> ascended along (r - b) grad log pi(cell)

Choices that are no cell are drawn again, as in both published programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from archrep.cells.decisions import Decisions, one_hot
from archrep.settings import check, choices
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(StrategyConfig):
    """Settings of REINFORCE on the discrete encoding."""

    learning_rate: float = 0.1
    """Of the logits."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Plain steps along the gradient, or those of Adam."""
    momentum: float = 0.9
    """Of the moving average of the rewards."""
    initial_scale: float = 0.0
    """Standard deviation of the logits at the start; 0 begins at uniform distributions."""
    repeats: bool = False
    """Pay again for a cell that is drawn again, as the published programs do."""

    def __post_init__(self) -> None:
        check(
            {
                f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                    0 < self.learning_rate <= 10
                ),
                f"`momentum` must lie in [0, 1). Got {self.momentum}.": 0 <= self.momentum < 1,
                f"`initial_scale` must not be negative. Got {self.initial_scale}.": (
                    self.initial_scale >= 0
                ),
            }
            | choices(self)
        )

    @property
    def charge_repeats(self) -> bool:
        return self.repeats


class Reinforce(Strategy):
    """Policy gradient over the choices of a cell; a cell that is drawn again teaches again."""

    name = "reinforce"
    title = "REINFORCE on the discrete encoding (Williams, 1992)"
    Config = ReinforceConfig
    presets: ClassVar = {
        # The script of NAS-Bench-201 (Dong and Yang, 2020), whose rewards are percents, and whose
        # Adam does not mind.
        "nasbench201": ReinforceConfig(
            learning_rate=0.01, optimizer="adam", initial_scale=1e-3, repeats=True
        ),
        # automl/nas_benchmarks, whose curves arch2vec shows.
        "arch2vec-2020": ReinforceConfig(repeats=True),
    }
    memory: ClassVar = ("logits", "first", "second", "steps", "average", "asked", "drawn")
    config: ReinforceConfig

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.decisions = Decisions(self.candidates.space, self.candidates.positions)
        options = self.decisions.options
        shape = (len(options), int(options.max()))
        normal = np.stack([rng.standard_normal(shape) for rng in self.rngs])
        exists = np.arange(shape[1]) < options[:, None]
        self.logits = np.where(exists, self.config.initial_scale * normal, -np.inf)  # [R, K, O]
        self.first, self.second = np.zeros((2, *self.logits.shape))  # moments of Adam
        self.steps = np.zeros(self.runs, np.int64)
        self.average = np.zeros((self.runs, 2))  # moving sums of the rewards and of their weights
        self.asked = np.full(self.runs, -1)
        self.drawn = np.zeros((self.runs, len(options)), np.int64)

    @property
    def probabilities(self) -> np.ndarray:
        """Policy of each run, `[R, K, O]`; 0 for options that do not exist."""
        weight = np.exp(self.logits - self.logits.max(2, keepdims=True))
        return weight / weight.sum(2, keepdims=True)

    def propose(self) -> np.ndarray:
        bounds = self.probabilities.cumsum(2)
        last = self.decisions.options - 1

        def draw(run: int, count: int) -> np.ndarray:
            level = self.rngs[run].random((count, len(last)))
            return np.minimum((level[..., None] >= bounds[run]).sum(2), last)

        rows, self.drawn = self.decisions.first(draw, self.runs)
        for run in np.flatnonzero(rows < 0).tolist():
            # The policy has settled where nothing may be proposed: a random cell leads out of it.
            rows[run] = self.random_untaken(run, 1)[0]
            self.drawn[run] = self.decisions.choices(rows[run : run + 1])[0]
        self.asked = rows
        return rows[:, None]

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """One step for each value; cells that were not asked for are taken as their own choices."""
        for row, value in zip(rows.T, values.T, strict=True):
            own = self.decisions.choices(row)
            choices = np.where((row == self.asked)[:, None], self.drawn, own)
            self._step(choices, value)

    def _step(self, choices: np.ndarray, reward: np.ndarray) -> None:
        momentum = self.config.momentum
        weighted = np.stack([reward, np.ones_like(reward)], 1)
        self.average = momentum * self.average + (1 - momentum) * weighted
        advantage = reward - self.average[:, 0] / self.average[:, 1]
        # grad log softmax = indicator of the choice less the probabilities.
        ascent = one_hot(choices, self.decisions.options) - self.probabilities
        ascent = ascent * advantage[:, None, None]
        if self.config.optimizer == "adam":
            ascent = self._adam(ascent)
        self.logits = self.logits + self.config.learning_rate * ascent

    def _adam(self, ascent: np.ndarray) -> np.ndarray:
        """Direction of Kingma and Ba (2015), Algorithm 1."""
        self.steps = self.steps + 1
        self.first = 0.9 * self.first + 0.1 * ascent
        self.second = 0.999 * self.second + 0.001 * ascent**2
        count = self.steps[:, None, None]
        step = self.first / (1 - 0.9**count)
        return step / (np.sqrt(self.second / (1 - 0.999**count)) + 1e-8)
