"""Compares the labels and results of runs with visits with those of runs with full passes.

    python -m benchmarks.visits runs/visits

Runs are paired by their settings and seed; the reference has ``calibration.exact`` and all images.
The difference between two labels of a bucket is of their means over the last half of the epochs:
over all seeds, for each seed, and for each epoch without a mean; tables show its mean over buckets.
Runs with ``calibration.exact`` and one image less in each update are as good as the reference, but
draw other augmentations: their row shows how far chance alone moves labels and results.
"""

import argparse
import collections
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from experiments.reporting import naming, run_files
from experiments.reporting.run_files import RunRecord

VARIED = ("calibration.exact", "calibration.share", "calibration.images_per_update")
METRICS = ("ece", "nll", "accuracy")
HEADER = ("runs", "seeds", "label, over seeds", "per seed", "per epoch", *METRICS, "s per epoch")

Group = dict[str, dict[int, RunRecord]]  # kind of calibration → seed → run


def kind_of(config: dict[str, Any]) -> str:
    """Names the calibration of a run."""
    if not config["calibration.exact"]:
        return f"share={config['calibration.share']}"
    images = config["calibration.images_per_update"]
    return f"exact, {images} images" if images else "exact"


def groups(runs: Sequence[RunRecord]) -> dict[str, Group]:
    """Groups finished runs that differ in their seed and their calibration alone."""
    found: dict[str, Group] = collections.defaultdict(lambda: collections.defaultdict(dict))
    for run in runs:
        if run.result is not None:
            config = naming.DEFAULTS | run.config
            fixed = {n: v for n, v in config.items() if n not in (*VARIED, "seed")}
            found[json.dumps(fixed, sort_keys=True)][kind_of(config)][config["seed"]] = run
    return found


def late_labels(runs: Sequence[RunRecord]) -> np.ndarray:
    """Returns the labels [seeds, epochs, N] of the last half of the epochs."""
    labels = np.array([[line["label_confidence"] for line in run.lines] for run in runs])
    return labels[:, labels.shape[1] // 2 :]


def differences(some: np.ndarray, exact: np.ndarray) -> tuple[float, float, float]:
    """Returns the mean difference of labels over seeds, per seed and per epoch."""
    means = ((0, 1), (1,), ())
    return tuple(float(np.abs(some.mean(m) - exact.mean(m)).mean()) for m in means)


def row(kind: str, some: dict[int, RunRecord], exact: dict[int, RunRecord]) -> tuple[str, ...]:
    """Returns the cells of one kind of calibration."""
    seeds = sorted(some.keys() & exact.keys())
    runs, references = ([of[seed] for seed in seeds] for of in (some, exact))
    labels = differences(late_labels(runs), late_labels(references))
    cells = [f"{value:.4f}" for value in labels]
    for metric in METRICS:
        pairs = zip(runs, references, strict=True)
        change = [a.result[metric] - b.result[metric] for a, b in pairs]
        error = np.std(change, ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan
        cells.append(f"{np.mean(change):+.4f} ± {error:.4f}")
    seconds = np.median([line["seconds"] for run in runs for line in run.lines])
    return (kind, str(len(seeds)), *cells, f"{seconds:.3g}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="folders of runs, or of packed studies")
    for group in groups(run_files.load(parser.parse_args(argv).runs)).values():
        exact = group.pop("exact", {})
        rows = [
            row(kind, some, exact) for kind, some in group.items() if some.keys() & exact.keys()
        ]
        if rows:
            config = next(iter(exact.values())).config
            print(
                f"\n{config['dataset']}, {config['model.name']}, {config['augment.name']}, ", end=""
            )
            print(f"{config['labels.rule']}: differences from exact, ± standard errors\n")
            harness.print_table(HEADER, rows)


if __name__ == "__main__":
    main()
