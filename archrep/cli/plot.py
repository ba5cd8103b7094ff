"""`archrep plot`: every picture of a run, from what the run left on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from archrep.cli.options import parse_options
from archrep.cli.progress import Display
from archrep.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from archrep.cell_columns import CellColumn
    from archrep.cells.cell import Cell
    from archrep.embeddings import EmbeddingTable
    from archrep.tables.base import Table

USAGE = """usage: archrep plot [map | distances | prediction | neighbours | interpolation |
                     encoding | found | regret | ecdf | ranks | epochs] ... --out FILE

  map RUN               the latent space on a plane, coloured by any column (Figure 4)
  distances RUN         latent distance by edit distance along a random walk (Figure 3)
  prediction RUN        accuracies predicted from embeddings against recorded ones (Figure 2)
  neighbours RUN        walks to the nearest cell, drawn (Figures 5, 11, 12 and 13)
  interpolation RUN     cells decoded along the line between two
  encoding SPACE CELL   a cell beside its matrices (Figures 7, 8 and 9)
  found SEARCH...       the best cell that each search found (Figure 10)
  regret SEARCH...      regret along queries or seconds, bands over seeds (Figure 6)
  ecdf SEARCH...        how the regret of all runs is distributed at the end
  ranks SUPERNET        rank by a supernet's score against rank in the table
  epochs SUPERNET...    skip connections, or another figure, by epoch

Figures are those of arch2vec (Yan et al., 2020). FILE ends in .png, .svg or .pdf; `--dark` draws on
a dark page. `archrep plot WORD --help` explains one of them.
example: archrep plot map runs/nasbench201 --table nasbench201 --areas --out map.png"""

MOST_CELLS = 500
"""Of a picture of walks; it is some ten inches high for fifty."""

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What every picture has."""

    out: Path
    """File to write: .png, .svg or .pdf."""
    dark: bool = False
    """Draw on a dark page."""


@dataclass(frozen=True, kw_only=True)
class MapOptions(Picture):
    """Draw the latent space on a plane: t-SNE, PCA or UMAP, coloured by any column.

    Maps are kept by what they are of, so another colour is instant. The picture says how it was
    made.
    """

    run: Run
    """Run directory of `archrep pretrain`, or an embeddings file."""
    colour: Annotated[str | None, tyro.conf.arg(aliases=["--color"])] = None
    """Column: edges, depth, count_..., op_..., params, macs, or one of the table's metrics; by
    default depth, or with a table the accuracy that it has of most cells."""
    table: str | None = None
    """Benchmark table of the same space."""
    dataset: str | None = None
    """Of the table; by default its own."""
    areas: bool = False
    """Means over small squares, as in Figure 4, in place of points."""
    visits: Path | None = None
    """Finished search whose queries are laid over the map, which then holds every cell."""
    seed_of_search: int | None = None
    """Which of its runs; by default the first."""
    method: Literal["tsne", "pca", "umap"] = "tsne"
    """How the plane is found; umap needs the extra of that name."""
    max_points: int = 10_000
    """Cells that are fitted; larger spaces are thinned at random."""
    everything: bool = False
    """Place the other cells as well, beside their nearest."""
    perplexity: float = 30.0
    """About how many neighbours a point keeps near."""
    seed: int = 0
    """Of the choice of cells and of the method."""


@dataclass(frozen=True, kw_only=True)
class DistancesOptions(Picture):
    """Draw latent distances of cells by their edit distance, along a random walk."""

    run: Run
    """Run directory of `archrep pretrain`, or a space whose encoder comes with the package."""
    steps: int = 1_000
    """Of the walk."""
    seed: int = 0
    """Of the walk."""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(Picture):
    """Fit a Gaussian process to some embeddings and draw what it predicts of all others."""

    run: Run
    """Run directory of `archrep pretrain`, or an embeddings file."""
    table: str
    """Benchmark table of the same space."""
    metric: str | None = None
    """What is predicted; by default test accuracy, or validation accuracy where a table has it of
    more cells."""
    dataset: str | None = None
    """Of the table; by default its own."""
    labels: int = 250
    """Cells whose figure the process sees."""
    least: float = 0.8
    """Only cells above this are drawn and counted, a fraction for accuracies, as in the paper."""
    seed: int = 0
    """Chooses the cells with labels."""


@dataclass(frozen=True, kw_only=True)
class NeighboursOptions(Picture):
    """Draw walks that always go on to the nearest cell not visited yet.

    Numbers between cells say how many edits apart they are.
    """

    run: Run
    """Run directory of `archrep pretrain`, or an embeddings file."""
    cell: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Where a walk begins, in the space's notation or by index (of DARTS, row in the file); repeat
    it for more walks."""
    walks: int = 1
    """Walks from cells at random, where none is named."""
    steps: int = 15
    """Of each walk."""
    seed: int = 0
    """Chooses the cells at random."""


@dataclass(frozen=True, kw_only=True)
class InterpolationOptions(Picture):
    """Draw the cells that are decoded from points on the line between two embeddings."""

    run: Run
    """Run directory of preset archrep, or a space whose encoder comes with the package."""
    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FIRST")]
    """Cell, in the space's notation or by index."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SECOND")]
    """Cell likewise."""
    points: int = 9
    """Both ends included."""


@dataclass(frozen=True, kw_only=True)
class EncodingOptions(Picture):
    """Draw a cell and beside it the adjacency and operation matrices that encoders see."""

    space: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE")]
    """Search space."""
    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """In the space's notation, or by index where it has one."""


@dataclass(frozen=True, kw_only=True)
class FoundOptions(Picture):
    """Draw the cell that each search found: of its runs the one with the best accuracy it saw.

    Under the protocol `oracle` it is the best by test accuracy, which no search knows.
    """

    searches: Folders
    """Finished run directories of `archrep search`."""
    run: Path | None = None
    """Of sampled cells, such as those of DARTS: the embeddings that were searched."""
    seed_of_search: int | None = None
    """Which run of each; by default the best."""


@dataclass(frozen=True, kw_only=True)
class RegretOptions(Picture):
    """Draw regret along a budget: medians of all runs, and bands between their quartiles."""

    searches: Folders
    """Finished run directories of `archrep search`."""
    along: Literal["queries", "seconds"] = "queries"
    """The budget."""


@dataclass(frozen=True, kw_only=True)
class EcdfOptions(Picture):
    """Draw the share of runs whose final regret is at most so large."""

    searches: Folders
    """Finished run directories of `archrep search`."""


@dataclass(frozen=True, kw_only=True)
class RanksOptions(Picture):
    """Draw how a score of a supernet ranks all cells, against the table."""

    supernet: Run
    """Finished run directory of `archrep supernet nasbench201`."""
    score: str | None = None
    """Name of the score; by default the first."""
    table: str = "nasbench201"
    """Benchmark table of NAS-Bench-201's cells."""
    dataset: str | None = None
    """Of the table; by default its own."""
    seed: int | None = None
    """Of the supernet; by default the first."""


@dataclass(frozen=True, kw_only=True)
class EpochsOptions(Picture):
    """Draw a figure of supernets by epoch: the mean of their seeds, least and most of them."""

    supernets: Folders
    """Run directories of `archrep supernet`, unfinished ones too."""
    figure: str = "skips"
    """Name in metrics.jsonl, such as skips, loss or operation_angle."""


def main(argv: list[str]) -> int:
    """Run the command; see `USAGE`."""
    word = argv[0] if argv else "--help"
    if word in ("-h", "--help"):
        print(USAGE)
        return 0
    if word not in PICTURES:
        raise UnknownNameError(f"`archrep plot` knows {', '.join(PICTURES)}. Got {word!r}.")
    options_of, draw, example = PICTURES[word]
    options = parse_options(
        options_of, f"plot {word}", argv[1:], f"example: archrep plot {example}"
    )
    from archrep.plots.style import check_file, house_style, save_figure

    check_file(options.out)
    with house_style(options.dark):
        figure = draw(options).get_figure(root=True)
        assert figure is not None
        save_figure(figure, options.out)
    print(f"Drawn: {options.out}", file=sys.stderr)
    return 0


# The latent space ---------------------------------------------------------------------------------


def draw_map(options: MapOptions) -> Axes:
    """`archrep plot map`."""
    from archrep.latent_map import area_means, cached_map
    from archrep.plots.latent import plot_areas, plot_visits
    from archrep.plots.latent_map import plot_latent_map
    from archrep.plots.style import plain, wrapped

    if options.areas and options.visits is not None:
        raise ConfigError("`--areas` and `--visits` are two pictures. Pass one of them.")
    embeddings, about = open_embeddings(options.run)
    table = None if options.table is None else open_table_of(options.table, embeddings)
    column = column_of(embeddings, table, options.colour, options.dataset)
    if column.categories and options.areas:
        raise ConfigError(f"`--areas` are means, and {column.name} names operations. Leave it out.")
    values, label, colours = column.values, column.label, dict(column.categories)
    if colours:
        values = np.array(list(colours))[values.astype(int)]
    elif column.unit == "%":
        values, label = 100 * values, f"{label}, %"
    elif column.unit:
        label = f"{label}, {column.unit}"
    way = None
    if options.visits is not None:
        way = visited(options.visits, embeddings, table, options.seed_of_search)
    with Display() as display:
        points = cached_map(
            embeddings.embeddings,
            method=options.method,
            max_points=options.max_points,
            perplexity=options.perplexity,
            seed=options.seed,
            everything=options.everything or options.visits is not None,
            report=lambda what, done, of: display.show(what, done, of, f"{done:,}/{of:,}"),
        )
    if options.areas:
        ax = plot_areas(area_means(points, values), label=label, caption=points.caption)
    else:
        ax = plot_latent_map(points, values, label=label, colours=colours)
    if way is not None:
        rows, words = way
        plot_visits(points, rows, label=f"{about}; {words}", ax=ax)
    else:
        ax.set_title(wrapped(ax, plain(about), 9), fontsize=9)
    return ax


def draw_distances(options: DistancesOptions) -> Axes:
    """`archrep plot distances`."""
    from archrep.embeddings import load_encoder
    from archrep.plots.latent import plot_distances
    from archrep.walks import distances_along_walk

    encoder = load_encoder(options.run)
    distances = distances_along_walk(
        encoder.embed, encoder.space, steps=options.steps, seed=options.seed
    )
    caption = (
        f"{encoder.space.title}, preset {encoder.config.preset}, seed {encoder.config.seed}; walk "
        f"of {options.steps:,} steps, seed {options.seed}, pairs up to "
        f"{min(8, options.steps)} steps apart"
    )
    return plot_distances(distances, caption=caption)


def draw_prediction(options: PredictionOptions) -> Axes:
    """`archrep plot prediction`."""
    from archrep.plots.latent import plot_prediction
    from archrep.predictors.rest import predict_rest

    embeddings, about = open_embeddings(options.run)
    table = open_table_of(options.table, embeddings)
    column = column_of(embeddings, table, options.metric, options.dataset)
    if column.categories:
        raise ConfigError(f"`--metric` must be numbers, and {column.name} names operations.")
    values, unit = column.values, column.unit
    rest, predicted = predict_rest(
        embeddings.embeddings, values, labels=options.labels, seed=options.seed
    )
    shown = values[rest] > options.least
    if shown.sum() < 2:
        raise ConfigError(
            f"`--least` must leave two cells at least. Got {options.least}, and the largest "
            f"figure is {np.nanmax(values):.4g}."
        )
    least = f"{100 * options.least:g} %" if unit == "%" else f"{options.least:g}"
    above = f" above {least}" if options.least else ""
    caption = (
        f"{about}; {table.info.title}; Gaussian process, {options.labels} labels, seed "
        f"{options.seed}; cells{above}"
    )
    return plot_prediction(
        values[rest][shown], predicted[shown], label=column.label, unit=unit, caption=caption
    )


def draw_neighbours(options: NeighboursOptions) -> Axes:
    """`archrep plot neighbours`."""
    from archrep.plots.cell import plot_walk
    from archrep.plots.style import plain
    from archrep.seeding import numpy_stream
    from archrep.walks import edits_between, nearest_walk

    embeddings, about = open_embeddings(options.run)
    if not 1 <= options.steps < len(embeddings):
        raise ConfigError(
            f"`--steps` must be at least 1 and below the {len(embeddings):,} cells. Got "
            f"{options.steps}."
        )
    if options.cell:
        starts = [row_of(embeddings, text) for text in options.cell]
    else:
        if not 1 <= options.walks <= len(embeddings):
            raise ConfigError(
                f"`--walks` must be from 1 to the {len(embeddings):,} cells. Got {options.walks}."
            )
        drawn = numpy_stream(options.seed, "plot/walks").permutation(len(embeddings))
        starts = drawn[: options.walks].tolist()
    if (wanted := len(starts) * (options.steps + 1)) > MOST_CELLS:
        raise ConfigError(
            f"A picture holds at most {MOST_CELLS:,} cells. Got {len(starts)} walks of "
            f"{options.steps} steps, {wanted:,}: take fewer, or shorter ones."
        )
    columns = min(8, options.steps + 1)
    empty = -(options.steps + 1) % columns  # a walk begins in a row of its own
    cells: list[Cell | None] = []
    edits: list[int | None] = []
    titles, means = [], []
    for start in starts:
        rows = nearest_walk(embeddings.embeddings, start, options.steps).tolist()
        walk = [embeddings.cells[row] for row in rows]
        apart = edits_between(walk)
        means.append(float(np.mean(apart)))
        cells += [*walk, *[None] * empty]
        edits += [*apart, *[None] * (empty + 1)]
        titles += [str(embeddings.cell_ids[row]) for row in rows] + [""] * empty
    ax = plot_walk(cells, edits[:-1], titles=titles, columns=columns)
    walks = "walk" if len(starts) == 1 else "walks"
    ax.set_title(
        plain(
            f"{about}; {len(starts)} {walks} of {options.steps} steps, {np.mean(means):.2f} edits "
            "a step"
        ),
        fontsize=9,
    )
    return ax


def draw_interpolation(options: InterpolationOptions) -> Axes:
    """`archrep plot interpolation`."""
    from archrep.embeddings import load_encoder
    from archrep.plots.cell import plot_walk
    from archrep.walks import edits_between, interpolate

    encoder = load_encoder(options.run)
    first, second = (
        encoder.space.validate(encoder.space.parse(text))
        for text in (options.first, options.second)
    )
    along = interpolate(encoder, first, second, options.points)
    shown = [(k, cell) for k, cell in enumerate(along) if cell is not None]
    cells = [cell for _, cell in shown]
    titles = [f"{100 * k / (options.points - 1):.0f} %" for k, _ in shown]
    ax = plot_walk(cells, edits_between(cells), titles=titles, columns=min(9, len(cells)))
    lost = len(along) - len(cells)
    none = f"; {lost} points decode to no legal cell" if lost else ""
    ax.set_title(
        f"{encoder.space.title}, preset {encoder.config.preset}, seed {encoder.config.seed}{none}",
        fontsize=9,
    )
    return ax


def draw_encoding(options: EncodingOptions) -> Axes:
    """`archrep plot encoding`."""
    from matplotlib.figure import Figure

    from archrep.cells.registry import get_space
    from archrep.plots.cell import draw_cell, encoding_size, plot_encoding
    from archrep.plots.layout import layout

    space = get_space(options.space)
    cell = space.parse(options.cell)
    plan, (across, down) = layout(cell), encoding_size(space)
    sizes = (0.7 * plan.width, across)
    figure = Figure(figsize=(sum(sizes), max(0.7 * plan.height, down)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=sizes)
    draw_cell(cell, left)
    return plot_encoding(cell, space, right)


# Searches and supernets ---------------------------------------------------------------------------


def draw_found(options: FoundOptions) -> Axes:
    """`archrep plot found`."""
    from archrep.cell_columns import column_words
    from archrep.comparison import found_cell, load_finished
    from archrep.plots.cell import draw_cells
    from archrep.plots.style import plain

    embeddings = None if options.run is None else open_embeddings(options.run)[0]
    cells, titles = [], []
    for folder in some(options.searches):
        search = load_finished(folder)
        found = found_cell(search, seed=options.seed_of_search, embeddings=embeddings)
        cells.append(found.cell)
        of = f"best of {len(search.traces.runs)} runs" if options.seed_of_search is None else ""
        about = search.summary
        asked = (about["table"], about["dataset"], f"protocol {about['protocol']}", search.budget)
        # A surrogate records no runs, and what the search saw may be one of them.
        runs = f" ({about['table_runs']} of runs)" if search.metric != "valid_accuracy" else ""
        words = column_words(search.metric.removeprefix("mean_"))
        parts = (f"seed {found.seed}", of, f"{words} {100 * found.accuracy:.2f} %{runs}")
        lines = [", ".join(str(part) for part in line if part) for line in (asked, parts)]
        titles.append(plain("\n".join((search.label, *lines))))
    axes: Axes = draw_cells(cells, titles=titles, columns=3).axes[0]
    return axes


def draw_regret(options: RegretOptions) -> Axes:
    """`archrep plot regret`."""
    return draw_searches(options.searches, options.along)


def draw_ecdf(options: EcdfOptions) -> Axes:
    """`archrep plot ecdf`."""
    return draw_searches(options.searches, "end")


def draw_searches(folders: tuple[Path, ...], along: Literal["queries", "seconds", "end"]) -> Axes:
    """Finished searches along a budget or at its end."""
    from archrep.cli.report_searches import plot_searches, searches_caption
    from archrep.comparison import load_finished, same_question
    from archrep.plots.style import small_print

    searches = [load_finished(folder) for folder in some(folders)]
    for problem in same_question(searches):
        print(f"note: these do not compare; they differ in {problem}.", file=sys.stderr)
    if along == "seconds" and not all(search.traces.seconds.max() > 0 for search in searches):
        raise ConfigError("`--along seconds` needs a table with times. Take `--along queries`.")
    ax = plot_searches(searches, along)
    small_print(ax, searches_caption(searches, drawn="all runs" if along == "end" else None))
    return ax


def draw_ranks(options: RanksOptions) -> Axes:
    """`archrep plot ranks`."""
    from archrep.files import read_arrays
    from archrep.plots.supernet import plot_ranks
    from archrep.searchers.ranking import kendall
    from archrep.tables.registry import open_recorded

    summary = supernet_summary(options.supernet)
    scores = read_arrays(options.supernet / "scores.npz", "the scores of a supernet")
    if summary["space"] != "nasbench201" or not scores:
        raise ConfigError(
            f"{options.supernet} ranks no table: pass a run of `archrep supernet nasbench201`."
        )
    name = options.score or next(iter(scores))
    if name not in scores:
        raise UnknownNameError(f"`--score` must be one of {', '.join(scores)}. Got {name!r}.")
    seeds = summary["seeds"]
    seed = seeds[0] if options.seed is None else options.seed
    if seed not in seeds:
        raise ConfigError(f"`--seed` must be one of {', '.join(map(str, seeds))}. Got {seed}.")
    table = open_recorded(options.table)
    if table.space.name != "nasbench201":
        raise ConfigError(f"`--table` must be of NAS-Bench-201. {table.info.title} is not.")
    dataset = options.dataset or table.info.dataset
    accuracy = np.asarray(table.column("test_accuracy", dataset=dataset), float)
    own = scores[name][seeds.index(seed)].astype(float)
    known = np.isfinite(own) & np.isfinite(accuracy)
    if known.sum() < 2:
        raise ConfigError(f"The score {name!r} and {table.info.title} share fewer than two cells.")
    caption = f"{summary['objective']}, {summary['images']}, seed {seed}; {table.info.title}, "
    return plot_ranks(
        own,
        accuracy,
        label=name.replace("_", " "),
        tau=kendall(own[known], accuracy[known]),
        caption=caption + str(dataset),
    )


def draw_epochs(options: EpochsOptions) -> Axes:
    """`archrep plot epochs`."""
    from archrep.cli.lines import read_lines
    from archrep.plots.supernet import plot_by_epoch

    lines = {}
    for folder in some(options.supernets):
        history = read_lines(folder / "metrics.jsonl", "the figures of a supernet by epoch")
        known = {name for figures in history for name in figures}
        told = next((f[options.figure] for f in history if options.figure in f), None)
        if not isinstance(told, list) or not told or isinstance(told[0], str):
            raise UnknownNameError(
                f"`--figure` must be a number in {folder / 'metrics.jsonl'}: "
                f"{', '.join(sorted(known - {'cell'}))}. Got {options.figure!r}."
            )
        same = [other for other in options.supernets if other.name == folder.name]
        missing = [np.nan] * len(told)
        curve = [figures.get(options.figure, missing) for figures in history]
        lines[folder.name if len(same) == 1 else str(folder)] = curve
    return plot_by_epoch(lines, ylabel=options.figure.replace("_", " "))


# What commands read -------------------------------------------------------------------------------


def open_embeddings(run: Path) -> tuple[EmbeddingTable, str]:
    """Embeddings of a run directory or of a file, and what they are in words."""
    from archrep.cells.registry import get_space
    from archrep.embeddings import load_embeddings

    embeddings, name = load_embeddings(run)
    return embeddings, f"{get_space(embeddings.space).title}, {name}"


def open_table_of(name: str, embeddings: EmbeddingTable) -> Table:
    """A benchmark table of the space of the embeddings."""
    from archrep.cells.registry import get_space
    from archrep.errors import TableError
    from archrep.tables.registry import open_recorded

    table, space = open_recorded(name), get_space(embeddings.space)
    if table.space.name != space.name or space.size is None:
        raise TableError(
            f"{table.info.title} is a table of {table.space.title}, and the run of {space.title}: "
            "its cells cannot be looked up there."
        )
    return table


def column_of(
    embeddings: EmbeddingTable, table: Table | None, name: str | None, dataset: str | None
) -> CellColumn:
    """A figure of every cell of the embeddings.

    Raises:
        ConfigError: A data set is named without a table, or is none of the table's.
        UnknownNameError: There is no such column.
    """
    from archrep.cell_columns import find_column
    from archrep.cells.registry import get_space

    space = get_space(embeddings.space)
    if dataset is not None and table is None:
        raise ConfigError("`--dataset` is of a table: pass `--table NAME` as well.")
    if table is not None:
        table.setting(dataset, None)
    return find_column(
        space, embeddings.cells, embeddings.cell_ids, name, table=table, dataset=dataset
    )


def visited(
    search: Path, embeddings: EmbeddingTable, table: Table | None, seed: int | None
) -> tuple[np.ndarray, str]:
    """Rows of the embeddings that one run of a search queried, -1 for others; and a label."""
    from archrep.explorer.searches import load_trajectories

    found = load_trajectories(search, embeddings, table, most=10**9)
    seeds = found.seeds.tolist()
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        raise ConfigError(
            f"`--seed-of-search` must be from {seeds[0]} to {seeds[-1]}. Got {chosen}."
        )
    k = seeds.index(chosen)
    rows = found.rows[found.starts[k] : found.starts[k + 1]]
    order = np.argsort(embeddings.cell_ids, kind="stable")
    return np.where(rows >= 0, order[rows], -1), f"{found.label}, seed {chosen}"


def row_of(embeddings: EmbeddingTable, text: str) -> int:
    """Row of a cell by its notation or official index; sampled cells are numbered by row."""
    from archrep.cells.registry import get_space
    from archrep.errors import CellError

    space = get_space(embeddings.space)
    if space.size is None and text.isdecimal():  # such a space has no official indices
        if int(text) >= len(embeddings):
            raise CellError(f"Rows are from 0 to {len(embeddings) - 1}. Got {text}.")
        return int(text)
    cell = space.parse(text)
    if space.size is None:
        same = embeddings.cells.colour_hash() == space.pack([cell]).colour_hash()
    else:
        same = embeddings.cell_ids == space.index(cell)
    if not same.any():
        raise CellError(f"{text[:80]} is not among the {len(embeddings):,} cells of the run.")
    return int(same.argmax())


def supernet_summary(folder: Path) -> dict[str, Any]:
    """Summary of a finished supernet run."""
    from archrep.errors import RunError
    from archrep.files import read_json

    summary = read_json(folder / "summary.json", "the summary of a finished supernet")
    if not isinstance(summary, dict) or "objective" not in summary:
        raise RunError(f"Expected a finished run of `archrep supernet` in {folder}.")
    return summary


def some(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders, of which there must be one."""
    if not folders:
        raise ConfigError("Name one run directory at least.")
    return folders


PICTURES: dict[str, tuple[type[Picture], Callable[..., Axes], str]] = {
    "map": (MapOptions, draw_map, "map runs/nasbench201 --colour conv_3x3 --out map.png"),
    "distances": (DistancesOptions, draw_distances, "distances nasbench101 --out distances.svg"),
    "prediction": (
        PredictionOptions,
        draw_prediction,
        "prediction runs/nasbench201 --table nasbench201 --out prediction.png",
    ),
    "neighbours": (
        NeighboursOptions,
        draw_neighbours,
        "neighbours runs/nasbench201 --cell 6111 --out neighbours.svg",
    ),
    "interpolation": (
        InterpolationOptions,
        draw_interpolation,
        "interpolation nasbench201 6111 9930 --out interpolation.svg",
    ),
    "encoding": (EncodingOptions, draw_encoding, "encoding nasbench201 6111 --out encoding.svg"),
    "found": (FoundOptions, draw_found, "found runs/random runs/evolution --out found.svg"),
    "regret": (RegretOptions, draw_regret, "regret runs/random runs/evolution --out regret.pdf"),
    "ecdf": (EcdfOptions, draw_ecdf, "ecdf runs/random runs/evolution --out ecdf.pdf"),
    "ranks": (RanksOptions, draw_ranks, "ranks runs/rlnas --score angle --out ranks.png"),
    "epochs": (EpochsOptions, draw_epochs, "epochs runs/darts runs/unreal --out skips.svg"),
}
