"""Makes the toy results of docs/results/toy.md: prints tables and writes method.png to --out.

    python -m experiments.toy --out=docs/ [--first_seed=0]

Every number is a mean over five seeds, ± the standard deviation of one seed.
"""

import dataclasses
import pathlib
import time
from typing import Any

import matplotlib
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from autolabel_jax import calibration
from experiments import launch
from experiments.reporting import plots
from experiments.toys import measure as toy_measure
from experiments.toys import training as toy_training
from experiments.toys.problem import Toy, bayes_by_bucket

_OUT = flags.DEFINE_string("out", "docs/", "Folder to write method.png to.")
_FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "First of the five seeds.")

NUM_SEEDS = 5
ALPHAS = (0.05, 0.1, 0.2, 0.5, 1.0)

FEW = Toy()  # 60 examples, with fresh augmentation in each step
MEMORISED = dataclasses.replace(FEW, num_calibration=200, fresh=False)
MANY = Toy(
    dim=10,
    num_train=5000,
    num_calibration=2000,
    model="right_form",
    epochs=30,
    batch_size=200,
    learning_rate=2e-2,
)
STARTS = dataclasses.replace(FEW, num_calibration=200, epochs=120)

ONE_HOT = {"rule": "one_hot"}
SMOOTHING = {"rule": "smoothing", "smoothing": 0.1}
AUTOLABEL = {"rule": "autolabel", "alpha": 0.2}
OTHERS = {
    "AutoLabel, signed gap": {**AUTOLABEL, "step": "signed_gap"},
    "AutoLabel, debiased ECE": {**AUTOLABEL, "ece_estimate": "debiased"},
    "AutoLabel, falling step": {**AUTOLABEL, "alpha_decay": 0.5},
    "AutoLabel, momentum .8": {**AUTOLABEL, "momentum": 0.8},
    "AutoLabel, monotone": {**AUTOLABEL, "monotone": True},
    "temperature per bucket": {"rule": "bucket_temperature"},
    "the same, loss over it": {"rule": "bucket_temperature", "divide_loss": True},
    "bucket accuracy": {"rule": "bucket_accuracy"},
    "polynomial, power 2": {"rule": "polynomial", "power": 2.0},
}


def table(head: str, rows: list[list[str]]) -> None:
    """Prints a Markdown table; ``head`` holds the column names, separated by '|'."""
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    print("\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines), "\n")


def spread(per_seed: np.ndarray) -> str:
    """Formats mean ± standard deviation over the seeds."""
    return f"{per_seed.mean():.4f} ± {per_seed.std(ddof=1):.4f}"


def by_bucket(values: np.ndarray) -> list[str]:
    """Formats the mean over all axes but the last, one cell per bucket."""
    return [f"{value:.3f}" for value in np.asarray(values).reshape(-1, values.shape[-1]).mean(0)]


def comparison(results: dict[str, toy_measure.Measured]) -> None:
    """Prints one row per rule: calibration and distance to the Bayes rule on fresh test data."""
    rows = []
    for name, test in results.items():
        gap = toy_measure.gap(test)
        metrics = test.total_variation, test.nll, calibration.accuracy(test.stats)
        rows.append(
            [name, spread(np.abs(gap).mean(1)), f"{gap[:, 0].mean():+.3f}"]
            + [f"{gap[:, -1].mean():+.3f}", spread(test.kl.mean(1))]
            + [f"{np.mean(metric):.4f}" for metric in metrics]
        )
    head = "labels|mean abs(Conf - Acc)|gap, nearest bucket|gap, farthest|KL to Bayes (nats)"
    table(head + "|TV to Bayes|NLL|accuracy", rows)


def learned(toy: Toy, run: toy_training.Training) -> None:
    """Prints the labels of a run with accuracies and confidence, one column per bucket."""
    accuracy = np.asarray(calibration.accuracy(run.test.stats))
    held = np.asarray(calibration.accuracy(run.held.stats))
    last = slice(-toy.epochs // 4, None)
    clipped = np.isclose(run.labels, held, rtol=0, atol=1e-6)[last]
    rows = [
        ["Bayes accuracy", *by_bucket(bayes_by_bucket(toy))],
        ["test accuracy", *by_bucket(accuracy)],
        ["test confidence", *by_bucket(accuracy + toy_measure.gap(run.test))],
        ["label, mean of the last quarter of the epochs", *by_bucket(run.labels[last])],
        ["share of those epochs with the label at the clip", *by_bucket(clipped)],
    ]
    table("|" + "|".join(f"bucket {n + 1}" for n in range(toy.num_buckets)), rows)


@plots.STYLE
def figure(few: dict[str, toy_training.Training], memorised: toy_training.Training) -> Figure:
    """Draws labels and Bayes accuracy by distance, the gap of each rule, the memorised regime."""

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(-1, FEW.num_buckets).mean(0)

    def probabilities(run: toy_training.Training) -> dict[str, np.ndarray]:
        accuracy = mean(calibration.accuracy(run.test.stats))
        return {
            "label": mean(run.labels[-FEW.epochs // 4 :]),
            "confidence": accuracy + mean(toy_measure.gap(run.test)),
            "accuracy": accuracy,
            "Bayes accuracy": bayes_by_bucket(FEW),
        }

    rules = ("one-hot", "smoothing .1", "AutoLabel")
    parts = {
        "AutoLabel,\nfresh augmentation in each step": probabilities(few["AutoLabel"]),
        "Miscalibration\non fresh data": {
            rule: mean(np.abs(toy_measure.gap(few[rule].test))) for rule in rules
        },
        "AutoLabel,\none fixed copy per example": probabilities(memorised),
    }
    middle = (np.arange(FEW.num_buckets) + 0.5) / FEW.num_buckets
    drawn, axes = plots.grid(len(parts), height=3.3)
    for place, (title, series) in zip(axes, parts.items(), strict=True):
        plots.lines(place, middle, series)
        place.set(title=title, xlabel="distance", xlim=(0, 1))
        place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for place in axes[::2]:
        place.set(ylabel="probability", ylim=(0.4, 1.03))
    axes[1].set(ylabel="|confidence - accuracy|", ylim=(0, None))
    return drawn


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    matplotlib.use("Agg")
    began = time.perf_counter()
    seeds = range(_FIRST_SEED.value, _FIRST_SEED.value + NUM_SEEDS)

    def run(toy: Toy, labels: dict[str, Any], **start: float) -> toy_training.Training:
        return toy_training.run(toy, seeds, **start, **labels)

    print("Step size, by the calibration set alone:\n")
    sizes = {alpha: run(FEW, {**AUTOLABEL, "alpha": alpha}) for alpha in ALPHAS}
    rows = [[f"{a}", spread(r.held.nll[-FEW.epochs // 4 :].mean((0, 2)))] for a, r in sizes.items()]
    table("alpha|NLL on the calibration set, last quarter of the epochs", rows)

    few = {"one-hot": run(FEW, ONE_HOT), "smoothing .1": run(FEW, SMOOTHING)}
    few["AutoLabel"] = sizes[AUTOLABEL["alpha"]]
    quarters = few["one-hot"].held.nll.mean((1, 2)).reshape(4, -1).mean(1)
    print("NLL of one-hot on the calibration set, by quarters of the epochs:")
    print(", ".join(f"{value:.4f}" for value in quarters), "\n")
    few |= {name: run(FEW, labels) for name, labels in OTHERS.items()}
    results = {name: r.test for name, r in few.items()}
    whole = FEW.num_train + FEW.num_calibration
    all_of_it = run(dataclasses.replace(FEW, num_train=whole), ONE_HOT)
    results["one-hot, temperature scaled"] = few["one-hot"].test_scaled
    results["AutoLabel, temperature scaled"] = few["AutoLabel"].test_scaled
    results[f"one-hot, trained on all {whole}"] = all_of_it.test
    print("Few examples:\n")
    comparison(results)
    learned(FEW, few["AutoLabel"])

    print("Many examples, the right family of models:\n")
    many = {"one-hot": run(MANY, ONE_HOT), "AutoLabel": run(MANY, AUTOLABEL)}
    comparison({name: r.test for name, r in many.items()})
    learned(MANY, many["AutoLabel"])

    print("Three starts:\n")
    starts = {start: run(STARTS, AUTOLABEL, initial=start) for start in (1.0, 0.8, 0.5)}
    last = slice(-STARTS.epochs // 3, None)
    rows = [[f"{start}", *by_bucket(r.labels[last])] for start, r in starts.items()]
    table("first label|" + "|".join(f"bucket {n + 1}" for n in range(FEW.num_buckets)), rows)

    print("One fixed copy of each example, memorised:\n")
    memorised = {"one-hot": run(MEMORISED, ONE_HOT), "AutoLabel": run(MEMORISED, AUTOLABEL)}
    results = {name: r.test for name, r in memorised.items()}
    results |= {f"{name}, temperature scaled": r.test_scaled for name, r in memorised.items()}
    comparison(results)
    learned(MEMORISED, memorised["AutoLabel"])
    fitted = ", ".join(f"{name} {r.train_accuracy.mean():.4f}" for name, r in memorised.items())
    print(f"Accuracy on the training copies: {fitted}.\n")

    drawn = figure(few, memorised["AutoLabel"])
    path = plots.save(drawn, pathlib.Path(_OUT.value), "method", ["png"])
    seconds = time.perf_counter() - began
    print(f"Seeds {seeds[0]} to {seeds[-1]}, {seconds:.0f} s; wrote {path}.png.")


if __name__ == "__main__":
    launch.run(main)
