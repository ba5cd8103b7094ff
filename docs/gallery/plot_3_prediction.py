"""
Accuracies predicted from embeddings
====================================

A Gaussian process sees 250 accuracies and predicts all others: Figure 2 of the arch2vec paper.

On the command line: ``archrep plot prediction RUN --table NAME --out FILE``.
"""

import matplotlib.pyplot as plt
import numpy as np

from archrep.embeddings import load_encoder
from archrep.plots import plot_prediction
from archrep.predictors.rest import predict_rest
from archrep.tables.registry import open_recorded

encoder = load_encoder("nasbench201")
embeddings = encoder.embed(encoder.space.enumerate())
table = open_recorded("digits")
accuracy = np.asarray(table.column("test_accuracy"), float)
rest, predicted = predict_rest(embeddings, accuracy, labels=250, seed=0)
good = accuracy[rest] > 0.8
_, ax = plt.subplots(figsize=(5.5, 4.4), layout="constrained")
plot_prediction(
    accuracy[rest][good],
    predicted[good],
    label="test accuracy on digits",
    caption="250 labels, seed 0; cells above 80 %",
    ax=ax,
)
