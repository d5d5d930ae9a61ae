"""Which of the tables, columns and rows that some runs give are shown."""

import dataclasses
from collections.abc import Sequence

from experiments.reporting.cells import Cell

KINDS = ("figures", "differences", "intervals", "comparison", "labels")
PUBLISHED = "published"  # a column like the others, always the last


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is asked for; None: whatever there is, in its usual order."""

    kinds: tuple[str, ...] = KINDS
    columns: tuple[str, ...] | None = None  # in one table; None: a table for each set of images
    rows: tuple[str, ...] | None = None  # as the column 'labels' has them
    augmentations: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """A block, whose cells are all compared, and those of them that are shown."""

    block: list[Cell]
    shown: list[Cell]


def views(blocks: Sequence[list[Cell]], choice: Choice, columns: Sequence[str]) -> list[View]:
    """The blocks and rows that are asked for, in that order.

    Args:
      blocks: all there are.
      choice: what is asked for.
      columns: of which any cell has a figure.

    Raises:
      ValueError: names a kind, column, row or augmentation that is not there.
    """
    _check("show", choice.kinds, KINDS)
    _check("columns", choice.columns, (*columns, PUBLISHED))
    methods = [block[0].names["augmentation"] for block in blocks]
    _check("augmentations", choice.augmentations, methods)
    pairs = list(zip(methods, blocks, strict=True))
    if choice.augmentations is not None:
        pairs = [pair for name in choice.augmentations for pair in pairs if pair[0] == name]
    _check("rows", choice.rows, [cell.label for _, block in pairs for cell in block])
    return [View(block, _shown(block, choice.rows)) for _, block in pairs]


def _shown(block: list[Cell], rows: Sequence[str] | None) -> list[Cell]:
    if rows is None:
        return block
    return [cell for row in rows for cell in block if cell.label == row]


def _check(field: str, asked: Sequence[str] | None, known: Sequence[str]) -> None:
    unknown = [name for name in asked or () if name not in known]
    if unknown or asked == ():
        raise ValueError(
            f"{field}: got {'; '.join(unknown) or 'nothing'}, "
            f"there are {'; '.join(dict.fromkeys(known))}"
        )
