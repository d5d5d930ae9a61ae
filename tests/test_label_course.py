"""The course of the labels: thirds of training, by hand."""

import numpy as np
import pytest
import run_folders

from experiments.reporting import cells, label_course, run_files, summary
from experiments.reporting.choices import Choice

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
        yield run_folders.line(i, **dict(zip(label_course.CURVES, curves, strict=True)))


def write(workdir, **more):
    run_folders.write(workdir, rule="autolabel", epochs=6, lines=list(lines()), **more)


def blocks(root):
    return cells.make([run_files.read(path) for path in run_files.find([str(root)])])


def course(root):
    ((cell,),) = blocks(root)
    return label_course.course(cell)


def test_by_hand(tmp_path):
    write(tmp_path / "a")
    rows = course(tmp_path)
    assert [epochs for epochs, _ in rows] == ["1-2", "3-4", "5-6"]
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
    assert set(expected) == set(label_course.COLUMNS)
    for name, values in expected.items():
        thirds = [third[name] for _, third in rows]
        np.testing.assert_allclose(thirds, values, atol=1e-12, err_msg=name)


def test_seeds_are_averaged(tmp_path):
    write(tmp_path / "a")
    low = [line | {"label_confidence": [0.2, 0.2]} for line in lines()]
    run_folders.write(tmp_path / "b", rule="autolabel", seed=1, lines=low, epochs=6)
    _, values = course(tmp_path)[0]
    assert values["mean label"] == pytest.approx((2.9 / 4 + 0.2) / 2)
    assert values["at the clip"] == pytest.approx(1 / 8)


def test_with_momentum_the_clip_is_not_known(tmp_path):
    write(tmp_path / "a", settings={"labels__momentum": 0.5})
    assert [values["at the clip"] for _, values in course(tmp_path)] == [None] * 3


def test_the_table_has_three_rows_for_autolabel_with_lines(tmp_path):
    write(tmp_path / "a")
    run_folders.write(tmp_path / "b", rule="one_hot", lines=list(lines()), epochs=6)
    short = {"labels__alpha": 2.0}
    run_folders.write(tmp_path / "c", rule="autolabel", lines=[], epochs=6, settings=short)
    (table,) = summary.chosen(blocks(tmp_path), Choice(kinds=("labels",)))
    column = {name: [row[i].text for row in table.rows] for i, name in enumerate(table.header)}
    assert column["labels"] == ["autolabel"] * 3
    assert column["of them"] == ["1-2", "3-4", "5-6"]
    assert column["at 1"] == ["0.000", "0.250", "0.500"]
