"""`archrep cells`: list, draw at random and check cells of a search space."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator

from archrep.cells import SPACES, Cell, Space, get_space
from archrep.errors import CellError, SpaceError

EXAMPLE = """\
examples:
  archrep cells nasbench201 --count 3 --seed 1
  archrep cells nasbench101 --all --format json > cells.jsonl
  echo '|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|' | archrep cells nasbench201 --check
"""


def main(argv: list[str]) -> int:
    """Run the command; see `archrep cells --help`."""
    parser = argparse.ArgumentParser(
        prog="archrep cells",
        description="Cells of a search space in its official notation, one a line.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("space", help=", ".join(SPACES))
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--count", type=int, default=10, help="distinct random cells (default: 10)")
    what.add_argument("--all", action="store_true", help="every cell, in official order")
    what.add_argument(
        "--check",
        action="store_true",
        help="read cells from stdin, one a line, and say of each whether it is legal, as JSON; "
        "the exit code is 1 if one is not",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes the random cells (default: 0)")
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="text: the notation; json: also operations, edges and index (default: text)",
    )
    args = parser.parse_args(argv)
    if args.count < 1:
        parser.error(f"--count must be at least 1. Got {args.count}.")
    if args.seed < 0:
        parser.error(f"--seed must not be negative. Got {args.seed}.")
    space = get_space(args.space)
    if args.check:
        return _check(space)
    for cell in _all(space) if args.all else _random(space, args.count, args.seed):
        print(json.dumps(_describe(space, cell)) if args.format == "json" else space.format(cell))
    return 0


def _all(space: Space) -> Iterator[Cell]:
    if space.size is None:
        raise SpaceError(f"{space.title} is too large to list. Draw cells with --count and --seed.")
    return iter(space.enumerate())


def _random(space: Space, count: int, seed: int) -> Iterator[Cell]:
    for cells in space.stream(count, seed):
        yield from cells


def _check(space: Space) -> int:
    total = wrong = 0
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a line that is no text is no legal cell either
    for line in sys.stdin:
        if not (text := line.strip()):
            continue
        total += 1
        try:
            report = {"cell": text, "legal": True} | _describe(space, space.parse(text))
            report["cell"] = text
        except CellError as error:
            wrong += 1
            report = {"cell": text, "legal": False, "problem": str(error)}
        print(json.dumps(report))
    sys.stdout.flush()
    if wrong:
        print(f"archrep cells: {wrong} of {total} cells are not legal.", file=sys.stderr)
    return int(wrong > 0)


def _describe(space: Space, cell: Cell) -> dict[str, object]:
    index = None if space.size is None else space.index(cell)
    return {"cell": space.format(cell), "index": index, "ops": cell.ops, "edges": cell.edges}
