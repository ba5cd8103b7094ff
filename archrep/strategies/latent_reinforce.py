"""arch2vec-RL: REINFORCE with an LSTM policy that walks the latent space.

Yan et al. (2020), section 4.2 and Appendix C, after Williams (1992):

s_t -> embedding of the cell that the walk stands on
a_t -> s_t's successor in latent space, drawn from N(LSTM(s_t), I)
r_t -> validation accuracy of the cell nearest to a_t that was not visited, less a baseline
theta -> weights of the policy, which ascend along sum_t G_t grad log pi(a_t)
G_t -> discounted sum of the rewards from step t on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from archrep.settings import check
from archrep.strategies.base import Strategy, StrategyConfig


@dataclass(frozen=True, kw_only=True)
class LatentReinforceConfig(StrategyConfig):
    """Settings of arch2vec-RL."""

    hidden: int = 128
    """Units of the LSTM cell, a multiple of 16."""
    learning_rate: float = 1e-2
    """Of Adam."""
    episode: int = 16
    """Steps between two updates of the policy; the LSTM begins each with zero states."""
    discount: float = 0.8
    """Of later rewards in a return; 0 counts the step's own reward only."""
    baseline: float | None = None
    """What rewards are measured against; `None` takes the mean reward so far. The authors'
    constants are close to the optimum of the table."""
    std: float = 1.0
    """Standard deviation of the policy, the same in every dimension."""
    scale_std: bool = False
    """Take `std` in units of the embeddings' own deviation in each dimension. Published embeddings
    have deviations of .07 to .30, so that the unit noise of the paper leaves the cloud."""
    skip_nearest: bool = False
    """Take the second nearest cell, as the authors' script for NAS-Bench-201 does."""
    copies: bool = False
    """Walk to, and pay for, cells that compute the same as visited ones: the authors' code knows
    rows, not what they are."""

    def __post_init__(self) -> None:
        check(
            {
                f"`hidden` must be a positive multiple of 16. Got {self.hidden}.": (
                    self.hidden > 0 and self.hidden % 16 == 0
                ),
                f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                    0 < self.learning_rate <= 10
                ),
                f"`episode` must be at least 1. Got {self.episode}.": self.episode >= 1,
                f"`discount` must lie in [0, 1]. Got {self.discount}.": 0 <= self.discount <= 1,
                f"`std` must be positive. Got {self.std}.": self.std > 0,
            }
        )

    @property
    def charge_repeats(self) -> bool:
        return self.copies


_POLICY = ("weights", "first", "second", "steps")  # of the network and of Adam


class LatentReinforce(Strategy):
    """A policy whose actions are points of the latent space, each answered by the nearest cell."""

    name = "latent-reinforce"
    title = "arch2vec-RL: REINFORCE over embeddings (Yan et al., 2020)"
    Config = LatentReinforceConfig
    presets: ClassVar = {
        "paper": LatentReinforceConfig(),
        "paper-nasbench201": LatentReinforceConfig(discount=0.4),
        # Returns are computed and then overwritten by the rewards; baselines as in the scripts.
        "arch2vec-2020": LatentReinforceConfig(discount=0.0, baseline=0.95, copies=True),
        "arch2vec-2020-nasbench201": LatentReinforceConfig(
            discount=0.0, baseline=0.4, skip_nearest=True, copies=True
        ),
    }
    needs_features = True
    memory: ClassVar = ("start", "current", "states", "asked", "noise", *_POLICY)
    config: LatentReinforceConfig
    device = "cpu"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        width, hidden = self.candidates.vectors.shape[1], self.config.hidden
        self._shapes = {
            "input": (width, 4 * hidden),
            "recurrent": (hidden, 4 * hidden),
            "gates": (1, 4 * hidden),
            "output": (hidden, width),
            "mean": (1, width),
        }
        size = sum(a * b for a, b in self._shapes.values())
        # As torch draws LSTM cells (but for their second bias) and linear layers of as many inputs.
        bounds = 1 / hidden**0.5
        drawn = [rng.uniform(-bounds, bounds, size) for rng in self.rngs]
        padded = -(-size // 16) * 16  # whole vector registers, so that runs do not meet in one
        self.weights = np.zeros((self.runs, padded), np.float32)
        self.weights[:, :size] = np.stack(drawn)
        # Adam's moments and its number of steps, and what happened in the running episode.
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.steps = np.zeros(self.runs, np.int64)
        self.noise = np.zeros((self.runs, 0, width), np.float32)
        self.states = self.asked = np.zeros((self.runs, 0), np.int64)
        # The walk begins at a random cell that is neither queried nor paid for.
        self.start = np.array([rng.integers(len(self.candidates)) for rng in self.rngs])
        self.current = self.start.copy()
        self._take_start()

    def take(self, run: int, rows: np.ndarray) -> None:
        if self.config.copies:
            self.taken[run, rows] = True
        else:
            super().take(run, rows)

    def _take_start(self) -> None:
        for run, row in enumerate(self.start.tolist()):
            self.take(run, np.array([row]))

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        super().load_state(state)
        self._take_start()

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
        drawn = np.stack([rng.standard_normal(self.noise.shape[2]) for rng in self.rngs])
        self.noise = np.concatenate([self.noise, drawn[:, None].astype(np.float32)], 1)
        self.states = np.concatenate([self.states, self.current[:, None]], 1)
        with torch.no_grad():
            means = self._means(torch.from_numpy(self.weights).to(self.device))[:, -1]
        actions = means + self._stds() * torch.from_numpy(self.noise[:, -1]).to(self.device)
        rows = self._nearest_free(actions)[:, None]
        self.asked = np.concatenate([self.asked, rows], 1)
        return rows

    def _stds(self) -> Tensor:
        """Standard deviation of the policy, `[D]`."""
        vectors = self.candidates.vectors
        scale = vectors.std(0) if self.config.scale_std else np.ones(vectors.shape[1], np.float32)
        return torch.from_numpy(self.config.std * scale).to(self.device)

    def _means(self, flat: Tensor) -> Tensor:
        """Means of the policy along the running episode, `[R, T, D]`."""
        weight, place = {}, 0
        for name, (rows, columns) in self._shapes.items():
            weight[name] = flat[:, place : place + rows * columns].view(-1, rows, columns)
            place += rows * columns
        states = torch.from_numpy(self.candidates.vectors[self.states]).to(self.device)
        hidden = flat.new_zeros(len(flat), 1, self.config.hidden)
        cell, means = hidden, []
        for step in range(states.shape[1]):
            gates = torch.bmm(states[:, step : step + 1], weight["input"]) + weight["gates"]
            gates = gates + torch.bmm(hidden, weight["recurrent"])
            let_in, forget, new, let_out = gates.chunk(4, 2)
            cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
            hidden = let_out.sigmoid() * cell.tanh()
            means.append(torch.bmm(hidden, weight["output"]) + weight["mean"])
        return torch.cat(means, 1)

    def _nearest_free(self, actions: Tensor) -> np.ndarray:
        """The nearest cell to each action that was not visited, `[R]`.

        A product finds a few that are nearest up to rounding; distances in float64 decide, so that
        the number of runs in the product does not.
        """
        vectors, lengths = self._vectors
        place = 1 if self.config.skip_nearest else 0
        few = min(len(vectors), 8)
        near: list[Tensor] = []
        for start in range(0, self.runs, 16):
            part = slice(start, start + 16)
            closeness = actions[part] @ vectors.T - lengths
            closeness[torch.from_numpy(self.taken[part]).to(self.device)] = -torch.inf
            near.append(closeness.topk(few, 1).indices)
        rows = torch.cat(near).sort(1).values  # equals are decided by their row
        distance = (vectors[rows].double() - actions[:, None].double()).square().sum(2)
        taken = np.take_along_axis(self.taken, rows.cpu().numpy(), 1)
        distance[torch.from_numpy(taken).to(self.device)] = torch.inf
        order = distance.sort(dim=1, stable=True).indices[:, min(place, few - 1)]
        return rows.gather(1, order[:, None])[:, 0].cpu().numpy()

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.current = rows[:, -1]
        if self.noise.shape[1] < self.config.episode:
            return
        told = self.asked[:, :, None] == self.rows[:, None]  # [R, T, n]
        if told.any(2).all():
            place = told.shape[2] - 1 - told[:, :, ::-1].argmax(2)
            self._update(np.take_along_axis(self.values, place, 1))
            self.noise = self.noise[:, :0]
            self.states = self.asked = self.asked[:, :0]

    def _update(self, rewards: np.ndarray) -> None:
        """One step of Adam along the policy gradient of an episode with rewards `[R, T]`."""
        baseline = self.values.mean(1) if self.config.baseline is None else self.config.baseline
        rewards = rewards - np.reshape(baseline, (-1, 1))
        returns, later = np.zeros_like(rewards), np.zeros(self.runs)
        for step in reversed(range(self.config.episode)):
            later = rewards[:, step] + self.config.discount * later
            returns[:, step] = later
        flat = torch.from_numpy(self.weights).to(self.device).requires_grad_()
        gain = torch.from_numpy(returns.astype(np.float32)).to(self.device)
        # log pi(a) = -((a - mean) / std)^2 / 2 + ..., and a - mean = std noise at these weights.
        noise = torch.from_numpy(self.noise).to(self.device) / self._stds()
        loss = -(noise * self._means(flat)).sum(2).mul(gain).mean(1).sum()
        (gradient,) = torch.autograd.grad(loss, flat)
        self.steps += 1
        self._adam(gradient.cpu().numpy())

    def _adam(self, gradient: np.ndarray) -> None:
        """Kingma and Ba (2015), Algorithm 1; each run counts its own steps."""
        decay, decay_2 = np.float32(0.9), np.float32(0.999)
        self.first = decay * self.first + (1 - decay) * gradient
        self.second = decay_2 * self.second + (1 - decay_2) * gradient**2
        count = self.steps[:, None].astype(np.float64)
        rate = (self.config.learning_rate / (1 - 0.9**count)).astype(np.float32)
        root = np.sqrt(self.second / (1 - 0.999**count).astype(np.float32))
        self.weights = self.weights - rate * self.first / (root + np.float32(1e-8))
