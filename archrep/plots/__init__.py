"""Pictures: cells, maps and searches. Matplotlib is imported by the first call that draws."""

from archrep.plots.cell import cell_svg, draw_cell, draw_cells
from archrep.plots.latent_map import map_figure, plot_latent_map
from archrep.plots.layout import CellLayout, layout
from archrep.plots.regret import plot_curves, plot_ecdf

__all__ = [
    "CellLayout",
    "cell_svg",
    "draw_cell",
    "draw_cells",
    "layout",
    "map_figure",
    "plot_curves",
    "plot_ecdf",
    "plot_latent_map",
]
