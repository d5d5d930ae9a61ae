"""Says in a few sentences what some runs compare, and which labels are best."""

import pandas as pd

from experiments.reporting import columns, compare
from experiments.reporting import frame as frames

SHOWN = ("accuracy", "ece", "nll", "corrupted_ece")  # metrics whose best mean is named
COUNTED = {"dataset": "data set", "model": "model", "augmentation": "augmentation", "rule": "label"}


def make(frame: pd.DataFrame, left_out: pd.DataFrame) -> list[str]:
    """Makes the sentences: what was compared, the best of each block, what is not in it.

    Args:
      frame: runs that can be compared.
      left_out: the other runs, see ``frame.load``.
    """
    verb = "is" if len(left_out) == 1 else "are"
    excluded = f"{_plural(len(left_out), 'run')} {verb} left out, see the last table."
    made = [_compared(frame), *_best(frame)] if len(frame) else ["No run can be compared."]
    return [*made, *[excluded] * bool(len(left_out))]


def _compared(frame: pd.DataFrame) -> str:
    parts = []
    for name, word in COUNTED.items():
        values = list(frame[name].unique())
        listed = f": {', '.join(values)}" if len(values) <= 4 else ""
        parts.append(f"{_plural(len(values), word)}{listed}")
    num = frame.groupby("cell").size()
    least = f"{num.min()} to " if num.min() < num.max() else ""
    seeds = f"{least}{_plural(num.max(), 'seed')} a setting"
    return f"{_plural(len(frame), 'run')}, {seeds}: {'; '.join(parts)}."


def _best(frame: pd.DataFrame) -> list[str]:
    """Returns a sentence for each block of more than one cell."""
    metrics = [metric for metric in SHOWN if metric in frames.present(frame)]
    passed = compare.best(frame, metrics)
    means = frame.groupby("cell")[metrics].mean()
    sentences = []
    for _, block in frame.groupby("block"):
        cells = block.drop_duplicates("cell").set_index("cell")
        first, own = cells.iloc[0], means.loc[cells.index]
        parts = []
        for m in metrics if len(cells) > 1 else ():
            if own[m].notna().any():
                best = own[m].idxmax() if columns.is_higher_better(m) else own[m].idxmin()
                name, percent, _ = columns.COLUMNS[m][0].partition(" %")
                value = columns.shown(m, own.loc[best, m]) + percent
                clear = ", passes the paired test" * bool(passed.loc[best, m])
                parts.append(f"{name} with {cells.loc[best, 'labels']} ({value}{clear})")
        if parts:
            where = f"{first['dataset']}, {first['model']}, {first['augmentation']}"
            budget = f"{first['train_examples']} images, {first['epochs']} epochs"
            sentences.append(f"{where}, {budget}: best mean {'; '.join(parts)}.")
    return sentences


def _plural(num: int, word: str) -> str:
    return f"{num} {word}" if num == 1 else f"{num} {word}s"
