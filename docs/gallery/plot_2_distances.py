"""
Near in the graph, near in the latent space
===========================================

Latent distance by edit distance along a random walk: Figure 3 of the arch2vec paper.

On the command line: ``archrep plot distances nasbench101 --out FILE``.
"""

# %%
# A walk of 200 steps through NAS-Bench-101; each step changes an operation or an edge. Pairs are
# one to eight steps apart, and their edit distance is exact.

import matplotlib.pyplot as plt

from archrep.embeddings import load_encoder
from archrep.plots import plot_distances
from archrep.walks import distances_along_walk

encoder = load_encoder("nasbench101")
distances = distances_along_walk(encoder.embed, encoder.space, steps=200)
_, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
plot_distances(distances, caption="NAS-Bench-101, walk of 200 steps, seed 0", ax=ax)
