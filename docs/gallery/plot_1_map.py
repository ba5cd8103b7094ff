"""
A map of a search space
=======================

All 15,625 cells of NAS-Bench-201, placed by an encoder that never saw an accuracy.

On the command line: ``archrep plot map RUN --table NAME --out FILE``; ``--areas`` for the means.
"""

# %%
# The encoder comes with the package. t-SNE of 1,500 cells takes seconds, and the other
# cells are placed beside their nearest.

import matplotlib.pyplot as plt
import numpy as np

from archrep.cell_columns import space_columns
from archrep.embeddings import load_encoder
from archrep.latent_map import area_means, latent_map
from archrep.plots import plot_areas, plot_latent_map
from archrep.tables.registry import open_recorded

encoder = load_encoder("nasbench201")
cells = encoder.space.enumerate()
embeddings = encoder.embed(cells)
points = latent_map(embeddings, max_points=1_500, everything=True)

# %%
# Colour by what follows from the graph alone, here how many 3x3 convolutions a cell has.

columns = space_columns("nasbench201", cells)
_, ax = plt.subplots(figsize=(5.5, 4.6), layout="constrained")
plot_latent_map(points, columns["conv_3x3"], label="3x3 convolutions", ax=ax)

# %%
# Colour by an accuracy, averaged over small areas as in Figure 4 of the arch2vec paper. Cells
# that score alike lie together, though the encoder knows nothing of scores.

table = open_recorded("digits")
accuracy = 100 * np.asarray(table.column("test_accuracy"), float)
_, ax = plt.subplots(figsize=(5.5, 4.6), layout="constrained")
plot_areas(
    area_means(points, accuracy), label="test accuracy on digits, %", caption=points.caption, ax=ax
)
