"""Draws the figures of some runs or packed studies from their files.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]
    python -m experiments.figures runs/*/ --out=figures/ --vary=labels.alpha[,buckets.num,…]
    python -m experiments.figures results/digits results/cifar10_5000 --out=docs/ --summary

The figures show labels over epochs, buckets against distance, reliability (if a run has
test_logits.npz), accuracy against ECE, ECE against severity (if runs have it), sample images per
bucket, and the effect of each setting of the method that AutoLabel runs differ in alone.
A figure that cannot be drawn is reported with the reason, and the others are drawn.

With --vary, only the effect of the given config fields is drawn (``vary_FIELD``): ECE, NLL,
accuracy, corrupted ECE and learned labels against the field, beside one-hot and smoothing.

With --summary, three charts sum up the studies: ECE after temperature scaling by label rule and
augmentation, the NLL against one-hot labels with a temperature, and ECE against severity.
"""

import pathlib
import sys

import matplotlib
import pandas as pd
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, plots, varied
from experiments.reporting import frame as frame_lib

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list(
    "format", ["png", "pdf"], f"Formats, some of: {', '.join(plots.FORMATS)}."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, for which the data are read.")
_VARY = flags.DEFINE_list("vary", [], "Draw only the effect of these config fields.")
_SUMMARY = flags.DEFINE_bool("summary", False, "Draw only the three charts of several studies.")


def vary(frame: pd.DataFrame, fields: list[str]) -> list[catalogue.Drawing]:
    """Lists the figures of some fields; reports the runs that are on no curve."""
    drawings = []
    for field in fields:
        drawn, alone = varied.select(frame, field)
        for run in alone["run"]:
            reason = f"differs from no other AutoLabel run in {field} alone"
            print(f"left out of vary_{field}: {run}: {reason}", file=sys.stderr)
        drawings.append(catalogue.of_setting(drawn, field))
    return drawings


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    formats, known = _FORMAT.value, ", ".join(plots.FORMATS)
    unknown = [form for form in formats if form not in plots.FORMATS]
    if unknown or not formats:
        raise ValueError(f"--format: got {unknown or 'none'}, expected some of: {known}")
    comparable, left_out = frame_lib.load(argv[1:])
    for run, reason in zip(left_out["run"], left_out["reason"], strict=True):
        print(f"left out of the comparisons: {run}: {reason}", file=sys.stderr)
    if _SUMMARY.value:
        drawings = catalogue.summary(comparable)
    elif _VARY.value:
        drawings = vary(comparable, _VARY.value)
    else:
        drawings = catalogue.everything(
            comparable, left_out, data_dir=_DATA_DIR.value, images=_IMAGES.value
        )
    for drawing in drawings:
        try:
            figure = drawing.draw()
        except (ValueError, FileNotFoundError) as error:
            print(f"not drawn: {drawing.name}: {error}", file=sys.stderr)
        else:
            print(plots.save(figure, pathlib.Path(_OUT.value), drawing.name, formats))


if __name__ == "__main__":
    launch.run(main)
