"""Draws what one setting moves: a panel for each metric, a curve for each set of other settings.

A curve joins AutoLabel runs that differ in the setting alone; its values are evenly spaced. Other
rules stand beside them as references.
"""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import frame as frames
from experiments.reporting import methods, plots
from experiments.reporting.columns import TABLE
from experiments.reporting.run_files import OF_LABELS

# Settings of the method whose figures are drawn by default.
STUDIED = ("labels.alpha", "labels.step", "labels.update_every", "labels.warmup_epochs")
STUDIED += ("buckets.num", "calibration.fraction", "calibration.images")
ALL_IF_0 = ("calibration.images", "calibration.images_per_update")
BESIDE = ("one_hot", "smoothing")  # rules drawn as references
LABEL = "label"  # the only metric that is read from metrics.jsonl
METRICS = {name: TABLE.at[name, "header"] for name in ("ece", "nll", "accuracy", "corrupted_ece")}
METRICS[LABEL] = "learned label, mean over\nbuckets, last fifth of epochs"
NOTE = "mean ± sample standard deviation over seeds; faint: single seeds; "
NOTE += "TS: after temperature scaling"
COLORS, REFERENCE_COLORS = plots.COLORS[:3], plots.COLORS[:2:-1]
NAME_WIDTH, TITLE_WIDTH = 48, 100  # characters per line
ASIDE = 0.08  # from a mean to its seeds, and on to the next curve; values are 1 apart


def select(frame: pd.DataFrame, field: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds the curves against one field of the config, such as 'labels.alpha'.

    Returns the runs of all curves in order, and the AutoLabel runs that are on none. Columns are
    added: ``value`` of the setting (NaN if the rule does not read it); ``panel``, what tells the
    runs that may be compared from others; ``curve``, the name of runs that differ in the value
    alone; ``is_reference``, whether the rule is of ``BESIDE``; ``LABEL`` at the end.
    """
    runs, others = _with_groups(frame, field)
    learned = runs[~runs["is_reference"]]
    curves = learned[learned["num"] > 1]
    if curves.empty:
        vary = others.loc[learned.index].assign(**{field: learned["value"]}).nunique(dropna=False)
        vary = [name for name in vary.index[vary > 1] if "_examples" not in name]
        raise ValueError(
            f"--vary={field}: no two AutoLabel runs differ in it alone; what varies: "
            f"{', '.join(vary) or 'nothing'}"
        )
    of_data = others.loc[curves.index, [not n.startswith(OF_LABELS) for n in others]]
    panels = dict(zip(curves["panel"], frames.told_apart(of_data), strict=True))
    drawn = runs[runs["panel"].isin(panels) & (runs["is_reference"] | (runs["num"] > 1))].copy()
    for _, part in drawn.groupby("panel"):
        names = frames.told_apart(others.loc[part.index[~part["is_reference"]]])
        drawn.loc[names.index, "curve"] = names.replace("", "autolabel")
    for i, run in drawn[drawn["is_reference"]].iterrows():
        share = f" {run['record'].config['labels.smoothing']}" * (run["label_rule"] == "smoothing")
        at = f", {field}={run['value']}" if run["num"] == 1 and pd.notna(run["value"]) else ""
        drawn.loc[i, "curve"] = run["label_rule"] + share + at
    drawn["panel"] = drawn["panel"].map(panels)
    lasts = [run.lines[-math.ceil(len(run.lines) / 5) :] for run in drawn["record"]]
    labels = [[v for line in own for v in line.get("label_confidence", ())] for own in lasts]
    drawn[LABEL] = [pd.Series(own, dtype=float).mean() for own in labels]
    keys = drawn[["panel", "is_reference", "curve", "value"]].map(methods.natural)
    drawn = drawn.loc[sorted(drawn.index, key=lambda i: list(keys.loc[i]))]
    return drawn, learned[learned["num"] == 1]


def studied(frame: pd.DataFrame) -> list[str]:
    """Returns the settings of ``STUDIED`` that some AutoLabel runs differ in alone."""
    learned = frame[frame["label_rule"] == "autolabel"] if len(frame) else frame
    return [f for f in STUDIED if len(learned) and (_with_groups(learned, f)[0]["num"] > 1).any()]


def _with_groups(frame: pd.DataFrame, field: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns AutoLabel's runs and those beside them, and the settings that must be equal.

    ``num`` counts the cells that agree in all of these, and ``panel`` is for those not of labels.
    """
    runs = frame[frame["label_rule"].isin(["autolabel", *BESIDE])] if len(frame) else frame
    if "autolabel" not in set(runs.get("label_rule", ())):
        raise ValueError(
            f"--vary={field}: no AutoLabel run; expected some of labels.rule=autolabel"
        )
    others, follows = frames.settings_of(runs), [field]
    value = others.get(field, pd.Series(np.nan, runs.index, object))
    value = value.replace("0", "all") if field in ALL_IF_0 else value
    if field.startswith("calibration."):  # the sizes of the splits follow from it
        others["train_examples"] = [str(run.config.get("train_examples")) for run in runs["record"]]
    if field.startswith("calibration.") or field == "train_examples":
        follows.append("calibration_examples")
    others = others.drop(columns=follows, errors="ignore")
    of_data = [name for name in others if not name.startswith(OF_LABELS)]
    agree = others.groupby(list(others), dropna=False).ngroup()
    panel = others.groupby(of_data, dropna=False).ngroup()
    num = runs.groupby(agree)["cell"].transform("nunique")
    is_reference = runs["label_rule"] != "autolabel"
    return runs.assign(value=value, panel=panel, num=num, is_reference=is_reference), others


@plots.STYLE
def draw(drawn: pd.DataFrame, field: str) -> Figure:
    """Draws ECE, NLL, accuracy, corrupted ECE if runs have it, and labels, from ``select``."""
    parts = list(drawn.groupby("panel", sort=False))
    figure = plt.figure(figsize=(plots.WIDTH, 4.8 * len(parts)))
    for part, (name, runs) in zip(
        figure.subfigures(len(parts), 1, squeeze=False).flat, parts, strict=True
    ):
        own = runs[~runs["is_reference"]]
        metrics = [name for name in METRICS if name in own and own[name].notna().any()]
        columns = 2 if len(metrics) < 5 else 3
        axes = part.subplots(math.ceil(len(metrics) / columns), columns, squeeze=False)
        values = sorted(runs["value"].dropna().unique(), key=methods.natural)
        ticks = [f"{float(value):.4g}" if value[0].isdigit() else value for value in values]
        for place, metric in zip(axes.flat, metrics, strict=False):
            _draw_metric(place, runs, metric, {value: i for i, value in enumerate(values)})
            place.set_xticks(range(len(ticks)), ticks, rotation=90 * (len("  ".join(ticks)) > 30))
            have = own[metric].notna().sum()
            place.set_title("" if have == len(own) else f"{have} of {len(own)} runs")
            place.set(xlabel=field, ylabel=METRICS[metric], xlim=(-0.5, len(ticks) - 0.5))
            place.set_ylim(bottom=0 if metric.endswith("ece") else None)
        for place in axes.flat[len(metrics) :]:
            place.remove()
        plots.legend(part, axes.flat[:1], title=NOTE)
        title = ", ".join(filter(None, [plots.block_title(runs).replace("\n", ", "), name]))
        part.suptitle(textwrap.fill(title, TITLE_WIDTH))
    return figure


def _draw_metric(place: Axes, runs: pd.DataFrame, metric: str, x: dict[str, int]) -> None:
    """Draws means of curves, with their seeds to the right, and references as lines with bands."""
    curves = list(runs[~runs["is_reference"]].groupby("curve", sort=False))
    for i, (name, curve) in enumerate(curves):
        style = plots.style(i) | {"color": COLORS[i % len(COLORS)]}
        table, shift = _statistics(curve, metric), ASIDE * (2 * i - len(curves) + 1)
        at = [x[value] + shift for value in table.index]
        bars = place.errorbar(at, table["mean"], table["std"], **style)
        bars.lines[0].set_label(textwrap.fill(name, NAME_WIDTH))  # among lines: first in legends
        style |= {"linestyle": "none", "alpha": 0.35, "markeredgewidth": 0, "markersize": 3}
        at = [x[value] + shift + ASIDE for value in curve["value"]]
        place.plot(at, _factor(metric) * curve[metric], **style)
    # The references learn no labels, and temperature scaling does not change accuracy.
    scalings = {LABEL: (), "accuracy": ("",)}.get(metric, ("", "_ts"))
    for i, (name, curve) in enumerate(runs[runs["is_reference"]].groupby("curve", sort=False)):
        for j, scaling in enumerate(scalings, 2 * i):
            table = _statistics(curve, metric + scaling)
            if len(table):
                look = {"color": REFERENCE_COLORS[j % len(REFERENCE_COLORS)]}
                label = textwrap.fill(name + " (TS)" * bool(scaling), NAME_WIDTH)
                # One value is drawn over the whole axis.
                at = [x[v] for v in table.index] if len(table) > 1 else (-0.5, len(x) - 0.5)
                mean, sd = (np.resize(table[column], len(at)) for column in ("mean", "std"))
                place.plot(at, mean, linestyle=plots.LINES[1 + j % 3], label=label, **look)
                place.fill_between(at, mean - sd, mean + sd, alpha=0.12, linewidth=0, **look)


def _factor(metric: str) -> int:
    return TABLE["factor"].get(metric.removesuffix("_ts"), 1)


def _statistics(curve: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns mean and sample standard deviation (0 for one seed) by value of the setting."""
    seeds = _factor(metric) * curve.reindex(columns=[metric])[metric].astype(float)
    table = seeds.groupby(curve["value"], sort=False, dropna=False).agg(["mean", "std"])
    return table.dropna(subset="mean").fillna(0)
