"""What tables show, and its names: methods, metrics of ``columns.csv``, published results.

Every number in ``published.csv`` was read in its source or recomputed from the source's files;
metrics are fractions. ``augmentation`` is empty if no run of ours is made in this way; a run must
also have the ``settings``. The AutoLabel paper's tables (arXiv 2302.11188) could not be read.
"""

import itertools
import json
import math
import pathlib
import re
import tomllib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

import pandas as pd
from flax import traverse_util

from autolabel_jax import augment, labels, losses, models, registry
from autolabel_jax.evaluation import ood
from configs import base

TABLES = {"augment.name": augment.TABLE, "labels.rule": labels.TABLE}
TABLES |= {"loss.name": losses.TABLE, "model.name": models.TABLE}
# Values that a run uses for fields added after it was made, as JSON stores them.
DEFAULTS = traverse_util.flatten_dict(json.loads(base.base().to_json()), sep=".")
HERE = pathlib.Path(__file__).parent
NOTES, FIGURES = tomllib.loads((HERE / "texts.toml").read_text(encoding="utf-8")).values()
# Out-of-distribution detection: metrics and scores by their names in result.json.
DETECTION = {"auroc": "AUROC %", "fpr95": "FPR@95 %"}
SCORES = {"confidence": "max. probability", "entropy": "entropy", "energy": "energy"}
SCORES |= {"confidence_ts": "max. probability (TS)", "confidence_vs": "max. probability (VS)"}
OTHERS = ("cifar10", "cifar100", *ood.SETS)  # those in tables; result.json has any
OF_OTHERS = pd.DataFrame(
    {
        "name": f"{ood.PREFIX}{other}_{metric}_{score}",
        "header": f"{DETECTION[metric]}, {SCORES[score]}",
        "factor": 100,
        "digits": 2,
        "images": f"the test set against {other}",
    }
    for other, metric, score in itertools.product(OTHERS, DETECTION, SCORES)
)
TABLE = pd.concat([pd.read_csv(HERE / "columns.csv"), OF_OTHERS]).set_index("name")
HEADERS, IMAGES = TABLE["header"].to_dict(), TABLE["images"].to_dict()
OF_RUN = tuple(TABLE.index[TABLE["printed"] == "run"])  # shown after a run
NO_CONTEST = ("seconds", "peak_memory_gib")  # describe the machine, not the labels
PUBLISHED = pd.read_csv(HERE / "published.csv", dtype=str, keep_default_na=False)
PUBLISHED_OF = PUBLISHED.groupby(["dataset", "model", "augmentation", "label_rule"]).groups
SETTINGS = PUBLISHED["settings"].replace("", "{}").map(json.loads)
PUBLISHED_METRICS = tuple(PUBLISHED.columns[PUBLISHED.columns.get_loc("settings") + 1 :])


def find(field: str, name: Any) -> type | None:
    """Returns the class that a field of ``TABLES`` names; None if it cannot be loaded."""
    try:
        return registry.find(field, name, TABLES[field])
    except (ValueError, TypeError):
        return None


def title(field: str, name: str) -> str:
    """Returns the name of a method in tables: its own title, or its name in the config."""
    method = find(field, name) if registry.is_external(name) else None
    return name if method is None else getattr(method, "title", "") or method.__name__


def fields(field: str, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Returns the names of the settings that a method reads; None if it cannot be loaded."""
    method = find(field, config.get(field))
    return None if method is None else tuple(registry.settings(method))


def model_name(config: Mapping[str, Any]) -> str:
    """Returns the model's name and sizes: 'wide_resnet-28-10', 'resnet18-photograph_stem'."""
    sizes = {field: config.get(f"model.{field}") for field in fields("model.name", config) or ()}
    shown = (name if size is True else size for name, size in sizes.items() if size is not False)
    name = title("model.name", config["model.name"])
    return "-".join([name, *(str(size) for size in shown if size is not None)])


def learns(rule: str) -> bool:
    """Whether a label rule learns from buckets, which one that cannot be loaded may do."""
    return getattr(find("labels.rule", rule), "learns", True)


def rank(field: str, name: str) -> int:
    """Returns the place of a method in tables; external methods come last."""
    return [*TABLES[field], name].index(name)


def row_name(rule: str, settings: Mapping[str, Any]) -> str:
    """Returns the name of a label rule with some of its settings in tables."""
    method = find("labels.rule", rule)
    return rule if method is None else method.row_name(settings)


def label_names(rule: str, settings: Mapping[str, Any]) -> tuple[str, tuple]:
    """Returns the rule's name with unusual settings, 'autolabel, labels.alpha=1', and sort key."""
    method, named, usual = find("labels.rule", rule), ["labels.rule"], DEFAULTS
    if method is not None:
        named += [f"labels.{field}" for field in method.in_name]
        usual = usual | {f"labels.{n}": s.default for n, s in registry.settings(method).items()}
    own = [n for n in sorted(settings) if n.startswith("labels.") and n not in named]
    own = [f"{field}={settings[field]}" for field in own if settings[field] != usual.get(field)]
    name = row_name(rule, {field.removeprefix("labels."): v for field, v in settings.items()})
    places = (natural(", ".join(own)), natural(name), natural(sorted(settings.items())))
    return ", ".join([name, *own]), (rank("labels.rule", rule), rule, *places)


def natural(value: Any) -> list[tuple[bool, float, str]]:
    """Returns a sort key that orders the numbers in a text by size, and before words."""
    parts = re.split(r"(\d*\.?\d+(?:e-?\d+)?)", str(value))
    return [(i % 2 == 0, float(p) if i % 2 else 0.0, p) for i, p in enumerate(parts)]


def shown(name: str, *values: float | None, sign: str = "", spread: str = "[{}, {}]") -> str:
    """Formats a metric, and its interval in ``spread`` if there is one: '93.10 [92.61, 93.58]'."""
    factor, digits = TABLE.at[name, "factor"], TABLE.at[name, "digits"]
    first, *others = (
        "" if value is None or math.isnan(value) else f"{factor * value:{sign}.{digits}f}"
        for value in values
    )
    text = f"{first} {spread.format(*others)}" if others and first and all(others) else first
    return text.replace("-", "−") if sign else text


def with_interval(result: Mapping[str, Any], name: str, like: str) -> str:
    """Returns '93.10 [92.61, 93.58]' of a result, in the format of the metric ``like``."""
    return shown(like, result.get(name), *result.get(f"{name}_interval", ()))


def published_beside(config: Mapping[str, Any], model: str) -> pd.Series | None:
    """Returns the row of ``published.csv`` that may stand beside a run of a whole split."""
    own = (config["dataset"], model, config["augment.name"], config["labels.rule"])
    rows = [i for i in PUBLISHED_OF.get(own, ()) if SETTINGS[i].items() <= config.items()]
    return None if config.get("train_examples") or not rows else PUBLISHED.loc[rows[0]]


def published(cells: pd.DataFrame, sets: Collection[str]) -> tuple[dict[int, str], list[str]]:
    """Returns 'accuracy 96.0, ECE 2.31 [1]' by cell, of sets of images, and footnotes."""
    texts, footnotes = {}, []
    for cell, run in cells["record"].items():
        row = published_beside(run.config, cells.loc[cell, "model"])
        metrics = [m for m in PUBLISHED_METRICS if row is not None and IMAGES.get(m) in sets]
        own = {HEADERS[m].removesuffix(" %"): Decimal(row[m]) for m in metrics if row[m]}
        if own:
            note = "{row} ({dataset}, {model}): {source}".format_map(row)
            footnotes += [note] * (note not in footnotes)
            text = ", ".join(f"{name} {value.scaleb(2)}" for name, value in own.items())
            texts[cell] = f"{text} [{footnotes.index(note) + 1}]"
    return texts, [f"[{i}] published: {note}" for i, note in enumerate(footnotes, 1)]
