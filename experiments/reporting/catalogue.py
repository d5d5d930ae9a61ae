"""The figures that some runs can have, each with what it shows in words."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from autolabel_jax.run_dir import RunDir
from experiments.reporting import bucket_images, cells, plots, varied, varied_plots
from experiments.reporting.run_files import Run


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure that may be drawn.

    Attributes:
      name: of its file.
      title: short.
      alt: what it shows, for those who do not see it.
      draw: makes it; raises ValueError or FileNotFoundError where it cannot be made.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]


def of_runs(good: Sequence[Run]) -> list[Drawing]:
    """Figures of all runs that count together.

    Raises:
      ValueError: two runs of one cell have the same seed.
    """
    blocks = cells.make(good)
    found = []
    if blocks:
        best = max(good, key=lambda run: run.result["accuracy"]).result
        found.append(
            Drawing(
                "accuracy_against_ece",
                "Accuracy against ECE",
                "ECE against accuracy on the test set in per cent, a mark for each run, by label "
                f"rule; {len(good)} runs, the most accurate at {100 * best['accuracy']:.1f} % "
                f"with an ECE of {100 * best['ece']:.1f} %. The figures are in the table.",
                functools.partial(plots.accuracy_against_ece, blocks),
            )
        )
    if plots.has_severities(blocks):
        found.append(
            Drawing(
                "ece_against_severity",
                "ECE against severity of corruption",
                "Mean ECE over the corruptions in per cent against severity, 0 clean to 5, a line "
                "for each label rule with its standard deviation over seeds, dashed after "
                "temperature scaling.",
                functools.partial(plots.ece_against_severity, blocks),
            )
        )
    return found + [of_setting(varied.make(good, field)) for field in varied.studied(good)]


def of_setting(study: varied.Study) -> Drawing:
    """The figure of what one setting moves."""
    return Drawing(
        f"vary_{study.field}",
        f"What {study.field} moves",
        f"ECE, NLL, accuracy and learned labels of AutoLabel against {study.field}, mean and "
        "standard deviation over seeds, beside one-hot labels and smoothing where there are runs "
        f"of them. Mean ECE: {varied_plots.in_words(study)}.",
        functools.partial(varied_plots.draw, study),
    )


def of_run(run: Run, name: str) -> list[Drawing]:
    """Figures of one run.

    Args:
      run: finished or not.
      name: to tell it from others.
    """
    file, found = name.replace(os.sep, "_"), []
    curves = ("epoch", "label_confidence", "bucket_accuracy", "bucket_confidence")
    if run.lines and all(name in line for name in curves for line in run.lines):
        last = run.lines[-1]
        finite = [v for v in last["label_confidence"] if v is not None] or [math.nan]
        found += [
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
        found.append(
            Drawing(
                f"reliability_{file}",
                f"Reliability: {name}",
                "Accuracy against confidence on the clean test set in equal-width bins, with the "
                "gap between the two, a 95 % bootstrap band, and the number of images in each bin.",
                functools.partial(plots.reliability_diagram, run),
            )
        )
    return found


def _listed(line: dict) -> str:
    return ", ".join("none" if v is None else f"{v:.3f}" for v in line["bucket_accuracy"])


def of_buckets(
    runs: Sequence[Run], names: dict[pathlib.Path, str], data_dir: str | None = None
) -> list[Drawing]:
    """Pictures of the buckets, one for all runs that have the same."""
    found = {}
    for run in runs:
        key = bucket_images.same_picture(run)
        if key in found or bucket_images.why_not(run):
            continue
        name = names[run.workdir]
        method, data = run.config["augment.name"], run.config["dataset"]
        found[key] = Drawing(
            f"bucket_images_{name.replace(os.sep, '_')}",
            f"Sample images per bucket: {method} on {data}, as in {name}",
            f"Images of {data}, clean on the left and then moved by {method} with a distance "
            "inside each interval, further to the right; the groups are below each other.",
            functools.partial(bucket_images.draw, run, data_dir),
        )
    return list(found.values())


def run_names(runs: Sequence[Run]) -> dict[pathlib.Path, str]:
    """workdir → the part of it that tells the run from the others."""
    paths = [run.workdir.resolve() for run in runs]
    common = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return {
        run.workdir: str(path.relative_to(common)) for run, path in zip(runs, paths, strict=True)
    }


def everything(
    runs: Sequence[Run], good: Sequence[Run], data_dir: str | None = None
) -> list[Drawing]:
    """All figures of some runs.

    Args:
      runs: all of them.
      good: those that count.
      data_dir: where the data are, if they have moved.

    Raises:
      ValueError: two runs of one cell have the same seed.
    """
    names = run_names(runs)
    single = [drawing for run in runs for drawing in of_run(run, names[run.workdir])]
    return [*of_runs(good), *of_buckets(runs, names, data_dir), *single]
