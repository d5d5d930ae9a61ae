"""Labels of the training examples from a file: which, for whom, and where a run says so."""

import helpers
import numpy as np
import pytest

from autolabel_jax import datasets, processes, train
from autolabel_jax.datasets import fingerprint

NUM = 1797  # digits of scikit-learn, which both splits number together


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """(path of a file, labels with the key 'noisy', of which those of 4 and 9 are turned)."""
    everything = datasets.digits._everything().label
    label = np.where(everything == 4, 9, np.where(everything == 9, 4, everything))
    path = tmp_path_factory.mktemp("labels") / "labels:of.npz"
    np.savez(path, noisy=label.astype(np.uint8), short=label[:-1], high=label + 1, low=label - 1)
    np.savez(path.with_name("odd.npz"), floats=label / 2, square=label.reshape(-1, 1))
    return path, label


def load(path, **changes):
    return datasets.load(helpers.small_config(data__train_labels=f"{path}:noisy", **changes))


def test_rows_get_the_label_of_their_number(noisy):
    path, label = noisy
    plain = datasets.load(helpers.small_config())
    for clean in (False, True):
        found = load(path, data__clean_calibration=clean)
        np.testing.assert_array_equal(found.train.index, plain.train.index)
        np.testing.assert_array_equal(found.train.label, label[found.train.index])
        np.testing.assert_array_equal(found.test.label, plain.test.label)
        own = plain.calibration.label
        expected = own if clean else label[found.calibration.index]
        np.testing.assert_array_equal(found.calibration.label, expected)
        assert found.train.label.dtype == found.calibration.label.dtype == np.int32
        assert found.relabelled.train == np.isin(plain.train.label, [4, 9]).sum() > 0
        assert found.relabelled.calibration == (0 if clean else np.isin(own, [4, 9]).sum())
    assert plain.relabelled is None


def test_the_fingerprint_of_the_data_covers_them(noisy):
    described = [
        fingerprint.describe(data)["splits"]
        for data in (
            datasets.load(helpers.small_config()),
            load(noisy[0]),
            load(noisy[0], data__clean_calibration=True),
        )
    ]
    sums = {name: [d[name]["sha256"] for d in described] for name in described[0]}
    assert sums["train"][1] == sums["train"][2] != sums["train"][0]
    assert sums["calibration"][0] == sums["calibration"][2] != sums["calibration"][1]
    assert len({*sums["test"]}) == 1


def test_arrays_are_numbered_in_the_order_of_their_file(tmp_path):
    folder = helpers.write_arrays(tmp_path / "data")
    label = np.random.default_rng(0).integers(3, size=64)
    np.savez(tmp_path / "labels.npz", noisy=label)
    config = {"dataset": "arrays", "data_dir": folder, "train_examples": 0}
    found = load(tmp_path / "labels.npz", **config)
    for split in (found.train, found.calibration):
        np.testing.assert_array_equal(split.label, label[split.index])
    np.savez(tmp_path / "data" / "calibration.npz", **np.load(tmp_path / "data" / "train.npz"))
    found = load(tmp_path / "labels.npz", **config)
    np.testing.assert_array_equal(found.train.label, label)
    np.testing.assert_array_equal(found.calibration.label, np.arange(64) % 3)  # the user's own
    assert found.relabelled.calibration == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{path}", r"labels is missing, or not a regular file"),  # its name has a colon
        ("noisy", r"got 'noisy', expected FILE\.npz:KEY"),
        ("{path}:", r"expected FILE\.npz:KEY"),
        ("{path}.old:noisy", r"labels:of\.npz\.old is missing"),
        ("{path}:clean", r"has no 'clean', expected one of: noisy, short, high, low"),
        ("{path}:short", r"'short' has 1796 labels, must have 1797"),
        ("{path}:high", r"'high' has classes from 1 to 10, must be in \[0, 10\)"),
        ("{path}:low", r"'low' has classes from -1 to 8"),
        ("{odd}:floats", r"'floats' must hold whole numbers .*; got float64 \[1797\]"),
        ("{odd}:square", r"'square' must hold whole numbers .*; got int\d+ \[1797, 1\]"),
    ],
)
def test_labels_that_do_not_fit_are_named_in_a_line(noisy, given, told):
    path = noisy[0]
    given = given.format(path=path, odd=path.with_name("odd.npz"))
    with pytest.raises(
        (ValueError, FileNotFoundError), match=rf"^data\.train_labels: .*({told})"
    ) as e:
        datasets.load(helpers.small_config(data__train_labels=given))
    assert len(str(e.value).splitlines()) == 1


def reweighted(path):
    """Settings of weights by held-out examples, on labels of the file."""
    return {"example_weights": "reweight", "data__train_labels": f"{path}:noisy"}


def test_a_run_says_what_it_trains_on(noisy, tmp_path, capsys):
    changes = reweighted(noisy[0])
    with pytest.raises(ValueError, match=r"example_weights: .* needs clean labels"):
        train.train(helpers.small_config(**changes), tmp_path / "whole", progress=False)
    assert not (tmp_path / "whole").exists()
    config = helpers.small_config(**changes, data__clean_calibration=True)
    result = train.train(config, tmp_path / "whole")
    differ = load(noisy[0]).relabelled.train
    shown = capsys.readouterr().err
    assert f":noisy: {differ} training and 0 calibration labels differ from the data's)" in shown
    assert result["train_labels"] == f"{noisy[0]}:noisy"
    assert (result["train_labels_differ"], result["calibration_labels_differ"]) == (differ, 0)


@pytest.mark.slow
def test_stopped_and_resumed_ends_with_the_same_bits(noisy, tmp_path):
    config = helpers.small_config(**reweighted(noisy[0]), data__clean_calibration=True)
    train.train(config, tmp_path / "whole", progress=False)
    calls = iter(range(99))
    with pytest.raises(processes.Stopped):
        train.train(config, tmp_path / "cut", progress=False, should_stop=lambda: next(calls) > 1)
    train.train(config, tmp_path / "cut", progress=False)
    helpers.assert_same_bits(*(helpers.last_checkpoint(tmp_path / n) for n in ("whole", "cut")))
