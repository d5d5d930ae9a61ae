"""Draws the figures of a diagnosis: the Fourier heat map, and metrics by distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.reporting import plots
from experiments.reporting.run_files import RunRecord

UNITS = {True: ("mean |change|,\nlevels of 255", 255), False: ("mean |change|", 1)}
CURVES = ("accuracy", "confidence", "label_confidence")


@plots.STYLE
def fourier(part: dict[str, Any], run: RunRecord) -> Figure:
    """Draws the error rate at each frequency, lowest in the middle, and the clean error."""
    error = 100 * np.array(part["error"])
    height, width = error.shape
    # Frequencies are whole numbers, each in the middle of its square.
    left, top = -(width // 2) - 0.5, -(height // 2) - 0.5
    extent = (left, left + width, top + height, top)
    figure, axes = plots.panels(1, 1, 3.6)
    look = {"cmap": "magma", "vmin": 0, "vmax": 100, "interpolation": "nearest"}
    picture = axes[0, 0].imshow(error, extent=extent, **look)
    axes[0, 0].grid(visible=False)
    axes[0, 0].set(xlabel="cycles over the width", ylabel="cycles over the height")
    figure.suptitle(
        f"{plots.run_title(run)}\none frequency of norm {part['norm']:.3g} added, "
        f"{part['stamp']['examples']} test images"
    )
    bar = figure.colorbar(picture, label="error % (dashed: clean images)")
    clean = 100 * part["clean_error"]
    bar.ax.axhline(clean, color="white", linewidth=2.5)
    bar.ax.axhline(clean, color="black", linewidth=1, linestyle="--")
    return figure


@plots.STYLE
def buckets(part: dict[str, Any], run: RunRecord) -> Figure:
    """Draws accuracy, confidence and label of each bucket, above the change of its images."""
    unit, scale = UNITS[part["stamp"]["uint8"]]
    rows = {
        "fraction": {curve.replace("_", " "): (curve, 1) for curve in CURVES},
        "mean l2 norm\nof change": {"": ("mean_l2", 1)},
        unit: {"": ("mean_absolute_change", scale)},
    }
    rows = {
        name: series
        for name, series in rows.items()
        if any(value is not None for field, _ in series.values() for value in part[field])
    }
    group = np.array(part["group"])
    middles = (np.array(part["low"]) + np.array(part["high"])) / 2
    num_groups = group.max() + 1
    figure, axes = plots.panels(len(rows), num_groups, 1.9, sharex=True, sharey="row")
    for row, (name, series) in zip(axes, rows.items(), strict=True):
        for g, place in enumerate(row):
            values = {
                label: factor * np.array(part[field], np.float64)[group == g]
                for label, (field, factor) in series.items()
            }
            plots.lines(place, middles[group == g], values)
            place.set(xlim=(0, 1), xticks=(0, 0.5, 1))
        row[0].set_ylabel(name)
    for g, place in enumerate(axes[0]):
        place.set_title(plots.group_name(run, g, num_groups))
        axes[-1, g].set_xlabel("distance")
    for place in axes[1:, 0]:
        place.set_ylim(bottom=0)  # once all panels of the row have set its top
    return plots.finish(figure, axes[0, :1], plots.run_title(run))


@plots.STYLE
def temperature_by_distance(columns: Mapping[str, Sequence], run: RunRecord) -> Figure:
    """Draws ``diagnosis.beyond.measure``: temperature by distance and accuracy of each bucket."""
    table = pd.DataFrame(columns).assign(accuracy=lambda own: 100 * own["accuracy"])
    table["distance"] = (table["low"] + table["high"]) / 2
    figure, (axes,) = plots.panels(1, 2, 3.2, sharey=True)
    for i, (family, own) in enumerate(table.groupby("family", sort=False)):
        look = plots.style(i) | {"linestyle": "none", "label": family}
        look["fillstyle"] = "full" if own["inside"].all() else "none"
        for place, name in zip(axes, ("distance", "accuracy"), strict=True):
            place.plot(own[name], own["temperature"], **look)
    axes[0].set(xlabel="distance, of the family's range", ylabel="temperature", xlim=(-0.03, 1))
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("{x:g}")
    axes[1].set(xlabel="accuracy %")
    axes[1].invert_xaxis()
    title = f"{plots.run_title(run)}: full markers inside the training range"
    return plots.finish(figure, axes[:1], title)
