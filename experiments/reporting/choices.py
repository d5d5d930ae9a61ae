"""Selects which tables, columns and rows of some runs are shown."""

import dataclasses
from collections.abc import Sequence

from experiments.reporting.cells import Cell

KINDS = ("figures", "differences", "intervals", "comparison", "labels")
PUBLISHED = "published"  # a column like the others, always last


@dataclasses.dataclass(frozen=True)
class Choice:
    """The tables, columns and rows to show; None shows all, in their usual order.

    Attributes:
      kinds: kinds of tables, some of ``KINDS``.
      columns: shown in one table; None makes a table for each set of images.
      rows: names as in the column 'labels'.
      augmentations: names of augmentations.
    """

    kinds: tuple[str, ...] = KINDS
    columns: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    augmentations: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class View:
    """A block, whose cells are all compared, and the cells of it that are shown."""

    block: list[Cell]
    shown: list[Cell]


def views(blocks: Sequence[list[Cell]], choice: Choice, columns: Sequence[str]) -> list[View]:
    """Returns the chosen blocks and rows, in the order of the choice.

    Args:
      blocks: all blocks.
      choice: what to show.
      columns: the metrics that any cell has.

    Raises:
      ValueError: a kind, column, row or augmentation that does not exist is chosen.
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
            f"expected some of: {'; '.join(dict.fromkeys(known))}"
        )
