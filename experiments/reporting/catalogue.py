"""Lists the figures that can be drawn of some runs, each with a description in words."""

import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from autolabel_jax.run_dir import RunDir
from experiments.reporting import bucket_images, comparison_plots, run_plots, varied
from experiments.reporting.run_files import CURVES, RunRecord


class Drawing(NamedTuple):
    """A figure that can be drawn, with the name of its file and words for who does not see it.

    ``draw`` raises ValueError or FileNotFoundError if it cannot.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]


def of_runs(frame: pd.DataFrame) -> Iterator[Drawing]:
    """Lists the figures that compare runs, see ``frame``."""
    if len(frame):
        best = frame.loc[frame["accuracy"].idxmax()]
        yield Drawing(
            "accuracy_against_ece",
            "Accuracy against ECE",
            "ECE against accuracy on the test set in per cent, a mark for each run, by label "
            f"rule; {len(frame)} runs, the most accurate at "
            f"{100 * best['accuracy']:.1f} % with an ECE of {100 * best['ece']:.1f} %. "
            "The figures are in the table.",
            functools.partial(comparison_plots.accuracy_against_ece, frame),
        )
    if comparison_plots.has_severities(frame):
        yield Drawing(
            "ece_against_severity",
            "ECE against severity of corruption",
            "Mean ECE over the corruptions in per cent, on a logarithmic axis, of clean images "
            "and at severities 1 to 5: a line for each label rule with its standard deviation "
            "over seeds, before temperature scaling on the left and after it on the right.",
            functools.partial(comparison_plots.ece_against_severity, frame),
        )
    for field in varied.studied(frame):
        yield of_setting(varied.select(frame, field)[0], field)


def summary(frame: pd.DataFrame) -> list[Drawing]:
    """Lists the three charts that sum up several studies."""
    plots = comparison_plots
    charts = {"ece": plots.ece_by_rule, "nll": plots.nll_differences, "severity": plots.severity}
    return [
        Drawing(f"summary_{name}", "", "", functools.partial(draw, frame))
        for name, draw in charts.items()
    ]


def of_setting(drawn: pd.DataFrame, field: str) -> Drawing:
    """Returns the figure of how metrics change with one setting, from ``varied.select``."""
    return Drawing(
        f"vary_{field}",
        f"What {field} moves",
        f"ECE, NLL, accuracy and learned labels of AutoLabel against {field}, mean and "
        "standard deviation over seeds, beside one-hot labels and smoothing where there are runs "
        f"of them. Mean ECE: {varied.in_words(drawn)}.",
        functools.partial(varied.draw, drawn, field),
    )


def of_run(run: RunRecord, name: str) -> Iterator[Drawing]:
    """Lists the figures of one run, finished or not, under a name that tells it from others."""
    file = name.replace(os.sep, "_")
    if run.lines and all({"epoch", *CURVES[:3]} <= line.keys() for line in run.lines):
        last = run.lines[-1]
        finite = [v for v in last["label_confidence"] if v is not None] or [math.nan]
        accuracy = ", ".join("none" if v is None else f"{v:.3f}" for v in last["bucket_accuracy"])
        yield Drawing(
            f"label_confidence_{file}",
            f"Label confidence by epoch: {name}",
            f"Label confidence of each bucket over {len(run.lines)} epochs; at the end from "
            f"{min(finite):.3f} to {max(finite):.3f}.",
            functools.partial(run_plots.label_confidence, run),
        )
        yield Drawing(
            f"bucket_distance_{file}",
            f"Buckets against distance: {name}",
            "Accuracy, confidence and label confidence of each bucket against distance after "
            f"epoch {last['epoch'] + 1}; accuracy by bucket: {accuracy}.",
            functools.partial(run_plots.bucket_distance, run),
        )
    if RunDir(run.workdir).logits_file.exists():
        yield Drawing(
            f"reliability_{file}",
            f"Reliability: {name}",
            "Accuracy against confidence on the clean test set in equal-width bins, with the "
            "gap between the two, a 95 % bootstrap band, and the number of images in each bin.",
            functools.partial(run_plots.reliability_diagram, run),
        )


def of_buckets(
    runs: Sequence[RunRecord], names: dict[pathlib.Path, str], data_dir: str | None = None
) -> Iterator[Drawing]:
    """Lists the sample images of the buckets, one figure for all runs that share them.

    Its labels are those of an AutoLabel run, if there is one. ``names`` is from ``run_names``.
    """
    done = {""}
    for run in sorted(runs, key=lambda run: run.config.get("labels.rule") != "autolabel"):
        key, name = bucket_images.same_picture(run), names[run.workdir]
        if key not in done:
            method, data = run.config["augment.name"], run.config["dataset"]
            yield Drawing(
                f"bucket_images_{name.replace(os.sep, '_')}",
                f"Sample images per bucket: {method} on {data}, as in {name}",
                f"Images of {data}, clean on the left and then moved by {method} with a distance "
                "inside each interval, further to the right, and the label confidence of each "
                "bucket below its images; the groups are below each other.",
                functools.partial(bucket_images.draw, run, data_dir),
            )
        done.add(key)


def run_names(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns, by workdir, the part of its path that identifies the run among the others."""
    paths = {run.workdir: run.workdir.resolve() for run in runs}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    return {workdir: str(path.relative_to(common)) for workdir, path in paths.items()}


def everything(
    frame: pd.DataFrame, left_out: pd.DataFrame, *, data_dir: str | None, images: bool
) -> list[Drawing]:
    """Lists all figures of some runs, see ``frame.load``.

    Args:
      frame: runs that can be compared.
      left_out: the others.
      data_dir: folder of the data sets, if it has moved.
      images: whether to list the sample images too, for which the data are read.
    """
    runs = [*frame["record"], *left_out["record"]]
    names = run_names(runs)
    sampled = of_buckets(runs, names, data_dir) if images else ()
    single = [drawing for run in runs for drawing in of_run(run, names[run.workdir])]
    return [*of_runs(frame), *sampled, *single]
