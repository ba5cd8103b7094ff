"""
Walks from cell to cell
=======================

What lies beside a cell, and what between two: Figures 5, 11, 12 and 13 of the arch2vec paper.

On the command line: ``archrep plot neighbours RUN --cell CELL --out FILE`` and
``archrep plot interpolation RUN FIRST SECOND --out FILE``.
"""

# %%
# The walk always goes on to the nearest cell that it has not visited. Numbers say how many edits
# apart two cells are.

import matplotlib.pyplot as plt

from archrep.embeddings import load_encoder
from archrep.plots import plot_walk
from archrep.walks import edits_between, interpolate, nearest_walk

encoder = load_encoder("nasbench201")
cells = encoder.space.enumerate()
rows = nearest_walk(encoder.embed(cells), start=6111, steps=7)
walk = [cells[row] for row in rows.tolist()]
_, ax = plt.subplots(figsize=(12, 5.6), layout="constrained")
plot_walk(walk, edits_between(walk), titles=[str(row) for row in rows], columns=4, ax=ax)

# %%
# Five points on the line between two cells, decoded.

along = interpolate(encoder, cells[6111], cells[1462], points=5)
found = [cell for cell in along if cell is not None]
_, ax = plt.subplots(figsize=(13, 2.6), layout="constrained")
plot_walk(found, edits_between(found), columns=5, ax=ax)
