"""robustness: pieces, figures and resumption, against corruptions and attacks called by hand."""

import jax
import numpy as np
import pytest

from autolabel_jax import (
    attacks,
    corruptions,
    datasets,
    input_pipeline,
    metric_writer,
    robustness,
    task,
)
from autolabel_jax.robustness import Piece
from configs import digits_augmix

PIECES = [Piece("corruption", "contrast", 3), Piece("attack", "fgsm", 0)]


@pytest.fixture(scope="module")
def run():
    config = digits_augmix.get_config("tiny")
    config.model.name = "mlp"
    config.augment.name = "none"
    config.test_examples = 40
    dataset = datasets.load(config)
    parts = task.create(config, dataset, input_pipeline.make_mesh())
    state = task.init_state(parts, 0, (32, 32, 3))
    return parts, task.inference_variables(state), dataset.test


def test_plan_holds_75_sets_and_every_image_under_attack_once():
    pieces = robustness.plan(corrupted=True, attack_names=["fgsm", "auto"], num_examples=1001)
    sets = {(p.name, p.place) for p in pieces if p.kind == "corruption"}
    assert len(sets) == 75
    assert not {name for name, _ in sets} & set(corruptions.EXTRA)
    chunks = [p.place for p in pieces if p.name == "auto"]
    assert chunks == [0, 500, 1000]
    with pytest.raises(ValueError, match="--attacks: got nope, known are fgsm, pgd20, auto"):
        robustness.plan(corrupted=False, attack_names=["nope"], num_examples=1)


def test_figures_are_those_of_the_set_made_by_hand_and_are_not_made_twice(
    run, tmp_path, monkeypatch
):
    parts, variables, test = run
    lines = robustness.run(PIECES, parts, variables, test, 2.0, tmp_path, 7)
    corrupt = corruptions.create("contrast", 3, size=32)
    image = np.asarray(corrupt(np.arange(40), test.image), np.float32) / 255
    logits = np.asarray(parts.model.apply(variables, image, train=False))
    assert lines[0]["accuracy"] == pytest.approx((logits.argmax(-1) == test.label).mean())
    shifted = logits / 2 - (logits / 2).max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    nll = -log_probabilities[np.arange(40), test.label].mean()
    assert lines[0]["nll_ts"] == pytest.approx(nll, rel=1e-4)
    fgsm = attacks.create(
        "fgsm", lambda x: parts.model.apply(variables, x, train=False), num_classes=10
    )
    expected = attacks.robust_accuracy(
        fgsm, test.image, test.label, jax.random.key(0), batch_size=40, progress=False
    )
    assert lines[1]["correct"] == expected.correct.sum()

    with open(tmp_path / robustness.FILE, "a") as file:
        file.write('{"piece": "fog')  # a kill in the middle of a line
    for measure in ("_corrupted", "_attacked"):
        monkeypatch.setattr(robustness, measure, None)
    assert robustness.run(PIECES, parts, variables, test, 2.0, tmp_path, 7) == lines
    assert len(metric_writer.read_json_lines(tmp_path / robustness.FILE)) == 2
    with pytest.raises(TypeError):  # another checkpoint is evaluated anew
        robustness.run(PIECES, parts, variables, test, 2.0, tmp_path, 8)


def test_summary_is_the_mean_of_the_sets_and_the_strongest_attack():
    def corrupted(severity, accuracy):
        names = [*robustness.FIGURES, *(f"{n}_ts" for n in robustness.FIGURES)]
        figures = dict.fromkeys(names, accuracy)
        return {"kind": "corruption", "name": "fog", "place": severity, "examples": 9, **figures}

    def attacked(name, correct, of):
        place = {"kind": "attack", "name": name, "place": 0, "examples": 9}
        return {**place, "correct": correct, "attacked": of}

    sets = [
        corrupted(s, a) for s, a in ((1, 0.9), (1, 0.7), (2, 0.5), (3, 0.4), (4, 0.3), (5, 0.2))
    ]
    found = robustness.summarise(
        [*sets, attacked("fgsm", 400, 500), attacked("fgsm", 50, 100), attacked("auto", 3, 600)]
    )
    assert found["corrupted_accuracy"] == pytest.approx(3.0 / 6)
    assert found["corrupted_ece_by_severity"] == pytest.approx([0.8, 0.5, 0.4, 0.3, 0.2])
    assert found["fgsm_accuracy"] == pytest.approx(450 / 600)
    assert found["adversarial_accuracy"] == pytest.approx(3 / 600)
    assert robustness.summarise([]) == {}
