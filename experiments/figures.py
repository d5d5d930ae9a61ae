"""Figures made from run files.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]
    python -m experiments.figures runs/*/ --out=figures/ --vary=labels.alpha[,buckets.num,…]

Labels over epochs, buckets against distance, reliability (where a run has test_logits.npz),
accuracy against ECE, ECE against severity (where runs have it), sample images per bucket, and
what a setting of the method moves, where AutoLabel runs differ in it alone.
A figure that cannot be made is named with the reason, and the others are made.

With --vary, only what the fields named move (``vary_FIELD``), which may be any of the config:
ECE, NLL, accuracy, corrupted ECE and learned labels against it, beside one-hot and smoothing.
"""

import pathlib
import sys
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, summary, varied
from experiments.reporting.run_files import Run

FORMATS = ("png", "pdf", "svg")
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list("format", ["png", "pdf"], f"Some of {', '.join(FORMATS)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, which reads the data.")
_VARY = flags.DEFINE_list("vary", [], "Draw only what these fields of the config move.")


def write(drawing: catalogue.Drawing, folder: pathlib.Path, formats: list[str]) -> None:
    """Draws a figure and writes it in each format; the same files give the same bytes."""
    figure = drawing.draw()
    with plt.rc_context({"svg.hashsalt": "autolabel_jax"}):
        for form in formats:
            path = folder / f"{drawing.name}.{form}"
            figure.savefig(path, dpi=200, metadata=UNDATED[form])
    plt.close(figure)


def vary(good: Sequence[Run], fields: list[str]) -> list[catalogue.Drawing]:
    """Figures of what some fields move; runs that are on none of the curves are named."""
    drawings = []
    for field in fields:
        study = varied.make(good, field)
        for run in study.alone:
            reason = f"differs from no other AutoLabel run in {field} alone"
            print(f"left out of vary_{field}: {run.workdir}: {reason}", file=sys.stderr)
        drawings.append(catalogue.of_setting(study))
    return drawings


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    unknown = [form for form in _FORMAT.value if form not in FORMATS]
    if unknown or not _FORMAT.value:
        raise ValueError(f"--format: got {unknown or 'none'}, known are {', '.join(FORMATS)}")
    good, apart = summary.load(argv[1:])
    runs = [*good, *(run for run, _ in apart)]
    for run, reason in apart:
        print(f"left out of the comparisons: {run.workdir}: {reason}", file=sys.stderr)
    if _VARY.value:
        drawings = vary(good, _VARY.value)
    else:
        drawings = catalogue.everything(runs, good, _DATA_DIR.value)
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
