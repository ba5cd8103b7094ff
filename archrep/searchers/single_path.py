"""Uniform sampling of single paths, and the angle of every cell: SPOS and RLNAS.

Guo et al. (2020), "Single Path One-Shot Neural Architecture Search with Uniform Sampling"; Zhang et
al. (2021), "Neural Architecture Search with Random Labels".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from archrep.cells.registry import SPACES, get_space
from archrep.data.base import ImageSet
from archrep.objectives.base import Objective
from archrep.searchers.angle import Angles, Snapshot, Turn
from archrep.searchers.base import Figures, Searcher, SearcherSettings, figures_of
from archrep.searchers.config import SupernetConfig
from archrep.searchers.evolution import PRESETS as EVOLUTIONS
from archrep.searchers.evolution import evolve, genes_of
from archrep.searchers.ranking import live_params
from archrep.seeding import numpy_stream
from archrep.settings import check, choices


@dataclass(frozen=True, kw_only=True)
class SinglePathSettings(SearcherSettings):
    """Settings of single paths."""

    unsampled: Literal["zero", "absent"] = "zero"
    """What the gradient of an operation is that a step did not sample. Zeros let weight decay and
    momentum go on, as the PyTorch of the published code did; absent ones leave it as it is, as
    PyTorch does since 2.0. Angles depend on it."""
    stop_angle: float | None = None
    """Degrees that the operations may turn: training ends with the epoch in which they pass it
    on average, since the angle ranks cells only inside a window."""

    macs_limit: float | None = None
    """Million multiply-adds that an ImageNet network may have, where evolution looks for one:
    RLNAS has 475 for MobileNets and 600 for DARTS."""

    def __post_init__(self) -> None:
        checks = {
            f"`stop_angle` must lie in (0, 90]. Got {self.stop_angle}.": (
                self.stop_angle is None or 0 < self.stop_angle <= 90
            ),
            f"`macs_limit` must be positive. Got {self.macs_limit}.": (
                self.macs_limit is None or self.macs_limit > 0
            ),
        }
        check(checks | choices(self))


class SinglePath(Searcher):
    """Each step trains one random path of each supernet; architectures are ranked by their angle.

    All cells of NAS-Bench-201 are ranked; in other spaces the largest angle is searched for by
    evolution. `angle_and_size` adds the rank by angle and the rank by the weights on live paths,
    equal shares: the angle tells whether what is there learns, and knows little of how much is
    there.
    """

    name = "single-path"
    title = "Single paths, ranked by their angle (SPOS of Guo et al., 2020; RLNAS)"
    Settings = SinglePathSettings

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        super().__init__(config, images, objective)
        self.start = Snapshot(self.supernet, self.heads)  # initial weights depend on the seed alone

    def build(self, **sizes: Any) -> None:
        if self.config.affine is None and self.config.space.startswith("darts"):
            sizes["affine"] = True
        super().build(**sizes)

    def train_epoch(self, epoch: int) -> Figures:
        self.set_rate(epoch)
        streams = [numpy_stream(seed, f"supernet/paths/{epoch}") for seed in self.config.seeds]
        draws = self.draws(epoch)
        losses, scores = [], []
        for inputs, targets in self.steps("train", epoch):
            path = np.stack([self.supernet.sample(rng) for rng in streams])
            forward = partial(self.supernet, path=path, draws=draws)
            loss, score = self.losses(forward, inputs, targets)
            if self.settings.unsampled == "zero":
                self.step(loss)
            else:
                self._step_of_sampled(loss, path)
            losses.append(loss.detach())
            scores.append(score)
        turned = self.angles()
        return figures_of(losses, scores, self.objective.metric) | {
            name: values.tolist() for name, values in turned.items()
        }

    def finished(self, figures: Figures) -> bool:
        limit = self.settings.stop_angle
        return limit is not None and float(np.mean(figures["operation_angle"])) >= limit

    def angles(self) -> dict[str, np.ndarray]:
        """How far operations and trunk have turned in degrees, `[S]` each.

        The angle of a cell ranks while the former lead and neither has come to 90 degrees.
        """
        turns = self.start.candidate_turns(self.supernet)
        operations = Turn(*(part.sum((1, 2)) for part in turns))
        trunk = self.start.trunk_turns(self.supernet, self.heads)
        return {
            "operation_angle": np.degrees(operations.angle()),
            "trunk_angle": np.degrees(trunk.angle()),
        }

    def scores(self) -> dict[str, np.ndarray]:
        space = SPACES.get(self.supernet.space)
        if space is None or space.size is None:
            return {}
        decisions = space.decisions_of_rows(np.arange(space.size))
        angles = Angles(self.start, self.supernet, self.heads)(decisions)
        size = rankdata(live_params(decisions))
        both = [rankdata(own) + size for own in angles]
        return {"angle": angles, "angle_and_size": np.stack(both)}

    def choose(self) -> dict[str, np.ndarray]:
        if scores := self.scores():
            decisions = get_space(self.supernet.space).decisions_of_rows
            return {name: decisions(values.argmax(1)) for name, values in scores.items()}
        angles = Angles(self.start, self.supernet, self.heads)
        found = [self._evolved(angles, s) for s in range(len(self.config.seeds))]
        return {"angle": np.stack(found)}

    def _evolved(self, angles: Angles, s: int) -> np.ndarray:
        """The best architecture of one seed that evolution finds, `[P]`."""
        limit = self.settings.macs_limit

        def fits(choices: np.ndarray) -> np.ndarray:
            return np.asarray(self.supernet.imagenet_macs(choices) <= 1e6 * limit)

        return evolve(
            genes_of(self.supernet),
            lambda choices: angles(choices)[s],
            numpy_stream(self.config.seeds[s], "supernet/evolution"),
            EVOLUTIONS[self.supernet.space],
            fits=None if limit is None else fits,
            cost=None if limit is None else self.supernet.imagenet_macs,
        ).choices

    def _step_of_sampled(self, loss: Tensor, path: np.ndarray) -> None:
        """A step that leaves operations alone which were not sampled, and their momentum."""
        candidates = [candidate.weights for candidate in self.supernet.candidates()]
        before = []
        for weights in candidates:
            buffer = self.optimizer.state[weights].get("momentum_buffer")
            before.append((weights.detach().clone(), None if buffer is None else buffer.clone()))
        self.step(loss)
        used = self.supernet.sampled(path)
        for weights, (old, momentum), own in zip(candidates, before, used, strict=True):
            sampled = torch.from_numpy(own).to(weights.device)
            sampled = sampled.view(*own.shape, *[1] * (weights.ndim - own.ndim))
            buffer = self.optimizer.state[weights]["momentum_buffer"]
            with torch.no_grad():
                weights.copy_(torch.where(sampled, weights, old))
                known = torch.zeros_like(buffer) if momentum is None else momentum
                buffer.copy_(torch.where(sampled, buffer, known))
