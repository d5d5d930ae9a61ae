"""The commands as a person runs them, each in a process of its own."""

import functools
import re
import shutil

import helpers
import pytest

from autolabel_jax import files
from experiments import quickstart
from experiments.reporting import rendering

FIELDS = {
    *("name", "dataset", "model", "augmentation", "label_rule", "seed", "epochs"),
    *("accuracy", "ece", "nll", "brier", "accuracy_ts", "ece_ts", "nll_ts", "brier_ts"),
    *("revision", "versions", "device", "seconds"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, what the command printed) of a finished run."""
    workdir = tmp_path_factory.mktemp("experiments") / "run"
    done = helpers.command(
        "-m", "experiments.train", *helpers.flags(name="mine"), f"--workdir={workdir}"
    )
    assert done.returncode == 0, done.stderr
    return workdir, done


def table(text):
    """The lines of the printed table of results."""
    lines = text.split("\n\n")[0].splitlines()
    return [line for line in lines if re.match(r"augmentation|-----|none ", line)]


def test_train_leaves_everything_and_prints_the_figures(trained):
    workdir, done = trained
    names = {p.name for p in workdir.iterdir()}
    assert names == {
        *("config.json", "metrics.jsonl", "checkpoints", "tensorboard", "result.json"),
        *("dataset.json", "test_logits.npz", ".lock"),
    }
    found = files.read_json(workdir / "result.json")
    assert set(found) >= FIELDS
    printed = table(done.stdout)
    assert len(printed) == 2
    assert f"{100 * found['accuracy']:.2f}" in printed[1].split()
    assert f"{100 * found['ece_ts']:.2f}" in printed[1].split()
    assert f"results are in {workdir}" in done.stdout


def test_what_is_trained_and_how_far_it_is_stands_on_standard_error(trained):
    first, *rest, last = trained[1].stderr.splitlines()
    assert first.startswith(
        "digits: 32 training, 32 calibration and 50 test examples of 10 classes; mlp, none, "
        "autolabel labels in 1 x 2 buckets; 2 epochs of 2 steps on "
    )
    assert rest[0] == "compiling ..."
    assert len(rest) == 3 and rest[2].startswith("epoch 1/2, loss ")
    assert re.fullmatch(
        r"epoch 2/2, loss \d.*, accuracy \d.*, calibration ECE \d.* images/s, \d\d:\d\d elapsed",
        last,
    )


def test_tensorboard_can_read_the_run(trained):
    (path,) = (trained[0] / "tensorboard").glob("events.out.tfevents.*")
    data = path.read_bytes()
    for tag in (b"train_loss", b"calibration_ece", b"label_confidence/000", b"bucket_ece/001"):
        assert data.count(tag) == 2


def test_evaluate_prints_the_same_figures(trained):
    workdir, done = trained
    before = files.read_json(workdir / "result.json")
    evaluated = helpers.command("-m", "experiments.evaluate", f"--workdir={workdir}")
    assert evaluated.returncode == 0, evaluated.stderr
    assert table(evaluated.stdout) == table(done.stdout)
    low, high = (f"{100 * end:.2f}" for end in before["accuracy_interval"])
    clean = next(line for line in evaluated.stdout.splitlines() if line.startswith("clean "))
    assert f" {100 * before['accuracy']:.2f} [{low}, {high}] " in clean
    assert files.read_json(workdir / "result.json") == before


def test_evaluate_reads_a_run_from_before_some_fields_existed(trained, tmp_path):
    workdir = shutil.copytree(trained[0], tmp_path / "old")
    config = files.read_json(workdir / "config.json")
    for field in ("accumulate", "stream", "loader_workers", "image_size"):
        del config[field]
    del config["calibration"]["images"], config["calibration"]["images_per_update"]
    files.write_json(workdir / "config.json", config)
    done = helpers.command("-m", "experiments.evaluate", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert table(done.stdout) == table(trained[1].stdout)


def test_evaluate_of_an_empty_folder(tmp_path):
    done = helpers.command("-m", "experiments.evaluate", f"--workdir={tmp_path}")
    assert done.returncode == 1
    assert f"error: --workdir={tmp_path}: found no config.json there" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_config_flag_is_refused(tmp_path):
    done = helpers.command(
        *("-m", "experiments.train", "--config=configs/digits_augmix.py"),
        *(f"--workdir={tmp_path / 'run'}", "--config.labels.rul=one_hot"),
    )
    assert done.returncode != 0
    assert "--config.labels.rul: the config has no such field" in done.stderr
    assert "the nearest is --config.labels.rule\n" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_data_set_lists_the_known_ones(tmp_path):
    done = helpers.command(
        *("-m", "experiments.train", *helpers.flags(dataset="no_such_set")),
        *(f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}"),
    )
    assert done.returncode == 1
    assert "error: dataset: " in done.stderr
    assert "'no_such_set'" in done.stderr
    for known in ("digits", "arrays", "TensorFlow Datasets"):
        assert known in done.stderr
    assert "Traceback" not in done.stderr


def test_table_by_hand():
    results = [
        {"augmentation": "augmix", "label_rule": "one_hot", "seed": 1, "accuracy": 0.5, "nll": 2},
        {
            **{"augmentation": "mixup", "label_rule": "autolabel", "label_step": "signed_gap"},
            **{"seed": 0, "accuracy": 0.98765, "nll": 0.1},
        },
    ]
    assert rendering.result_table(results).splitlines() == [
        "augmentation  labels                 seed  accuracy %     NLL",
        "─" * 61,
        "augmix        one_hot                   1       50.00  2.0000",
        "mixup         autolabel, signed gap     0       98.77  0.1000",
    ]


def test_table_of_one_evaluation_by_hand():
    result = {
        **{"accuracy": 0.9, "accuracy_interval": [0.88, 0.915], "ece": 0.05, "ece_ts": 0.01},
        **{"accuracy_ts": 0.9, "corrupted_accuracy": 0.7, "corrupted_ece": 0.2},
        **{"corrupted_accuracy_vs": 0.71, "pgd20_accuracy": 0.0, "pgd20_ece": 0.8},
    }
    assert rendering.evaluation_table(result).splitlines() == [
        "test images                   accuracy %  accuracy % (VS)  ECE %  ECE % (TS)",
        "─" * 76,
        "clean               90.00 [88.00, 91.50]                    5.00        1.00",
        "corrupted (15 x 5)                 70.00            71.00  20.00",
        "PGD-20                              0.00                   80.00",
    ]


def test_the_quickstart_explains_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "SEEDS", 2)
    monkeypatch.setattr(quickstart, "EPOCHS", 1)
    small = functools.partial(helpers.small_config, augment__name="mixup", test_examples=0)
    monkeypatch.setattr(quickstart.digits_augmix, "get_config", small)
    quickstart.compare(tmp_path)
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if re.match("(clean|noisy) .* ± ", line)]
    assert [row.split()[:2] for row in rows] == [
        [images, rule] for images in ("clean", "noisy") for rule in ("one_hot", "autolabel")
    ]
    values = [files.read_json(tmp_path / f"one_hot_{n}" / "result.json")["ece"] for n in (0, 1)]
    mean, half = 50 * sum(values), 50 * abs(values[0] - values[1])  # the sd of two is half · √2
    assert f"{mean:.1f} ± {half * 2**0.5:.1f}" in rows[0]
    for column in ("accuracy ", "confidence ", "ECE ", "(TS) ", "noisy "):
        assert f"\n{column}" in printed
    assert "2 seeds; 599 test images" in printed and "under-confident" in printed
    for name in ("quickstart.png", "label_confidence.png"):
        assert (tmp_path / name).stat().st_size > 10_000
