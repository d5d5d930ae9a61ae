"""Trains a model: epochs of steps, each followed by calibration and the label update."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import (
    best,
    calibration_step,
    checkpoint,
    claim,
    datasets,
    epochs,
    input_pipeline,
    metric_writer,
    models,
    processes,
    registry,
)
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.evaluation import predict
from autolabel_jax.models import pretrained
from autolabel_jax.progress import Progress
from autolabel_jax.run_dir import INIT_FROM, RunDir


class _Start(NamedTuple):
    """Holds what a new run begins with, besides its data."""

    weights: pretrained.Weights | None
    targets: np.ndarray | None  # of the label rule


def train(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    progress: bool = True,
    defaults: ConfigDict | None = None,
) -> dict[str, Any]:
    """Trains, resuming from the last checkpoint if there is one, and evaluates at the end.

    Args:
      config: config of the run, see ``configs/base.py``.
      workdir: folder for all outputs, see ``run_dir``.
      should_stop: called after every dispatch; the run saves a checkpoint and stops if it
        returns True.
      progress: whether to show on standard error what is trained, and how far it is.
      defaults: config with the defaults of fields, for a run that is older than some of them.

    Returns:
      The content of ``result.json``.

    Raises:
      ValueError: a setting is not valid, or the working directory belongs to another config or
        other data, or another process trains there.
      epochs.NonFiniteLossError: the loss or the state is NaN or infinite.
      processes.Stopped: ``should_stop`` returned True; a checkpoint is saved.
    """
    run_dir, config = RunDir(pathlib.Path(workdir)), registry.complete(config)
    experiment_lib.check(config)
    with claim.locked(run_dir):
        dataset = datasets.load(config)
        experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
        start = functools.cache(lambda: _read_start(config, run_dir, experiment, dataset))
        sha256 = None
        if not run_dir.is_finished and run_dir.last_checkpoint() is None:
            # Names weights or a teacher that do not fit before the folder is claimed.
            weights = start().weights
            sha256 = None if weights is None else weights.sha256
        claim.claim(run_dir, config, dataset, defaults, sha256)
        if finished := run_dir.result():
            if processes.is_first():
                saved = checkpoint.read_lines(run_dir.last_checkpoint())
                metric_writer.restore_metrics(run_dir, finished["epochs"], saved)
            return finished
        return _train(config, run_dir, dataset, experiment, start, should_stop, progress)


def _train(
    config: ConfigDict,
    run_dir: RunDir,
    dataset: datasets.Dataset,
    experiment: experiment_lib.Experiment,
    start: Callable[[], _Start],
    should_stop: Callable[[], bool],
    progress: bool,
) -> dict[str, Any]:
    """Trains a run that is not finished; see ``train``."""
    _warn_of_still_labels(config, experiment)
    keep, data = config.checkpoint.keep, run_dir.read_dataset()
    with checkpoint.Checkpoints(run_dir.checkpoints, keep, data=data, config=config) as saved:
        shape = dataset.train.input.shape[1:]
        snapshot = checkpoint.first_snapshot(experiment, config.seed, shape)
        restored = saved.restore(snapshot)
        if restored is None and (lines := run_dir.read_metrics()):
            processes.say(
                f"{run_dir.checkpoints}: no checkpoint is left, though there are metrics of "
                f"{len(lines)} epochs; training begins at the first epoch again"
            )
        if restored is None:
            if (weights := start().weights) is not None:
                snapshot = checkpoint.first_snapshot(experiment, config.seed, shape, weights)
            snapshot = _with_targets(snapshot, start().targets, experiment)
        else:
            snapshot = restored
        steps = experiment.steps_per_epoch + calibration_step.num_steps(
            len(dataset.calibration.label),
            config.calibration.images_per_update,
            experiment=experiment,
        )
        display = Progress(
            _description(config, dataset, experiment),
            total=config.epochs * steps,
            done=int(snapshot.epoch) * steps + int(snapshot.step),
            shown=progress and processes.is_first(),
        )
        with display:
            agreed = processes.agreed(should_stop, experiment.mesh)
            run = epochs.make_run(config, experiment, dataset, saved, agreed, display)
            with contextlib.closing(run.batches):
                snapshot = epochs.train_epochs(run, snapshot, run_dir)
        kept: dict[str, Any] = {}
        if config.checkpoint.best:
            snapshot, kept = _restore_best(saved, snapshot, experiment.steps_per_epoch)
            processes.say(best.sentence(kept, config))
    began, variables = time.perf_counter(), experiment_lib.inference_variables(snapshot.state)
    predictor = predict.create(experiment, variables, dataset.calibration)
    result = metric_writer.evaluate_clean(
        predictor, config, dataset, run_dir, lines=run_dir.read_metrics(), began=began
    )
    return run_dir.write_result(result | kept)


def _with_targets(
    snapshot: checkpoint.Snapshot,
    targets: np.ndarray | None,
    experiment: experiment_lib.Experiment,
) -> checkpoint.Snapshot:
    """Puts the targets of a new run, if its rule has any, into the state of the rule."""
    if targets is None:
        return snapshot
    labels = snapshot.state.labels.replace(target=processes.replicate(targets, experiment.mesh))
    return snapshot.replace(state=snapshot.state.replace(labels=labels))


def _restore_best(
    saved: checkpoint.Checkpoints, last: checkpoint.Snapshot, steps_per_epoch: int
) -> tuple[checkpoint.Snapshot, dict[str, Any]]:
    """Returns the best snapshot of a run, and what ``result.json`` says of it."""
    lines = checkpoint.read_lines(saved.latest())
    order = best.ranking(best.losses(lines))
    kept = saved.restore_best(last, order, steps_per_epoch) or last
    return kept, best.of_result(lines, int(kept.epoch))


def _read_start(
    config: ConfigDict,
    run_dir: RunDir,
    experiment: experiment_lib.Experiment,
    dataset: datasets.Dataset,
) -> _Start:
    weights = _read_weights(config, run_dir, experiment, dataset)
    return _Start(weights, experiment.rule.first_targets(dataset))


def _read_weights(
    config: ConfigDict,
    run_dir: RunDir,
    experiment: experiment_lib.Experiment,
    dataset: datasets.Dataset,
) -> pretrained.Weights | None:
    """Reads the pretrained weights of a run, and says how they are used; None without any.

    Raises:
      FileNotFoundError, ValueError: as ``pretrained.read``, or the run began with other weights.
    """
    path, shape = config.model.init_from, dataset.train.input.shape[1:]
    if not path:
        return None
    params, batch_stats = models.shapes(experiment.model, shape)
    variables = {"params": params, "batch_stats": batch_stats}
    weights = pretrained.read(path, models.find(config.model.name), variables)
    before = (run_dir.read_dataset() or {}).get(INIT_FROM, weights.sha256)
    if before != weights.sha256:
        raise ValueError(
            f"model.init_from: {path} has the SHA-256 {weights.sha256}, but the run in "
            f"{run_dir.path} began with {before}; restore the file, or use another --workdir"
        )
    head = f"the head is new, as {weights.new_head}" if weights.new_head else "with its head"
    processes.say(
        f"model.init_from: starts from {path}; {head}; inputs are normalised by "
        f"model.normalization={models.normalization(config)!r}"
    )
    return weights


def _warn_of_still_labels(config: ConfigDict, experiment: experiment_lib.Experiment) -> None:
    """Says that labels will not move if no update falls into the run."""
    due = (epochs.update_is_due(config, epoch) for epoch in range(config.epochs))
    if experiment.rule.learns and not any(due):
        processes.say(
            f"labels.warmup_epochs={config.labels.warmup_epochs}, labels.update_every="
            f"{config.labels.update_every}: the labels will not move, as no update falls into "
            f"the {config.epochs} epochs"
        )


def _description(
    config: ConfigDict, dataset: datasets.Dataset, experiment: experiment_lib.Experiment
) -> str:
    """Describes in one line what is trained, and on what."""
    groups, num = experiment.augmentation.num_groups, len(experiment.edges) - 1
    devices, replaced = jax.devices(), ""
    if (differ := dataset.relabelled) is not None:
        replaced = (
            f" (labels of {config.data.train_labels}: {differ.train} training and "
            f"{differ.calibration} calibration labels differ from the data's)"
        )
    return (
        f"{dataset.name}: {len(dataset.train)} training, {len(dataset.calibration.label)} "
        f"calibration and {len(dataset.test)} test examples of {dataset.num_classes} classes"
        f"{replaced}; "
        f"{config.model.name}, {config.augment.name}, {config.labels.rule} labels in "
        f"{groups} x {num} buckets; {config.epochs} epochs of {experiment.steps_per_epoch} steps "
        f"on {len(devices)} x {devices[0].device_kind} ({devices[0].platform})"
    )
