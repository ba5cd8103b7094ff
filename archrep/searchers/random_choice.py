"""The control of every search: architectures drawn at random, without any training."""

from __future__ import annotations

import numpy as np

from archrep.searchers.base import Figures, Searcher
from archrep.seeding import numpy_stream


class RandomChoice(Searcher):
    """One architecture a seed, drawn as single paths are; nothing is trained."""

    name = "random"
    title = "One architecture drawn at random: the control"

    @property
    def epochs(self) -> int:
        return 0

    def train_epoch(self, epoch: int) -> Figures:
        raise NotImplementedError("Nothing is trained.")

    def choose(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        drawn = []
        for seed in self.config.seeds:
            path = self.supernet.sample(numpy_stream(seed, "supernet/random"))
            drawn.append(path if path.ndim == 1 else path[0])  # NAS-Bench-201: of the first cell
        return {"random": np.stack(drawn)}
