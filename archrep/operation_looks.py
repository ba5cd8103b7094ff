"""How pictures and pages name and colour operations: short labels, colours for all eyes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Look of one kind of operation.

    Attributes:
        fill: Colour inside the box.
        line: Colour of its border.
        text: Colour of its label.
        dashed: Whether the border is dashed, for operations that compute nothing.
    """

    fill: str
    line: str
    text: str = "#111111"
    dashed: bool = False

    @property
    def solid(self) -> str:
        """Colour of an area that has no border of its own; a white one would not be seen."""
        return self.line if self.dashed else self.fill


# Hues of Okabe and Ito (2008), told apart under the common colour deficiencies; fills differ in
# lightness too, so a grey print keeps them apart.
KINDS: dict[str, Kind] = {
    "terminal": Kind("#e3e3e3", "#8a8a8a"),
    "conv 3x3": Kind("#0072b2", "#00507d", "#ffffff"),
    "conv 1x1": Kind("#8fcdf0", "#3a8fc0"),
    "conv 5x5": Kind("#2f2a6b", "#1d1947", "#ffffff"),
    "dilated": Kind("#dfa3c6", "#a8588a"),
    "pool": Kind("#f2b134", "#b57a00"),
    "skip": Kind("#7fd1b3", "#00805c"),
    "none": Kind("#ffffff", "#b0b0b0", "#757575", dashed=True),
    "other": Kind("#efe7da", "#9c8b6e"),
}

OPERATIONS: dict[str, tuple[str, str]] = {
    "input": ("input", "terminal"),
    "output": ("output", "terminal"),
    "c_{k-2}": ("cell k-2", "terminal"),
    "c_{k-1}": ("cell k-1", "terminal"),
    "c_{k}": ("output", "terminal"),
    "conv3x3-bn-relu": ("conv 3x3", "conv 3x3"),
    "conv1x1-bn-relu": ("conv 1x1", "conv 1x1"),
    "maxpool3x3": ("max pool 3x3", "pool"),
    "nor_conv_3x3": ("conv 3x3", "conv 3x3"),
    "nor_conv_1x1": ("conv 1x1", "conv 1x1"),
    "sep_conv_3x3": ("sep conv 3x3", "conv 3x3"),
    "sep_conv_5x5": ("sep conv 5x5", "conv 5x5"),
    "dil_conv_3x3": ("dil conv 3x3", "dilated"),
    "dil_conv_5x5": ("dil conv 5x5", "dilated"),
    "max_pool_3x3": ("max pool 3x3", "pool"),
    "avg_pool_3x3": ("avg pool 3x3", "pool"),
    "skip_connect": ("skip", "skip"),
    "none": ("none", "none"),
    **{f"width_{width}": (f"{width} channels", "other") for width in range(8, 65, 8)},
}
"""Label and kind of each operation; add those of a space of your own here."""

MAX_LABEL = 13


def describe(op: str) -> tuple[str, Kind]:
    """Short label and look of an operation; an unknown one keeps its own name, shortened."""
    label, kind = OPERATIONS.get(op, (op.replace("_", " "), "other"))
    if len(label) > MAX_LABEL:
        label = label[: MAX_LABEL - 1].rstrip() + "…"
    return label, KINDS[kind]
