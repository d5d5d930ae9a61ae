"""Finds AutoLabel runs that differ in one setting alone, and the reference rules beside them."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from experiments.reporting import cells, run_files
from experiments.reporting.cells import Cell
from experiments.reporting.run_files import RunRecord

# Settings of the method whose figures are drawn by default.
STUDIED = ("labels.alpha", "labels.step", "labels.update_every", "labels.warmup_epochs")
STUDIED += ("buckets.num", "calibration.fraction", "calibration.images")
ALL_IF_0 = ("calibration.images", "calibration.images_per_update")
BESIDE = ("one_hot", "smoothing")  # rules drawn as references
LABEL = "label"  # the only metric that is read from metrics.jsonl


@dataclasses.dataclass(frozen=True)
class Curve:
    """Cells of one rule that differ in the varied setting alone.

    Attributes:
      name: the rule, or what distinguishes the curve from others of its block.
      cells: value of the setting → cell, in order; None if the rule does not read it.
    """

    name: str
    cells: dict[Any, Cell]


@dataclasses.dataclass(frozen=True)
class Block:
    """Curves of AutoLabel that may be compared, and the references of the same training.

    Attributes:
      name: what distinguishes it from other blocks; '' if it is the only one.
      curves: AutoLabel's curves, each with two values or more.
      references: curves of ``BESIDE``; one with a single value holds for the whole axis.
    """

    name: str
    curves: tuple[Curve, ...]
    references: tuple[Curve, ...]


@dataclasses.dataclass(frozen=True)
class Study:
    """All that is drawn for one setting.

    Attributes:
      field: the setting, such as 'labels.alpha'.
      blocks: curves and references.
      alone: runs that differ from no other run in the setting alone.
    """

    field: str
    blocks: tuple[Block, ...]
    alone: tuple[RunRecord, ...]


def make(runs: Sequence[RunRecord], field: str) -> Study:
    """Makes the curves against one setting.

    Args:
      runs: runs that can be compared.
      field: field of the config, such as 'labels.alpha'.

    Raises:
      ValueError: no AutoLabel run has the field, it does not vary, no two runs differ in it
        alone.
    """
    flat = [cell for block in cells.make(runs) for cell in block]
    learned = [cell for cell in flat if cell.first["label_rule"] == "autolabel"]
    _check(learned, field)
    groups = _grouped(learned, field)
    kept = [group for group in groups if len(group) > 1]
    if not kept:
        others = ", ".join(_differing([_others(cell, field) for cell in learned]))
        raise ValueError(
            f"--vary={field}: no two AutoLabel runs differ in it alone, {others} differs too; "
            "pass runs that share all but one setting and the seed"
        )
    alone = [run for group in groups if len(group) == 1 for run in _first(group).runs]
    beside = [cell for cell in flat if cell.first["label_rule"] in BESIDE]
    return Study(field, _blocks(kept, _grouped(beside, field), field), tuple(alone))


def studied(runs: Sequence[RunRecord]) -> list[str]:
    """Returns the settings of ``STUDIED`` that some AutoLabel runs differ in alone."""
    flat = [cell for block in cells.make(runs) for cell in block]
    learned = [cell for cell in flat if cell.first["label_rule"] == "autolabel"]
    return [f for f in STUDIED if any(len(group) > 1 for group in _grouped(learned, f))]


def values(cell: Cell, metric: str) -> list[float]:
    """Returns a metric of each seed that has it; ``LABEL`` is the mean label at the end."""
    if metric != LABEL:
        return list(cell.values(metric).values())
    labels = [last_label(run) for run in cell.runs]
    return [value for value in labels if value is not None]


def last_label(run: RunRecord) -> float | None:
    """Returns the mean label confidence over buckets and the last fifth of the epochs."""
    lines = run.lines[-math.ceil(len(run.lines) / 5) :]
    labels = [v for line in lines for v in line.get("label_confidence", ()) if v is not None]
    return sum(labels) / len(labels) if labels else None


def _check(learned: Sequence[Cell], field: str) -> None:
    own = [run_files.settings(cell.runs[0]) for cell in learned]
    vary = ", ".join(f for f in _differing(own) if not f.endswith("_examples")) or "nothing"
    if not own:
        raise ValueError(
            f"--vary={field}: no AutoLabel run in these folders; expected finished runs of "
            "labels.rule=autolabel"
        )
    lacking = [c.runs[0].workdir for c, s in zip(learned, own, strict=True) if field not in s]
    if lacking:
        raise ValueError(
            f"--vary={field}: the AutoLabel run {lacking[0]} does not read this setting; "
            f"expected one that varies: {vary}"
        )
    values = {_value(cell, field) for cell in learned}
    if len(values) < 2:
        raise ValueError(
            f"--vary={field}: got 1 value, {field}={values.pop()}, but a curve needs two or more; "
            f"expected a setting that varies: {vary}"
        )


def _value(cell: Cell, field: str) -> Any:
    value = run_files.settings(cell.runs[0]).get(field)
    if field in ALL_IF_0 and value == 0:
        return "all"
    if isinstance(value, bool | list):
        return json.dumps(value)
    return value


def _others(cell: Cell, field: str) -> dict[str, Any]:
    """Returns the settings without the varied one and those that follow from it."""
    run = cell.runs[0]
    kept = run_files.settings(run)
    if field.startswith("calibration."):  # the sizes of the splits follow from it
        kept["train_examples"] = run.config.get("train_examples")
    if field.startswith("calibration.") or field == "train_examples":
        kept.pop("calibration_examples", None)
    kept.pop(field, None)
    return kept


def _block(cell: Cell, field: str) -> dict[str, Any]:
    kept = run_files.block(cell.runs[0])
    return {name: value for name, value in _others(cell, field).items() if name in kept}


def _grouped(flat: Sequence[Cell], field: str) -> list[dict[Any, Cell]]:
    """Groups cells that differ in the field alone, each group ordered by its value."""
    groups: dict[str, dict[Any, Cell]] = {}
    for cell in flat:
        key = json.dumps(_others(cell, field), sort_keys=True)
        groups.setdefault(key, {})[_value(cell, field)] = cell
    return [{v: group[v] for v in sorted(group, key=place)} for group in groups.values()]


def place(value: Any) -> tuple[bool, float, str]:
    """Returns a sort key that puts numbers before words."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else 0.0, str(value)


def _first(group: dict[Any, Cell]) -> Cell:
    return next(iter(group.values()))


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for own in settings for name in own)
    return [n for n in names if len({json.dumps(own.get(n)) for own in settings}) > 1]


def _named(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what distinguishes each from the others: 'labels.step=ece'."""
    names = _differing(settings)
    return [", ".join(f"{n}={own[n]}" for n in names if n in own) for own in settings]


def _blocks(curves: list, beside: list, field: str) -> tuple[Block, ...]:
    blocks: dict[str, tuple[list, list]] = {}
    for i, groups in enumerate((curves, beside)):
        for group in groups:
            key = json.dumps(_block(_first(group), field), sort_keys=True)
            if i == 0 or key in blocks:
                blocks.setdefault(key, ([], []))[i].append(group)
    names = _named([json.loads(key) for key in blocks])
    named = [
        Block(name, _curves(own, field), _references(others, field))
        for name, (own, others) in zip(names, blocks.values(), strict=True)
    ]
    return tuple(sorted(named, key=lambda block: block.name))


def _curves(groups: list, field: str) -> tuple[Curve, ...]:
    others = {id(group): _others(_first(group), field) for group in groups}
    differing = _differing(list(others.values()))
    groups = sorted(groups, key=lambda g: [place(others[id(g)].get(n)) for n in differing])
    names = _named([others[id(group)] for group in groups])
    return tuple(Curve(n or "autolabel", group) for n, group in zip(names, groups, strict=True))


def _references(groups: list, field: str) -> tuple[Curve, ...]:
    curves = []
    for group in groups:
        (value, cell), *more = group.items()
        rule = cell.first["label_rule"]
        name = f"{rule} {cell.runs[0].config['labels.smoothing']}" if rule == "smoothing" else rule
        at = f", {field}={value}" if value is not None and not more else ""
        curves.append(Curve(name + at, group))
    return tuple(sorted(curves, key=lambda curve: curve.name))
