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
from absl import flags

from autolabel_jax import files
from experiments import launch
from experiments.reporting import catalogue, frame, rendering, sentences, summary
from experiments.reporting.run_files import RunRecord

DPI = 175  # pixels an inch, in the file and on the page: 8 inches fill its width

_OUT = flags.DEFINE_string("out", "report.html", "File to write the page to.")
_TITLE = flags.DEFINE_string("title", "AutoLabel results", "Title of the page.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Show sample images too, for which the data are read.")


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


def _files(run: RunRecord) -> dict[str, str]:
    held = {"config.json": run.config, "result.json": run.result}
    return {name: json.dumps(own, indent=2) for name, own in held.items() if own}


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    loaded = frame.load(argv[1:])
    drawings = catalogue.everything(*loaded, data_dir=_DATA_DIR.value, images=_IMAGES.value)
    runs = [run for own in loaded for run in own["record"]]
    names = catalogue.run_names(runs)
    page = rendering.html(
        summary.tables(*loaded),
        title=_TITLE.value,
        Summary=sentences.make(*loaded),
        Figures=list(map(_figure, drawings)),
        Runs=[(names[run.workdir], _files(run)) for run in runs],
    )
    path = pathlib.Path(_OUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
    print(path)


if __name__ == "__main__":
    launch.run(main)
