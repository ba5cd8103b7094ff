"""Cells and search spaces: pure Python and NumPy, no torch."""

from archrep.cells.array import PAD, CellArray
from archrep.cells.cell import Cell
from archrep.cells.darts import Darts
from archrep.cells.genotype import Genotype
from archrep.cells.nasbench101 import NasBench101
from archrep.cells.nasbench201 import NasBench201
from archrep.cells.nats_size import NatsSize
from archrep.cells.registry import SPACES, get_space, register_space
from archrep.cells.space import Space

__all__ = [
    "PAD",
    "SPACES",
    "Cell",
    "CellArray",
    "Darts",
    "Genotype",
    "NasBench101",
    "NasBench201",
    "NatsSize",
    "Space",
    "get_space",
    "register_space",
]
