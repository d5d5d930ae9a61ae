"""Writes one HTML file of some runs or packed studies: summary, tables, figures, every config.

    python -m experiments.report runs/*/ --out=report.html [--data_dir=…] [--noimages]

The page holds its figures, so that one file can be passed on; it needs no network.
"""

import base64
import io
import json
import pathlib
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from absl import flags

from autolabel_jax import files, run_dir
from experiments import launch
from experiments.reporting import catalogue, columns, compare, frame, plots, rendering, summary

DPI = 175  # pixels an inch, in the file and on the page: 8 inches fill its width

SHOWN = ("accuracy", "ece", "nll", "corrupted_ece")  # metrics whose best mean is named
COUNTED = {"dataset": "data set", "model": "model", "augmentation": "augmentation", "rule": "label"}

_OUT = flags.DEFINE_string("out", "report.html", "File to write the page to.")
_TITLE = flags.DEFINE_string("title", "AutoLabel results", "Title of the page.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Show sample images too, for which the data are read.")


def _sentences(runs: pd.DataFrame, left_out: pd.DataFrame) -> list[str]:
    """Says what was compared, the best of each block, and what is not in it; see ``frame.load``."""
    verb = "is" if len(left_out) == 1 else "are"
    excluded = [f"{_plural(len(left_out), 'run')} {verb} left out, see the last table."]
    excluded *= bool(len(left_out))
    if runs.empty:
        return ["No run can be compared.", *excluded]
    parts = []
    for name, word in COUNTED.items():
        values = list(runs[name].unique())
        listed = f": {', '.join(values)}" if len(values) <= 4 else ""
        parts.append(f"{_plural(len(values), word)}{listed}")
    num = runs.groupby("cell").size()
    seeds = f"{plots.span(num)} seed{'s' * bool(num.max() > 1)}"
    compared = f"{_plural(len(runs), 'run')}, {seeds} a setting: {'; '.join(parts)}."
    return [compared, *_best(runs), *excluded]


def _best(runs: pd.DataFrame) -> list[str]:
    """Returns a sentence for each block of more than one cell."""
    metrics = [metric for metric in SHOWN if metric in frame.present(runs)]
    passed, sentences = compare.best(runs, metrics), []
    for _, block in runs.groupby("block"):
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


def _figure(drawing: catalogue.Drawing) -> dict[str, Any]:
    """Draws a figure for the page, or says why it could not be drawn."""
    figure: dict[str, Any] = {"title": drawing.title, "alt": drawing.alt, "data": ""}
    try:
        drawn = drawing.draw()
    except (ValueError, FileNotFoundError) as error:
        return figure | {"reason": str(error)}
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=DPI)
    width, height = (round(DPI * inches) for inches in drawn.get_size_inches())
    plt.close(drawn)
    data = base64.b64encode(file.getvalue()).decode()
    return figure | {"data": data, "width": width, "height": height}


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    loaded = frame.load(argv[1:])
    drawings = catalogue.everything(*loaded, data_dir=_DATA_DIR.value, images=_IMAGES.value)
    runs = [run for own in loaded for run in own["record"]]
    held = [{run_dir.CONFIG: run.config, run_dir.RESULT: run.result} for run in runs]
    texts = [{n: json.dumps(v, indent=2) for n, v in own.items() if v} for own in held]
    page = rendering.html(
        summary.tables(*loaded),
        title=_TITLE.value,
        Summary=_sentences(*loaded),
        Figures=list(map(_figure, drawings)),
        Runs=list(zip(catalogue.run_names(runs).values(), texts, strict=True)),
    )
    path = pathlib.Path(_OUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
    print(path)


if __name__ == "__main__":
    launch.run(main)
