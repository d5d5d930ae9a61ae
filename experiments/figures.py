"""Draws figures from run files or packed studies.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]
    python -m experiments.figures runs/*/ --out=figures/ --vary=labels.alpha[,buckets.num,…]

The figures show labels over epochs, buckets against distance, reliability (if a run has
test_logits.npz), accuracy against ECE, ECE against severity (if runs have it), sample images per
bucket, and the effect of each setting of the method that AutoLabel runs differ in alone.
A figure that cannot be drawn is reported with the reason, and the others are drawn.

With --vary, only the effect of the given config fields is drawn (``vary_FIELD``): ECE, NLL,
accuracy, corrupted ECE and learned labels against the field, beside one-hot and smoothing.
"""

import pathlib
import sys
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, summary, varied
from experiments.reporting.run_files import RunRecord

FORMATS = ("png", "pdf", "svg")
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list("format", ["png", "pdf"], f"Formats, some of: {', '.join(FORMATS)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, for which the data are read.")
_VARY = flags.DEFINE_list("vary", [], "Draw only the effect of these config fields.")


def write(drawing: catalogue.Drawing, folder: pathlib.Path, formats: list[str]) -> None:
    """Draws a figure and writes it in each format; the same files give the same bytes."""
    figure = drawing.draw()
    with plt.rc_context({"svg.hashsalt": "autolabel_jax"}):
        for form in formats:
            path = folder / f"{drawing.name}.{form}"
            figure.savefig(path, dpi=200, metadata=UNDATED[form])
    plt.close(figure)


def vary(comparable: Sequence[RunRecord], fields: list[str]) -> list[catalogue.Drawing]:
    """Lists the figures of some fields; reports the runs that are on no curve."""
    drawings = []
    for field in fields:
        study = varied.make(comparable, field)
        for run in study.alone:
            reason = f"differs from no other AutoLabel run in {field} alone"
            print(f"left out of vary_{field}: {run.workdir}: {reason}", file=sys.stderr)
        drawings.append(catalogue.of_setting(study))
    return drawings


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    unknown = [form for form in _FORMAT.value if form not in FORMATS]
    if unknown or not _FORMAT.value:
        raise ValueError(
            f"--format: got {unknown or 'none'}, expected some of: {', '.join(FORMATS)}"
        )
    comparable, excluded = summary.load(argv[1:])
    runs = [*comparable, *(run for run, _ in excluded)]
    for run, reason in excluded:
        print(f"left out of the comparisons: {run.workdir}: {reason}", file=sys.stderr)
    if _VARY.value:
        drawings = vary(comparable, _VARY.value)
    else:
        drawings = catalogue.everything(runs, comparable, _DATA_DIR.value)
    folder = pathlib.Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        if drawing.name.startswith("bucket_images") and not _IMAGES.value:
            continue
        try:
            write(drawing, folder, _FORMAT.value)
        except (ValueError, FileNotFoundError) as error:
            print(f"not drawn: {drawing.name}: {error}", file=sys.stderr)
        else:
            print(folder / drawing.name)


if __name__ == "__main__":
    launch.run(main)
