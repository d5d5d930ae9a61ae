"""Writes one HTML file of some runs or packed studies: tables, figures, every config.

    python -m experiments.report runs/*/ --out=report.html [--data_dir=…] [--noimages]

The page holds its figures, so that one file can be passed on; it needs no network.
"""

import base64
import io
import json
import pathlib
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
from absl import flags

from autolabel_jax import run_dir
from experiments import launch
from experiments.reporting import catalogue, rendering, summary
from experiments.reporting.catalogue import Drawing
from experiments.reporting.rendering import escape_html
from experiments.reporting.run_files import RunRecord

_OUT = flags.DEFINE_string("out", "report.html", "File to write the page to.")
_TITLE = flags.DEFINE_string("title", "AutoLabel results", "Title of the page.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_IMAGES = flags.DEFINE_bool("images", True, "Show sample images too, for which the data are read.")


def make(
    comparable: Sequence[RunRecord],
    excluded: Sequence[tuple[RunRecord, str]],
    *,
    title: str,
    data_dir: str | None = None,
    images: bool = True,
) -> str:
    """Makes the page.

    Args:
      comparable: runs that can be compared.
      excluded: the other runs, each with the reason.
      title: title of the page.
      data_dir: folder of the data sets, if it has moved.
      images: whether to show sample images too, for which the data are read.
    """
    runs = [*comparable, *(run for run, _ in excluded)]
    drawings = [
        drawing
        for drawing in catalogue.everything(runs, comparable, data_dir)
        if images or not drawing.name.startswith("bucket_images")
    ]
    sections = {
        "Tables": map(rendering.html_table, summary.tables(comparable, excluded)),
        "Figures": map(_figure, drawings),
        "Runs": _runs(runs),
    }
    links = [f'<li><a href="#{name.lower()}">{name}</a></li>' for name in sections]
    body = [f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>']
    for name, parts in sections.items():
        own = name.lower()
        body.append(f'<section id="{own}" aria-labelledby="{own}-title">')
        body += [f'<h2 id="{own}-title">{name}</h2>', *parts, "</section>"]
    return rendering.html([], title=title, body="\n".join(body))


def _figure(drawing: Drawing) -> str:
    """Embeds a figure in the page, or the reason why it could not be drawn."""
    heading = f"<h3>{escape_html(drawing.title)}</h3>"
    try:
        figure = drawing.draw()
    except (ValueError, FileNotFoundError) as error:
        return f"{heading}\n<p>Not drawn: {escape_html(str(error))}</p>"
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    plt.close(figure)
    data = base64.b64encode(file.getvalue()).decode()
    alt = escape_html(drawing.alt)
    return (
        f'{heading}\n<figure><img src="data:image/png;base64,{data}" alt="{alt}" '
        f'width="{width}" height="{height}"><figcaption>{alt}</figcaption></figure>'
    )


def _runs(runs: Sequence[RunRecord]) -> list[str]:
    """Returns config and result of every run, collapsed."""
    names = catalogue.run_names(runs)
    parts = []
    for run in runs:
        files = {run_dir.CONFIG: run.config, run_dir.RESULT: run.result}
        shown = [
            f"<h3>{name}</h3><pre>{escape_html(json.dumps(value, indent=2))}</pre>"
            for name, value in files.items()
            if value is not None
        ]
        summary_line = f"<summary>{escape_html(names[run.workdir])}</summary>"
        parts.append(f"<details>{summary_line}{''.join(shown)}</details>")
    return parts


def main(argv: list[str]) -> None:
    matplotlib.use("Agg")
    comparable, excluded = summary.load(argv[1:])
    page = make(
        comparable, excluded, title=_TITLE.value, data_dir=_DATA_DIR.value, images=_IMAGES.value
    )
    path = pathlib.Path(_OUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(path)


if __name__ == "__main__":
    launch.run(main)
