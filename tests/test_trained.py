"""result.json against figures computed from the checkpoint by hand."""

import dataclasses

import helpers
import jax
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from autolabel_jax import corruptions, datasets, files, processes, train, trained
from autolabel_jax.datasets import superclasses

FIELDS = {
    *("name", "dataset", "model", "augmentation", "label_rule", "seed", "epochs"),
    *("accuracy", "ece", "nll", "brier", "accuracy_ts", "ece_ts", "nll_ts", "brier_ts"),
    *("revision", "versions", "device", "seconds"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir, result) of a finished run with averaged parameters."""
    workdir = tmp_path_factory.mktemp("result")
    config = helpers.small_config(name="mine", seed=3, optimizer__ema=0.5)
    return config, workdir, train.train(config, workdir, progress=False)


def test_has_every_field(run):
    config, workdir, found = run
    assert set(found) >= FIELDS
    assert files.read_json(workdir / "result.json") == found
    assert (found["name"], found["dataset"], found["model"]) == ("mine", "digits", "mlp")
    assert (found["augmentation"], found["label_rule"], found["seed"]) == ("none", "autolabel", 3)
    sizes = [found[f"{split}_examples"] for split in ("train", "calibration", "test")]
    assert sizes == [32, 32, 50]
    assert found["epochs"] == config.epochs
    assert found["seconds"] > 0
    assert found["train_accuracy"] == helpers.read_metrics(workdir)[-1]["train_accuracy"]


def test_figures_are_those_of_the_averaged_parameters_on_test(run):
    config, workdir, found = run
    saved = helpers.last_checkpoint(workdir)
    dataset = datasets.load(config)
    both = np.concatenate([dataset.train.input, dataset.calibration.input]) / 255
    mean, std = both.mean((0, 1, 2)), both.std((0, 1, 2))

    def logits(split):
        x = ((split.input / 255 - mean) / std).reshape(len(split.label), -1)
        for i in range(3):
            at = f"['state']['ema_params']['net']['Dense_{i}']"
            x = x @ saved[f"{at}['kernel']"] + saved[f"{at}['bias']"]
            x = np.maximum(x, 0) if i < 2 else x
        return x

    test = logits(dataset.test)
    for end, t in (("", 1.0), ("_ts", found["temperature"])):
        probability = special.softmax(test / t, axis=-1)
        nll = metrics.log_loss(dataset.test.label, probability, labels=np.arange(10))
        assert found[f"nll{end}"] == pytest.approx(nll, rel=1e-4)
        accuracy = metrics.accuracy_score(dataset.test.label, probability.argmax(-1))
        assert found[f"accuracy{end}"] == pytest.approx(accuracy, abs=1e-6)
    # The temperature is where the held-out NLL is flat, to within a hair.
    held_out = logits(dataset.calibration)

    def held_out_nll(t):
        probability = special.softmax(held_out / t, axis=-1)
        return metrics.log_loss(dataset.calibration.label, probability, labels=np.arange(10))

    t = found["temperature"]
    assert held_out_nll(t) <= min(held_out_nll(1.01 * t), held_out_nll(t / 1.01), held_out_nll(1.0))


def test_evaluating_again_gives_the_same_and_keeps_what_others_added(run):
    config, workdir, found = run
    path = workdir / "result.json"
    files.write_json(path, found | {"noisy_ece": 0.125, "accuracy": -1, "seconds": 42.0})
    again = trained.evaluate(workdir, config)
    assert again == found | {"noisy_ece": 0.125, "seconds": 42.0}
    assert files.read_json(path) == again
    files.write_json(path, found)


def test_an_unfinished_run_is_evaluated_without_a_result_file(tmp_path):
    config = helpers.small_config()
    calls = iter(range(100))
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path, progress=False, should_stop=lambda: next(calls) >= 4)
    found = trained.evaluate(tmp_path, config)
    assert found["epochs"] == 1
    assert not (tmp_path / "result.json").exists()
    restored = trained.restore(tmp_path, config)
    snapshot = restored.snapshot
    assert (int(snapshot.epoch), int(snapshot.step), restored.checkpoint) == (1, 1, 3)
    assert restored.experiment.num_classes == restored.dataset.num_classes == 10
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(snapshot.state))


def test_no_checkpoint_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no checkpoint") as caught:
        trained.restore(tmp_path, helpers.small_config())
    assert f"--workdir={tmp_path}" in str(caught.value)
    assert "python -m experiments.train" in str(caught.value)


def test_clean_logits_are_left_for_the_reliability_diagram(run):
    _, workdir, found = run
    with np.load(workdir / "test_logits.npz") as saved:
        logits, label = saved["logits"], saved["label"]
    assert found["accuracy"] == metrics.accuracy_score(label, logits.argmax(-1))
    low, high = found["accuracy_interval"]
    assert low <= found["accuracy"] <= high


def test_superclasses_are_evaluated_where_there_are_some(run, monkeypatch):
    config, workdir, found = run
    assert not [name for name in found if name.startswith("superclass")]
    halves = np.repeat(np.arange(2, dtype=np.int32), 5)
    monkeypatch.setattr(superclasses, "of", lambda name: halves)
    again = trained.evaluate(workdir, config)
    with np.load(workdir / "test_logits.npz") as saved:
        logits, label = saved["logits"], saved["label"]
    for end, t in (("", 1.0), ("_ts", found["temperature"])):
        upper = special.softmax(logits / t, axis=-1)[:, 5:].sum(-1)
        right = np.mean((upper > 0.5) == (label >= 5))
        assert again[f"superclass_accuracy{end}"] == pytest.approx(right)
        assert 0 < again[f"superclass_ece{end}"] < 1
    assert {name: again[name] for name in found} == found
    files.write_json(workdir / "result.json", found)


@pytest.mark.slow
def test_a_whole_evaluation_goes_on_to_the_same_figures(run, monkeypatch):
    """Corrupted sets, an attack and vector scaling, stopped once."""
    config, workdir, found = run
    asked = {"corrupted": True, "attack_names": ["fgsm"], "vector_scaling": True, "examples": 16}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", ("contrast", "brightness"))
    whole = trained.evaluate(workdir, config, **asked)
    for prefix in ("", "corrupted_"):
        for name in ("accuracy", "ece", "nll", "brier"):
            for end in ("", "_ts", "_vs"):
                value, interval = (
                    whole[f"{prefix}{name}{end}"],
                    whole[f"{prefix}{name}{end}_interval"],
                )
                assert np.isfinite([value, *interval]).all()
    assert {"fgsm_ece", "fgsm_ece_ts", "fgsm_nll", "fgsm_nll_ts"} <= set(whole)
    assert whole["corrupted_examples"] == whole["attacked_examples"] == 16
    assert {name: whole[name] for name in found} == found
    path = workdir / "evaluation.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]))
    assert trained.evaluate(workdir, config, **asked) == whole
    files.write_json(workdir / "result.json", found)


def test_published_sets_are_refused_before_anything_is_read(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(5))
    with pytest.raises(FileNotFoundError, match="--corrupted_data: .* lacks gaussian_noise.npy"):
        trained.evaluate(
            tmp_path, helpers.small_config(), corrupted=True, corrupted_data=str(tmp_path)
        )


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.99, 0.999])
def test_the_averaged_model_is_about_as_good_as_the_last(tmp_path, ema):
    """With batch norm, whose statistics belong to the weights, and after few updates."""
    config = helpers.small_config(
        **{"train_examples": 1000, "calibration__fraction": 0.2, "test_examples": 0},
        **{"model__name": "small_cnn", "batch_size": 10, "optimizer__ema": ema},
        eval_batch_size=1000,
    )
    found = train.train(config, tmp_path, progress=False)
    restored = trained.restore(tmp_path, config)
    state, test = restored.snapshot.state, restored.dataset.test
    assert int(state.step) == 160
    last = {"params": state.params, "batch_stats": state.batch_stats}
    logits = dataclasses.replace(restored.predictor(), variables=last).logits(test)
    accuracy = metrics.accuracy_score(test.label, logits.argmax(-1))
    assert accuracy > 0.7
    assert found["accuracy"] > accuracy - 0.03
