"""Shares what figures have in common: colours, axes, names of runs and buckets, legends, files."""

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from autolabel_jax import buckets
from experiments.reporting import frame as frames
from experiments.reporting import naming
from experiments.reporting.run_files import RunRecord

# Okabe and Ito (2008), "Color Universal Design", without yellow, which is too light on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
RC = {"font.size": 9, "axes.titlesize": 9, "figure.titlesize": 9, "legend.fontsize": 8}
RC |= {"xtick.labelsize": 8, "ytick.labelsize": 8, "lines.markersize": 4, "lines.linewidth": 1.3}
RC |= {"axes.grid": True, "grid.color": "0.9", "axes.axisbelow": True, "errorbar.capsize": 2}
RC |= {"legend.frameon": False, "figure.constrained_layout.use": True}
STYLE = plt.rc_context(RC)  # decorates functions that draw: no text is below eight points
# Endings of files → metadata without a date, so that equal data give equal files.
FORMATS = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
WIDTH = 8  # inches, of a page
Panels = tuple[Figure, np.ndarray]


def style(i: int) -> dict[str, str]:
    """Returns colour, marker and line of the i-th series; the first two differ for 49 of them."""
    marker = MARKERS[(i + i // len(COLORS)) % len(MARKERS)]
    return {"color": COLORS[i % len(COLORS)], "marker": marker, "linestyle": LINES[i % len(LINES)]}


def panels(rows: int, columns: int, height: float = 2.3, **settings: Any) -> Panels:
    """Makes a figure and its axes [rows, columns], each of which is ``height`` inches high."""
    size = (WIDTH if columns > 1 else 0.6 * WIDTH, height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, **settings)


def grid(num: int, **settings: Any) -> Panels:
    """Makes a figure with ``num`` axes in rows of three, as an array [num]."""
    figure, axes = panels(math.ceil(num / 3), min(num, 3), **settings)
    for place in axes.flat[num:]:
        place.remove()
    return figure, axes.flat[:num]


def lines(place: Axes, x: Any, series: Mapping[str, Any]) -> None:
    """Draws each of the series against x, with its name for the legend."""
    for i, (name, values) in enumerate(series.items()):
        place.plot(x, values, **style(i), label=name)


def finish(figure: Figure, axes: Sequence[Axes], title: str = "") -> Figure:
    """Adds a title, and one legend for some axes below them, which makes the figure higher."""
    if title:
        figure.suptitle(title)
    found = [place.get_legend_handles_labels() for place in axes]
    handles = {name: handle for pair in found for handle, name in zip(*pair, strict=True)}
    if names := list(handles):
        fit = max(1, int(figure.get_figwidth() / (0.065 * max(map(len, names)) + 0.5)))
        rows = math.ceil(len(names) / fit)  # .065 inches a letter
        figure.set_figheight(figure.get_figheight() + 0.17 * rows + 0.1)
        num = math.ceil(len(names) / rows)
        figure.legend(handles.values(), names, loc="outside lower center", ncols=num)
    return figure


@plt.rc_context({"svg.hashsalt": "autolabel_jax"})
def save(
    figure: Figure, folder: pathlib.Path, name: str, formats: Sequence[str] = ("png", "pdf")
) -> pathlib.Path:
    """Writes a figure in each format and closes it; returns its path without the ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for form in formats:
        path = folder / f"{name}.{form}"
        figure.savefig(path, dpi=160, metadata=FORMATS[form])
        if form == "png":  # a palette of 256 colours makes it a third as large
            with Image.open(path) as picture:
                picture.convert("RGB").quantize(256).save(path, optimize=True)
    plt.close(figure)
    return folder / name


def block_title(runs: pd.DataFrame) -> str:
    """Names data set, model, augmentation and budget ('3', or '2 to 5') of runs, in two lines."""
    found = {name: runs[name] for name in frames.NAMES} | {"seeds": runs.groupby("cell").size()}
    ends = {name: dict.fromkeys((own.min(), own.max())) for name, own in found.items()}
    names = {name: " to ".join(map(str, own)) for name, own in ends.items()}
    text = "{dataset}, {model}, {augmentation}\n{train_examples} images, {epochs} epochs, "
    return (text + "seeds: {seeds}").format(**names)


def run_title(run: RunRecord) -> str:
    """Returns 'digits, mlp-256, augmix, autolabel, seed 0', of what the config holds."""
    config = run.config
    names = [config.get("dataset"), "model.name" in config and naming.model_name(config)]
    for field in ("augment.name", "labels.rule"):
        names.append(field in config and naming.title(field, config[field]))
    names.append("seed" in config and f"seed {config['seed']}")
    return ", ".join(filter(None, names))


def group_name(run: RunRecord, group: int, num_groups: int) -> str:
    """Names a group of buckets, the discrete part of the distance; '' if there is only one."""
    method = naming.find("augment.name", run.config.get("augment.name"))
    return f"{getattr(method, 'group_name', 'group')} {group + 1}" if num_groups > 1 else ""


def edges(run: RunRecord) -> np.ndarray | None:
    """Returns the edges of held-out images, float [M + 1]; None if they depend on the data."""
    own = run.full_config.buckets
    is_known = own.num == 1 or (own.calibration_edges or own.edges) == "equal_width"
    return buckets.make_edges("equal_width", own.num) if is_known else None


def number(value: float | None, digits: int = 2) -> str:
    """Writes a number from 0 to 1 without zeros that say nothing: '.33', '.5', '1'."""
    return "none" if value is None else f"{value:.{digits}f}".strip("0").rstrip(".") or "0"


def interval_names(edges: np.ndarray | None, num: int) -> list[str]:
    """Returns 'distance .33-.67' of each interval; 'interval 2 of 3' if edges are not known."""
    if edges is None:
        return [f"interval {m + 1} of {num}" for m in range(num)]
    return [f"distance {number(low)}-{number(high)}" for low, high in itertools.pairwise(edges)]
