"""Results on stdout: JSON lines, or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


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
