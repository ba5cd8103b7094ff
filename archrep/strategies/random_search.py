"""Random search: cells drawn uniformly from those not queried yet."""

from __future__ import annotations

import numpy as np

from archrep.strategies.base import Strategy


class RandomSearch(Strategy):
    """Uniform over the candidates that were not asked for; a class is asked for once.

    Like arch2vec and unlike samplers of random matrices (Ying et al., 2019; ConfigSpace), which
    favour small cells. A class of NAS-Bench-201 is the likelier the more cells of the table are in
    it; on NAS-Bench-101 every cell is its own class.
    """

    name = "random"
    title = "random search"

    def propose(self) -> np.ndarray:
        return self.random_rows(1)
