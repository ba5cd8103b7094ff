"""Results on stdout: JSON lines, or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archrep.errors import RunError


def print_lines(lines: Iterable[Mapping[str, Any]], names: Sequence[str] | None = None) -> None:
    """Print lines as they come.

    Args:
        lines: One mapping a line.
        names: Columns of CSV, with nothing where a line lacks one; `None` for JSON lines.
    """
    if names is None:
        for line in lines:
            print(json.dumps(line))
        return
    writer = csv.DictWriter(sys.stdout, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow(line)


def read_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines; a last line that a cut-off write left is left out.

    Args:
        path: The file.
        what: Words for it, such as "the figures of a run".

    Raises:
        RunError: There is no such file, or it holds something else.
    """
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise RunError(f"Expected {what} in {path}, and it cannot be read.") from None
    lines = []
    for number, text in enumerate(texts[:-1], 1):  # what follows the last line break is cut off
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise RunError(f"Expected {what} in {path}. Line {number} is {text[:60]!r}.")
        lines.append(line)
    return lines
