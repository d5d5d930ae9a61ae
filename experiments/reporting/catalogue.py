"""Lists the figures that can be drawn of some runs, each with a description in words."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from autolabel_jax.run_dir import RunDir
from experiments.reporting import bucket_images, cells, plots, varied, varied_plots
from experiments.reporting.run_files import RunRecord


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
      name: name of its file, without the extension.
      title: short title.
      alt: description for readers who do not see the figure.
      draw: draws the figure; raises ValueError or FileNotFoundError if it cannot.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]


def of_runs(comparable: Sequence[RunRecord]) -> list[Drawing]:
    """Lists the figures that compare runs.

    Args:
      comparable: runs that can be compared.
    """
    blocks = cells.make(comparable)
    drawings = []
    if blocks:
        best = max(comparable, key=lambda run: run.result["accuracy"]).result
        drawings.append(
            Drawing(
                "accuracy_against_ece",
                "Accuracy against ECE",
                "ECE against accuracy on the test set in per cent, a mark for each run, by label "
                f"rule; {len(comparable)} runs, the most accurate at "
                f"{100 * best['accuracy']:.1f} % with an ECE of {100 * best['ece']:.1f} %. "
                "The figures are in the table.",
                functools.partial(plots.accuracy_against_ece, blocks),
            )
        )
    if plots.has_severities(blocks):
        drawings.append(
            Drawing(
                "ece_against_severity",
                "ECE against severity of corruption",
                "Mean ECE over the corruptions in per cent against severity, 0 clean to 5, a line "
                "for each label rule with its standard deviation over seeds, dashed after "
                "temperature scaling.",
                functools.partial(plots.ece_against_severity, blocks),
            )
        )
    studied = varied.studied(comparable)
    return drawings + [of_setting(varied.make(comparable, field)) for field in studied]


def of_setting(study: varied.Study) -> Drawing:
    """Returns the figure of how metrics change with one setting."""
    return Drawing(
        f"vary_{study.field}",
        f"What {study.field} moves",
        f"ECE, NLL, accuracy and learned labels of AutoLabel against {study.field}, mean and "
        "standard deviation over seeds, beside one-hot labels and smoothing where there are runs "
        f"of them. Mean ECE: {varied_plots.in_words(study)}.",
        functools.partial(varied_plots.draw, study),
    )


def of_run(run: RunRecord, name: str) -> list[Drawing]:
    """Lists the figures of one run.

    Args:
      run: a run, finished or not.
      name: name that identifies it among the others.
    """
    file, drawings = name.replace(os.sep, "_"), []
    curves = ("epoch", "label_confidence", "bucket_accuracy", "bucket_confidence")
    if run.lines and all(name in line for name in curves for line in run.lines):
        last = run.lines[-1]
        finite = [v for v in last["label_confidence"] if v is not None] or [math.nan]
        drawings += [
            Drawing(
                f"label_confidence_{file}",
                f"Label confidence by epoch: {name}",
                f"Label confidence of each bucket over {len(run.lines)} epochs; at the end from "
                f"{min(finite):.3f} to {max(finite):.3f}.",
                functools.partial(plots.label_confidence, run),
            ),
            Drawing(
                f"bucket_distance_{file}",
                f"Buckets against distance: {name}",
                "Accuracy, confidence and label confidence of each bucket against distance after "
                f"epoch {last['epoch'] + 1}; accuracy by bucket: {_listed(last)}.",
                functools.partial(plots.bucket_distance, run),
            ),
        ]
    if RunDir(run.workdir).logits_file.exists():
        drawings.append(
            Drawing(
                f"reliability_{file}",
                f"Reliability: {name}",
                "Accuracy against confidence on the clean test set in equal-width bins, with the "
                "gap between the two, a 95 % bootstrap band, and the number of images in each bin.",
                functools.partial(plots.reliability_diagram, run),
            )
        )
    return drawings


def _listed(line: dict) -> str:
    return ", ".join("none" if v is None else f"{v:.3f}" for v in line["bucket_accuracy"])


def of_buckets(
    runs: Sequence[RunRecord], names: dict[pathlib.Path, str], data_dir: str | None = None
) -> list[Drawing]:
    """Lists the sample images of the buckets, one figure for all runs that share it.

    Args:
      runs: any runs.
      names: workdir → name of the run, from ``run_names``.
      data_dir: folder of the data sets, if it has moved.
    """
    drawings = {}
    for run in runs:
        key = bucket_images.same_picture(run)
        if key in drawings or bucket_images.why_not(run):
            continue
        name = names[run.workdir]
        method, data = run.config["augment.name"], run.config["dataset"]
        drawings[key] = Drawing(
            f"bucket_images_{name.replace(os.sep, '_')}",
            f"Sample images per bucket: {method} on {data}, as in {name}",
            f"Images of {data}, clean on the left and then moved by {method} with a distance "
            "inside each interval, further to the right; the groups are below each other.",
            functools.partial(bucket_images.draw, run, data_dir),
        )
    return list(drawings.values())


def run_names(runs: Sequence[RunRecord]) -> dict[pathlib.Path, str]:
    """Returns, by workdir, the part of its path that identifies the run among the others."""
    paths = [run.workdir.resolve() for run in runs]
    common = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {
        run.workdir: str(path.relative_to(common)) for run, path in zip(runs, paths, strict=True)
    }


def everything(
    runs: Sequence[RunRecord], comparable: Sequence[RunRecord], data_dir: str | None = None
) -> list[Drawing]:
    """Lists all figures of some runs.

    Args:
      runs: all runs.
      comparable: those that can be compared.
      data_dir: folder of the data sets, if it has moved.
    """
    names = run_names(runs)
    single = [drawing for run in runs for drawing in of_run(run, names[run.workdir])]
    return [*of_runs(comparable), *of_buckets(runs, names, data_dir), *single]
