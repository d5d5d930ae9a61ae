"""Measures affinity and diversity of a run's augmentation, and affinity of others."""

import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from autolabel_jax import augment, registry
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.diagnosis import affinity
from autolabel_jax.evaluation import predict
from autolabel_jax.progress import Progress
from autolabel_jax.run_dir import RunDir
from autolabel_jax.trained import Trained
from autolabel_jax.types import Batch
from experiments.diagnosing import parts as diagnose_parts

DRAWS = 4  # number of augmented versions of each image
NEEDS = "needs --baseline_workdir, a run with augment.name='none' and otherwise the same settings"
# Fields that may differ between a run and its baseline.
FREE = ("name", "seed", "data_dir", "test_examples", "eval_batch_size", "loader_workers")
FREE += ("calibration.num_bins", "calibration.images_per_update")
FREE += ("calibration.exact", "calibration.share")
FREE_PARTS = ("augment", "buckets", "labels", "checkpoint")
FIXED_RULES = ("one_hot", "smoothing")  # whose labels are the same for every model


def settings_of(chosen: ConfigDict) -> dict[str, Any]:
    """Returns name and settings of an augmentation, given ``config.augment``."""
    declared = registry.settings(augment.find(chosen.name)).items()
    values = {name: chosen.get(name, setting.default) for name, setting in declared}
    return {"name": chosen.name, **values}


def wanted(config: ConfigDict, names: Sequence[str]) -> list[dict[str, Any]]:
    """Lists settings of the run's augmentation, then of others at their defaults.

    Data that come augmented lack clean inputs, so they have no affinity.

    Args:
      config: config of the run.
      names: names of the others, from ``augment.TABLE`` or ``module:Class``.

    Raises:
      ValueError: a name is unknown.
    """
    for name in names:
        if not registry.is_external(name) and (
            name not in augment.TABLE or augment.find(name).distance_is_given
        ):
            known = [name for name, method in augment.TABLE.items() if not method.distance_is_given]
            raise ValueError(f"--augmentations: got {name}, expected one of: {', '.join(known)}")
    given = augment.find(config.augment.name).distance_is_given
    own = [] if given else [settings_of(config.augment)]
    others = [settings_of(ConfigDict({"name": name})) for name in names]
    return own + [other for i, other in enumerate(others) if other not in own + others[:i]]


def check_baseline(config: ConfigDict, baseline: ConfigDict) -> None:
    """Checks that a baseline was trained on clean images of the same data.

    Raises:
      ValueError: it was not.
    """
    if augment.find(baseline.augment.name).moves_inputs:
        raise ValueError(
            f"--baseline_workdir: was trained with augment.name={baseline.augment.name!r}; give "
            "a run with augment.name='none'"
        )
    for field in ("dataset", "stream", "image_size"):
        if config[field] != baseline[field]:
            raise ValueError(
                f"--baseline_workdir: was trained with {field}={baseline[field]!r}, the run with "
                f"{config[field]!r}; give a baseline on the same data"
            )
    if baseline.calibration.source == "train":
        raise ValueError(
            "--baseline_workdir: has calibration.source='train', so that no image is held out "
            "from its training; give a run with calibration.source='heldout'"
        )


def measure(
    baseline: Trained,
    own_config: ConfigDict,
    asked: Sequence[dict[str, Any]],
    examples: int,
    before: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Measures affinity and mean change of each augmentation with a model of clean images.

    Images come from the calibration split of the baseline, which it was not trained on. Each is
    augmented ``DRAWS`` times, at distances as in training, and neither cropped nor flipped.

    Args:
      baseline: model trained on clean images.
      own_config: config of the run under diagnosis.
      asked: from ``wanted``.
      examples: measures on the first N images (0 = all).
      before: this part of the file, or None; its rows are kept if the stamp is equal.
      save: called with this part after each augmentation.
    """
    whole = diagnose_parts.put(baseline.dataset.calibration, examples, baseline)
    stamp = diagnose_parts.stamp_of(baseline, whole.label.shape[0])
    stamp |= {"baseline": str(baseline.run_dir.path.resolve()), "draws": DRAWS}
    stamp |= {"uint8": whole.input.dtype == np.uint8}
    rows = before["rows"] if before and before["stamp"] == stamp else []
    missing = [one for one in asked if one not in [row["settings"] for row in rows]]
    if missing:
        clean = predict.make_predict(
            baseline.experiment.model, baseline.experiment.mesh, baseline.experiment.eval_batch_size
        )(baseline.variables, whole)
        with Progress("", len(missing) * DRAWS, unit="draw") as display:
            for one in missing:
                display.begin(f"measuring the affinity of {one['name']}")
                rows = [*rows, _row(baseline, own_config, one, whole, clean, display)]
                save({"stamp": stamp, "rows": rows})
    return {"stamp": stamp, "rows": rows}


def _row(
    baseline: Trained,
    own_config: ConfigDict,
    settings: dict[str, Any],
    whole: Batch,
    clean: np.ndarray,
    display: Progress,
) -> dict[str, Any]:
    experiment = _experiment_with(baseline, own_config, settings)
    step = jax.jit(functools.partial(affinity.move_batch, experiment=experiment))
    draws = []
    for draw in range(DRAWS):
        key = jax.random.fold_in(jax.random.key(baseline.config.seed), draw)
        draws.append(
            affinity.move(baseline.variables, whole, key, step=step, experiment=experiment)
        )
        display.advance()
    moved = jax.tree.map(lambda *x: np.concatenate(x), *draws)
    label = np.asarray(whole.label)
    pair = (clean, label, moved.logits, moved.label)
    correct = (moved.logits.argmax(-1) == moved.label).reshape(DRAWS, -1).mean(0)
    return {
        "augmentation": settings["name"],
        "settings": settings,
        "clean_accuracy": float(np.mean(clean.argmax(-1) == label)),
        "augmented_accuracy": float(np.mean(correct)),
        "affinity": affinity.affinity(*pair),
        "affinity_interval": affinity.affinity_interval(clean.argmax(-1) == label, correct),
        "affinity_difference": affinity.affinity_difference(*pair),
        "mean_l2": float(np.mean(moved.l2, dtype=np.float64)),
        "mean_absolute_change": float(np.mean(moved.absolute, dtype=np.float64)),
    }


def _experiment_with(
    baseline: Trained, own_config: ConfigDict, settings: dict[str, Any]
) -> experiment_lib.Experiment:
    """Makes the baseline's experiment with another augmentation, and one bucket."""
    config = ConfigDict(json.loads(baseline.config.to_json()))
    config.augment = ConfigDict({**own_config.augment, **settings})
    config.buckets.update(num=1, edges="equal_width", calibration_edges="")
    return experiment_lib.create(config, baseline.dataset, baseline.experiment.mesh)


def diversity(
    config: ConfigDict, workdir: pathlib.Path, baseline: ConfigDict, baseline_workdir: pathlib.Path
) -> dict[str, Any]:
    """Computes ``diversity``, final training loss ÷ that of the baseline, and both losses.

    If the two cannot be compared, the result is ``left_out``, the reason.

    Args:
      config: config of the run.
      workdir: folder of the run.
      baseline: config of a run with augment.name='none'.
      baseline_workdir: folder of that run.
    """
    reason = _not_alike(config, baseline)
    losses = {}
    for name, at, own in (("run", workdir, config), ("baseline", baseline_workdir, baseline)):
        lines = RunDir(at).read_metrics()
        if len(lines) < own.epochs:
            reason = reason or f"{at}: {len(lines)} of {own.epochs} epochs are trained"
        losses[name] = lines[-1]["train_loss"] if lines else None
    if reason:
        return {"left_out": reason}
    value = affinity.diversity([losses["run"]], [losses["baseline"]])
    return {
        "diversity": value,
        "train_loss": losses["run"],
        "baseline_train_loss": losses["baseline"],
    }


def _not_alike(config: ConfigDict, baseline: ConfigDict) -> str | None:
    """Returns why the training losses of two runs cannot be compared, or None."""
    flat = [
        traverse_util.flatten_dict(json.loads(c.to_json()), sep=".") for c in (config, baseline)
    ]
    fields = [name for name in flat[0] | flat[1] if name not in FREE]
    fields = [name for name in fields if name.split(".")[0] not in FREE_PARTS]
    differing = [name for name in fields if flat[0].get(name) != flat[1].get(name)]
    if differing:
        changes = (f"{f}={flat[0].get(f)!r}, baseline {flat[1].get(f)!r}" for f in differing)
        return f"the run and its baseline are not trained alike ({'; '.join(changes)})"
    rules = [c.labels.rule for c in (config, baseline)]
    if rules[0] != rules[1] or rules[0] not in FIXED_RULES:
        return (
            f"labels.rule is {rules[0]!r}, of the baseline {rules[1]!r}; soft labels change the "
            "loss themselves, so both runs need labels.rule='one_hot'"
        )
    if rules[0] == "smoothing" and config.labels.smoothing != baseline.labels.smoothing:
        return "labels.smoothing differs between the run and its baseline"
    return None
