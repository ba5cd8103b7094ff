"""
Cells of every space
====================

Drawn from input to output; in a notebook a ``Cell`` draws itself.

On the command line: ``archrep draw CELL --out FILE``, and
``archrep plot encoding SPACE CELL`` for its matrices.
"""

import matplotlib.pyplot as plt
import numpy as np

from archrep.cells import get_space
from archrep.plots import draw_cell, plot_encoding

spaces = ("nasbench101", "nasbench201", "darts")
_, axes = plt.subplots(1, 3, figsize=(13, 4.5), width_ratios=(1, 1.2, 2), layout="constrained")
for name, ax in zip(spaces, axes, strict=True):
    cell = get_space(name).sample(np.random.default_rng(4))
    draw_cell(cell, ax, title=get_space(name).title)

# %%
# What encoders see of a cell, as in Figures 7, 8 and 9 of the arch2vec paper: which node feeds
# which, and the operation of each node.

space = get_space("nasbench201")
_, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), width_ratios=(1, 1.6), layout="constrained")
cell = space.sample(np.random.default_rng(4))
draw_cell(cell, left)
plot_encoding(cell, space, right)
