"""
Cells of every space
====================

Drawn from input to output; in a notebook a ``Cell`` draws itself.

On the command line: ``archrep draw CELL --out FILE``.
"""

import matplotlib.pyplot as plt
import numpy as np

from archrep.cells import get_space
from archrep.plots import draw_cell

spaces = ("nasbench101", "nasbench201", "darts")
_, axes = plt.subplots(1, 3, figsize=(13, 4.5), width_ratios=(1, 1.2, 2), layout="constrained")
for name, ax in zip(spaces, axes, strict=True):
    cell = get_space(name).sample(np.random.default_rng(4))
    draw_cell(cell, ax, title=get_space(name).title)
