"""robustness: pieces, figures and resumption, against corruptions and attacks called by hand."""

import dataclasses

import numpy as np
import pytest
from small_evaluation import CONTRAST, SCALING, logits_by_hand, run, scores_by_hand, sets

from autolabel_jax import (
    corruptions,
    metric_writer,
    robustness,
)
from autolabel_jax.evaluated_sets import Piece, Sets

PIECES = [CONTRAST, Piece("attack", "fgsm", 0)]


def test_plan_holds_75_sets_and_every_image_under_attack_once():
    pieces = robustness.plan(corrupted=True, attack_names=["fgsm", "auto"], num_examples=1001)
    sets = {(p.name, p.place) for p in pieces if p.kind == "corruption"}
    assert len(sets) == 75
    assert not {name for name, _ in sets} & set(corruptions.EXTRA)
    chunks = [p.place for p in pieces if p.name == "auto"]
    assert chunks == [0, 500, 1000]
    with pytest.raises(ValueError, match="--attacks: got nope, known are fgsm, pgd20, auto"):
        robustness.plan(corrupted=False, attack_names=["nope"], num_examples=1)


def test_plan_holds_the_extra_corruptions_apart():
    pieces = robustness.plan(corrupted=False, extra=True, attack_names=[], num_examples=1)
    assert {p.name for p in pieces} == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert {p.kind for p in pieces} == {"extra"}
    assert len(pieces) == 20


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    lines = robustness.run(PIECES, sets(), tmp_path, 7)
    summary = robustness.summarise(lines, tmp_path)
    with open(tmp_path / robustness.FILE, "a") as file:
        file.write('{"piece": "fog')  # a kill in the middle of a line
    for measure in ("_corrupted", "_attacked"):
        monkeypatch.setattr(Sets, measure, None)
    again = robustness.run(PIECES, sets(), tmp_path, 7)
    assert again == lines
    assert robustness.summarise(again, tmp_path) == summary
    assert len(metric_writer.read_json_lines(tmp_path / robustness.FILE)) == 2
    # Without vector scaling less is asked for than is there.
    less = Sets(*run(), dataclasses.replace(SCALING, vector=None))
    assert robustness.run(PIECES, less, tmp_path, 7) == lines
    with pytest.raises(TypeError):  # another checkpoint is evaluated anew
        robustness.run(PIECES, sets(), tmp_path, 8)
    experiment, variables, test = run()
    with pytest.raises(TypeError):  # and other images
        robustness.run(
            PIECES, Sets(experiment, variables, test.take(slice(30)), SCALING), tmp_path, 7
        )
    (tmp_path / robustness.FOLDER / "contrast_3.npz").unlink()
    with pytest.raises(TypeError):  # and a set whose resamples are lost
        robustness.run(PIECES, sets(), tmp_path, 7)


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
    found = robustness.summarise([*sets, *extra, *chunks, attacked("auto", 3, 600)], tmp_path)
    assert found["corrupted_accuracy"] == pytest.approx(3.0 / 6)
    assert found["corrupted_ece_by_severity"] == pytest.approx([0.8, 0.5, 0.4, 0.3, 0.2])
    assert "corrupted_ece_interval" not in found  # the images come in other orders
    assert found["fgsm_accuracy"] == pytest.approx(450 / 600)
    assert found["fgsm_ece"] == pytest.approx(30 / 600)  # of the pooled bin, not of the chunks
    assert found["fgsm_nll"] == pytest.approx(2.0)
    assert found["adversarial_accuracy"] == pytest.approx(3 / 600)
    assert found["extra_corrupted_accuracy"] == pytest.approx(0.1)
    assert robustness.summarise([], tmp_path) == {}


def test_corrupted_interval_resamples_the_same_images_in_every_set(tmp_path):
    """Against a loop that draws images, and takes them out of each set."""
    pieces = [CONTRAST, Piece("corruption", "brightness", 5)]
    found = robustness.summarise(robustness.run(pieces, sets(), tmp_path, 7), tmp_path)
    test = run()[2]
    logits = [
        logits_by_hand(np.asarray(corrupt(np.arange(40), test.input)))
        for corrupt in (corruptions.create(p.name, p.place, size=32) for p in pieces)
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
