"""Formats a diagnosis as small tables of plain text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from autolabel_jax import augment
from experiments.reporting import naming, rendering

# Columns of the change of images; for uint8 images the mean change is in grey levels.
CHANGES = {True: ("mean l2", "mean |change| /255"), False: ("mean l2", "mean |change|")}
BANDS = ("low", "middle", "high")  # thirds of the highest frequency


def buckets(part: dict[str, Any], augmentation: str) -> str:
    """Formats one row per bucket: distance, change, accuracy, confidence, ECE and label."""
    uint8 = part["stamp"]["uint8"]
    header = ["distance", "images", *CHANGES[uint8]]
    header += ["accuracy %", "confidence %", "ECE %", "label %"]
    rows = []
    for n, group in enumerate(part["group"]):
        percents = [part[name][n] for name in ("accuracy", "confidence", "ece")]
        rows.append(
            [
                f"{group + 1}",
                f"({part['low'][n]:.2f}, {part['high'][n]:.2f}]",
                f"{part['count'][n]:.0f}",
                *_changes(part["mean_l2"][n], part["mean_absolute_change"][n], uint8),
                *(_number(value, 100, 2) for value in [*percents, part["label_confidence"][n]]),
            ]
        )
    grouped = max(part["group"]) > 0
    header = [augment.find(augmentation).group_name, *header]
    table = [row if grouped else row[1:] for row in [header, *rows]]
    return rendering.aligned(table, num_names=2 if grouped else 1)


def beyond(part: dict[str, Any]) -> str:
    """Formats one row per bucket of each family: accuracy, confidence, ECE and temperature."""
    rows = [["moved by", "group", "distance", "images", "accuracy %", "confidence %", "ECE %", "T"]]
    for n, family in enumerate(part["family"]):
        percents = [part[name][n] for name in ("accuracy", "confidence", "ece")]
        low, high = part["low"][n], part["high"][n]
        rows.append(
            [
                family,
                f"{part['group'][n] + 1}",
                f"({low:.2f}, {high:.2f}]" if high else "0",
                f"{part['count'][n]}",
                *(_number(value, 100, 2) for value in percents),
                f"{part['temperature'][n]:.3f}",
            ]
        )
    return rendering.aligned(rows, num_names=3)


def affinity(part: dict[str, Any], wanted: Sequence[dict[str, Any]], own: dict[str, Any]) -> str:
    """Formats one row per augmentation, the run's own first, and notes on skipped parts.

    Args:
      part: this part of the file.
      wanted: settings of the augmentations to show.
      own: settings of the run's augmentation.
    """
    header = ["augmentation", "affinity (ratio)", "difference, points", "augmented acc %"]
    uint8 = part["stamp"]["uint8"]
    header += [*CHANGES[uint8], "diversity"]
    by_run = part["diversity"]
    rows = []
    for settings in wanted:
        row = next(row for row in part["rows"] if row["settings"] == settings)
        low, high = (_number(end, 1, 3) for end in row["affinity_interval"])
        rows.append(
            [
                _title(settings) + " (this run's)" * (settings == own),
                f"{_number(row['affinity'], 1, 3)} [{low}, {high}]",
                _number(row["affinity_difference"], 100, 2),
                _number(row["augmented_accuracy"], 100, 2),
                *_changes(row["mean_l2"], row["mean_absolute_change"], uint8),
                _number(by_run.get("diversity"), 1, 3) if settings == own else "",
            ]
        )
    lines = [rendering.aligned([header, *rows], num_names=1)] if rows else []
    if rows:
        row = part["rows"][0]
        lines.append(
            f"baseline: {100 * row['clean_accuracy']:.2f} % of {part['stamp']['examples']} clean "
            "images right; in brackets the 95 % interval over images"
        )
    if augment.find(own["name"]).distance_is_given:
        lines.append("no affinity: this run's data come augmented, without clean images")
    if "left_out" in by_run:
        lines.append(f"diversity left out: {by_run['left_out']}")
    else:
        lines.append(
            f"diversity: final training loss {by_run['train_loss']:.4f}, of the baseline "
            f"{by_run['baseline_train_loss']:.4f}; it takes a run, so other rows have none"
        )
    return "\n".join(lines)


def fourier(part: dict[str, Any]) -> str:
    """Formats mean errors in three bands of frequency, and the clean error."""
    error = np.array(part["error"])
    height, width = error.shape
    row, column = np.mgrid[:height, :width]
    place = np.maximum(abs(row - height // 2), abs(column - width // 2))
    edges = [(place.max() * k) // 3 for k in (1, 2, 3)]
    rows = [
        ["frequency, cycles", "error %"],
        ["none (clean)", f"{100 * part['clean_error']:.2f}"],
    ]
    low = 0
    for name, high in zip(BANDS, edges, strict=True):
        inside = (place >= low) & (place <= high)
        if inside.any():
            rows.append([f"{name}, {low} to {high}", f"{100 * error[inside].mean():.2f}"])
        low = high + 1
    rows.append(["all", f"{100 * error.mean():.2f}"])
    table = rendering.aligned(rows, num_names=1)
    return f"{table}\nnorm {part['norm']:.3g}, {part['stamp']['examples']} test images"


def _title(settings: dict[str, Any]) -> str:
    values = [f"{name}={value:g}" for name, value in settings.items() if name != "name"]
    title = naming.title("augment.name", settings["name"])
    return title + (f" ({', '.join(values)})" if values else "")


def _changes(l2: float | None, absolute: float | None, uint8: bool) -> list[str]:
    return [_number(l2, 1, 3), _number(absolute, 255, 2) if uint8 else _number(absolute, 1, 4)]


def _number(value: float | None, factor: float, digits: int) -> str:
    return "" if value is None or np.isnan(value) else f"{factor * value:.{digits}f}"
