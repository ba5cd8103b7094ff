"""`archrep tables build`: train cells on a data set and make a benchmark table of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.errors import CellError, ConfigError

if TYPE_CHECKING:
    from archrep.cells.array import CellArray
    from archrep.cells.space import Space
    from archrep.tabulation.build import TabulateProgress

from archrep.tabulation.config import TabulateConfig

EXAMPLES = """examples:
  archrep tables build mine --sample 200 --images digits --out runs/mine
  archrep tables build mine --cells cells.txt --images photos.npz --channels 16 32 --epochs 30
  archrep tables build digits --classes --seeds 3 --out runs/digits --resume"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train every cell of a list from scratch and make a table of it, to query like any other.

    Many small networks are trained side by side in one program, on all cores. The network is that
    of NAS-Bench-201 in the size you choose; cells of any space whose operations are known. A killed
    run goes on with --resume and gives the same figures, whatever the number of workers.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Of the table."""
    space: str = "nasbench201"
    """Search space of the cells."""
    cells: Path | None = None
    """File with a cell a line, in the notation of the space."""
    sample: int | None = None
    """Train so many random cells instead."""
    all: bool = False
    """Train every cell of the space instead."""
    classes: bool = False
    """Train one cell of each class that computes the same (NAS-Bench-201: 6,466); its record then
    answers for the whole class."""
    images: str = "digits"
    """`digits` (1,797 handwritten digits of 8 x 8 pixels, from scikit-learn); an .npz file with
    `images` [N, H, W] or [N, H, W, C], `labels` [N] and perhaps `split` [N] (0 train, 1 valid,
    2 test); or another data set of `archrep supernet --list`, whose training images are halved."""
    out: Path | None = None
    """Run directory; default runs/table-NAME."""
    workers: int | None = None
    """Processes; default one a core."""
    resume: bool = False
    """Go on with an unfinished run."""
    title: str | None = None
    """What people read; default NAME."""
    licence: str = "not stated"
    """Of the images, or of the table."""
    folder: Path | None = None
    """Where to put the table, instead of the user's own folder."""
    replace: bool = False
    """Put the table in the place of another one of that name."""
    training: tyro.conf.OmitArgPrefixes[TabulateConfig] = field(default_factory=TabulateConfig)
    """How to train."""


def main(argv: list[str]) -> int:
    """Run the command; see `Options`."""
    options = parse_options(Options, "tables build", argv, EXAMPLES)
    from archrep.cells.registry import get_space
    from archrep.files import make_folder
    from archrep.tables.registry import place_of, store
    from archrep.tabulation import load_images, tabulate
    from archrep.tabulation.table import to_table

    there = place_of(options.name, options.folder)
    if there.exists() and not (options.replace or options.resume):
        raise ConfigError(  # better now than after hours of training
            f"A table {options.name!r} is there already: {there}. Pass `--replace`, `--resume` if "
            "this run made it, or another name."
        )
    make_folder(there.parent)
    space = get_space(options.space)
    cells = chosen_cells(options, space)
    images = load_images(options.images)
    out = options.out or Path("runs") / f"table-{options.name}"
    try:
        with Display() as display:
            result = tabulate(
                options.training,
                cells,
                images,
                out,
                resume=options.resume,
                workers=options.workers,
                report=lambda progress: display.show(
                    "training", progress.done, progress.cells, _describe(progress)
                ),
            )
    except KeyboardInterrupt:
        print(f"Stopped. Go on with the same command and --resume: {out}", file=sys.stderr)
        raise
    data = to_table(
        result,
        space,
        options.name,
        title=options.title,
        licence=options.licence,
        by_class=options.classes,
    )
    path = store(data, options.folder, replace=options.replace)
    line = {"table": options.name, "recorded": len(data), "bytes": path.stat().st_size}
    print(json.dumps(line | {"file": str(path), "run": str(out)}))
    return 0


def chosen_cells(options: Options, space: Space) -> CellArray:
    """The cells that one of the four options names."""
    given = [
        name
        for name in ("cells", "sample", "all", "classes")
        if getattr(options, name) not in (None, False)
    ]
    if len(given) != 1:
        raise ConfigError(
            "Say which cells: one of `--cells FILE`, `--sample N`, `--all`, `--classes`. "
            f"Got {', '.join(given) or 'none'}."
        )
    if options.sample is not None:
        return space.sample_array(options.sample, seed=options.training.seed)
    if options.all:
        return space.enumerate()
    if options.classes:
        return space.enumerate()[class_rows(space)]
    assert options.cells is not None
    cells = []
    for number, line in enumerate(options.cells.read_text().splitlines(), 1):
        if line.strip():
            try:
                cells.append(space.parse(line))
            except CellError as error:
                raise CellError(f"Line {number} of {options.cells}: {error}") from None
    return space.pack(cells)


def class_rows(space: Space) -> list[int]:
    """One cell of each class: the one with the fewest parameters where the space counts them."""
    if space.name == "nasbench201":
        from archrep.tabulation import nasbench201_representatives

        return nasbench201_representatives()[0].tolist()
    return sorted(set(space.topology_classes().tolist()))


def _describe(progress: TabulateProgress) -> str:
    left = progress.seconds_left
    minutes = f"{left / 60:,.0f} min left" if left < float("inf") else "just started"
    return (
        f"{progress.done:,}/{progress.cells:,} cells  "
        f"{progress.trainings_per_second:.2f} trainings/s  {minutes}"
    )
