"""A run's last checkpoint, restored with its data, and its evaluation."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from autolabel_jax import checkpoint, datasets, input_pipeline, metric_writer, processes
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.checkpoint import Checkpoints, Snapshot
from autolabel_jax.corruptions import published
from autolabel_jax.evaluation import predict, run, summary
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.run_dir import RunDir


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's last checkpoint, ready to be evaluated."""

    run_dir: RunDir
    config: ConfigDict
    experiment: experiment_lib.Experiment
    dataset: datasets.Dataset
    snapshot: Snapshot

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the model, in inference mode."""
        return experiment_lib.inference_variables(self.snapshot.state)

    @property
    def checkpoint(self) -> int:
        """Optimiser updates of the state."""
        return int(self.snapshot.state.step)

    def predictor(self, *, vector: bool = False) -> Predictor:
        """The model with its scaling fitted, with ``vector`` by vector scaling too."""
        calibration = self.dataset.calibration
        return predict.create(self.experiment, self.variables, calibration, vector=vector)


def restore(workdir: str | pathlib.Path, config: ConfigDict) -> Trained:
    """The last checkpoint of a run, with its data.

    Args:
      workdir: of the run.
      config: that the run was started with; ``data_dir`` and ``loader_workers`` may differ.

    Raises:
      FileNotFoundError: no checkpoint, or the data are not there.
      ValueError: the data are not those that the run was trained with.
    """
    run_dir = RunDir(pathlib.Path(workdir))
    dataset = datasets.load(config)
    run_dir.check_dataset(dataset)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    like = checkpoint.first_snapshot(experiment, config.seed, dataset.train.input.shape[1:])
    with Checkpoints(run_dir.checkpoints, keep=None) as saved:
        snapshot = saved.restore(like)
    if snapshot is None:
        raise FileNotFoundError(
            f"--workdir={workdir}: found no checkpoint there; train it first, with "
            f"`python -m experiments.train --config=… --workdir={workdir}`"
        )
    return Trained(run_dir, config, experiment, dataset, snapshot)


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
) -> dict[str, Any]:
    """Evaluates the last checkpoint; of a finished run, writes ``result.json`` anew.

    Args:
      workdir: of the run.
      config: that the run was started with.
      corrupted: also on the 15 corruptions × 5 severities of the test split.
      extra_corrupted: also on the 4 extra corruptions × 5 severities, which enter no average.
      corrupted_data: folder of published corrupted sets to read; '': they are made.
      attack_names: also under these attacks.
      vector_scaling: also after vector scaling, fitted on the calibration set.
      examples: corrupted and attacked are the first so many test images; 0: all.

    Returns:
      What ``result.json`` holds, with ``epochs`` the epochs trained so far.

    Raises:
      FileNotFoundError, ValueError: as ``restore``, or published sets that are not complete.
    """
    asked = {"corrupted": corrupted, "extra": extra_corrupted, "attack_names": attack_names}
    # What cannot be is refused before anything is read.
    names = dict.fromkeys(unit.name for unit in run.plan(**asked, num_examples=0))
    sets = published.open_sets(corrupted_data, list(names)) if corrupted_data else None
    trained = restore(workdir, config)
    began = time.perf_counter()
    predictor = trained.predictor(vector=vector_scaling)
    result = metric_writer.evaluate_clean(
        predictor, config, trained.dataset, trained.run_dir, began=began
    )
    test = trained.dataset.test.take(slice(examples or None))
    if units := run.plan(**asked, num_examples=len(test)):
        ledger = trained.run_dir.ledger
        lines = run.run(units, predictor, test, ledger, checkpoint=trained.checkpoint, sets=sets)
        result |= processes.on_first(lambda: summary.summarise(lines, ledger))
    epoch = int(trained.snapshot.epoch)
    if epoch == config.epochs:
        result = trained.run_dir.write_result(result)
    return {**result, "epochs": epoch}
