"""Runs the epochs of a training: steps, then calibration, the label update and a line."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from autolabel_jax import (
    best,
    checkpoint,
    datasets,
    input_pipeline,
    label_updates,
    metric_writer,
    processes,
    programs,
    train_step,
)
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.checkpoint import CarryingSnapshot, Snapshot
from autolabel_jax.diagnosis import beyond
from autolabel_jax.evaluation import clean, predict
from autolabel_jax.progress import Progress
from autolabel_jax.run_dir import RunDir
from autolabel_jax.types import Array, Batch, BucketStats, CarriedStats, StepMetrics, TrainState

STEPS_PER_DISPATCH = 100  # at most, on accelerators
TRAINING = 1  # purpose of an epoch's random numbers, see also ``label_updates``


class NonFiniteLossError(RuntimeError):
    """The training loss, or the state after it, is NaN or infinite."""


class TrainSteps(Protocol):
    """Is ``train_step.train_steps`` with its experiment bound."""

    def __call__(
        self,
        state: TrainState,
        whole: Batch,
        order: jax.Array | None,
        key: jax.Array,
        first_step: Array,
        *,
        num_steps: int,
    ) -> tuple[TrainState, StepMetrics]:
        """Runs ``num_steps`` steps, see ``train_step.train_steps``."""
        ...


@dataclasses.dataclass(frozen=True)
class Run:
    """Holds what stays the same from the first epoch to the last."""

    config: ConfigDict
    experiment: experiment_lib.Experiment
    batches: input_pipeline.Resident | input_pipeline.Streamed  # for training
    calibration: Batch  # whole split on the device
    spec: datasets.InputSpec  # of the inputs
    saved: checkpoint.Checkpoints
    should_stop: Callable[[], bool]
    progress: Progress
    train_steps: TrainSteps
    label_updates: label_updates.LabelUpdates
    is_finite: Callable[[TrainState], jax.Array]
    predict: Callable[[dict[str, Any], Batch], np.ndarray]  # (variables, split) → logits [n, K]


def make_run(
    config: ConfigDict,
    experiment: experiment_lib.Experiment,
    dataset: datasets.Dataset,
    saved: checkpoint.Checkpoints,
    should_stop: Callable[[], bool],
    progress: Progress,
) -> Run:
    """Builds the parts of a run, with arrays on the device and compiled functions."""
    calibration = input_pipeline.put_split(dataset.calibration, experiment.mesh)
    assert isinstance(calibration, Batch)  # ``datasets.load`` decodes a streamed split
    jit = functools.partial(programs.jit, mesh=experiment.mesh)
    steps = functools.partial(train_step.train_steps, experiment=experiment)
    return Run(
        config=config,
        experiment=experiment,
        batches=input_pipeline.training_batches(
            input_pipeline.put_split(dataset.train, experiment.mesh),
            seed=config.seed,
            batch_size=experiment.batch_size,
            steps_per_epoch=experiment.steps_per_epoch,
            epochs=config.epochs,
            most_steps=1 if jax.default_backend() == "cpu" else STEPS_PER_DISPATCH,
            mesh=experiment.mesh,
        ),
        calibration=calibration,
        spec=dataset.spec,
        saved=saved,
        should_stop=should_stop,
        progress=progress,
        train_steps=functools.partial(
            jit(steps, static_argnames="num_steps", donate_argnames="state"),
            held_out=calibration if experiment.reweights else None,
        ),
        label_updates=label_updates.create(config, experiment, calibration, jit),
        is_finite=jit(_all_finite),
        predict=predict.make_predict(experiment.model, experiment.mesh, experiment.eval_batch_size),
    )


def train_epochs(run: Run, snapshot: Snapshot, run_dir: RunDir) -> Snapshot:
    """Runs all epochs that remain after the snapshot, or those up to an early stop."""
    config, patience = run.config, run.config.checkpoint.patience
    first_epoch = int(snapshot.epoch)
    saved_lines = checkpoint.read_lines(run.saved.latest())
    writer = metric_writer.MetricWriter(run_dir, first_epoch, saved_lines)
    # The writer has lines in the first process alone, but all processes must decide alike.
    losses = best.losses(saved_lines) if config.checkpoint.best else []
    over = best.is_over(losses, patience)
    while (epoch := int(snapshot.epoch)) < config.epochs and not over:
        began, steps_before = time.perf_counter(), int(snapshot.step)
        run.progress.begin(f"epoch {epoch + 1}/{config.epochs}")
        if epoch == first_epoch:
            run.progress.compiling()
        snapshot = _train_epoch(run, snapshot, writer.lines, losses)
        trained = time.perf_counter() - began
        if epoch == first_epoch:
            run.progress.compiling()
        state, measured, logits = snapshot.state, *_measure(run, snapshot, epoch)
        scores = clean.scores(logits, np.asarray(run.calibration.label))
        losses += [scores["nll"]] if config.checkpoint.best else []
        over = best.is_over(losses, patience)
        is_last, is_best = over or epoch + 1 == config.epochs, best.ranking(losses)[:1] == [epoch]
        if update_is_due(config, epoch):
            state = state.replace(labels=run.label_updates.update(state.labels, measured, logits))
        images = (run.experiment.steps_per_epoch - steps_before) * run.experiment.batch_size
        writer.write(
            {
                **_epoch_line(run, epoch, snapshot.metrics, state, measured, scores),
                **beyond.metrics(
                    *(config, epoch, run.experiment, state, run.calibration, run.spec),
                    is_last=is_last,
                ),
                "images_per_second": images / trained,
                "seconds": time.perf_counter() - began,
            }
        )
        run.progress.end_epoch(
            f"{_means(snapshot.metrics)}, calibration ECE {scores['ece']:.3f}, "
            f"{images / trained:,.0f} images/s"
        )
        snapshot = snapshot.replace(
            state=state,
            epoch=np.array(epoch + 1, np.int32),
            step=np.array(0, np.int32),
            metrics=checkpoint.no_metrics(),
            **({"carried": measured} if isinstance(measured, CarriedStats) else {}),
        )
        if (epoch + 1) % config.checkpoint.every_epochs == 0 or is_best or is_last:
            _save(run, snapshot, writer.lines, losses)
    writer.close()
    return snapshot


def _train_epoch(
    run: Run, snapshot: Snapshot, lines: list[dict[str, Any]], losses: list[float | None]
) -> Snapshot:
    """Runs the rest of an epoch; sums are read one dispatch late, so the device never waits."""
    epoch, step = int(snapshot.epoch), int(snapshot.step)
    batches = run.batches.epoch(epoch, step)
    key = input_pipeline.epoch_key(run.config.seed, epoch, TRAINING)
    state, unread = snapshot.state, None
    sums = jax.tree.map(np.asarray, snapshot.metrics)
    began, first = time.perf_counter(), step
    stop, detail = run.should_stop(), ""
    while step < run.experiment.steps_per_epoch and not stop:
        examples, order, num_steps = next(batches)
        state, metrics = run.train_steps(
            state, examples, order, key, np.array(step, np.int32), num_steps=num_steps
        )
        if unread is not None:
            sums = _add_metrics(run, sums, *unread)
            speed = (step - first) * run.experiment.batch_size / (time.perf_counter() - began)
            detail = f"{_means(sums)}, {speed:,.0f} images/s"
        unread = (metrics, epoch, step)
        step += num_steps
        run.progress.train_step(num_steps, detail)
        stop = run.should_stop()
    if unread is not None:
        sums = _add_metrics(run, sums, *unread)
    snapshot = snapshot.replace(
        state=state,
        epoch=np.array(epoch, np.int32),
        step=np.array(step, np.int32),
        metrics=sums,
    )
    if stop:
        _save(run, snapshot, lines, losses)
        raise processes.Stopped(
            f"stopped in epoch {epoch + 1} of {run.config.epochs} after step {step} of "
            f"{run.experiment.steps_per_epoch}; saved {run.saved.latest()}; "
            "run the same command to resume"
        )
    return snapshot


def _add_metrics(
    run: Run, sums: StepMetrics, metrics: StepMetrics, epoch: int, first_step: int
) -> StepMetrics:
    """Adds the sums of one dispatch [num_steps] in the order of its steps."""
    metrics = jax.tree.map(np.asarray, metrics)
    not_finite = np.flatnonzero(~np.isfinite(metrics.loss))
    if not_finite.size:
        step = first_step + int(not_finite[0]) + 1
        raise _diverged(run, f"the training loss is {metrics.loss[not_finite[0]]}", epoch, step)
    for i in range(len(metrics.loss)):
        sums = jax.tree.map(lambda total, x, i=i: total + x[i], sums, metrics)
    return sums


def _save(
    run: Run, snapshot: Snapshot, lines: list[dict[str, Any]], losses: list[float | None]
) -> None:
    """Saves a finite state; the last update can overflow after a finite loss."""
    steps, state = run.experiment.steps_per_epoch, snapshot.state
    if not run.is_finite(state):
        done = int(state.step) - 1  # number of updates before the last one
        raise _diverged(run, "the state is not finite", done // steps, done % steps + 1)
    best_epoch = next(iter(best.ranking(losses)), None)
    run.saved.save(processes.replicate(snapshot, run.experiment.mesh), steps, lines, best_epoch)


def _diverged(run: Run, what: str, epoch: int, step: int) -> NonFiniteLossError:
    return NonFiniteLossError(
        f"{what} in epoch {epoch + 1}, step {step} of {run.experiment.steps_per_epoch}; "
        f"last good checkpoint: {run.saved.latest() or 'none yet'}. "
        f"A lower optimizer.learning_rate (now {run.config.optimizer.learning_rate}) or a "
        "longer optimizer.warmup_epochs often helps; start again in a new --workdir"
    )


def _all_finite(state: TrainState) -> jax.Array:
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))


def _means(sums: StepMetrics) -> str:
    return f"loss {sums.loss / sums.count:.3f}, accuracy {sums.correct / sums.count:.3f}"


def _measure(
    run: Run, snapshot: Snapshot, epoch: int
) -> tuple[BucketStats | CarriedStats, np.ndarray]:
    """Measures calibration on augmented held-out inputs by bucket; returns the clean logits too."""
    carried = snapshot.carried if isinstance(snapshot, CarryingSnapshot) else None
    variables = experiment_lib.inference_variables(snapshot.state)
    logits = run.predict(variables, run.calibration)
    measured = run.label_updates.measure(
        snapshot.state, epoch, logits, carried, run.progress.advance
    )
    return measured, logits


def update_is_due(config: ConfigDict, epoch: int) -> bool:
    """Returns whether the labels are updated after this epoch."""
    since_warmup = epoch + 1 - config.labels.warmup_epochs
    return since_warmup > 0 and since_warmup % config.labels.update_every == 0


def _epoch_line(
    run: Run,
    epoch: int,
    sums: StepMetrics,
    state: TrainState,
    measured: BucketStats | CarriedStats,
    scores: dict[str, float],
) -> dict[str, Any]:
    """Makes the line of ``metrics.jsonl``: statistics after this epoch, and the updated labels."""
    labels = run.experiment.rule.metrics(state.labels)

    def numbers(values: Array) -> list[float]:
        # str gives the fewest digits that identify a float32.
        return [float(str(v)) for v in np.asarray(values, np.float32)]

    return {
        "epoch": epoch,
        "step": int(state.step),
        "train_loss": float(sums.loss / sums.count),
        "train_accuracy": float(sums.correct / sums.count),
        "calibration_accuracy": scores["accuracy"],
        "calibration_ece": scores["ece"],
        "calibration_nll": scores["nll"],
        **{f"label_{name}": numbers(x) for name, x in labels.items()},
        **{name: numbers(values) for name, values in label_updates.columns(measured).items()},
    }
