"""Restores the last checkpoint of a run, or the best one, with its data, and evaluates it."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
from ml_collections import ConfigDict

from autolabel_jax import (
    best,
    checkpoint,
    claim,
    datasets,
    input_pipeline,
    metric_writer,
    processes,
)
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.checkpoint import Checkpoints, Snapshot
from autolabel_jax.corruptions import published
from autolabel_jax.evaluation import clean, ood, predict, run, summary, views
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.run_dir import RunDir


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint of a run, ready for evaluation: the best one with checkpoint.best, or the last.

    ``epochs`` and ``lines`` are of the last checkpoint.
    """

    run_dir: RunDir
    config: ConfigDict
    experiment: experiment_lib.Experiment
    dataset: datasets.Dataset
    snapshot: Snapshot
    lines: list[dict[str, Any]]  # metrics of the epochs so far
    epochs: int  # number of epochs so far

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the model for inference."""
        return experiment_lib.inference_variables(self.snapshot.state)

    @property
    def checkpoint(self) -> int:
        """Number of optimiser updates of the state."""
        return int(self.snapshot.state.step)

    def predictor(self, *, vector: bool = False, view_names: Sequence[str] = ()) -> Predictor:
        """Makes the predictor: fits temperature scaling, and with ``vector`` vector scaling.

        Args:
          vector: whether to fit vector scaling too.
          view_names: views to average, see ``views.average``; () for the image alone.

        Raises:
          ValueError: the images have no such view.
        """
        calibration, experiment = self.dataset.calibration, self.experiment
        if view_names:
            model = views.average(experiment.model, view_names, self.dataset.spec)
            experiment = dataclasses.replace(experiment, model=cast("nn.Module", model))
        return predict.create(experiment, self.variables, calibration, vector=vector)


def restore(workdir: str | pathlib.Path, config: ConfigDict) -> Trained:
    """Restores the last checkpoint of a run, or the best one, with its data.

    Args:
      workdir: folder of the run.
      config: config of the run; ``data_dir`` and ``loader_workers`` may differ.

    Raises:
      FileNotFoundError: there is no checkpoint, or the data are missing.
      ValueError: the data differ from those that the run was trained on.
    """
    run_dir = RunDir(pathlib.Path(workdir))
    claim.check_saved_config(run_dir, config)  # first, as it names the damaged file
    experiment_lib.check(config)
    dataset = datasets.load(config)
    claim.check_dataset(run_dir, dataset)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    like = checkpoint.first_snapshot(experiment, config.seed, dataset.train.input.shape[1:])
    with Checkpoints(run_dir.checkpoints, keep=None) as saved:
        last = saved.restore(like)
        lines = checkpoint.read_lines(saved.restored) or run_dir.read_metrics()
        snapshot = last
        if config.checkpoint.best:
            order, steps = best.ranking(best.losses(lines)), experiment.steps_per_epoch
            snapshot = saved.restore_best(like, order, steps) or last
    if last is None or snapshot is None:
        raise FileNotFoundError(
            f"--workdir={workdir}: found no checkpoint there; train it first, with "
            f"`python -m experiments.train --config=… --workdir={workdir}`"
        )
    _check_finished(run_dir, int(last.epoch), int(snapshot.epoch))
    return Trained(run_dir, config, experiment, dataset, snapshot, lines, int(last.epoch))


def _check_finished(run_dir: RunDir, epochs: int, kept: int) -> None:
    """Checks that a finished run still has the checkpoint of its result.

    Raises:
      ValueError: it does not.
    """
    result = run_dir.result() or {}
    if epochs < result.get("epochs", 0):
        which, then = "last checkpoint", "resumes from the one before"
    elif kept != result.get("kept_epoch", kept):
        which, then = f"best checkpoint, of epoch {result['kept_epoch']},", "keeps the next best"
    else:
        return
    raise ValueError(
        f"{run_dir.checkpoints}: the {which} of this finished run is damaged; delete its "
        f"result.json and run the training command again, which {then}"
    )


def evaluate(
    workdir: str | pathlib.Path,
    config: ConfigDict,
    *,
    corrupted: bool = False,
    extra_corrupted: bool = False,
    corrupted_data: str = "",
    attack_names: Sequence[str] = (),
    vector_scaling: bool = False,
    examples: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    view_names: Sequence[str] = (),
    ood_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluates the checkpoint of ``restore``; updates ``result.json`` of a finished run.

    Args:
      workdir: folder of the run.
      config: config of the run.
      corrupted: also evaluates on the corruptions of the kind, 15 of images, × 5 severities of
        the test split.
      extra_corrupted: also evaluates on the 4 extra corruptions × 5 severities, which are in no
        average.
      corrupted_data: folder of published corrupted sets to read; '' makes the sets.
      attack_names: also evaluates under these attacks.
      vector_scaling: also evaluates after vector scaling, fitted on the calibration set.
      examples: corrupts and attacks the first N test images, and tells them from the first N of
        other data sets (0 = all), see ``datasets.first``.
      should_stop: called before each corrupted set and each chunk of images under attack.
      view_names: also evaluates the mean over these views of each image, see
        ``evaluation.views``; its metrics are ``views_…``.
      ood_names: also evaluates how well the test split is told from these data sets, see
        ``evaluation.ood``.

    Returns:
      The contents of ``result.json``, where ``epochs`` is the number of epochs trained so far.

    Raises:
      FileNotFoundError, ValueError: as ``restore``, or the published sets are incomplete, or a
        view is unknown or has no gradient for the attacks, or another data set is missing or
        unlike the run's.
      processes.Stopped: ``should_stop`` returned True; finished sets are kept.
    """
    asked: dict[str, Any] = {"corrupted": corrupted, "extra": extra_corrupted}
    asked["attack_names"] = attack_names
    # Invalid requests fail before anything is read.
    views.check(view_names, attacked=bool(attack_names))
    ood.check(ood_names)
    names = dict.fromkeys(unit.name for unit in run.plan(**asked, num_examples=0))
    sets = published.open_sets(corrupted_data, list(names)) if corrupted_data else None
    trained = restore(workdir, config)
    run_dir, dataset, kind = trained.run_dir, trained.dataset, trained.dataset.spec.kind
    test = datasets.first(dataset.test, examples, "--examples")
    units = run.plan(**asked, num_examples=len(test), kind=kind)
    if sets and kind != "image":
        raise ValueError(f"--corrupted_data: the data are inputs of kind {kind!r}, not images")
    others = ood.find(ood_names, config, dataset, test)
    run_dir.result()  # a damaged one is named before the evaluation
    began = time.perf_counter()
    predictor = trained.predictor(vector=vector_scaling)
    result = metric_writer.evaluate_clean(
        predictor, config, dataset, run_dir, lines=trained.lines, began=began
    )

    def of_others(predictor: Predictor) -> dict[str, Any]:
        found = ood.evaluate(predictor, test, others)
        if not units:
            return found
        ledger = run_dir.ledger
        settings = {"dataset": dataset, "sets": sets, "should_stop": should_stop}
        lines = run.run(units, predictor, test, ledger, **settings)
        return found | processes.on_first(lambda: summary.summarise(lines, ledger))

    result |= of_others(predictor)
    if view_names:
        viewed = trained.predictor(vector=vector_scaling, view_names=view_names)
        result |= _of_views(viewed, predictor, dataset, of_others(viewed))
    if config.checkpoint.best and trained.lines:
        result |= best.of_result(trained.lines, int(trained.snapshot.epoch))
    before = run_dir.result() or {"epochs": config.epochs}
    if trained.epochs == before["epochs"]:
        own = tuple(f"{ood.PREFIX}{name}_" for name in others)
        kinds = {unit.kind for unit in units} | ({summary.VIEWS} if view_names else set())
        result = run_dir.write_result(
            result,
            replaced=lambda name: summary.is_replaced(name, kinds) or name.startswith(own),
        )
    return {**result, "epochs": trained.epochs}


def _of_views(
    viewed: Predictor, plain: Predictor, dataset: datasets.Dataset, of_others: dict[str, Any]
) -> dict[str, Any]:
    """Returns the metrics of the mean over views, by the names that they have in a result."""
    found = clean.evaluate(viewed, dataset)[0] | of_others
    found["cost"] = predict.cost(viewed, plain, dataset.test)
    prefixed = {f"{summary.VIEWS}_{name}": value for name, value in found.items()}
    return {summary.VIEWS: viewed.views, **prefixed}
