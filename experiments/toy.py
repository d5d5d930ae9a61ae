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
from matplotlib.axes import Axes

from autolabel_jax import calibration
from experiments import launch
from experiments.toys import measure as toy_measure
from experiments.toys import training as toy_training
from experiments.toys.problem import Toy, bayes_by_bucket

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

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


def figure(
    few: dict[str, toy_training.Training], memorised: toy_training.Training, path: pathlib.Path
) -> None:
    """Draws labels and Bayes accuracy by distance, the gap of each rule, the memorised regime."""
    middle = (np.arange(FEW.num_buckets) + 0.5) / FEW.num_buckets
    panels, axes = plt.subplots(1, 3, figsize=(12, 3.7))
    looks = {"one-hot": ("#D55E00", "s--"), "smoothing .1": ("#009E73", "^:")}
    looks["AutoLabel"] = ("#0072B2", "o-")
    curves = (("label", "#0072B2", "o-"), ("confidence", "#D55E00", "s--"), ("accuracy", "0", "^:"))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(-1, FEW.num_buckets).mean(0)

    def three(place: Axes, run: toy_training.Training) -> None:
        accuracy = mean(calibration.accuracy(run.test.stats))
        confidence = accuracy + mean(toy_measure.gap(run.test))
        values = mean(run.labels[-FEW.epochs // 4 :]), confidence, accuracy
        for (name, color, style), value in zip(curves, values, strict=True):
            place.plot(middle, value, style, color=color, label=name)
        place.plot(middle, bayes_by_bucket(FEW), "-", color="0.6", label="Bayes accuracy")
        place.set(ylim=(0.4, 1.03), ylabel="probability")

    three(axes[0], few["AutoLabel"])
    axes[0].set_title("AutoLabel, augmented anew in each step")
    for name, (color, style) in looks.items():
        value = mean(np.abs(toy_measure.gap(few[name].test)))
        axes[1].plot(middle, value, style, color=color, label=name)
    axes[1].set(title="Miscalibration on fresh data", ylabel="|Conf - Acc|", ylim=(0, None))
    three(axes[2], memorised)
    axes[2].set_title("AutoLabel, one fixed copy per example")
    for place in axes:
        place.title.set_size(10)
        place.set(xlabel="distance s", xlim=(0, 1))
        place.legend(fontsize=8)
    panels.tight_layout()
    panels.savefig(path, dpi=110)
    plt.close(panels)


def main(argv: list[str]) -> None:
    launch.no_more(argv)
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

    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    figure(few, memorised["AutoLabel"], out / "method.png")
    seconds = time.perf_counter() - began
    print(f"Seeds {seeds[0]} to {seeds[-1]}, {seconds:.0f} s; wrote {out / 'method.png'}.")


if __name__ == "__main__":
    launch.run(main)
