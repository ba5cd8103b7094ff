"""
Regret of searches
==================

Three strategies, 30 seeds each, on the table that comes with the package: Figure 6 of the
arch2vec paper for a table of your own.

On the command line: ``archrep search``, then ``archrep plot regret DIR... --out FILE`` and
``archrep plot ecdf DIR... --out FILE``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from archrep.comparison import curve, final_regrets, load_finished
from archrep.plots import plot_curves, plot_ecdf
from archrep.search import SearchConfig, search

runs = Path(tempfile.mkdtemp())
for strategy in ("random", "evolution", "local-search"):
    config = SearchConfig(table="digits", strategy=strategy, queries=100, runs=30)
    search(config, out=runs / strategy, workers=1)
searches = {folder.name: load_finished(folder) for folder in sorted(runs.iterdir())}

# %%
# The median of all seeds, and a band between their quartiles.

_, ax = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
curves = {name: curve(own, "queries") for name, own in searches.items()}
plot_curves(curves, xlabel="queries", ylabel="test regret, %", caption="digits, 30 seeds", ax=ax)

# %%
# How the regret of all seeds is distributed at the end.

_, ax = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
regrets = {name: final_regrets(own) for name, own in searches.items()}
plot_ecdf(regrets, xlabel="final test regret, %", caption="digits, 30 seeds", ax=ax)
