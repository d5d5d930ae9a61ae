"""Lists the figures that can be drawn of some runs, each with a description in words."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from autolabel_jax.run_dir import RunDir
from experiments.reporting import columns, compare, comparison_plots, methods, run_plots
from experiments.reporting.run_files import RunRecord


class Drawing(NamedTuple):
    """A figure that can be drawn, with the name of its file and words for who does not see it."""

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]  # raises ValueError or FileNotFoundError if it cannot


def drawing(draw: Callable, *inputs: Any, name: str = "") -> Drawing:
    """Makes a drawing of ``columns.FIGURES``; ``name`` is of its run or field."""
    words = {own: text.format(name=name) for own, text in columns.FIGURES[draw.__name__].items()}
    file = "_".join(filter(None, [draw.__name__, name.replace(os.sep, "_")]))
    return Drawing(file, **words, draw=functools.partial(draw, *inputs))


def of_runs(frame: pd.DataFrame) -> Iterator[Drawing]:
    """Lists the figures that compare runs, see ``frame``."""
    if len(frame):
        yield drawing(comparison_plots.accuracy_against_ece, frame)
    if comparison_plots.SEVERITY in frame:
        yield drawing(comparison_plots.ece_against_severity, frame)
    if len(frame) and (compare.to_baselines(frame)["count"] > 1).any():
        yield drawing(comparison_plots.differences, frame)


def of_run(run: RunRecord, name: str) -> Iterator[Drawing]:
    """Lists the figures of one run, finished or not, under a name that tells it from others."""
    if run.lines and all({"epoch", "label_confidence"} <= line.keys() for line in run.lines):
        yield drawing(run_plots.label_confidence, run, name=name)
    if RunDir(run.workdir).logits_file.exists():
        yield drawing(run_plots.reliability, run, name=name)


def of_images(frame: pd.DataFrame, data_dir: str | None = None) -> Iterator[Drawing]:
    """Lists sample images of the buckets, of the first run of each block that learns labels."""
    names, learned = run_names(frame["record"]), frame["label_rule"].map(methods.learns)
    for run in frame[learned.astype(bool)].drop_duplicates("block")["record"]:
        method = methods.find("augment.name", run.config["augment.name"])
        if method is not None and method.moves_inputs:
            yield drawing(run_plots.bucket_images, run, data_dir, name=names[run.workdir])


def run_names(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns, by workdir, the part of its path that identifies the run among the others."""
    paths = {run.workdir: run.workdir.resolve() for run in runs}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    return {workdir: str(path.relative_to(common)) for workdir, path in paths.items()}


def everything(frame: pd.DataFrame, left_out: pd.DataFrame) -> list[Drawing]:
    """Lists all figures of some runs that are drawn of their files alone, see ``frame.load``."""
    runs = [*frame["record"], *left_out["record"]]
    names = run_names(runs)
    return [*of_runs(frame), *(one for run in runs for one in of_run(run, names[run.workdir]))]
