"""`archrep explore`: all cells of a space on one interactive map, as one file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.errors import ConfigError

EXAMPLES = """examples:
  archrep explore runs/nasbench201 --table nasbench201 --out nasbench201.html
  archrep explore runs/nasbench101 --method pca --out nasbench101.html
  archrep explore runs/nasbench201 --search runs/local --search runs/random --out searches.html"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write one HTML file that shows every cell of a space on a map.

    It opens in any browser, without a server or a network: hover over a cell to see it, click it
    for its neighbours in latent space, search, colour, filter, replay searches. A page that is
    there already is replaced; any other file is left alone, and the command fails.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory of `archrep pretrain`, or an embeddings file such as `archrep embed --all`
    writes."""
    out: Path
    """The page to write, such as map.html."""
    table: str | None = None
    """Name or file of a table of the same space: its figures become columns."""
    search: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Run directory of a search to lay over the map; repeat it for more."""
    runs: int = 100
    """Runs kept of each search, from its first."""
    method: Literal["tsne", "pca", "umap"] = "tsne"
    """How cells get their places; umap needs the extra of that name."""
    max_points: int = 10_000
    """Cells that the map is fitted to; all others are placed beside their nearest."""
    seed: int = 0
    """Of the map."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "explore", argv, EXAMPLES)
    if options.runs < 1:
        raise ConfigError(f"`runs` must be at least 1. Got {options.runs}.")
    from archrep.embeddings import load_embeddings
    from archrep.explorer.content import check_parts, gather
    from archrep.explorer.page import check_target, write_page
    from archrep.latent_map import cached_map
    from archrep.tables.registry import open_recorded

    check_target(options.out)
    embeddings, run = load_embeddings(options.run)
    table = None if options.table is None else open_recorded(options.table)
    check_parts(embeddings, table, options.search)
    with Display(patience=2.0) as display:

        def report(what: str, done: int, of: int) -> None:
            display.show(what, done, of, f"{done:,} of {of:,}")

        points = cached_map(
            embeddings.embeddings,
            method=options.method,
            max_points=options.max_points,
            seed=options.seed,
            everything=True,
            report=report,
        )
        content = gather(
            embeddings,
            points,
            run=run,
            table=table,
            searches=options.search,
            runs=options.runs,
        )
        display.show("writing the page")
        size = write_page(content, options.out)
    print(
        f"{options.out}: {len(content):,} cells of {content.space.title}, {size / 1e6:.1f} MB. "
        "Open it in a browser.",
        file=sys.stderr,
    )
    return 0
