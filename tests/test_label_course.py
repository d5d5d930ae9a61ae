"""The course of the labels: thirds of training, by hand."""

import numpy as np
import pytest
import run_folders

from experiments.reporting import frame as frames
from experiments.reporting import run_files, summary

# Six epochs, two buckets; the second one is empty in epochs 4 and 5 (None).
LABEL = [[0.9, 0.5], [0.8, 0.7], [1.0, 0.6], [0.9, 0.6], [1.0, 0.6], [1.0, 0.8]]
ACCURACY = [[0.5, 0.5], [0.6, 0.4], [0.7, 0.6], [0.7, None], [0.8, None], [0.8, 0.7]]
CONFIDENCE = [[0.6, 0.4], [0.5, 0.3], [0.8, 0.7], [0.6, None], [0.9, None], [0.8, 0.9]]
EXTRA = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]  # ECE less gap


def lines():
    for i, (label, accuracy, confidence) in enumerate(
        zip(LABEL, ACCURACY, CONFIDENCE, strict=True)
    ):
        pairs = zip(accuracy, confidence, strict=True)
        ece = [None if a is None else abs(a - c) + EXTRA[i] for a, c in pairs]
        curves = (label, accuracy, confidence, ece)
        yield run_folders.line(i, **dict(zip(run_files.CURVES, curves, strict=True)))


def write(workdir, **more):
    run_folders.write(workdir, **{"rule": "autolabel", "epochs": 6, "lines": list(lines())} | more)


def course(root):
    return frames.courses(frames.load([str(root)])[0]).loc[0]


def test_by_hand(tmp_path):
    write(tmp_path / "a")
    thirds = course(tmp_path)
    assert list(thirds.index) == ["1-2", "3-4", "5-6"]
    expected = {
        "mean label": (2.9 / 4, 3.1 / 4, 3.4 / 4),
        "lowest bucket": (0.6, 0.6, 0.7),
        # From one epoch to the next: .1 .2; .2 .1 .1 0; .1 0 0 .2.
        "mean change": (0.3 / 2, 0.4 / 4, 0.3 / 4),
        # Gaps of the first bucket + - + - + 0, of the second - - + . . +.
        "sign turns": (1 / 2, 3 / 3, 1 / 2),
        "at the clip": (1 / 4, 1 / 3, 0),
        "at 1": (0, 1 / 4, 2 / 4),
        "gap": (0.1, 0.1, 0.3 / 3),
        "ECE less gap": (0.015, (0.03 * 2 + 0.04) / 3, (0.05 + 0.06 * 2) / 3),
    }
    assert list(thirds) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(thirds[name], values, atol=1e-12, err_msg=name)


def test_seeds_are_averaged(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", seed=1, lines=[x | {"label_confidence": [0.2, 0.2]} for x in lines()])
    first = course(tmp_path).iloc[0]
    assert first["mean label"] == pytest.approx((2.9 / 4 + 0.2) / 2)
    assert first["at the clip"] == pytest.approx(1 / 8)


def test_with_momentum_the_clip_is_not_known(tmp_path):
    write(tmp_path / "a", settings={"labels__momentum": 0.5})
    assert course(tmp_path)["at the clip"].isna().all()


def test_the_table_has_three_rows_for_autolabel_with_lines(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", rule="one_hot")
    short = [run_folders.line(0), run_folders.line(1)]
    write(tmp_path / "c", lines=short, epochs=2, settings={"labels__alpha": 2.0})
    (table,) = summary.tables(*frames.load([str(tmp_path)]), show=("labels",))
    assert run_folders.column(table, "labels") == ["autolabel"] * 3
    assert run_folders.column(table, "of them") == ["1-2", "3-4", "5-6"]
    assert run_folders.column(table, "at 1") == ["0.000", "0.250", "0.500"]
