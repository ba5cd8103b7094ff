"""The look of all pictures: colours that colour-blind readers tell apart, light and dark pages."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archrep.errors import ConfigError
from archrep.files import check_writable, make_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

COLOURS = "viridis"  # perceptually uniform, and readable with any colour deficiency
_SHOWN = {False: (0.0, 0.93), True: (0.1, 1.0)}
"""Part of it that stands out from a light and from a dark page."""
CATEGORY_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8100", "#777777",
)  # fmt: skip  # Okabe and Ito (2008), their yellow darkened for white pages
MISSING = "#bbbbbb"
GREY = "#777777"
"""Lines and small print: as far from white as from a dark page."""
SMALL_PRINT: dict[str, Any] = {"fontsize": 7, "color": GREY}
LEGEND, LONG_LABEL = 8, 24
"""Points of a legend's letters, and the letters of a label from which on it stands below."""
FILES = (".png", ".svg", ".pdf")
"""Kinds of picture files: one of pixels, two of lines."""

_DASHES = ("-", "--", "-.", ":")
_PAGES = {False: ("white", "#111111"), True: ("#16181d", "#e6e6e6")}


@contextmanager
def house_style(dark: bool = False) -> Iterator[None]:
    """Matplotlib settings of every picture that is made and saved within the block.

    Vector files hold text as text, no date, and the same names each time.

    Args:
        dark: Light lines and text on a dark page.
    """
    import matplotlib

    page, ink = _PAGES[dark]
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor")
    settings: Any = dict.fromkeys(inked, ink)
    settings |= {f"{axis}tick.color": ink for axis in "xy"}
    settings |= {f"{name}.facecolor": page for name in ("figure", "axes", "savefig")}
    settings |= {
        "grid.color": GREY,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "svg.fonttype": "none",
        "svg.hashsalt": "archrep",
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


def check_file(path: Path, option: str = "--out") -> None:
    """Refuse a file that no picture can be written to, before anything is computed.

    Raises:
        ConfigError: It is of another kind than `FILES`.
        RunError: It is a folder, or in one that cannot be written.
    """
    if path.suffix.lower() not in FILES:
        raise ConfigError(f"`{option}` takes a .png, .svg or .pdf file. Got {str(path)!r}.")
    check_writable(path, option)


def save_figure(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a picture, aside first and then renamed; the same picture gives the same bytes.

    Raises:
        ConfigError: The kind of file is none of `FILES`.
        RunError: It cannot be written.
    """
    check_file(path)
    kind = path.suffix.lower()[1:]
    undated: dict[str, Any] = {
        "png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None},
    }[kind]  # fmt: skip
    make_folder(path.parent)
    write_atomically(
        path, lambda aside: figure.savefig(aside, dpi=dpi, format=kind, metadata=undated)
    )


def colour_map() -> Colormap:
    """`COLOURS`, without the end that would vanish on the page."""
    import matplotlib
    from matplotlib.colors import ListedColormap, to_rgb

    dark = sum(to_rgb(matplotlib.rcParams["axes.facecolor"])) < 1.5
    return ListedColormap(matplotlib.colormaps[COLOURS](np.linspace(*_SHOWN[dark], 256)))


def colour_bar(ax: Axes, drawn: ScalarMappable, label: str | None, **options: Any) -> Colorbar:
    """The scale of colours beside axes, without a frame."""
    label = beside(ax, label or "")
    bar = ax.figure.colorbar(drawn, ax=ax, label=label, shrink=0.9, pad=0.02, **options)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return bar


def line_style(number: int) -> tuple[str, str]:
    """Colour and dashes of one of several lines.

    Raises:
        ConfigError: There are more than can be told apart.
    """
    count = len(CATEGORY_COLOURS)
    if number >= count * len(_DASHES):
        raise ConfigError(f"At most {count * len(_DASHES)} lines can be told apart.")
    return CATEGORY_COLOURS[number % count], _DASHES[number // count]


def plain(text: str) -> str:
    """Text as it is, for Matplotlib: `$` begins no formula, and what is no character is a mark."""
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.2, 4.0)) -> Axes:
    """The axes that were given, or those of a new figure, made without pyplot."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").add_subplot()


def small_print(ax: Axes, text: str) -> None:
    """What a reader must know, above the axes, in lines that fit them."""
    if text:
        text = wrapped(ax, plain(text), SMALL_PRINT["fontsize"])
        ax.annotate(
            text, (0.5, 1.02), xycoords="axes fraction", ha="center", va="bottom", **SMALL_PRINT
        )


def wrapped(ax: Axes, text: str, size: float) -> str:
    """Text in lines about as wide as the axes.

    Args:
        ax: Where it stands.
        text: In one line.
        size: Of its letters in points.
    """
    return in_lines(text, ax.get_window_extent().width * 72 / ax.figure.dpi, size)


def beside(ax: Axes, text: str) -> str:
    """An upright label in lines about as long as the axes are high."""
    import matplotlib

    size = 0.9 * float(matplotlib.rcParams["font.size"])  # letters of a label are narrow
    return in_lines(text, ax.get_window_extent().height * 72 / ax.figure.dpi, size)


def place_legend(ax: Axes, *, grow: bool) -> None:
    """A legend within the axes, or below them where its labels are long and would hide curves.

    Args:
        ax: Axes whose artists have labels.
        grow: Make the figure higher by as much as a legend below needs.
    """
    from matplotlib.transforms import ScaledTranslation

    lines, labels = ax.get_legend_handles_labels()
    if max(map(len, labels), default=0) <= LONG_LABEL:
        ax.legend(fontsize=LEGEND, frameon=False)
        return
    across = ax.get_window_extent().width * 72 / ax.figure.dpi
    labels = [in_lines(label, 0.85 * across, LEGEND) for label in labels]
    under = 44 / 72  # inches of ticks and of the label of the axis, however high the axes are
    place = ax.transAxes + ScaledTranslation(0, -under, ax.figure.dpi_scale_trans)
    ax.legend(
        lines, labels, fontsize=LEGEND, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0),
        bbox_transform=place,
    )  # fmt: skip
    figure = ax.get_figure(root=True)
    if grow and figure is not None:
        width, height = figure.get_size_inches()
        more = sum(label.count("\n") + 1 for label in labels) * 1.4 * LEGEND / 72
        figure.set_size_inches(width, height + more)


def in_lines(text: str, points: float, size: float) -> str:
    """Text whose lines are at most so many points wide, some twenty letters at least."""
    width = max(20, int(points / (0.55 * size)))
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))
