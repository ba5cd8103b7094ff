"""The supervised counterparts of arch2vec: encoder and search learn together, from labels alone.

Yan et al. (2020), section 4.2 and Figure 1 (top):

supervised-dngo       The encoder predicts accuracies; expected improvement under a Bayesian linear
                      regression on the tanh of its embedding proposes the next cells.
supervised-reinforce  The policy gradient of arch2vec-RL goes on through the states into the encoder
                      that made them, so that the latent space moves while it is walked.

Both pass over all candidates, with each run's own encoder, in every round or episode.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from archrep.graphs import PackedGraphs
from archrep.predictors.adaptive_basis import BayesianRegression, regress
from archrep.predictors.graph_networks import (
    GinShape,
    RunGraphs,
    Statistics,
    embed,
    embed_all,
    initial_statistics,
    tanh,
    train_on_values,
)
from archrep.settings import check
from archrep.strategies.acquisition import expected_improvement, log_expected_improvement
from archrep.strategies.base import Strategy, StrategyConfig
from archrep.strategies.dngo import published_precisions
from archrep.strategies.nao import nearest_free

_WINDOW = 512  # cells whose statistics a batch norm takes at once, in the authors' code


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(StrategyConfig):
    """Settings of the encoder that is trained along."""

    hidden: int = 128
    """Width of its layers, a multiple of 64."""
    layers: int = 4
    """Graph layers."""
    latent: int = 16
    """Size of the embedding."""
    faults: bool = False
    """Take over what is wrong in the authors' code, as the strategy lists it."""

    def __post_init__(self) -> None:
        check(self._checks())

    def _checks(self) -> dict[str, bool]:
        return {
            f"`hidden` must be a positive multiple of 64. Got {self.hidden}.": (
                self.hidden > 0 and self.hidden % 64 == 0
            ),
            f"`layers` must be from 1 to 64. Got {self.layers}.": 1 <= self.layers <= 64,
            f"`latent` must be at least 1. Got {self.latent}.": self.latent >= 1,
        }


class _WithEncoder(Strategy):
    """What both strategies share: the graphs of the candidates, and encoders of one shape."""

    config: EncoderConfig
    block = 8  # more runs at a time only leave the cache of the processor
    device = "cpu"
    _packed: PackedGraphs | None = None

    def to(self, device: str) -> None:
        self.device = device
        self._packed = None

    @property
    def shape(self) -> GinShape:
        """Shape of the encoder."""
        config = self.config
        ops = len(self.candidates.cells.vocabulary)
        return GinShape(ops, config.hidden, config.layers, config.latent)

    @property
    def packed(self) -> PackedGraphs:
        """All candidates."""
        if self._packed is None:
            self._packed = PackedGraphs(self.candidates.cells, self.device)
        return self._packed

    def graphs(self, rows: np.ndarray) -> RunGraphs:
        """Graphs of rows `[R, B]`; directed and with unused slots as nodes if faults are wanted."""
        faults = self.config.faults
        at = torch.from_numpy(rows).to(self.device)
        return RunGraphs.of_rows(self.packed, at, symmetric=not faults, padding=faults)

    def embed_all(self, weights: dict[str, Tensor], statistics: Statistics) -> Tensor:
        """Embeddings of all candidates, `[R, N, D]`."""
        faults = self.config.faults
        return embed_all(
            weights, self.shape, self.packed, statistics, symmetric=not faults, padding=faults
        )


# Bayesian optimisation ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SupervisedDngoConfig(EncoderConfig):
    """Settings of the supervised counterpart of arch2vec-BO."""

    initial: int = 16
    """Random cells at the start."""
    batch: int = 5
    """Cells of a round: those with the largest expected improvement."""
    epochs: int = 100
    """Passes over the data in each round."""
    batch_size: int = 10
    """Cells in one step of Adam."""
    learning_rate: float = 1e-2
    """Of Adam."""

    def _checks(self) -> dict[str, bool]:
        return super()._checks() | {
            **{
                f"`{name}` must be at least 1. Got {getattr(self, name)}.": getattr(self, name) >= 1
                for name in ("initial", "batch", "epochs")
            },
            f"`batch_size` must be at least 2. Got {self.batch_size}.": self.batch_size >= 2,
            f"`learning_rate` must be positive, at most 10. Got {self.learning_rate}.": (
                0 < self.learning_rate <= 10
            ),
        }


class SupervisedDngo(_WithEncoder):
    """Expected improvement under Bayesian linear regression on an encoder trained on labels.

    `faults` are those of the authors' code: the encoder sees edges in one direction only; batch
    norms take the statistics of each 512 candidates that are scored at once; accuracies are not
    standardised; the improvement is over a constant, divided alone by the variance where the whole
    difference belongs, so that it is 0 almost everywhere and the order of the candidates decides;
    and the variance stands for the standard deviation.
    """

    name = "supervised-dngo"
    title = "supervised counterpart of arch2vec-BO (Yan et al., 2020)"
    Config = SupervisedDngoConfig
    presets: ClassVar = {
        "paper": SupervisedDngoConfig(),
        "arch2vec-2020": SupervisedDngoConfig(faults=True),
    }
    config: SupervisedDngoConfig

    def propose(self) -> np.ndarray:
        if self.rows.shape[1] < self.config.initial:
            return self.random_rows(self.config.initial - self.rows.shape[1])
        # Weights and moments of four runs stay in the cache of a processor.
        together = 4 if self.device == "cpu" else self.runs
        parts = [
            self._propose(np.arange(start, min(start + together, self.runs)))
            for start in range(0, self.runs, together)
        ]
        return np.concatenate(parts)

    def _propose(self, runs: np.ndarray) -> np.ndarray:
        """The cells of largest acquisition of some runs, `[r, batch]`."""
        rngs = [self.rngs[run] for run in runs]
        graphs = self.graphs(self.rows[runs])
        weights, statistics, values = self._fit(runs, graphs, rngs)
        if self.config.faults:
            order = np.stack([rng.permutation(len(self.candidates)) for rng in rngs])
            scores = self._faulty_scores(weights, graphs, values, rngs, order)
        else:
            order = np.tile(np.arange(len(self.candidates)), (len(runs), 1))
            with torch.no_grad():
                told = tanh(embed(weights, self.shape, graphs, statistics)[0])
            regression = regress(told, values)
            units = tanh(self.embed_all(weights, statistics))
            mean, std = predict(regression, units)
            scores = log_expected_improvement(mean, std, values.max(1, keepdim=True).values)
        return np.stack(
            [
                self._largest(run, one, rows)
                for run, one, rows in zip(runs.tolist(), scores.cpu().numpy(), order, strict=True)
            ]
        )

    def embeddings(self) -> np.ndarray:
        """What each run's encoder, trained on all that was told, makes of the cells, `[R, N, D]`.

        These are the units of the regression. What the search asks for next does not change.
        """
        parts = []
        for run in range(self.runs):
            runs, rngs = np.array([run]), [deepcopy(self.rngs[run])]
            weights, statistics, _ = self._fit(runs, self.graphs(self.rows[runs]), rngs)
            with torch.no_grad():
                parts.append(tanh(self.embed_all(weights, statistics)).cpu().numpy())
        return np.concatenate(parts)

    def _fit(
        self, runs: np.ndarray, graphs: RunGraphs, rngs: list[np.random.Generator]
    ) -> tuple[dict[str, Tensor], Statistics, Tensor]:
        """Encoders of some runs, trained on all that was told, and the values that they learned."""
        values = torch.from_numpy(self.values[runs]).to(self.device)
        if not self.config.faults:
            values = values - values.mean(1, keepdim=True)
            values = values / values.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)
        weights, statistics = train_on_values(
            self.shape,
            graphs,
            values.float(),
            rngs,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            learning_rate=self.config.learning_rate,
        )
        return weights, statistics, values

    def _largest(self, run: int, scores: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The best that were not asked for, one of a class; of equals the first in `order`."""
        chosen: dict[int, int] = {}
        for row in order[np.argsort(-scores[order], kind="stable")].tolist():
            if not self.taken[run, row]:
                chosen.setdefault(int(self.candidates.classes[row]), row)
            if len(chosen) == self.config.batch:
                return np.array(list(chosen.values()))
        rows = list(chosen.values())
        left = self.config.batch - len(rows)  # everything else is known
        return np.array(rows + self.random_untaken(run, left).tolist())

    def _faulty_scores(
        self,
        weights: dict[str, Tensor],
        graphs: RunGraphs,
        values: Tensor,
        rngs: list[np.random.Generator],
        order: np.ndarray,
    ) -> Tensor:
        """Acquisition of the authors' code, `[R, N]`."""
        size = order.shape[1]
        units = torch.empty(*order.shape, self.config.latent, device=self.device)
        at = torch.arange(len(order), device=self.device)[:, None]
        with torch.no_grad():
            told = tanh(embed(weights, self.shape, graphs)[0])
            for start in range(0, size, _WINDOW):
                rows = order[:, start : start + _WINDOW]
                latent, _ = embed(weights, self.shape, self.graphs(rows))
                units[at, torch.from_numpy(rows).to(self.device)] = tanh(latent)
        regression = regress(told, values, published_precisions(rngs))
        mean, std = predict(regression, units)
        variance = std.square()
        # With a spread of 1 this is phi(u) + u Phi(u) at u = mean - .95 / variance.
        return variance * expected_improvement(mean, torch.ones_like(mean), 0.95 / variance)


def predict(regression: BayesianRegression, units: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of R regressions for units `[R, N, D]`, `[R, N]` each.

    As `BayesianRegression.predict`, by one product a run and without sums across it.
    """
    units = units.double()
    mean = torch.bmm(units, regression.mean[..., None])[..., 0]
    along = torch.bmm(units, regression.basis).square()
    variance = torch.bmm(along, regression.spread[..., None])[..., 0]
    return mean, (variance + regression.noise[:, None]).sqrt()


# Reinforcement learning ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SupervisedReinforceConfig(EncoderConfig):
    """Settings of the supervised counterpart of arch2vec-RL."""

    policy_hidden: int = 128
    """Units of the LSTM cell of the policy, a multiple of 64."""
    encoder_rate: float = 1e-3
    """Learning rate of the encoder."""
    policy_rate: float = 1e-2
    """Learning rate of the policy."""
    episode: int = 16
    """Steps between two updates; the LSTM begins each with zero states."""
    discount: float = 0.8
    """Of later rewards in a return; 0 counts the step's own reward only."""
    baseline: float | None = None
    """What rewards are measured against; `None` takes the mean reward so far."""
    norm_cells: int = 512
    """Random candidates whose statistics the batch norms take over at the start of an episode."""

    def _checks(self) -> dict[str, bool]:
        return super()._checks() | {
            f"`policy_hidden` must be a positive multiple of 64. Got {self.policy_hidden}.": (
                self.policy_hidden > 0 and self.policy_hidden % 64 == 0
            ),
            f"`encoder_rate` must be positive, at most 10. Got {self.encoder_rate}.": (
                0 < self.encoder_rate <= 10
            ),
            f"`policy_rate` must be positive, at most 10. Got {self.policy_rate}.": (
                0 < self.policy_rate <= 10
            ),
            f"`episode` must be at least 1. Got {self.episode}.": self.episode >= 1,
            f"`discount` must lie in [0, 1]. Got {self.discount}.": 0 <= self.discount <= 1,
            f"`norm_cells` must be at least 2. Got {self.norm_cells}.": self.norm_cells >= 2,
        }


class SupervisedReinforce(_WithEncoder):
    """Policy gradient through states that the encoder makes, and retrieval among its embeddings.

    Batch norms have no data of their own here: at the start of an episode they take over the
    statistics of some random candidates, which then stand for acting, retrieval and the gradient.

    `faults` are those of the authors' code: every step sees the cell that the episode began with,
    never the one that was retrieved; edges count in one direction only; and batch norms take the
    statistics of that one graph, with running ones for retrieval.
    """

    name = "supervised-reinforce"
    title = "supervised counterpart of arch2vec-RL (Yan et al., 2020)"
    Config = SupervisedReinforceConfig
    presets: ClassVar = {
        "paper": SupervisedReinforceConfig(),
        # Returns are computed and then overwritten by the rewards.
        "arch2vec-2020": SupervisedReinforceConfig(faults=True, discount=0.0, baseline=0.95),
    }
    memory: ClassVar = (
        *("start", "current", "states", "asked", "noise"),
        *("weights", "first", "second", "steps", "norm_mean", "norm_variance"),
    )
    config: SupervisedReinforceConfig

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._parts = self.shape.parts | self._policy_parts
        encoder = self.shape.initial(self.rngs)
        bound = (
            self.config.policy_hidden**-0.5
        )  # as torch draws LSTM cells, but for their second bias
        flat = []
        for name, shape in self._parts.items():
            part = encoder.get(name)
            if part is None:
                drawn = [rng.uniform(-bound, bound, shape) for rng in self.rngs]
                part = torch.from_numpy(np.stack(drawn).astype(np.float32))
            flat.append(part.flatten(1).numpy())
        self.weights = np.concatenate(flat, 1)
        self.first, self.second = np.zeros_like(self.weights), np.zeros_like(self.weights)
        self.steps = np.zeros(self.runs, np.int64)
        statistics = initial_statistics(self.runs, self.shape)
        self.norm_mean, self.norm_variance = (part.numpy() for part in statistics)
        self.noise = np.zeros((self.runs, 0, self.config.latent), np.float32)
        self.states = self.asked = np.zeros((self.runs, 0), np.int64)
        # The walk begins at a random cell that is neither queried nor paid for.
        self.start = np.array([rng.integers(len(self.candidates)) for rng in self.rngs])
        self.current = self.start.copy()
        self._take_start()

    def _take_start(self) -> None:
        for run, row in enumerate(self.start.tolist()):
            self.take(run, np.array([row]))

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        super().load_state(state)
        self._take_start()
        self._table = None

    def keep(self, chosen: np.ndarray) -> None:
        super().keep(chosen)
        if self._table is not None:
            stays = torch.from_numpy(chosen).to(self.device)
            self._table = self._table[0][stays], self._table[1][stays]

    def to(self, device: str) -> None:
        super().to(device)
        self._table = None

    # Weights --------------------------------------------------------------------------------------

    @property
    def _policy_parts(self) -> dict[str, tuple[int, int]]:
        latent, hidden = self.config.latent, self.config.policy_hidden
        return {
            "input": (latent, 4 * hidden),
            "recurrent": (hidden, 4 * hidden),
            "gates": (1, 4 * hidden),
            "output": (hidden, latent),
            "centre": (1, -(-latent // 64) * 64),
        }

    def _tensors(self) -> dict[str, Tensor]:
        """Weights by name, `[R, ...]`."""
        found, place = {}, 0
        for name, (rows, columns) in self._parts.items():
            part = self.weights[:, place : place + rows * columns]
            part = np.ascontiguousarray(part).reshape(-1, rows, columns)
            found[name] = torch.from_numpy(part).to(self.device)
            place += rows * columns
        return found

    @property
    def _statistics(self) -> Statistics:
        parts = (self.norm_mean, self.norm_variance)
        return Statistics(*(torch.from_numpy(part).to(self.device) for part in parts))

    # Walking --------------------------------------------------------------------------------------

    _table: tuple[Tensor, Tensor] | None = None
    """Embeddings of all candidates `[R, N, D]` and half their squared lengths `[R, N]`; they follow
    from the weights and statistics that an episode begins with."""

    def propose(self) -> np.ndarray:
        weights = self._tensors()
        if self._table is None:
            if not self.noise.shape[1] and not self.config.faults:
                self._take_statistics(weights)
            vectors = self.embed_all(weights, self._statistics)
            ones = vectors.new_ones(self.runs, self.config.latent, 1)
            self._table = vectors, torch.bmm(vectors.square(), ones)[..., 0] / 2
        drawn = [rng.standard_normal(self.config.latent) for rng in self.rngs]
        self.noise = np.concatenate([self.noise, np.stack(drawn)[:, None].astype(np.float32)], 1)
        self.states = np.concatenate([self.states, self.current[:, None]], 1)
        with torch.no_grad():
            means, _ = self._means(weights)
        actions = (means[:, -1] + torch.from_numpy(self.noise[:, -1]).to(self.device)).double()
        rows = [
            nearest_free(vectors, lengths, action, self.taken[run])
            for run, (vectors, lengths, action) in enumerate(
                zip(*self._table, actions, strict=True)
            )
        ]
        self.asked = np.concatenate([self.asked, np.array(rows)[:, None]], 1)
        return self.asked[:, -1:]

    def _take_statistics(self, weights: dict[str, Tensor]) -> None:
        """Let the batch norms take over the statistics of some random candidates."""
        size = len(self.candidates)
        count = min(self.config.norm_cells, size)
        rows = np.stack([rng.choice(size, count, replace=False) for rng in self.rngs])
        with torch.no_grad():
            _, statistics = embed(weights, self.shape, self.graphs(rows))
        self.norm_mean, self.norm_variance = (part.cpu().numpy() for part in statistics)

    def _means(self, weights: dict[str, Tensor]) -> tuple[Tensor, Statistics]:
        """Means of the policy along the running episode, `[R, T, D]`, and the norms' statistics."""
        steps = self.states.shape[1]
        if self.config.faults:
            latent, used = embed(weights, self.shape, self.graphs(self.states[:, :1]))
            latent = latent.expand(-1, steps, -1)
        else:
            graphs = self.graphs(self.states)
            latent, used = embed(weights, self.shape, graphs, self._statistics)
        hidden = latent.new_zeros(self.runs, 1, self.config.policy_hidden)
        cell, means = hidden, []
        centre = weights["centre"][:, :, : self.config.latent]
        for step in range(steps):
            gates = torch.bmm(latent[:, step : step + 1], weights["input"]) + weights["gates"]
            gates = gates + torch.bmm(hidden, weights["recurrent"])
            let_in, forget, new, let_out = gates.chunk(4, 2)
            cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
            hidden = let_out.sigmoid() * cell.tanh()
            means.append(torch.bmm(hidden, weights["output"]) + centre)
        return torch.cat(means, 1), used

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
            self._table = None

    def _update(self, rewards: np.ndarray) -> None:
        """One step of Adam along the policy gradient of an episode with rewards `[R, T]`."""
        baseline = self.values.mean(1) if self.config.baseline is None else self.config.baseline
        rewards = rewards - np.reshape(baseline, (-1, 1))
        returns, later = np.zeros_like(rewards), np.zeros(self.runs)
        for step in reversed(range(self.config.episode)):
            later = rewards[:, step] + self.config.discount * later
            returns[:, step] = later
        weights = self._tensors()
        leaves = [part.requires_grad_() for part in weights.values()]
        means, used = self._means(weights)
        # log pi(a) = -(a - mean)^2 / 2 + ..., and a - mean is the noise that was drawn.
        ascent = self.noise * returns[..., None].astype(np.float32) / np.float32(returns.shape[1])
        downhill = torch.from_numpy(-ascent).to(self.device)
        gradients = torch.autograd.grad(means, leaves, downhill)
        if self.config.faults:
            statistics, nodes = self._statistics, self.graphs(self.states[:, :1]).used
            for _ in range(self.config.episode):
                statistics = statistics.moved_by(used, nodes)
            self.norm_mean, self.norm_variance = (part.cpu().numpy() for part in statistics)
        self._adam(np.concatenate([part.flatten(1).cpu().numpy() for part in gradients], 1))

    def _adam(self, gradient: np.ndarray) -> None:
        """Kingma and Ba (2015), Algorithm 1, with a rate for the encoder and one for the policy."""
        rate = np.concatenate(
            [
                np.full(
                    rows * columns,
                    self.config.policy_rate
                    if name in self._policy_parts
                    else self.config.encoder_rate,
                    np.float32,
                )
                for name, (rows, columns) in self._parts.items()
            ]
        )
        self.steps = self.steps + 1
        decay, decay_2 = np.float32(0.9), np.float32(0.999)
        self.first = decay * self.first + (1 - decay) * gradient
        self.second = decay_2 * self.second + (1 - decay_2) * gradient**2
        count = self.steps[:, None].astype(np.float64)
        first = self.first / (1 - 0.9**count).astype(np.float32)
        root = np.sqrt(self.second / (1 - 0.999**count).astype(np.float32))
        self.weights = self.weights - rate * first / (root + np.float32(1e-8))
