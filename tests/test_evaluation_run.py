"""evaluation.run and summary: units, metrics, resuming, against corruptions called by hand."""

import dataclasses

import numpy as np
import pytest
from small_evaluation import (
    CONTRAST,
    SCALING,
    evaluate,
    ledger,
    logits_by_hand,
    scores_by_hand,
    trained,
)

from autolabel_jax import corruptions, files
from autolabel_jax.evaluation import attacked as attacked_lib
from autolabel_jax.evaluation import corrupted as corrupted_lib
from autolabel_jax.evaluation import run, summary
from autolabel_jax.evaluation.run import Unit

UNITS = [CONTRAST, Unit("attack", "fgsm", 0)]


def test_plan_holds_75_sets_and_every_image_under_attack_once():
    units = run.plan(corrupted=True, attack_names=["fgsm", "auto"], num_examples=1001)
    sets = {(unit.name, unit.place) for unit in units if unit.kind == "corruption"}
    assert len(sets) == 75
    assert not {name for name, _ in sets} & set(corruptions.EXTRA)
    chunks = [unit.place for unit in units if unit.name == "auto"]
    assert chunks == [0, 500, 1000]
    with pytest.raises(ValueError, match="--attacks: got nope, expected one of: fgsm, pgd20, auto"):
        run.plan(corrupted=False, attack_names=["nope"], num_examples=1)


def test_plan_holds_the_extra_corruptions_apart():
    units = run.plan(corrupted=False, extra=True, attack_names=[], num_examples=1)
    assert {unit.name for unit in units} == {
        "speckle_noise",
        "gaussian_blur",
        "spatter",
        "saturate",
    }
    assert {unit.kind for unit in units} == {"extra"}
    assert len(units) == 20


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    lines = evaluate(UNITS, tmp_path)
    kept = ledger(tmp_path)
    metrics = summary.summarise(lines, kept)
    with open(kept.file, "a") as file:
        file.write('{"piece": "fog')  # a kill in the middle of a line
    monkeypatch.setattr(corrupted_lib, "start", None)
    monkeypatch.setattr(attacked_lib, "evaluate", None)
    again = evaluate(UNITS, tmp_path)
    assert again == lines
    assert summary.summarise(again, kept) == metrics
    assert len(files.read_json_lines(kept.file)) == 2
    # Without vector scaling less is asked for than is there.
    less = dataclasses.replace(SCALING, vector=None)
    assert evaluate(UNITS, tmp_path, scaling=less) == lines
    with pytest.raises(TypeError):  # another checkpoint is evaluated anew
        evaluate(UNITS, tmp_path, checkpoint=8)
    with pytest.raises(TypeError):  # and other images
        evaluate(UNITS, tmp_path, num=30)
    (kept.folder / "contrast_3.npz").unlink()
    with pytest.raises(TypeError):  # and a set whose resamples are lost
        evaluate(UNITS, tmp_path)


def attacked(name, correct, of, gap=0.0):
    bins = {"count": [of, 0], "correct": [correct, 0], "confidence": [correct + gap, 0]}
    return {
        **{"kind": "attack", "name": name, "place": 0, "examples": 9},
        **{"correct": correct, "attacked": of, "bins": bins, "bins_ts": bins},
        **{"nll_sum": 2.0 * of, "nll_sum_ts": 1.0 * of},
    }


def test_summary_is_the_mean_of_the_sets_and_the_strongest_attack(tmp_path):
    def corrupted(severity, accuracy, labels=1):
        names = [f"{n}{end}" for end in ("", "_ts") for n in ("accuracy", "ece", "nll", "brier")]
        where = {"kind": "corruption", "name": "fog", "place": severity, "examples": 9}
        return {**where, "labels": labels, **dict.fromkeys(names, accuracy)}

    places = ((1, 0.9), (1, 0.7), (2, 0.5), (3, 0.4), (4, 0.3), (5, 0.2))
    sets = [corrupted(s, a, labels=i) for i, (s, a) in enumerate(places)]
    extra = [{**corrupted(1, 0.1, labels=i), "kind": "extra"} for i in (1, 2)]
    chunks = [attacked("fgsm", 400, 500, 50.0), attacked("fgsm", 50, 100, -20.0)]
    found = summary.summarise([*sets, *extra, *chunks, attacked("auto", 3, 600)], ledger(tmp_path))
    assert found["corrupted_accuracy"] == pytest.approx(3.0 / 6)
    assert found["corrupted_ece_by_severity"] == pytest.approx([0.8, 0.5, 0.4, 0.3, 0.2])
    assert "corrupted_ece_interval" not in found  # the images come in other orders
    assert found["fgsm_accuracy"] == pytest.approx(450 / 600)
    assert found["fgsm_ece"] == pytest.approx(30 / 600)  # of the pooled bin, not of the chunks
    assert found["fgsm_nll"] == pytest.approx(2.0)
    assert found["adversarial_accuracy"] == pytest.approx(3 / 600)
    assert found["extra_corrupted_accuracy"] == pytest.approx(0.1)
    assert summary.summarise([], ledger(tmp_path)) == {}


def test_corrupted_interval_resamples_the_same_images_in_every_set(tmp_path):
    """Against a loop that draws images, and takes them out of each set."""
    units = [CONTRAST, Unit("corruption", "brightness", 5)]
    found = summary.summarise(evaluate(units, tmp_path), ledger(tmp_path))
    test = trained()[2]
    logits = [
        logits_by_hand(np.asarray(corrupt(np.arange(40), test.input)))
        for corrupt in (corruptions.create(unit.name, unit.place, size=32) for unit in units)
    ]
    means = []
    for rows in np.random.default_rng(0).integers(0, 40, (1000, 40)):
        scores = [scores_by_hand(x[rows] / 2, test.label[rows]) for x in logits]
        means.append(np.mean(scores, 0))
    expected = np.quantile(means, [0.025, 0.975], axis=0).T
    for i, name in enumerate(("accuracy_ts", "ece_ts", "nll_ts", "brier_ts")):
        interval = found[f"corrupted_{name}_interval"]
        np.testing.assert_allclose(interval, expected[i], rtol=1e-4, atol=1e-6)
        assert interval[0] < interval[1]
