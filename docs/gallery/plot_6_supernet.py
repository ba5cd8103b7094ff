"""
What a supernet says without labels
===================================

A supernet trained on random labels ranks all cells by how far their weights turned.

On the command line: ``archrep supernet``, then ``archrep plot ranks RUN --out FILE`` and
``archrep plot epochs RUN... --out FILE``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from archrep.files import read_arrays
from archrep.plots import plot_by_epoch, plot_ranks
from archrep.searchers.config import SupernetConfig
from archrep.searchers.ranking import kendall
from archrep.searchers.run import train_supernet
from archrep.tables.registry import open_recorded

runs = Path(tempfile.mkdtemp())
size = {"channels": 4, "cells": 1, "runs": 2, "images": 160, "crop_padding": 0, "flip": False}
angles = SupernetConfig(epochs=12, learning_rate=0.1, batch_size=32, **size)
train_supernet(angles, out=runs / "angles")

# %%
# Rank by angle against the rank in the table. This supernet is a toy that trains for seconds; the
# page of RLNAS has the real one.

scores = read_arrays(runs / "angles" / "scores.npz", "scores")
accuracy = np.asarray(open_recorded("digits").column("test_accuracy"), float)
known = np.isfinite(accuracy)
tau = kendall(scores["angle"][0][known], accuracy[known])
_, ax = plt.subplots(figsize=(5.5, 4.4), layout="constrained")
plot_ranks(scores["angle"][0], accuracy, label="angle", tau=tau, caption="digits, seed 0", ax=ax)

# %%
# DARTS tends to fill its cell with skip connections. The line is the mean of the seeds, the band
# reaches from the least to the most.

curves = {}
for objective in ("supervised", "random-labels"):
    config = SupernetConfig(
        searcher="darts",
        objective=objective,
        epochs=10,
        searcher_settings={"alpha_learning_rate": 0.03},
        **size,
    )
    curves[objective] = train_supernet(config, out=runs / objective)["skips_by_epoch"]
_, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
plot_by_epoch(curves, ylabel="skip connections of 6 edges", ax=ax)
