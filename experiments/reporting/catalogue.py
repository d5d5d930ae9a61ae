"""Lists the figures that can be drawn of some runs, each with a description in words."""

import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from autolabel_jax.run_dir import RunDir
from experiments.reporting import columns, comparison_plots, run_plots, varied
from experiments.reporting.run_files import CURVES, RunRecord


class Drawing(NamedTuple):
    """A figure that can be drawn, with the name of its file and words for who does not see it."""

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]  # raises ValueError or FileNotFoundError if it cannot


def _drawing(kind: str, draw: Callable, *inputs: Any, name: str = "", **values: Any) -> Drawing:
    """Makes a drawing of ``columns.FIGURES``, with what its words need."""
    words = {own: text.format(name=name, **values) for own, text in columns.FIGURES[kind].items()}
    file = "_".join(filter(None, [kind, name.replace(os.sep, "_")]))
    return Drawing(file, **words, draw=functools.partial(draw, *inputs))


def of_runs(frame: pd.DataFrame) -> Iterator[Drawing]:
    """Lists the figures that compare runs, see ``frame``."""
    if len(frame):
        yield _drawing("accuracy_against_ece", comparison_plots.accuracy_against_ece, frame)
    if frame.reindex(columns=[comparison_plots.SEVERITY]).notna().any(axis=None):
        yield _drawing("ece_against_severity", comparison_plots.ece_against_severity, frame)
    for field in varied.studied(frame):
        yield of_setting(frame, field)


def summary(frame: pd.DataFrame) -> list[Drawing]:
    """Lists the three charts that sum up several studies."""
    plots = comparison_plots
    charts = {"ece": plots.ece_by_rule, "nll": plots.nll_differences, "severity": plots.severity}
    return [_drawing(f"summary_{name}", draw, frame) for name, draw in charts.items()]


def of_setting(frame: pd.DataFrame, field: str, *, report: bool = False) -> Drawing:
    """Returns the figure of one setting; may report the runs that are on no curve."""
    drawn, alone = varied.select(frame, field)
    for run in alone["run"] if report else ():
        reason = f"differs from no other AutoLabel run in {field} alone"
        print(f"left out of vary_{field}: {run}: {reason}", file=sys.stderr)
    return _drawing("vary", varied.draw, drawn, field, name=field)


def of_run(run: RunRecord, name: str) -> Iterator[Drawing]:
    """Lists the figures of one run, finished or not, under a name that tells it from others."""
    if run.lines and all({"epoch", *CURVES[:3]} <= line.keys() for line in run.lines):
        for draw in (run_plots.label_confidence, run_plots.bucket_distance):
            yield _drawing(draw.__name__, draw, run, name=name)
    for line in [line for line in run.lines if line.get("beyond_family")][-1:]:
        values = {n[7:]: v for n, v in line.items() if n.startswith("beyond_")}
        draw = run_plots.temperature_by_distance
        yield _drawing(draw.__name__, draw, values, run, name=name)
    if RunDir(run.workdir).logits_file.exists():
        yield _drawing("reliability", run_plots.reliability_diagram, run, name=name)


def of_buckets(runs: Sequence[RunRecord], data_dir: str | None = None) -> Iterator[Drawing]:
    """Lists sample images of the buckets, one for runs that share them, AutoLabel's first."""
    names, done = run_names(runs), {""}
    for run in sorted(runs, key=lambda run: run.config.get("labels.rule") != "autolabel"):
        if (key := run_plots.same_picture(run)) not in done:
            values = {"method": run.config["augment.name"], "data": run.config["dataset"]}
            values["name"] = names[run.workdir]
            yield _drawing("bucket_images", run_plots.bucket_images, run, data_dir, **values)
        done.add(key)


def run_names(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns, by workdir, the part of its path that identifies the run among the others."""
    paths = {run.workdir: run.workdir.resolve() for run in runs}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    return {workdir: str(path.relative_to(common)) for workdir, path in paths.items()}


def everything(
    frame: pd.DataFrame, left_out: pd.DataFrame, *, data_dir: str | None, images: bool
) -> list[Drawing]:
    """Lists all figures of some runs, see ``frame.load``; ``images``: also of sample images."""
    runs = [*frame["record"], *left_out["record"]]
    names = run_names(runs)
    sampled = of_buckets(runs, data_dir) if images else ()
    single = [drawing for run in runs for drawing in of_run(run, names[run.workdir])]
    return [*of_runs(frame), *sampled, *single]
