"""Draws reliability diagrams."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from autolabel_jax import calibration
from autolabel_jax.metrics import bootstrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), "Color Universal Design".
BLUE, ORANGE = "#0072B2", "#D55E00"


def draw(place: "Axes", found: bootstrap.Reliability, title: str) -> None:
    """Draws accuracy and its gap to the confidence in each bin, with the ECE in the title."""
    filled, width = found.count > 0, 1 / len(found.count)
    middle = ((np.arange(len(found.count)) + 0.5) * width)[filled]
    accuracy, gap = found.accuracy[filled], (found.confidence - found.accuracy)[filled]
    place.bar(middle, accuracy, width, color=BLUE, edgecolor="white", label="accuracy")
    name = "confidence − accuracy"
    place.bar(
        middle, gap, width, bottom=accuracy, color="none", edgecolor=ORANGE, hatch="//", label=name
    )
    errors = np.abs(np.stack([found.low, found.high])[:, filled] - accuracy)
    name = "95 % bootstrap band"
    place.errorbar(middle, accuracy, errors, fmt="none", ecolor="black", elinewidth=1, label=name)
    place.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1, label="calibrated")
    gaps = np.nan_to_num(found.count * (found.accuracy - found.confidence))
    title = f"{title}\nECE {100 * float(calibration.ece_of_gaps(gaps, found.count.sum())):.1f} %"
    place.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=title)


def png(panels: Mapping[str, bootstrap.Reliability]) -> bytes:
    """Draws diagrams side by side, by their titles, as a PNG file.

    Raises:
      ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(panels), 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (title, found) in zip(axes, panels.items(), strict=True):
        draw(place, found, title)
    axes[0].legend(loc="upper left", fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
