"""Says in a few sentences what some runs compare, and which labels are best."""

import pandas as pd

from experiments.reporting import columns, compare
from experiments.reporting import frame as frames

SHOWN = ("accuracy", "ece", "nll", "corrupted_ece")  # metrics whose best mean is named
COUNTED = {"dataset": "data set", "model": "model", "augmentation": "augmentation", "rule": "label"}


def make(frame: pd.DataFrame, left_out: pd.DataFrame) -> list[str]:
    """Says what was compared, the best of each block, and what is not in it; see ``frame.load``."""
    made = [_compared(frame), *_best(frame)] if len(frame) else ["No run can be compared."]
    verb = "is" if len(left_out) == 1 else "are"
    excluded = f"{_plural(len(left_out), 'run')} {verb} left out, see the last table."
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
    passed, sentences = compare.best(frame, metrics), []
    for _, block in frame.groupby("block"):
        means, parts = block.groupby("cell")[metrics].mean(), []
        for m in metrics if len(means) > 1 else ():
            if means[m].notna().any():
                best = means[m].idxmax() if columns.is_higher_better(m) else means[m].idxmin()
                labels = block.loc[block["cell"] == best, "labels"].iloc[0]
                name, percent, _ = columns.HEADERS[m].partition(" %")
                clear = ", passes the paired test" * ((best, m) in passed)
                value = columns.shown(m, means.loc[best, m])
                parts.append(f"{name} with {labels} ({value}{percent}{clear})")
        budget = "{dataset}, {model}, {augmentation}, {train_examples} images, {epochs} epochs"
        best = f"{budget.format_map(block.iloc[0])}: best mean {'; '.join(parts)}."
        sentences += [best] * bool(parts)
    return sentences


def _plural(num: int, word: str) -> str:
    return f"{num} {word}" if num == 1 else f"{num} {word}s"
