"""The command on trained digits, and its parts; tables and figures: test_diagnose_tables.py."""

import dataclasses
import json
import re
import shutil

import helpers
import numpy as np
import pytest
import run_folders

from autolabel_jax import progress, train
from autolabel_jax import trained as trained_lib
from autolabel_jax.run_dir import RunDir
from experiments.diagnosing import affinity as diagnose_affinity
from experiments.diagnosing import parts as diagnose_parts

OWN = {"name": "mixup", "concentration": 1.0}
NONE = {"name": "none"}


def config_of(**changes):
    """Mixup on digits, unless changed."""
    settings = {"augment__name": "mixup", "labels__rule": "one_hot", "seed": 0} | changes
    return helpers.small_config(**settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs with mixup and without, trained alike."""
    folder = tmp_path_factory.mktemp("runs")
    train.train(config_of(), folder / "mixup", progress=False)
    train.train(config_of(augment__name="none"), folder / "none", progress=False)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """The two runs as a diagnosis reads them."""
    return {
        name: trained_lib.restore(folder / name, RunDir(folder / name).load_config())
        for name in ("mixup", "none")
    }


def diagnose(workdir, *arguments):
    return helpers.command("-m", "experiments.diagnose", f"--workdir={workdir}", *arguments)


@pytest.mark.slow
def test_the_command(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", -1.0)  # a line for each step
    for name in ("mixup", "none"):
        shutil.copytree(folder / name, tmp_path / name)
    arguments = [tmp_path / "mixup", "--buckets", "--affinity", "--fourier", "--examples=20"]
    arguments += [
        f"--baseline_workdir={tmp_path / 'none'}",
        "--augmentations=none,mixup",
        "--radius=2",
    ]
    first = diagnose(*arguments)
    assert first.returncode == 0, first.stderr
    said = first.stdout
    assert said.index("the first 20 images") < said.index("mixup, none, by the model of")
    assert said.index("on the test split") < said.index("mean l2")
    assert "mixup (concentration=1) (this run's)" in said
    ends = re.findall(r"^(\w+ \w+).*, (\d+) of \2, .* elapsed$", first.stderr, re.MULTILINE)
    names = ("measuring buckets", "measuring the", "adding frequencies")
    assert [name for name, _ in ends] == [*names]
    found = json.loads((tmp_path / "mixup" / "diagnosis.json").read_text())
    assert set(found) - {"checksum"} == {"buckets", "affinity", "fourier"}
    assert [row["augmentation"] for row in found["affinity"]["rows"]] == ["mixup", "none"]
    assert found["affinity"]["diversity"]["diversity"] > 0
    assert np.shape(found["fourier"]["error"]) == (5, 5) and len(found["buckets"]["low"]) == 2
    for name in ("bucket_distance", "fourier_heat_map"):
        written = tmp_path / "mixup" / "diagnosis" / name
        assert written.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
        assert written.with_suffix(".pdf").read_bytes()[:5] == b"%PDF-"

    # Again, figures elsewhere: nothing is measured, and all is told the same.
    again = diagnose(*arguments, f"--out={tmp_path / 'figures'}")
    assert again.returncode == 0, again.stderr
    assert "elapsed" not in again.stderr
    without_paths = [
        [line for line in out.splitlines() if "written" not in line] for out in (said, again.stdout)
    ]
    assert without_paths[0] == without_paths[1]
    assert found == json.loads((tmp_path / "mixup" / "diagnosis.json").read_text())
    for path in (tmp_path / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "mixup" / "diagnosis" / path.name).read_bytes()
    assert len(list((tmp_path / "figures").iterdir())) == 4


def test_mistakes_are_told_in_a_line(folder):
    done = diagnose(folder / "mixup")
    assert done.returncode == 1
    assert done.stderr == (
        "error: nothing to measure; give one or more of --affinity, --fourier, --buckets, "
        "--beyond\n"
    )


def test_without_a_baseline_the_command_says_what_it_needs(folder):
    done = diagnose(folder / "mixup", "--affinity")
    assert done.returncode == 0, done.stderr
    assert "skipped: needs --baseline_workdir, a run with augment.name='none'" in done.stdout


def test_buckets(trained):
    run = trained["mixup"]
    found = diagnose_parts.buckets(run, 20, None)
    assert found["stamp"]["examples"] == 20 and found["stamp"]["checkpoint"] == run.checkpoint
    assert found["low"] == [0, 0.5] and found["high"] == [0.5, 1] and found["count"] == [20, 20]
    # γ is at most 1/4 in the first bucket and more in the second, of the way between two images.
    assert 0 < found["mean_l2"][0] < found["mean_l2"][1]
    image = run.dataset.calibration.input[:20].reshape(20, -1) / 255
    farthest = np.linalg.norm(image[:, None] - image[None], axis=-1).max()
    assert found["mean_l2"][0] < farthest / 4 and found["mean_l2"][1] < farthest / 2
    np.testing.assert_allclose(found["label_confidence"], [0.875, 0.625])  # mixup's own
    assert diagnose_parts.buckets(run, 20, found) is found
    assert diagnose_parts.buckets(run, 10, found)["count"] == [10, 10]


def test_affinity(trained):
    clean = trained["none"]
    saved = []
    asked = diagnose_affinity.wanted(trained["mixup"].config, ["none", "none", "mixup"])
    assert asked == [OWN, NONE]
    found = diagnose_affinity.measure(
        clean, trained["mixup"].config, asked[:1], 20, None, saved.append
    )
    row = found["rows"][0]
    split = clean.dataset.calibration.take(slice(20))
    logits = clean.experiment.model.apply(
        clean.variables, (split.input / 255).astype(np.float32), train=False
    )
    accuracy = np.mean(np.argmax(logits, -1) == split.label)
    assert row["clean_accuracy"] == pytest.approx(accuracy) and accuracy > 0
    assert row["affinity"] == pytest.approx(row["augmented_accuracy"] / accuracy)
    assert row["affinity_difference"] == pytest.approx(row["augmented_accuracy"] - accuracy)
    assert row["augmented_accuracy"] * 80 == pytest.approx(round(row["augmented_accuracy"] * 80))
    low, high = row["affinity_interval"]
    assert low <= row["affinity"] <= high and row["mean_l2"] > 0
    assert saved == [found]

    # Another augmentation is added, and the first is not measured again.
    before = {**found, "rows": [row | {"affinity": 123.0}]}
    more = diagnose_affinity.measure(
        clean, trained["mixup"].config, asked, 20, before, saved.append
    )
    assert more["rows"][0]["affinity"] == 123 and len(saved) == 2
    nothing = more["rows"][1]
    assert nothing["affinity"] == 1 and nothing["affinity_interval"] == [1, 1]
    assert nothing["affinity_difference"] == nothing["mean_l2"] == 0
    other = diagnose_affinity.measure(
        clean, trained["mixup"].config, asked[1:], 10, more, saved.append
    )
    assert [r["augmentation"] for r in other["rows"]] == ["none"]  # rows of 20 images are dropped


def test_a_fourier_map_goes_on_where_it_was(trained, tmp_path):
    path = trained["mixup"].run_dir.fourier_file
    found = diagnose_parts.fourier_map(trained["mixup"], 20, 2.0, 3, None)
    assert not path.exists() and found["norm"] == 2
    error = np.array(found["error"])
    np.testing.assert_allclose(error * 20, np.round(error * 20), atol=1e-9)
    assert error.shape == (7, 7)
    np.testing.assert_array_equal(error, error[::-1, ::-1])
    assert found["mean_error"] == pytest.approx(error.mean())
    assert diagnose_parts.fourier_map(trained["mixup"], 20, 2.0, 3, found) is found

    # Six images at (0, 1) come from the file; a line of another norm and a torn one do not count.
    line = {"stamp": found["stamp"], "errors": [[0, 1, 6]]}
    foreign = {"stamp": found["stamp"] | {"norm": 3.0}, "errors": [[0, 2, 0]]}
    path.write_text(f"{json.dumps(line)}\n{json.dumps(foreign)}\n" + json.dumps(foreign)[:30])
    again = np.array(diagnose_parts.fourier_map(trained["mixup"], 20, 2.0, 3, None)["error"])
    error[3, 2] = error[3, 4] = 6 / 20
    np.testing.assert_array_equal(again, error)


def test_fourier_defaults_are_those_of_the_paper_and_data_are_checked(trained):
    assert diagnose_parts.default_norm(32, 32) == pytest.approx(4)
    assert diagnose_parts.default_norm(224, 224) == pytest.approx(15.7)
    assert diagnose_parts.default_radius(32, 32) is None
    assert diagnose_parts.default_radius(224, 224) == 31
    run = trained["mixup"]

    def with_images(image):
        test = dataclasses.replace(run.dataset.test, input=image)
        dataset = dataclasses.replace(run.dataset, test=test)
        return dataclasses.replace(run, dataset=dataset)

    with pytest.raises(ValueError, match=r"--fourier: 'digits' .* shape \(7,\), expected images"):
        diagnose_parts.fourier_map(with_images(np.zeros((4, 7))), 0, 0, None, None)
    with pytest.raises(ValueError, match="has values from -2 to -1; expected pixels"):
        diagnose_parts.fourier_map(with_images(-1 - np.eye(4)[None, :, :, None]), 0, 0, None, None)


def written(folder, lines=2, loss=0.5, **changes):
    config = config_of(**changes)
    lines = [run_folders.line(e, train_loss=loss * (2 - e)) for e in range(lines)]
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return config, folder


def test_diversity(tmp_path):
    clean = written(tmp_path / "clean", augment__name="none")
    run = written(tmp_path / "run", loss=0.8, seed=1, buckets__num=7)
    found = diagnose_affinity.diversity(*run, *clean)
    assert found["diversity"] == pytest.approx(0.8 / 0.5)  # of the last epochs
    assert (found["train_loss"], found["baseline_train_loss"]) == (0.8, 0.5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"labels__rule": "autolabel"}, "labels.rule is 'autolabel', of the baseline 'one_hot'"),
        ({"labels__rule": "smoothing"}, "labels.rule is 'smoothing'"),
        ({"batch_size": 8}, "not trained alike (batch_size=8, baseline 16)"),
        ({"epochs": 3}, "not trained alike"),
        ({}, "run: 1 of 2 epochs are trained"),
    ],
)
def test_diversity_is_left_out_with_the_reason(tmp_path, settings, reason):
    clean = written(tmp_path / "clean", augment__name="none")
    run = written(tmp_path / "run", lines=2 if settings else 1, **settings)
    found = diagnose_affinity.diversity(*run, *clean)
    assert set(found) == {"left_out"}
    assert reason in found["left_out"]


def test_baselines_that_will_not_do():
    run, clean = config_of(), config_of(augment__name="none")
    diagnose_affinity.check_baseline(run, clean)
    for changes, message in (
        ({"augment__name": "augmix"}, "augment.name='augmix'; give a run with"),
        ({"dataset": "cifar10"}, "dataset='cifar10', the run with 'digits'"),
        ({"calibration__source": "train"}, "no image is held out"),
    ):
        with pytest.raises(ValueError, match=f"--baseline_workdir: .*{message}"):
            diagnose_affinity.check_baseline(
                run, config_of(**({"augment__name": "none"} | changes))
            )
    assert diagnose_affinity.wanted(config_of(augment__name="given"), ["none"]) == [NONE]
