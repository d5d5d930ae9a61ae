"""Writes one HTML file of some runs or packed studies: tables, figures, every config.

    python -m experiments.report runs/*/ --out=report.html

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
from experiments.reporting import catalogue, frame, plots, rendering, summary

DPI = 175  # pixels an inch, in the file and on the page: 8 inches fill its width

_OUT = flags.DEFINE_string("out", "report.html", "File to write the page to.")
_TITLE = flags.DEFINE_string("title", "AutoLabel results", "Title of the page.")


def _figure(drawing: catalogue.Drawing) -> dict[str, Any]:
    """Draws a figure for the page, or says why it could not be drawn."""
    figure = {"title": drawing.title, "alt": drawing.alt, "data": ""}
    try:
        drawn, file = drawing.draw(), io.BytesIO()
    except (ValueError, FileNotFoundError) as error:
        return figure | {"reason": str(error)}
    drawn.savefig(file, format="png", dpi=DPI)
    width, height = (round(DPI * inches) for inches in drawn.get_size_inches())
    plt.close(drawn)
    data = base64.b64encode(file.getvalue()).decode()
    return figure | {"data": data, "width": width, "height": height}


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    comparable, left_out = frame.load(argv[1:])
    runs = [*comparable["record"], *left_out["record"]]
    texts = [json.dumps({"config": r.config, "result": r.result}, indent=2) for r in runs]
    compared = [plots.block_title(block) for _, block in comparable.groupby("block")]
    page = rendering.html(
        summary.tables(comparable, left_out),
        title=_TITLE.value,
        Summary=[f"Runs compared: {len(comparable)}; left out: {len(left_out)}.", *compared],
        Figures=list(map(_figure, catalogue.everything(comparable, left_out))),
        Runs=list(zip(catalogue.run_names(runs).values(), texts, strict=True)),
    )
    path = pathlib.Path(_OUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, page)
    print(path)


if __name__ == "__main__":
    launch.run(main)
