"""Draws the figures of some runs or packed studies from their files.

    python -m experiments.figures runs/*/ --out=figures/ [--format=png,pdf] [--data_dir=…]
    python -m experiments.figures runs/*/ --out=figures/ --vary=labels.alpha[,buckets.num,…]

The figures show accuracy against ECE, ECE against severity (if runs have it), differences to the
baselines, labels over epochs, reliability (if a run has test_logits.npz), and sample images per
bucket. With --vary, only the effect of the given config fields on AutoLabel is drawn.
"""

import pathlib
import sys

import matplotlib
from absl import flags

from experiments import launch
from experiments.reporting import catalogue, comparison_plots, frame, plots

_OUT = flags.DEFINE_string("out", "figures", "Folder to write the figures to.")
_FORMAT = flags.DEFINE_list(
    "format", ["png", "pdf"], f"Formats, some of: {', '.join(plots.FORMATS)}."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Draw sample images too, for which the data are read.")
_VARY = flags.DEFINE_list("vary", [], "Draw only the effect of these config fields.")


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    unknown = [form for form in _FORMAT.value if form not in plots.FORMATS]
    if unknown or not _FORMAT.value:
        known = ", ".join(plots.FORMATS)
        raise ValueError(f"--format: got {unknown or 'none'}, expected some of: {known}")
    comparable, left_out = frame.load(argv[1:])
    for run, reason in zip(left_out["run"], left_out["reason"], strict=True):
        print(f"left out of the comparisons: {run}: {reason}", file=sys.stderr)
    vary = comparison_plots.vary
    drawings = [catalogue.drawing(vary, comparable, field, name=field) for field in _VARY.value]
    if not drawings:
        images = catalogue.of_images(comparable, _DATA_DIR.value) if _IMAGES.value else ()
        drawings = [*catalogue.everything(comparable, left_out), *images]
    for drawing in drawings:
        try:
            figure = drawing.draw()
        except (ValueError, FileNotFoundError) as error:
            print(f"not drawn: {drawing.name}: {error}", file=sys.stderr)
        else:
            print(plots.save(figure, pathlib.Path(_OUT.value), drawing.name, _FORMAT.value))


if __name__ == "__main__":
    launch.run(main)
