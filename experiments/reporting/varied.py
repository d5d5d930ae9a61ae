"""Finds AutoLabel runs that differ in one setting alone, and the reference rules beside them."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from experiments.reporting import run_files
from experiments.reporting.run_files import RunRecord

# Settings of the method whose figures are drawn by default.
STUDIED = ("labels.alpha", "labels.step", "labels.update_every", "labels.warmup_epochs")
STUDIED += ("buckets.num", "calibration.fraction", "calibration.images")
ALL_IF_0 = ("calibration.images", "calibration.images_per_update")
BESIDE = ("one_hot", "smoothing")  # rules drawn as references
LABEL = "label"  # the only metric that is read from metrics.jsonl


def make(frame: pd.DataFrame, field: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finds the curves against one setting.

    Args:
      frame: runs that can be compared, see ``frame``.
      field: field of the config, such as 'labels.alpha'.

    Returns:
      The runs of all curves, with further columns: ``value`` of the setting (None if the rule does
      not read it); ``panel``, what tells the runs that may be compared from others ('' for all);
      ``curve``, the name of runs that differ in the value alone; ``is_reference``, whether the rule
      is of ``BESIDE``; ``LABEL``, the mean label confidence at the end. Panels, curves (AutoLabel's
      first) and values are in order. And the AutoLabel runs that differ from no other in the
      setting alone.

    Raises:
      ValueError: no AutoLabel run has the field, it does not vary, no two runs differ in it alone.
    """
    if frame.empty or not (frame["label_rule"] == "autolabel").any():
        raise ValueError(
            f"--vary={field}: no AutoLabel run in these folders; expected finished runs of "
            "labels.rule=autolabel"
        )
    runs = _with_keys(frame, field)
    learned = runs[~runs["is_reference"]]
    _check(learned, field)
    curves = learned[learned["num"] > 1]
    if curves.empty:
        others = ", ".join(_differing(learned["others"]))
        raise ValueError(
            f"--vary={field}: no two AutoLabel runs differ in it alone, {others} differs too; "
            "pass runs that share all but one setting and the seed"
        )
    beside = runs[runs["is_reference"] & runs["panel"].isin(curves["panel"])]
    drawn = pd.concat([curves, beside])
    panels = _named(curves["panel"])
    parts = [_with_curves(part, field) for _, part in drawn.groupby("panel", sort=False)]
    drawn = pd.concat(parts).assign(panel=lambda part: part["panel"].map(panels))
    drawn[LABEL] = [last_label(run) for run in drawn["record"]]
    ranked = drawn[["panel", "is_reference", "rank", "value"]].itertuples(index=False)
    places = [(*first, place(value)) for *first, value in ranked]
    drawn = drawn.iloc[sorted(range(len(places)), key=places.__getitem__)]
    return drawn.drop(columns=["others", "num", "rank"]), learned[learned["num"] == 1]


def studied(frame: pd.DataFrame) -> list[str]:
    """Returns the settings of ``STUDIED`` that some AutoLabel runs differ in alone."""
    learned = frame[frame["label_rule"] == "autolabel"] if len(frame) else frame
    return [f for f in STUDIED if len(learned) and (_with_keys(learned, f)["num"] > 1).any()]


def last_label(run: RunRecord) -> float | None:
    """Returns the mean label confidence over buckets and the last fifth of the epochs."""
    lines = run.lines[-math.ceil(len(run.lines) / 5) :]
    labels = [v for line in lines for v in line.get("label_confidence", ()) if v is not None]
    return sum(labels) / len(labels) if labels else None


def place(value: Any) -> tuple[bool, float, str]:
    """Returns a sort key that puts numbers before words."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else 0.0, str(value)


def _with_keys(frame: pd.DataFrame, field: str) -> pd.DataFrame:
    """Returns AutoLabel's runs and those beside them, with the settings that must be equal."""
    runs = frame[frame["label_rule"].isin(["autolabel", *BESIDE])]
    others = [_others(run, field) for run in runs["record"]]
    blocks = [
        {name: own[name] for name in own if name in run.block}
        for own, run in zip(others, runs["record"], strict=True)
    ]
    runs = runs.assign(
        value=pd.Series([_value(run, field) for run in runs["record"]], runs.index, object),
        others=list(map(run_files.key, others)),
        panel=list(map(run_files.key, blocks)),
        is_reference=runs["label_rule"] != "autolabel",
    )
    return runs.assign(num=runs.groupby("others")["settings_key"].transform("nunique"))


def _value(run: RunRecord, field: str) -> Any:
    value = run.settings.get(field)
    if field in ALL_IF_0 and value == 0:
        return "all"
    return json.dumps(value) if isinstance(value, bool | list) else value


def _others(run: RunRecord, field: str) -> dict[str, Any]:
    """Returns the settings without the varied one and those that follow from it."""
    kept = dict(run.settings)
    if field.startswith("calibration."):  # the sizes of the splits follow from it
        kept["train_examples"] = run.config.get("train_examples")
    if field.startswith("calibration.") or field == "train_examples":
        kept.pop("calibration_examples", None)
    kept.pop(field, None)
    return kept


def _check(learned: pd.DataFrame, field: str) -> None:
    vary = [f for f in _differing(learned["settings_key"]) if not f.endswith("_examples")]
    expected = f"that varies: {', '.join(vary) or 'nothing'}"
    lacking = [run.workdir for run in learned["record"] if field not in run.settings]
    if lacking:
        raise ValueError(
            f"--vary={field}: the AutoLabel run {lacking[0]} does not read this setting; "
            f"expected one {expected}"
        )
    if learned["value"].nunique() < 2:
        raise ValueError(
            f"--vary={field}: got 1 value, {field}={learned['value'].iloc[0]}, but a curve needs "
            f"two or more; expected a setting {expected}"
        )


def _differing(keys: Iterable[str]) -> list[str]:
    """Returns the settings in which some keys, JSON texts of settings, differ."""
    settings = [json.loads(key) for key in dict.fromkeys(keys)]
    names = dict.fromkeys(name for own in settings for name in own)
    return [n for n in names if len({json.dumps(own.get(n)) for own in settings}) > 1]


def _named(keys: Sequence[str] | pd.Series) -> dict[str, str]:
    """Returns what tells each key from the others, in the order of these values."""
    names, settings = _differing(keys), {key: json.loads(key) for key in dict.fromkeys(keys)}
    order = sorted(settings, key=lambda key: [place(settings[key].get(n)) for n in names])
    return {k: ", ".join(f"{n}={settings[k][n]}" for n in names if n in settings[k]) for k in order}


def _with_curves(panel: pd.DataFrame, field: str) -> pd.DataFrame:
    """Names and ranks the curves of one panel."""
    named = _named(panel.loc[~panel["is_reference"], "others"])
    names = {key: name or "autolabel" for key, name in named.items()}
    references = panel[panel["is_reference"]].groupby("others", sort=False)
    beside = {key: _reference_name(group.iloc[0], field) for key, group in references}
    names |= dict(sorted(beside.items(), key=lambda item: item[1]))
    ranks = {key: i for i, key in enumerate(names)}
    return panel.assign(curve=panel["others"].map(names), rank=panel["others"].map(ranks))


def _reference_name(first: pd.Series, field: str) -> str:
    rule = first["label_rule"]
    smoothing = f" {first['record'].config['labels.smoothing']}" if rule == "smoothing" else ""
    at = first["value"] is not None and first["num"] == 1
    return f"{rule}{smoothing}" + (f", {field}={first['value']}" if at else "")
