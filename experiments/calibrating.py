"""Evaluates all calibrators on a run, for ``experiments.calibrators``."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

import autolabel_jax
from autolabel_jax import calibrators, datasets, trained
from autolabel_jax.evaluation import calibrated, held_out, ood, views


def evaluate(
    workdir: pathlib.Path,
    config: ConfigDict,
    *,
    corrupted: bool,
    examples: int = 0,
    dump: pathlib.Path | None = None,
    view_names: Sequence[str] = (),
    ood_names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Returns the rows of a run, one for each calibrator and one before calibration.

    Args:
      workdir: folder of the run.
      config: config of the run.
      corrupted: whether to evaluate corrupted sets.
      examples: number of test images to corrupt (0 = all).
      dump: file for logits and features, or None.
      view_names: views of each image whose logits are averaged first, see ``evaluation.views``.
      ood_names: other data sets to tell the test split from, see ``evaluation.ood``.
    """
    views.check(view_names)
    ood.check(ood_names)
    run = trained.restore(workdir, config)
    predictor = run.predictor(view_names=view_names)
    table = calibrators.TABLE | (calibrators.WITH_VIEWS if view_names else {})
    reference = held_out.make_reference(predictor, run.dataset, config.seed)
    pool = held_out.make(predictor, run.dataset, config, reference)
    test = datasets.in_memory(run.dataset.test)
    clean = calibrated.clean_outputs(predictor, test, reference)
    few = datasets.first(test, examples, "--examples")
    shifted = None
    if corrupted:
        shifted = calibrated.corrupted_outputs(predictor, few, reference, run.dataset)
    others = {
        name: calibrated.clean_outputs(predictor, datasets.in_memory(other), reference, transform)
        for name, (other, transform) in ood.find(ood_names, config, run.dataset, test).items()
    }
    if dump:
        calibrated.dump(dump, pool, clean, shifted)
    fitted = calibrated.fit(pool, table)
    measured = calibrated.evaluate(fitted, clean, shifted, table, others)
    described = describe(config, view_names) | {
        "train_examples": len(run.dataset.train),
        "epochs": run.epochs,
        "calibration_examples": len(run.dataset.calibration),
        "corrupted_examples": len(few) if corrupted else 0,
        "numerics_version": autolabel_jax.NUMERICS_VERSION,
    }
    return [{**described, "calibrator": name, **row} for name, row in measured.items()]


def describe(config: ConfigDict, view_names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the columns that say which run a row is of, as far as its config tells.

    ``run`` is a hash of the config without ``data_dir``, so that runs are told apart that the
    other columns do not distinguish.
    """
    fields = {name: value for name, value in config.to_dict().items() if name != "data_dir"}
    text = json.dumps(fields, sort_keys=True, default=str).encode()
    described = {
        "run": hashlib.sha256(text).hexdigest()[:8],
        "dataset": config.dataset,
        "model": config.model.name,
        "augmentation": config.augment.name,
        "label_rule": config.labels.rule,
        "labels": dict(config.labels),
        "seed": config.seed,
    }
    return described | ({"views": ",".join(view_names)} if view_names else {})
