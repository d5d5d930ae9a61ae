"""Draws the figures of some runs or packed studies from their files.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]

They show accuracy against ECE, ECE against severity (if runs have it), differences to baselines,
labels over epochs, reliability (if a run has test_logits.npz), and sample images per bucket.
"""

import pathlib
import sys

import matplotlib
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, frame, plots

FORMATS = ", ".join(plots.FORMATS)

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list("format", ["png", "pdf"], f"Formats, some of: {FORMATS}.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, for which the data are read.")


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    unknown = [form for form in _FORMAT.value if form not in plots.FORMATS]
    if unknown or not _FORMAT.value:
        raise ValueError(f"--format: got {unknown or 'none'}, expected some of: {FORMATS}")
    comparable, left_out = frame.load(argv[1:])
    for run, reason in zip(left_out["run"], left_out["reason"], strict=True):
        print(f"left out of the comparisons: {run}: {reason}", file=sys.stderr)
    images = catalogue.of_images(comparable, _DATA_DIR.value) if _IMAGES.value else ()
    for drawing in [*catalogue.everything(comparable, left_out), *images]:
        try:
            figure = drawing.draw()
        except (ValueError, FileNotFoundError) as error:
            print(f"not drawn: {drawing.name}: {error}", file=sys.stderr)
        else:
            print(plots.save(figure, pathlib.Path(_OUT.value), drawing.name, _FORMAT.value))


if __name__ == "__main__":
    launch.run(main)
