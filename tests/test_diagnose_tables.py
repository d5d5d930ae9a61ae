"""Tables and figures of a diagnosis, from numbers made by hand."""

import figure_checks
import matplotlib
import numpy as np

from experiments.diagnosing import figures as diagnose_figures
from experiments.diagnosing import tables as diagnose_tables
from experiments.reporting import run_files

matplotlib.use("Agg")
OWN = {"name": "mixup", "concentration": 1.0}
FOURIER = {"norm": 2.0, "clean_error": 0.1, "stamp": {"examples": 9}}


def test_the_fourier_figure_has_the_frequency_0_in_its_middle(tmp_path):
    run = run_files.RunRecord(tmp_path / "a", {}, [], None)
    error = np.arange(24).reshape(4, 6) / 24
    figure = diagnose_figures.fourier(FOURIER | {"error": error.tolist()}, run)
    picture = figure.axes[0].images[0]
    np.testing.assert_allclose(picture.get_array(), 100 * error)
    left, right, bottom, top = picture.get_extent()
    # error[2, 3] is at the frequency 0: pixels are one cycle wide.
    assert (left + 3.5, right - left) == (0, 6) and (top + 2.5, bottom - top) == (0, 4)
    assert picture.get_clim() == (0, 100)
    figure_checks.assert_readable(figure)


def test_the_fourier_table_averages_bands():
    error = np.zeros((7, 7))
    error[2:5, 2:5] = 0.5  # up to one cycle
    error[0, 0] = 1.0  # three cycles, one of 24
    text = diagnose_tables.fourier(FOURIER | {"error": error.tolist()})
    rows = dict(line.rsplit(None, 1) for line in text.splitlines()[2:-1])
    assert rows == {
        "none (clean)": "10.00",
        "low, 0 to 1": "50.00",
        "middle, 2 to 2": "0.00",
        "high, 3 to 3": f"{100 / 24:.2f}",
        "all": f"{(9 * 50 + 100) / 49:.2f}",
    }


BUCKETS = {
    "stamp": {"uint8": True},
    "group": [0, 0, 1, 1],
    "low": [0, 0.5, 0, 0.5],
    "high": [0.5, 1, 0.5, 1],
    "count": [20, 20, 20, 0],
    "mean_l2": [1, 2, 3, None],
    "mean_absolute_change": [0.1, 0.2, 0.3, None],
    "accuracy": [0.9, 0.8, 0.7, None],
    "confidence": [0.95, 0.85, 0.75, None],
    "ece": [0.05, 0.05, 0.05, None],
    "label_confidence": [1, 0.9, 0.8, 0.7],
}


def test_buckets_as_table_and_figure(tmp_path):
    lines = diagnose_tables.buckets(BUCKETS, "augmix").splitlines()
    assert lines[0].split()[:4] == ["chain", "depth", "distance", "images"]
    expected = "2 (0.00, 0.50] 20 3.000 76.50 70.00 75.00 5.00 80.00"
    assert lines[4].split() == expected.split()
    assert lines[5].split() == ["2", "(0.50,", "1.00]", "0", "70.00"]
    run = run_files.RunRecord(tmp_path / "a", {"augment.name": "augmix"}, [], None)
    figure = diagnose_figures.buckets(BUCKETS, run)
    figure_checks.assert_readable(figure)
    axes = figure.axes
    assert [a.get_title() for a in axes[:2]] == ["chain depth 1", "chain depth 2"]
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes[0].get_lines()}
    assert curves["accuracy"] == [[0.25, 0.9], [0.75, 0.8]]
    assert curves["label confidence"] == [[0.25, 1], [0.75, 0.9]]
    np.testing.assert_allclose(axes[4].get_lines()[0].get_ydata(), [25.5, 51])
    assert all(a.get_ylim()[0] == 0 and a.get_ylim()[1] > 3 for a in axes[2:])
    # Images that came augmented were moved by nobody knows how much: one row of panels.
    given = BUCKETS | {"mean_l2": [None] * 4, "mean_absolute_change": [None] * 4}
    assert len(diagnose_figures.buckets(given, run).axes) == 2


def test_the_affinity_table(tmp_path):
    row = {"augmentation": "mixup", "settings": OWN, "clean_accuracy": 0.8, "affinity": 0.75}
    row |= {"augmented_accuracy": 0.6, "affinity_interval": [0.7, 0.8], "mean_l2": 2.0}
    row |= {"affinity_difference": -0.2, "mean_absolute_change": 0.1}
    found = {"stamp": {"examples": 50, "uint8": True}, "rows": [row]}
    made = {"diversity": 1.6, "train_loss": 0.8, "baseline_train_loss": 0.5}
    lines = diagnose_tables.affinity(found | {"diversity": made}, [OWN], OWN).splitlines()
    figures = "0.750 [0.700, 0.800] -20.00 60.00 2.000 25.50 1.600"
    assert (
        lines[2].endswith(" ".join(figures.split()[-1:]))
        and figures.split() == lines[2].split()[-8:]
    )
    assert "baseline: 80.00 % of 50 clean images right" in lines[3]
    reason = {"diversity": {"left_out": "nobody trained it"}}
    other = {"name": "mixup", "concentration": 2.0}
    lines = diagnose_tables.affinity(found | reason, [OWN], other).splitlines()
    assert lines[-1] == "diversity left out: nobody trained it"
    assert "this run's" not in lines[2]


def test_temperature_against_distance_and_accuracy(tmp_path):
    columns = {
        "family": ["clean", "augmix, training", "noise", "noise"],
        "inside": [1, 1, 0, 0],
        "low": [0.0, 0.0, 0.0, 0.5],
        "high": [0.0, 1.0, 0.5, 1.0],
        "accuracy": [0.9, 0.8, 0.7, 0.3],
        "temperature": [1.2, 1.25, 1.6, 4.0],
    }
    run = run_files.RunRecord(tmp_path / "a", {}, [], None)
    left, right = diagnose_figures.temperature_by_distance(columns, run).axes
    of_left, of_right = ({line.get_label(): line for line in a.lines} for a in (left, right))
    noise = of_left["noise"]
    assert noise.get_xdata().tolist() == [0.25, 0.75]
    assert noise.get_ydata().tolist() == [1.6, 4.0]
    assert noise.get_fillstyle() == "none"
    assert of_left["augmix, training"].get_fillstyle() == "full"
    np.testing.assert_allclose(of_right["noise"].get_xdata(), [70, 30])
    assert right.xaxis_inverted() and left.get_yscale() == "log"
