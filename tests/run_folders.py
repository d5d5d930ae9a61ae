"""Run folders written by hand, as a training run leaves them, for tests of what reads them."""

import json
import pathlib

import numpy as np

from experiments.reporting import summary

CONFIG = {
    "name": "by_hand",
    "seed": 0,
    "dataset": "digits",
    "data_dir": "",
    "train_examples": 300,
    "test_examples": 0,
    "model": {"name": "mlp", "depth": 28, "width": 16},
    "epochs": 2,
    "batch_size": 50,
    "augment": {"name": "augmix", "severity": 3.0, "max_depth": 1, "concentration": 1.0},
    "buckets": {"num": 3, "edges": "equal_width", "calibration_edges": ""},
    "labels": {"rule": "one_hot", "step": "ece", "alpha": 1.0, "smoothing": 0.1},
    "calibration": {"fraction": 0.5, "source": "heldout", "num_bins": 15},
    "checkpoint": {"keep": 2},
}

FIGURES = {"accuracy": 0.9, "ece": 0.05, "nll": 0.4, "brier": 0.15}


def _change(tree: dict, changes: dict) -> dict:
    tree = json.loads(json.dumps(tree))
    for name, value in changes.items():
        *path, last = name.split("__")
        inside = tree
        for part in path:
            inside = inside.setdefault(part, {})
        inside[last] = value
    return tree


def config(**changes) -> dict:
    """CONFIG with ``changes``; dots are written as two underscores."""
    return _change(CONFIG, changes)


def line(epoch: int, **changes) -> dict:
    """A line of metrics.jsonl with three buckets."""
    values = {
        "epoch": epoch,
        "train_loss": 1.0 / (1 + epoch),
        "calibration_accuracy": 0.8,
        "calibration_ece": 0.1,
        "label_confidence": [1.0, 0.95, 0.9 - 0.1 * epoch],
        "bucket_accuracy": [0.9, 0.85, 0.7],
        "bucket_confidence": [0.95, 0.9, 0.8],
        "bucket_ece": [0.05, 0.05, 0.1],
        "seconds": 1.0,
    }
    return values | changes


def write(
    workdir: pathlib.Path,
    *,
    rule: str = "one_hot",
    seed: int = 0,
    settings: dict | None = None,
    lines: list | None = None,
    finished: bool = True,
    **result,
) -> pathlib.Path:
    """A whole run; ``settings`` change the config, ``result`` the result; None leaves out."""
    workdir.mkdir(parents=True)
    own = config(labels__rule=rule, seed=seed, **(settings or {}))
    (workdir / "config.json").write_text(json.dumps(own))
    lines = [line(epoch) for epoch in range(own["epochs"])] if lines is None else lines
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    values = {
        "name": own["name"],
        "dataset": own["dataset"],
        "model": own["model"]["name"],
        "augmentation": own["augment"]["name"],
        "label_rule": rule,
        "label_step": own["labels"]["step"] if rule == "autolabel" else None,
        "seed": seed,
        "epochs": own["epochs"],
        "train_examples": own["train_examples"],
        **FIGURES,
        **{f"{name}_ts": value for name, value in FIGURES.items()},
        "revision": "a" * 40,
        "seconds": 12.0,
    }
    if finished:
        kept = {k: v for k, v in (values | result).items() if v is not None or k == "label_step"}
        (workdir / "result.json").write_text(json.dumps(kept))
    return workdir


def write_logits(workdir: pathlib.Path, n: int = 200, seed: int = 0) -> None:
    """test_logits.npz of four classes, right most of the time."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4)) + 2 * np.eye(4)[label]
    np.savez(workdir / "test_logits.npz", logits=logits.astype(np.float32), label=label)


def column(table, name: str) -> list[str]:
    """The texts of one column of a table."""
    return [text.strip("\x02\x03") for text in table.body.reset_index()[name]]


def bold(table, name: str) -> list[bool]:
    """Which texts of one column are bold."""
    return [text.startswith("\x02") for text in table.body.reset_index()[name]]


def regenerated(text: str, name: str, root: pathlib.Path) -> str:
    """The text of a document after its tables were made of the runs below root."""
    path = root / name
    path.write_text(text)
    assert summary.update([str(path)], [], root, check=False) == []
    return path.read_text()
