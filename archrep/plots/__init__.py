"""Pictures: cells, maps, latent spaces, searches and supernets.

Each function takes Matplotlib axes and returns them. Matplotlib is imported by the first call that
draws.
"""

from archrep.plots.cell import cell_svg, draw_cell, draw_cells, plot_encoding, plot_walk
from archrep.plots.latent import plot_areas, plot_distances, plot_prediction, plot_visits
from archrep.plots.latent_map import map_figure, plot_latent_map
from archrep.plots.layout import CellLayout, layout
from archrep.plots.regret import plot_curves, plot_ecdf
from archrep.plots.style import house_style, save_figure
from archrep.plots.supernet import plot_by_epoch, plot_ranks

__all__ = [
    "CellLayout",
    "cell_svg",
    "draw_cell",
    "draw_cells",
    "house_style",
    "layout",
    "map_figure",
    "plot_areas",
    "plot_by_epoch",
    "plot_curves",
    "plot_distances",
    "plot_ecdf",
    "plot_encoding",
    "plot_latent_map",
    "plot_prediction",
    "plot_ranks",
    "plot_visits",
    "plot_walk",
    "save_figure",
]
