"""The best checkpoint by held-out loss, and early stopping on it."""

import math

import helpers
import numpy as np
import pytest
from scipy import special

from autolabel_jax import (
    best,
    datasets,
    experiment,
    files,
    metric_writer,
    processes,
    train,
    trained,
)
from autolabel_jax.predictor import exporting
from autolabel_jax.run_dir import RunDir

# A learning rate so high that the held-out loss goes up and down.
ROUGH = {
    **{"optimizer__learning_rate": 0.03, "optimizer__schedule": "step", "epochs": 12, "seed": 2},
    **{"optimizer__boundaries": (0.9,), "model__width": 32, "checkpoint__every_epochs": 5},
}
EPOCHS, STEPS = 12, 2
KEEP = ROUGH | {"checkpoint__best": True}


def run(folder, **changes):
    return train.train(helpers.small_config(**changes), folder, progress=False)


def losses(folder):
    return np.array([line["calibration_nll"] for line in helpers.read_metrics(folder)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Folder of a run that keeps the checkpoint of every epoch, and evaluates the last one."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    run(folder, **ROUGH | {"checkpoint__every_epochs": 1, "checkpoint__keep": 99})
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """(folder, result) of the same run with the best checkpoint."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    return folder, run(folder, **KEEP)


def test_losses_are_ranked_as_by_numpy():
    rng = np.random.default_rng(0)
    for values in (rng.random(20), rng.integers(0, 4, 20), [math.nan, 2.0, math.inf, 1.0]):
        expected = np.argsort(np.nan_to_num(values, nan=np.inf, posinf=np.inf), kind="stable")
        assert best.ranking(list(map(float, values))) == expected.tolist()
    assert best.ranking([None, 3.0, None]) == [1, 0, 2] and best.ranking([]) == []


def test_patience_counts_epochs_since_the_best():
    values = [5.0, 3.0, 4.0, 2.0, 2.0, 2.5, 9.0]
    for patience in range(9):
        for num in range(len(values) + 1):
            since = num - 1 - int(np.argmin(values[:num])) if num else 0
            assert best.is_over(values[:num], patience) == (patience > 0 and since >= patience)


def test_the_best_epoch_is_kept_and_evaluated(plain, kept):
    folder, result = kept
    assert helpers.read_metrics(folder) == helpers.read_metrics(plain)  # training is the same
    epoch = int(np.argmin(losses(plain))) + 1
    assert 1 < epoch < EPOCHS, "the run should get worse again"
    assert (result["kept_epoch"], result["epochs"]) == (epoch, EPOCHS)
    assert result["kept_calibration_nll"] == losses(plain).min()
    # Of the epochs that were saved, those that are best so far, each fifth and the last: the last
    # two are kept, and the best one.
    values = losses(plain)
    is_best = [n == np.argmin(values[: n + 1]) for n in range(EPOCHS)]
    saved = [n + 1 for n in range(EPOCHS) if is_best[n] or n + 1 in (5, 10, 12)]
    assert helpers.whole_steps(folder) == [(STEPS + 1) * e for e in sorted({epoch, *saved[-2:]})]
    config = RunDir(folder).load_config()
    restored = trained.restore(folder, config)
    saved = helpers.read_checkpoint(plain / f"checkpoints/{epoch * (STEPS + 1)}")
    assert restored.checkpoint == saved["['state']['step']"] == epoch * STEPS
    dataset = datasets.load(config)
    mean, std = dataset.mean, dataset.std
    for name, split in (("nll", dataset.test), ("kept_calibration_nll", dataset.calibration)):
        x = ((split.input / 255 - mean) / std).reshape(len(split), -1)
        for i in range(3):
            at = f"['state']['params']['net']['Dense_{i}']"
            x = x @ saved[f"{at}['kernel']"] + saved[f"{at}['bias']"]
            x = np.maximum(x, 0) if i < 2 else x
        mean_nll = -special.log_softmax(x, -1)[np.arange(len(split)), split.label].mean()
        assert result[name] == pytest.approx(mean_nll, rel=1e-4)
    assert result["train_accuracy"] == helpers.read_metrics(plain)[epoch - 1]["train_accuracy"]
    assert files.read_json(plain / "result.json").keys() == result.keys() - {
        *("kept_epoch", "kept_calibration_nll")
    }


def test_evaluation_and_predictor_use_the_best_epoch(kept):
    folder, result = kept
    again = trained.evaluate(folder, RunDir(folder).load_config())
    assert again == result
    info = exporting.export_run(folder, folder / "predictor")
    assert info["run"]["kept_epoch"] == result["kept_epoch"]
    assert info["metrics"]["before_calibration"]["nll"] == result["nll"]


def test_patience_ends_training(plain, tmp_path, capfd):
    values = losses(plain)
    over = next(n for n in range(3, EPOCHS) if values[: n - 2].min() <= values[n - 2 : n].min())
    early = {**KEEP, "checkpoint__patience": 2}
    result = run(tmp_path / "run", **early)
    assert result["epochs"] == over < EPOCHS
    assert losses(tmp_path / "run").tolist() == values[:over].tolist()
    assert result["kept_epoch"] == np.argmin(values[:over]) + 1
    said = capfd.readouterr().err
    assert (
        f"stopped after {over} of {EPOCHS} epochs, the last 2 without a better calibration NLL; "
        f"kept epoch {result['kept_epoch']} of {over}, calibration NLL {values[:over].min():.4f}"
    ) in said
    assert run(tmp_path / "run", **early) == result  # finished: nothing is trained or said to lack
    assert "missing" not in capfd.readouterr().err
    assert metric_writer.missing_epochs(RunDir(tmp_path / "run")) == ""
    assert trained.evaluate(tmp_path / "run", helpers.small_config(**early)) == result


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """(settings, folder, result) of a run with early stopping."""
    folder, settings = tmp_path_factory.mktemp("early"), {**KEEP, "checkpoint__patience": 3}
    return settings, folder / "whole", run(folder / "whole", **settings)


class Killed(Exception):
    """Ends a run that saves nothing any more."""


@pytest.mark.parametrize(
    ("stop_at", "how"),
    [
        (12, "stop"),
        (17, "kill"),
        *(pytest.param(n, "stop", marks=pytest.mark.slow) for n in (3, 9)),
        *(pytest.param(n, "kill", marks=pytest.mark.slow) for n in (14, 28)),
    ],
)
def test_a_stopped_or_killed_run_ends_with_the_same_bits(early, tmp_path, stop_at, how):
    settings, whole, expected = early
    calls = iter(range(1000))

    def stop():
        now = next(calls) >= stop_at
        if now and how == "kill":
            raise Killed
        return now

    config = helpers.small_config(**settings)
    with pytest.raises((processes.Stopped, Killed)):
        train.train(config, tmp_path / "stopped", progress=False, should_stop=stop)
    found = run(tmp_path / "stopped", **settings)
    own = ("seconds", "revision")
    assert {n: found[n] for n in found if n not in own} == {
        n: expected[n] for n in expected if n not in own
    }
    assert helpers.read_metrics(tmp_path / "stopped") == helpers.read_metrics(whole)
    folders = whole, tmp_path / "stopped"
    last, kept = expected["epochs"] * (STEPS + 1), expected["kept_epoch"] * (STEPS + 1)
    assert last != kept
    for place in (last, kept):
        saved = (helpers.read_checkpoint(f / f"checkpoints/{place}") for f in folders)
        helpers.assert_same_bits(*saved)


def test_a_damaged_best_checkpoint_is_named_and_the_next_one_taken(tmp_path, capfd):
    result = run(tmp_path, **KEEP)
    config = RunDir(tmp_path).load_config()
    best_place = result["kept_epoch"] * (STEPS + 1)
    others = [place for place in helpers.whole_steps(tmp_path) if place != best_place]
    path = max(
        (tmp_path / f"checkpoints/{best_place}/default").rglob("*"), key=lambda p: p.stat().st_size
    )
    path.write_bytes(b"")
    ranked = np.argsort(losses(tmp_path), kind="stable") + 1
    message = f"the best checkpoint, of epoch {ranked[0]}, of this finished run is damaged; delete"
    with pytest.raises(ValueError, match=message):
        trained.restore(tmp_path, config)
    (tmp_path / "result.json").unlink()
    again = run(tmp_path, **KEEP)
    assert again["kept_epoch"] == next(e for e in ranked if (STEPS + 1) * e in others)
    said = capfd.readouterr().err
    assert f"checkpoints/{best_place}: this checkpoint is damaged" in said
    assert f"kept epoch {again['kept_epoch']} of {EPOCHS}" in said.splitlines()[-1]
    assert trained.evaluate(tmp_path, config) == again


def test_the_settings_are_checked():
    with pytest.raises(ValueError, match="checkpoint.patience: got 2 with checkpoint.best=False"):
        experiment.check(helpers.small_config(checkpoint__patience=2))
    with pytest.raises(ValueError, match="checkpoint.patience: got -1, must be at least 0"):
        experiment.check(helpers.small_config(checkpoint__patience=-1))
