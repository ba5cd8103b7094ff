"""archrep: architecture embeddings, tables and label-free search for NAS."""

__version__ = "0.1.0"
