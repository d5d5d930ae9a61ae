"""A trained state → ``result.json``: what tables and figures are made from."""

import pathlib
import time
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import (
    checkpoint,
    datasets,
    evaluate,
    input_pipeline,
    metric_writer,
    robustness,
    task,
)
from autolabel_jax.types import TrainState


def make_result(
    config: ConfigDict,
    parts: task.Task,
    dataset: datasets.Dataset,
    state: TrainState,
    workdir: pathlib.Path,
) -> dict[str, Any]:
    """Test figures of a trained state; the temperature comes from the calibration set alone."""
    began = time.perf_counter()
    predict = evaluate.make_predict(parts.model, parts.mesh, parts.eval_batch_size)
    variables = task.inference_variables(state)
    figures = evaluate.with_temperature(
        predict(variables, input_pipeline.put_split(dataset.test, parts.mesh)),
        dataset.test.label,
        predict(variables, input_pipeline.put_split(dataset.calibration, parts.mesh)),
        dataset.calibration.label,
    )
    lines = metric_writer.read_metrics(workdir)
    return {
        "name": config.name,
        "dataset": config.dataset,
        "model": config.model.name,
        "augmentation": config.augment.name,
        "label_rule": config.labels.rule,
        "label_step": config.labels.step if config.labels.rule == "autolabel" else None,
        "seed": config.seed,
        "epochs": config.epochs,
        "train_examples": len(dataset.train.label),
        "calibration_examples": len(dataset.calibration.label),
        "test_examples": len(dataset.test.label),
        "train_accuracy": lines[-1]["train_accuracy"] if lines else None,
        **figures,
        **metric_writer.provenance(),
        "seconds": sum(line["seconds"] for line in lines) + time.perf_counter() - began,
    }


def restore(
    config: ConfigDict, workdir: pathlib.Path
) -> tuple[task.Task, datasets.Dataset, checkpoint.Snapshot]:
    """The parts of a run and its last checkpoint.

    Raises:
      FileNotFoundError: no checkpoint there yet.
    """
    dataset = datasets.load(config)
    parts = task.create(config, dataset, input_pipeline.make_mesh())
    like = checkpoint.first_snapshot(parts, config.seed, dataset.train.image.shape[1:])
    with checkpoint.Checkpoints(workdir, keep=None) as saved:
        snapshot = saved.restore(like)
    if snapshot is None:
        raise FileNotFoundError(
            f"--workdir={workdir}: found no checkpoint there; train it first, with "
            f"`python -m experiments.train --config=… --workdir={workdir}`"
        )
    return parts, dataset, snapshot


def evaluate_run(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    corrupted: bool = False,
    attack_names: Sequence[str] = (),
    examples: int = 0,
) -> dict[str, Any]:
    """Evaluates the last checkpoint; of a finished run, writes ``result.json`` anew.

    Args:
      config: that the run was started with.
      workdir: of the run.
      corrupted: also on the 15 corruptions × 5 severities of the test split.
      attack_names: also under these attacks.
      examples: corrupted and attacked are the first so many test images; 0: all.

    Returns:
      What ``result.json`` holds, with ``epochs`` the epochs trained so far.
    """
    parts, dataset, snapshot = restore(config, workdir)
    test = dataset.test.take(slice(examples or None))
    pieces = robustness.plan(corrupted=corrupted, attack_names=attack_names, num_examples=len(test))
    found = make_result(config, parts, dataset, snapshot.state, workdir)
    if pieces:
        lines = robustness.run(
            pieces,
            parts,
            task.inference_variables(snapshot.state),
            test,
            found["temperature"],
            workdir,
            int(snapshot.state.step),
        )
        found |= robustness.summarise(lines)
    finished = int(snapshot.epoch) == config.epochs
    path = workdir / "result.json"
    if finished:
        before = metric_writer.read_json(path) if path.exists() else {}
        kept = {k: before[k] for k in ("revision", "versions", "device", "seconds") if k in before}
        found = {**before, **found, **kept}
        metric_writer.write_json(path, found)
    return {**found, "epochs": int(snapshot.epoch)}
