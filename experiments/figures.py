"""Figures made from run files.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]

Labels over epochs, buckets against distance, reliability (where a run has test_logits.npz),
accuracy against ECE, ECE against severity (where runs have it), sample images per bucket.
A figure that cannot be made is named with the reason, and the others are made.
"""

import pathlib
import sys

import matplotlib
import matplotlib.pyplot as plt
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, summary

FORMATS = ("png", "pdf", "svg")
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list("format", ["png", "pdf"], f"Some of {', '.join(FORMATS)}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, which reads the data.")


def write(drawing: catalogue.Drawing, folder: pathlib.Path, formats: list[str]) -> None:
    """Draws a figure and writes it in each format; the same files give the same bytes."""
    figure = drawing.draw()
    with plt.rc_context({"svg.hashsalt": "autolabel_jax"}):
        for form in formats:
            path = folder / f"{drawing.name}.{form}"
            figure.savefig(path, dpi=200, metadata=UNDATED[form])
    plt.close(figure)


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    unknown = [form for form in _FORMAT.value if form not in FORMATS]
    if unknown or not _FORMAT.value:
        raise ValueError(f"--format: got {unknown or 'none'}, known are {', '.join(FORMATS)}")
    good, apart = summary.load(argv[1:])
    runs = [*good, *(run for run, _ in apart)]
    drawings = catalogue.everything(runs, good, _DATA_DIR.value)
    for run, reason in apart:
        print(f"left out of the comparisons: {run.workdir}: {reason}", file=sys.stderr)
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
