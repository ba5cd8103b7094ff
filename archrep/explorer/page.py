"""The HTML file: markup, style sheet, scripts and packed arrays in one, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import archrep
from archrep.cell_columns import CellColumn
from archrep.cells.space import Space
from archrep.errors import RunError
from archrep.explorer.content import Content
from archrep.explorer.packing import (
    Packed,
    encode_values,
    pack,
    quantise_positions,
    quantise_vectors,
)
from archrep.files import check_writable, make_folder, write_atomically
from archrep.operation_looks import describe

SOURCES = Path(__file__).parent / "page"
MARK = '<meta name="generator" content="archrep explore'
"""What tells a page of ours from any other file."""

WORKER = ("edit_distance.js", "worker.js")
"""Scripts of the thread that finds neighbours."""

SCRIPTS = (
    "data.js",
    "edit_distance.js",
    "cells.js",
    "hash.js",
    "layout.js",
    "drawing.js",
    "colours.js",
    "view.js",
    "points.js",
    "overlay.js",
    "filters.js",
    "legend.js",
    "cell_panel.js",
    "finder.js",
    "trajectories.js",
    "link.js",
    "pointers.js",
    "keys.js",
    "texts.js",
    "main.js",
)
"""Scripts of the page; they share one scope, in this order."""


def render(content: Content) -> str:
    """The text of the page; the same content gives the same text."""
    about, arrays = _describe(content)
    script = "\n".join(_source(name) for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();\n'
    style = _source("explorer.css")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )
    blocks = {
        "POLICY": policy,
        "GENERATOR": f"archrep explore {archrep.__version__}",
        "TITLE": html.escape(f"{content.space.title}: {len(content):,} cells"),
        "STYLE": style,
        "SCRIPT": script,
        "WORKER": "\n".join(_source(name) for name in WORKER),
        "ABOUT": json.dumps(about, ensure_ascii=False).replace("<", "\\u003c"),
        "ARRAYS": "\n".join(
            f'<script type="text/plain" id="array-{name}">{packed.text}</script>'
            for name, packed in arrays.items()
        ),
    }
    return re.sub(r"@@([A-Z]+)@@", lambda mark: blocks[mark[1]], _source("page.html"))


def write_page(content: Content, path: Path) -> int:
    """Write the page, atomically, and return its size in bytes.

    Raises:
        RunError: The file cannot be written.
    """
    text = render(content).encode()
    make_folder(path.parent)
    write_atomically(path, lambda temporary: temporary.write_bytes(text))
    return len(text)


def check_target(path: Path) -> None:
    """Refuse, before the work, a place where no page can be written.

    Raises:
        RunError: It is a folder, in one that cannot be written, or no page of ours.
    """
    check_writable(path)
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            ours = MARK.encode() in file.read(4096)
    except OSError as error:
        raise RunError(f"Cannot read what is at {path}: {error.strerror}.") from None
    if not ours:
        raise RunError(f"{path} is there and is no page of `archrep explore`. Pass another file.")


def _describe(content: Content) -> tuple[dict[str, Any], dict[str, Packed]]:
    """What the page says of itself as JSON, and its arrays by name."""
    codes, steps = quantise_vectors(content.vectors)
    cells = content.cells
    edge_bytes = cells.adjacency_bits.astype("<u8").view(np.uint8).reshape(len(cells), 8)
    width = (cells.max_nodes * (cells.max_nodes - 1) // 2 + 7) // 8
    arrays = {
        "positions": pack(quantise_positions(content.xy)),
        "ops": pack(cells.ops.T),
        "edges": pack(edge_bytes[:, :width].T),
        "vectors": pack(codes),
        "steps": pack(steps),
    }
    if not np.array_equal(content.ids, np.arange(len(content))):
        arrays["ids"] = pack(content.ids.astype(np.uint32))
    columns = []
    for number, column in enumerate(content.columns):
        columns.append(_describe_column(column, number, arrays))
    searches = []
    for number, search in enumerate(content.searches):
        for part in ("seeds", "starts", "rows", "accuracies"):
            arrays[f"search-{number}-{part}"] = pack(getattr(search, part))
        searches.append({"name": search.name, "label": search.label, "runs": search.runs})
    space = content.space
    about = {
        "version": archrep.__version__,
        "space": {"name": space.name, "title": space.title, "size": space.size},
        "cells": len(content),
        "nodes": cells.max_nodes,
        "run": content.run,
        "caption": content.caption,
        "dimensions": len(codes),
        "table": content.table,
        "operations": _describe_operations(space),
        "columns": columns,
        "searches": searches,
        "arrays": {name: [packed.kind, packed.length] for name, packed in arrays.items()},
    }
    return about, arrays


def _describe_column(column: CellColumn, number: int, arrays: dict[str, Packed]) -> dict[str, Any]:
    codes, distinct = encode_values(column.values)
    arrays[f"column-{number}"] = pack(codes)
    if distinct is not None:
        arrays[f"column-{number}-values"] = pack(distinct)
    told = ("name", "label", "unit", "group", "note")
    described = {name: getattr(column, name) for name in told}
    return described | ({"categories": column.categories} if column.categories else {})


def _describe_operations(space: Space) -> list[dict[str, Any]]:
    """Label and colours of every operation of a space, in the order of its codes."""
    looks = []
    for op in space.ops:
        label, kind = describe(op)
        look = {"name": op, "label": label, "fill": kind.fill, "line": kind.line}
        looks.append(look | {"text": kind.text, "dashed": kind.dashed})
    return looks


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
