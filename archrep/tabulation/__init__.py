"""Tabular benchmarks of your own: train every cell of a list from scratch, many at a time."""

from archrep.tabulation.build import TabulateProgress, tabulate
from archrep.tabulation.config import TabulateConfig
from archrep.tabulation.images import ImageData, load_digits, load_images
from archrep.tabulation.operations import OPERATIONS, register_operation
from archrep.tabulation.representatives import nasbench201_representatives
from archrep.tabulation.result import TabulateResult

__all__ = [
    "OPERATIONS",
    "ImageData",
    "TabulateConfig",
    "TabulateProgress",
    "TabulateResult",
    "load_digits",
    "load_images",
    "nasbench201_representatives",
    "register_operation",
    "tabulate",
]
