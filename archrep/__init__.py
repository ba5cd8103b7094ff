"""archrep: architecture embeddings, tables and label-free search for NAS.

The names below are imported on first use, so that `import archrep` itself stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "Candidates": "archrep.candidates",
    "Cell": "archrep.cells",
    "CellArray": "archrep.cells",
    "Space": "archrep.cells",
    "get_space": "archrep.cells",
    "register_space": "archrep.cells",
    "EmbeddingTable": "archrep.embeddings",
    "TrainedEncoder": "archrep.embeddings",
    "load_encoder": "archrep.embeddings",
    "PretrainConfig": "archrep.encoder.config",
    "Search": "archrep.ask_tell",
    "SearchConfig": "archrep.search",
    "Table": "archrep.tables",
    "open_table": "archrep.tables",
    "pretrain": "archrep.encoder.pretrain",
    "preset_config": "archrep.encoder.config",
}

__all__ = [*_LAZY, "__version__"]

if TYPE_CHECKING:
    from archrep.ask_tell import Search
    from archrep.candidates import Candidates
    from archrep.cells import Cell, CellArray, Space, get_space, register_space
    from archrep.embeddings import EmbeddingTable, TrainedEncoder, load_encoder
    from archrep.encoder.config import PretrainConfig, preset_config
    from archrep.encoder.pretrain import pretrain
    from archrep.search import SearchConfig
    from archrep.tables import Table, open_table


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'archrep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
