"""Draws the figures of a diagnosis: the Fourier heat map, and metrics by distance."""

import pathlib
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.reporting import plots
from experiments.reporting.run_files import RunRecord

FORMATS = {"png": {}, "pdf": {"CreationDate": None}}  # without a date, equal data give equal files
UNITS = {True: ("mean |change|, levels of 255", 255), False: ("mean |change|", 1)}


def write(figure: Figure, folder: pathlib.Path, name: str) -> pathlib.Path:
    """Writes a figure as PNG and PDF; returns its path without the ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for form, metadata in FORMATS.items():
        figure.savefig(folder / f"{name}.{form}", dpi=200, metadata=metadata)
    plt.close(figure)
    return folder / name


def fourier(part: dict[str, Any], run: RunRecord) -> Figure:
    """Draws the error rate at each frequency, lowest in the middle, and the clean error."""
    error = 100 * np.array(part["error"])
    height, width = error.shape
    # Frequencies are whole numbers, each in the middle of its square.
    left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
    with plots.panels(1, 1, panel=(3.6, 3.1)) as (figure, axes):
        picture = axes[0, 0].imshow(
            error,
            cmap="magma",
            vmin=0,
            vmax=100,
            extent=(left, left + width, top + height, top),
            interpolation="nearest",
        )
        axes[0, 0].set(xlabel="cycles over the width", ylabel="cycles over the height")
        axes[0, 0].set_title(
            f"{run.workdir.resolve().name}: error with one frequency of norm {part['norm']:.3g}\n"
            f"added, {part['stamp']['examples']} test images"
        )
        bar = figure.colorbar(picture, label="error %")
        bar.ax.axhline(100 * part["clean_error"], color="white", linewidth=2.5)
        bar.ax.axhline(100 * part["clean_error"], color="black", linewidth=1, linestyle="--")
        bar.ax.set_title("-- clean", fontsize=6)
        return figure


def buckets(part: dict[str, Any], run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label of each bucket, above the change of its images."""
    middles = (np.array(part["low"]) + np.array(part["high"])) / 2
    group = np.array(part["group"])
    num_groups = group.max() + 1
    unit, scale = UNITS[part["stamp"]["uint8"]]
    rows = (
        ("fraction", {"accuracy": 1, "confidence": 1, "label_confidence": 1}),
        ("mean l2 norm of change", {"mean_l2": 1}),
        (unit, {"mean_absolute_change": scale}),
    )
    rows = [row for row in rows if any(v is not None for name in row[1] for v in part[name])]
    with plots.panels(len(rows), num_groups, panel=(2.7, 2.0), sharex=True, sharey="row") as (
        figure,
        axes,
    ):
        for (row, g), place in np.ndenumerate(axes):
            for i, (name, factor) in enumerate(rows[row][1].items()):
                values = np.array(part[name], np.float64)[group == g]
                place.plot(
                    middles[group == g],
                    factor * values,
                    color=plots.COLORS[i if row == 0 else 6],
                    marker=plots.MARKERS[i],
                    linestyle=plots.LINES[i],
                    label=name.replace("_", " ").replace("label confidence", "label"),
                )
            place.set(xlim=(0, 1), xticks=(0, 0.5, 1))
            if g == 0:
                place.set_ylabel(rows[row][0])
            if row == 0:
                place.set_title(plots.group_name(run, g, num_groups))
            if row == len(rows) - 1:
                place.set_xlabel("distance")
        for place in axes[1:, 0]:
            place.set_ylim(bottom=0)  # once all panels of the row have set its top
        handles = axes[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right upper")
        return figure
