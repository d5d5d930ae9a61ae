"""Metrics of one corrupted, published or attacked set, against sets made and attacked by hand."""

import jax
import numpy as np
import pytest
from small_evaluation import (
    CONTRAST,
    VECTOR,
    evaluate,
    ledger,
    logits_by_hand,
    scores_by_hand,
    trained,
)

from autolabel_jax import attacks, corruptions
from autolabel_jax.attacks import of_model
from autolabel_jax.corruptions import published
from autolabel_jax.datasets import Split
from autolabel_jax.evaluation import attacked, run, summary


def test_corrupted_figures_are_those_of_the_set_made_by_hand(tmp_path):
    (line,) = evaluate([CONTRAST], tmp_path)
    test = trained()[2]
    image = np.asarray(corruptions.create("contrast", 3, size=32)(np.arange(40), test.input))
    logits = logits_by_hand(image)
    by_suffix = {"": logits, "_ts": logits / 2, "_vs": logits * VECTOR[0] + VECTOR[1]}
    for suffix, scaled in by_suffix.items():
        found = [line[f"{name}{suffix}"] for name in ("accuracy", "ece", "nll", "brier")]
        np.testing.assert_allclose(found, scores_by_hand(scaled, test.label), rtol=1e-4, atol=1e-6)
    assert line["examples"] == 40


def test_attacked_figures_are_those_of_the_attacked_images_of_all_chunks(tmp_path, monkeypatch):
    """Chunks of 15 add up to what the 40 images give at once."""
    experiment, variables, test = trained()
    monkeypatch.setattr(attacked, "CHUNK", 15)
    units = run.plan(corrupted=False, attack_names=["fgsm"], num_examples=40)
    assert [unit.place for unit in units] == [0, 15, 30]
    found = summary.summarise(evaluate(units, tmp_path), ledger(tmp_path))
    fgsm = attacks.create(
        "fgsm", lambda x: experiment.model.apply(variables, x, train=False), num_classes=10
    )
    expected = attacks.robust_accuracy(
        fgsm, test.input, test.label, jax.random.key(0), batch_size=40, progress=False
    )
    assert found["fgsm_accuracy"] == expected.correct.mean()
    logits = logits_by_hand(expected.images)
    for suffix, scaled in {"": logits, "_ts": logits / 2}.items():
        _, ece, nll, _ = scores_by_hand(scaled, test.label)
        assert found[f"fgsm_ece{suffix}"] == pytest.approx(ece, rel=1e-4)
        assert found[f"fgsm_nll{suffix}"] == pytest.approx(nll, rel=1e-4)
    for name in ("accuracy", "ece", "ece_ts", "nll", "nll_ts"):
        assert found[f"adversarial_{name}"] == found[f"fgsm_{name}"]


def test_weights_as_arguments_change_no_attack():
    experiment, variables, test = trained()

    def model_fn(variables, image):
        return experiment.model.apply(variables, image, train=False)

    how = {"num_classes": 10, "epsilon": 0.01, "num_steps": 3, "num_queries": 5}
    closed = attacks.create("auto", lambda x: model_fn(variables, x), in_python=True, **how)
    given = of_model.create("auto", model_fn, variables, in_python=False, **how)
    assert [name for name, _ in given.stages] == [name for name, _ in closed.stages]
    one, other = (
        attacks.robust_accuracy(
            ensemble, test.input, test.label, jax.random.key(0), batch_size=40, progress=False
        )
        for ensemble in (closed, given)
    )
    assert one.accuracy_after["clean"] > 0  # something was attacked
    np.testing.assert_array_equal(one.correct, other.correct)
    np.testing.assert_allclose(one.images, other.images, atol=1e-6)
    assert one.accuracy_after == other.accuracy_after


def test_published_sets_are_read_instead_of_made(tmp_path):
    test = trained()[2]
    folder = tmp_path / "sets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5 * 40, 32, 32, 3), np.uint8)
    np.save(folder / "labels.npy", np.tile(test.label, 5))
    for name in corruptions.CORRUPTIONS:
        np.save(folder / f"{name}.npy", image)
    found = published.open_sets(str(folder))
    (line,) = evaluate([CONTRAST], tmp_path, sets=found)
    logits = logits_by_hand(image[80:120])
    names = ("accuracy", "ece", "nll", "brier")
    np.testing.assert_allclose(
        [line[name] for name in names], scores_by_hand(logits, test.label), rtol=1e-4
    )
    assert line["corrupted_data"] == str(folder)
    (line,) = evaluate([CONTRAST], tmp_path, images=slice(7), sets=found)
    assert line["examples"] == 7
    np.testing.assert_allclose(
        line["nll"], scores_by_hand(logits[:7], test.label[:7])[2], rtol=1e-4
    )
    np.save(folder / "contrast.npy", image[::-1])  # other images under the same name
    (other,) = evaluate([CONTRAST], tmp_path, sets=published.open_sets(str(folder)))
    by_hand = scores_by_hand(logits_by_hand(image[::-1][80:120]), test.label)
    np.testing.assert_allclose([other[name] for name in names], by_hand, rtol=1e-4)


@pytest.mark.parametrize(("side", "label"), [(16, 1), (32, 10)])
def test_published_images_must_be_like_the_runs(tmp_path, side, label):
    def read(name, severity, num, size):
        image = np.zeros((2, side, side, 3), np.uint8)
        yield Split(image, np.array([0, label], np.int32), None, np.arange(2))

    other = published.Published("here", read, fingerprint="")
    with pytest.raises(ValueError, match=r"--corrupted_data: contrast/3 has images .* 10 classes"):
        evaluate([CONTRAST], tmp_path, sets=other)
