"""Random search: cells drawn uniformly from those not queried yet."""

from __future__ import annotations

import numpy as np

from archrep.strategies.base import Strategy


class RandomSearch(Strategy):
    """Uniform over the candidates, each class once.

    Like arch2vec and unlike samplers of random matrices (Ying et al., 2019; ConfigSpace), which
    favour small cells: it draws from the list of distinct cells.
    """

    name = "random"
    title = "random search"

    def propose(self) -> np.ndarray:
        return self.random_rows(1)
