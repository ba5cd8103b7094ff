"""Uniform sampling of single paths, and the angle of every cell: SPOS and RLNAS.

Guo et al. (2020), "Single Path One-Shot Neural Architecture Search with Uniform Sampling"; Zhang et
al. (2021), "Neural Architecture Search with Random Labels".
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from archrep.cells.registry import get_space
from archrep.data.base import ImageSet
from archrep.objectives.base import Objective
from archrep.searchers.angle import Snapshot, Turn, cell_angles
from archrep.searchers.base import Searcher
from archrep.searchers.config import SupernetConfig
from archrep.searchers.ranking import live_params
from archrep.seeding import numpy_stream


class SinglePath(Searcher):
    """Each step trains one random path of each supernet; cells are ranked by their angle.

    `angle_and_size` adds the rank by angle and the rank by the weights on live paths, equal shares.
    The angle tells whether what is there learns, and knows little of how much is there.
    """

    def __init__(self, config: SupernetConfig, images: ImageSet, objective: Objective) -> None:
        super().__init__(config, images, objective)
        self.start = Snapshot(self.supernet, self.heads)  # initial weights depend on the seed alone

    def train_epoch(self, epoch: int) -> dict[str, list[float]]:
        self.set_rate(epoch)
        streams = [numpy_stream(seed, f"supernet/paths/{epoch}") for seed in self.config.seeds]
        losses, scores = [], []
        for inputs, targets in self.steps("train", epoch):
            path = np.stack([self.supernet.sample(rng) for rng in streams])
            loss, score = self.losses(partial(self.supernet, path=path), inputs, targets)
            if self.config.unsampled == "zero":
                self.step(loss)
            else:
                self._step_of_sampled(loss, path)
            losses.append(loss.detach())
            scores.append(score)
        turned = self.angles()
        return {
            "loss": torch.stack(losses).mean(0).tolist(),
            self.objective.metric: torch.stack(scores).mean(0).tolist(),
            **{name: values.tolist() for name, values in turned.items()},
        }

    def finished(self, figures: dict[str, list[float]]) -> bool:
        limit = self.config.stop_angle
        return limit is not None and float(np.mean(figures["convolution_angle"])) >= limit

    def angles(self) -> dict[str, np.ndarray]:
        """How far convolutions and trunk have turned in degrees, `[S]` each.

        The angle of a cell ranks while the former lead and neither has come to 90 degrees.
        """
        turns = self.start.candidate_turns(self.supernet)
        convolutions = Turn(*(part.sum((1, 2)) for part in turns))
        trunk = self.start.trunk_turns(self.supernet, self.heads)
        return {
            "convolution_angle": np.degrees(convolutions.angle()),
            "trunk_angle": np.degrees(trunk.angle()),
        }

    def scores(self) -> dict[str, np.ndarray]:
        space = get_space(self.supernet.space)
        assert space.size is not None
        choices = space.decisions_of_rows(np.arange(space.size))
        angles = cell_angles(self.start, self.supernet, self.heads, choices)
        size = rankdata(live_params(choices))
        both = [rankdata(own) + size for own in angles]
        return {"angle": angles, "angle_and_size": np.stack(both)}

    def _step_of_sampled(self, loss: Tensor, path: np.ndarray) -> None:
        """A step that leaves operations alone which were not sampled, and their momentum."""
        candidates = list(self.supernet.candidate_weights())
        before = []
        for _, weights in candidates:
            buffer = self.optimizer.state[weights].get("momentum_buffer")
            before.append((weights.detach().clone(), None if buffer is None else buffer.clone()))
        self.step(loss)
        stages = np.split(path, len(self.supernet.stages), axis=1)  # [S, N, 6] each
        for n, ((op, weights), (old, momentum)) in enumerate(zip(candidates, before, strict=True)):
            sampled = torch.from_numpy(stages[n // 2] == op).to(weights.device)
            sampled = sampled[..., None, None, None, None]
            buffer = self.optimizer.state[weights]["momentum_buffer"]
            with torch.no_grad():
                weights.copy_(torch.where(sampled, weights, old))
                known = torch.zeros_like(buffer) if momentum is None else momentum
                buffer.copy_(torch.where(sampled, buffer, known))
