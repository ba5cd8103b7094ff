"""Benchmark tables: what was measured, cell by cell, behind one query interface."""

from archrep.tables.base import Best, Optimum, Table
from archrep.tables.columns import Column, Measure
from archrep.tables.file import TableData, TableFile, TableInfo
from archrep.tables.paid import PROTOCOLS, Observation, PaidTable
from archrep.tables.registry import open_table, store, tables_folder
from archrep.tables.view import QueryResult

__all__ = [
    "PROTOCOLS",
    "Best",
    "Column",
    "Measure",
    "Observation",
    "Optimum",
    "PaidTable",
    "QueryResult",
    "Table",
    "TableData",
    "TableFile",
    "TableInfo",
    "open_table",
    "store",
    "tables_folder",
]
