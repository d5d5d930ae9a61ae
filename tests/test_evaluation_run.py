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

from autolabel_jax import corruptions, files, processes
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
    with pytest.raises(TypeError):  # other weights are evaluated again
        evaluate(UNITS, tmp_path, scale=0.5)
    with pytest.raises(TypeError):  # and fewer images
        evaluate(UNITS, tmp_path, images=slice(30))
    with pytest.raises(TypeError):  # and as many other images
        evaluate(UNITS, tmp_path, images=slice(None, None, -1))
    with pytest.raises(TypeError):  # and another temperature
        evaluate(UNITS, tmp_path, scaling=dataclasses.replace(SCALING, temperature=3.0))
    (kept.folder / lines[0]["resamples"]).unlink()
    with pytest.raises(TypeError):  # and a set whose resamples are lost
        evaluate(UNITS, tmp_path)


def test_a_smaller_evaluation_leaves_the_larger_one_as_it_was(tmp_path):
    whole = evaluate([CONTRAST], tmp_path)
    expected = summary.summarise(whole, ledger(tmp_path))
    small = evaluate([CONTRAST], tmp_path, images=slice(20))
    assert small[0]["examples"] == 20
    assert summary.summarise(small, ledger(tmp_path)) != expected
    assert summary.summarise(evaluate([CONTRAST], tmp_path), ledger(tmp_path)) == expected


def test_a_stopped_evaluation_keeps_what_is_done_and_goes_on(tmp_path):
    units = [CONTRAST, Unit("attack", "fgsm", 0), Unit("corruption", "brightness", 1)]
    answers = iter([False, False, True])
    with pytest.raises(processes.Stopped, match="finished sets are kept"):
        evaluate(units, tmp_path, should_stop=lambda: next(answers))
    assert [line["piece"] for line in ledger(tmp_path).done()] == [str(unit) for unit in units[:2]]
    (tmp_path / "whole").mkdir()
    assert evaluate(units, tmp_path) == evaluate(units, tmp_path / "whole")


def test_the_strongest_attack_is_one_of_all_on_the_same_images(tmp_path):
    def accuracies(name, images=slice(40)):
        units = [Unit("attack", name, 0)]
        summarised = summary.summarise(evaluate(units, tmp_path, images=images), ledger(tmp_path))
        return {k: v for k, v in summarised.items() if k.endswith("_accuracy")}

    strong = accuracies("pgd20")
    both = accuracies("fgsm")
    assert both["fgsm_accuracy"] > both["pgd20_accuracy"] == strong["pgd20_accuracy"]
    assert both["adversarial_accuracy"] == strong["pgd20_accuracy"]
    other_images = accuracies("fgsm", slice(20))
    assert set(other_images) == {"fgsm_accuracy", "adversarial_accuracy"}


@pytest.mark.parametrize("damage", [b"{]", b"\xff\xfe", b"[1, 2]", b"null", b'{"name": "fog"}'])
def test_a_damaged_line_costs_its_unit_alone(tmp_path, damage, capsys):
    units = [Unit("attack", "fgsm", 0), CONTRAST, Unit("corruption", "brightness", 1)]
    expected = evaluate(units, tmp_path)
    kept = ledger(tmp_path)
    before = kept.file.read_bytes()
    lines = before.splitlines()
    kept.file.write_bytes(b"\n".join([lines[0], damage, lines[2]]) + b"\n")
    assert [line["piece"] for line in kept.done()] == ["fgsm/0", "brightness/1"]
    assert "lines.jsonl: cannot read line 2" in capsys.readouterr().err
    damaged = kept.file.with_name("lines.jsonl.damaged").read_bytes()
    assert damaged.splitlines() == [lines[0], damage, lines[2]]
    assert evaluate(units, tmp_path) == expected


def test_a_changed_digit_costs_its_unit_alone(tmp_path, capsys):
    expected = evaluate([CONTRAST], tmp_path)
    path = ledger(tmp_path).file
    path.write_text(path.read_text().replace('"ece": 0.', '"ece": 1.', 1))
    assert evaluate([CONTRAST], tmp_path) == expected
    assert "lines.jsonl: cannot read line 1" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda b: b"", lambda b: b[:90] + b[91:]])
def test_damaged_resamples_cost_their_unit_alone(tmp_path, damage, capsys):
    units = [CONTRAST, Unit("corruption", "brightness", 1)]
    expected = evaluate(units, tmp_path)
    path = ledger(tmp_path).folder / expected[0]["resamples"]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert evaluate(units, tmp_path) == expected
    assert path.read_bytes() == whole
    said = capsys.readouterr().err
    assert f"{path}: differs from its checksum; evaluating its set again" in said
    assert said.count("checksum") == 1


def test_resamples_of_an_older_line_that_lack_a_metric_are_named(tmp_path):
    (line,) = evaluate([CONTRAST], tmp_path)
    kept = ledger(tmp_path)
    path = kept.folder / line["resamples"]
    np.savez(path, accuracy=np.zeros(3))
    with pytest.raises(ValueError, match=f"^{path}: lacks ece, nll; delete it to evaluate"):
        kept.resamples(line, ["accuracy", "ece", "nll"])


def test_a_new_evaluation_replaces_the_whole_earlier_one_of_its_kind():
    earlier = ("corrupted_ece_vs", "extra_corrupted_ece", "fgsm_ece", "auto_nll_ts", "ece")
    earlier += ("attacked_examples", "adversarial_accuracy", "corrupted_examples", "train_loss")

    def replaced(*kinds):
        return {name for name in earlier if summary.is_replaced(name, kinds)}

    assert replaced("corruption") == {"corrupted_ece_vs", "corrupted_examples"}
    assert replaced("extra") == {"extra_corrupted_ece"}
    attacked = {"fgsm_ece", "auto_nll_ts", "attacked_examples", "adversarial_accuracy"}
    assert replaced("attack") == attacked
    assert replaced() == set()


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
