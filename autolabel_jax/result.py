"""A trained state → ``result.json``: what tables and figures are made from."""

import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import (
    checkpoint,
    datasets,
    evaluate,
    input_pipeline,
    metric_writer,
    processes,
    robustness,
    temperature,
)
from autolabel_jax import (
    experiment as experiment_lib,
)
from autolabel_jax.corruptions import published
from autolabel_jax.evaluated_sets import Sets
from autolabel_jax.temperature import Scaling
from autolabel_jax.types import TrainState

# What an evaluation in a later process does not know.
OF_TRAINING = ("revision", "versions", "device", "peak_memory_gib", "seconds")


def make_result(
    config: ConfigDict,
    experiment: experiment_lib.Experiment,
    dataset: datasets.Dataset,
    state: TrainState,
    workdir: pathlib.Path,
    *,
    scaling: Scaling | None = None,
) -> dict[str, Any]:
    """Test figures of a trained state; the logits are left in ``test_logits.npz``.

    Args:
      config: of the run.
      experiment: the fixed parts of the run.
      dataset: its data.
      state: that is evaluated.
      workdir: of the run.
      scaling: of the logits; None: a temperature, fitted on the calibration set alone.
    """
    began = time.perf_counter()
    scaling = scaling or fit_scaling(experiment, dataset, state)
    predict = evaluate.make_predict(experiment.model, experiment.mesh, experiment.eval_batch_size)
    variables = experiment_lib.inference_variables(state)
    logits = predict(variables, input_pipeline.put_split(dataset.test, experiment.mesh))
    label = dataset.test.label
    if processes.is_first():
        np.savez(workdir / "test_logits.npz", logits=logits, label=label)
    lines = metric_writer.read_metrics(workdir)
    figures = evaluate.with_twins(logits, label, scaling)
    if dataset.superclass is not None:
        figures |= evaluate.superclass_figures(logits, label, scaling, dataset.superclass)
    return {
        "name": config.name,
        "dataset": config.dataset,
        "model": config.model.name,
        "augmentation": config.augment.name,
        "label_rule": config.labels.rule,
        "label_step": config.labels.step if config.labels.rule == "autolabel" else None,
        "seed": config.seed,
        "epochs": config.epochs,
        "train_examples": len(dataset.train),
        "calibration_examples": len(dataset.calibration.label),
        "test_examples": len(dataset.test.label),
        "train_accuracy": lines[-1]["train_accuracy"] if lines else None,
        **figures,
        "temperature": scaling.temperature,
        **evaluate.intervals(logits, label, scaling),
        **metric_writer.provenance(),
        "seconds": sum(line["seconds"] for line in lines) + time.perf_counter() - began,
    }


def fit_scaling(
    experiment: experiment_lib.Experiment,
    dataset: datasets.Dataset,
    state: TrainState,
    *,
    vector: bool = False,
) -> Scaling:
    """Temperature, and vector scaling where asked for, of the calibration set."""
    predict = evaluate.make_predict(experiment.model, experiment.mesh, experiment.eval_batch_size)
    held_out = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    logits = predict(experiment_lib.inference_variables(state), held_out)
    return temperature.fit(logits, dataset.calibration.label, vector=vector)


def restore(
    config: ConfigDict, workdir: pathlib.Path
) -> tuple[experiment_lib.Experiment, datasets.Dataset, checkpoint.Snapshot]:
    """The experiment and data set of a run, and its last checkpoint.

    Raises:
      FileNotFoundError: no checkpoint there yet.
    """
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    like = checkpoint.first_snapshot(experiment, config.seed, dataset.train.input.shape[1:])
    with checkpoint.Checkpoints(workdir, keep=None) as saved:
        snapshot = saved.restore(like)
    if snapshot is None:
        raise FileNotFoundError(
            f"--workdir={workdir}: found no checkpoint there; train it first, with "
            f"`python -m experiments.train --config=… --workdir={workdir}`"
        )
    return experiment, dataset, snapshot


def evaluate_run(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    corrupted: bool = False,
    extra_corrupted: bool = False,
    corrupted_data: str = "",
    attack_names: Sequence[str] = (),
    vector_scaling: bool = False,
    examples: int = 0,
) -> dict[str, Any]:
    """Evaluates the last checkpoint; of a finished run, writes ``result.json`` anew.

    Args:
      config: that the run was started with.
      workdir: of the run.
      corrupted: also on the 15 corruptions × 5 severities of the test split.
      extra_corrupted: also on the 4 extra corruptions × 5 severities, which enter no average.
      corrupted_data: folder of published corrupted sets to read; '': they are made.
      attack_names: also under these attacks.
      vector_scaling: also after vector scaling, fitted on the calibration set.
      examples: corrupted and attacked are the first so many test images; 0: all.

    Returns:
      What ``result.json`` holds, with ``epochs`` the epochs trained so far.
    """
    asked = {"corrupted": corrupted, "extra": extra_corrupted, "attack_names": attack_names}
    # What cannot be is refused before anything is read.
    names = dict.fromkeys(piece.name for piece in robustness.plan(**asked, num_examples=0))
    published_sets = published.open_sets(corrupted_data, list(names)) if corrupted_data else None
    experiment, dataset, snapshot = restore(config, workdir)
    test = dataset.test.take(slice(examples or None))
    pieces = robustness.plan(**asked, num_examples=len(test))
    scaling = fit_scaling(experiment, dataset, snapshot.state, vector=vector_scaling)
    found = make_result(config, experiment, dataset, snapshot.state, workdir, scaling=scaling)
    if pieces:
        sets = Sets(
            experiment,
            experiment_lib.inference_variables(snapshot.state),
            test,
            scaling,
            published_sets,
        )
        lines = robustness.run(pieces, sets, workdir, int(snapshot.state.step))
        found |= processes.on_first(lambda: robustness.summarise(lines, workdir))
    if int(snapshot.epoch) == config.epochs:
        found = processes.on_first(lambda: _write_anew(workdir / "result.json", found))
    return {**found, "epochs": int(snapshot.epoch)}


def read(workdir: pathlib.Path) -> dict[str, Any] | None:
    """What ``result.json`` holds; None for a run that is not finished."""
    path = workdir / "result.json"
    return processes.on_first(lambda: metric_writer.read_json(path) if path.exists() else None)


def write(workdir: pathlib.Path, found: dict[str, Any]) -> dict[str, Any]:
    """Writes ``result.json``; returns what the first process found, in all of them."""

    def write_and_return():
        metric_writer.write_json(workdir / "result.json", found)
        return found

    return processes.on_first(write_and_return)


def _write_anew(path: pathlib.Path, found: dict[str, Any]) -> dict[str, Any]:
    """Keeps what only the training knew."""
    before = metric_writer.read_json(path) if path.exists() else {}
    kept = {k: before[k] for k in OF_TRAINING if k in before}
    found = {**before, **found, **kept}
    metric_writer.write_json(path, found)
    return found
