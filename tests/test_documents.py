"""Tables between markers against tables written by hand."""

import re

import helpers
import pytest
import run_folders

from experiments.reporting import summary


@pytest.fixture
def root(tmp_path):
    """Folder with results/a (three rules, AugMix) and results/b (one rule, mixup)."""
    for rule, accuracy in (("one_hot", 0.9), ("smoothing", 0.91), ("autolabel", 0.92)):
        for seed in (0, 1):
            run_folders.write(
                tmp_path / "results" / "a" / f"{rule}_{seed}",
                **{"rule": rule, "seed": seed, "accuracy": accuracy, "ece_ts": 0.02},
                **({"adversarial_accuracy": 0.3} if rule == "one_hot" else {}),
            )
    settings = {"augment__name": "mixup"}
    run_folders.write(tmp_path / "results" / "b" / "x", settings=settings, revision="b" * 40)
    return tmp_path


def document(marker, inside=""):
    begin, end = f"<!-- tables {marker} -->\n", "<!-- end of tables -->\n"
    return f"# Title\n\nBefore.\n\n{begin}{inside}{end}\nAfter.\n"


def made(root, marker):
    """Lines between the markers."""
    text = run_folders.regenerated(document(marker, "\nold\n"), "doc.md", root)
    inside = summary.split(text, "doc.md")[2].removeprefix("\n")
    assert text == document(marker, inside)
    return inside.splitlines()


def test_one_table_by_hand(root):
    asked = 'results/a title="" show="figures" columns="accuracy ece_ts adversarial_accuracy"'
    assert made(root, f'{asked} notes="no"') == [
        "",
        "All rows: data set digits; model mlp-16; augmentation augmix; training images 300; "
        "epochs 2.",
        "",
        "| labels | n | accuracy % | ECE % (TS) | adversarial acc % |",
        "|---|---:|---:|---:|---:|",
        "| one_hot | 2 | 90.00 ± 0.00 | 2.00 ± 0.00 | 30.00 ± 0.00 |",
        "| smoothing .1 | 2 | 91.00 ± 0.00 | 2.00 ± 0.00 |  |",
        "| autolabel | 2 | 92.00 ± 0.00 | 2.00 ± 0.00 |  |",
        "",
    ]


def test_rows_and_augmentations_come_as_asked_and_are_compared_with_all(root):
    asked = 'results/b results/a show="figures differences" columns="accuracy"'
    lines = made(root, f'{asked} rows="autolabel; one_hot" augmentations="augmix mixup"')
    rows = [line for line in lines if line.startswith("|") and "---" not in line]
    assert rows == [
        "| augmentation | labels | n | accuracy % |",
        "| augmix | autolabel | 2 | 92.00 ± 0.00 |",
        "| augmix | one_hot | 2 | 90.00 ± 0.00 |",
        "| mixup | one_hot | 1 | 90.00 |",
        "| augmentation | labels | n | accuracy % |",
        "| augmix | autolabel | 2 | +2.00 [+2.00, +2.00] |",
    ]
    assert [line for line in lines if line.startswith("#")] == [
        "#### Figures",
        "#### Difference to one-hot labels, seed by seed",
    ]
    notes = [line for line in lines if line.startswith("- ")]
    assert len(notes) == len(set(notes)) > 2


def test_without_a_choice_all_tables_and_what_was_left_out(root):
    run_folders.write(root / "results" / "a" / "begun", seed=9, finished=False)
    lines = made(root, "results/a")
    assert [line for line in lines if line.startswith("####")] == [
        "#### Figures on the test set",
        "#### Figures on attacked test images",
        "#### Difference to one-hot labels, seed by seed",
        "#### AutoLabel without a temperature against temperature scaling and smoothing",
        "#### Runs left out",
    ]
    assert any(line.startswith("| results/a/begun | not finished") for line in lines)


def test_what_stands_between_no_markers_is_left_alone(root):
    text = "    <!-- tables shown -->\n\n| a | 1 ± 2 |\n"
    assert run_folders.regenerated(text, "doc.md", root) == text
    assert summary.split(text, "doc.md") == [text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- tables results/a -->\n", "doc.md:1: the block has no end; write <!-- end"),
        ("\n<!-- end of tables -->\n", "doc.md:2: '<!-- end of tables -->' without <!-- tables"),
        (
            "<!-- tables results/a -->\n<!-- tables results/b -->\n",
            "doc.md:2: '<!-- tables results/b -->' without <!-- end of tables --> before it",
        ),
        (document("results/a column=ece"), "doc.md:5: got column, expected some of: show"),
        (document('results/a title="x'), "doc.md:5: No closing quotation"),
        (document("columns=ece"), "doc.md:5: <!-- tables columns=ece -->; write it as"),
        (document("results/none"), "results/none: no such folder"),
        (
            document("results/a show=figure"),
            "doc.md:5: show: got figure, expected some of: figures; ",
        ),
        (
            document("results/a columns=acc"),
            "doc.md:5: columns: got acc, expected some of: accuracy",
        ),
        (document("results/a columns=pgd20_ece"), "doc.md:5: columns: got pgd20_ece, expected"),
        (
            document('results/a rows="one_hot; none"'),
            "doc.md:5: rows: got none, expected some of: one_hot; smoothing .1; autolabel",
        ),
        (
            document("results/a augmentations=none"),
            "doc.md:5: augmentations: got none, expected some of: augmix",
        ),
        (
            document("results/a title=x"),
            "doc.md:5: title needs exactly one table, got Figures on the test",
        ),
        (document("results/a show=intervals"), "one table, got none"),
    ],
)
def test_errors_name_the_document_the_line_and_what_would_do(root, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run_folders.regenerated(text, "doc.md", root)


def test_runs_that_no_block_shows(root):
    path = root / "doc.md"
    path.write_text(document("results/a", "\nformer\n"))
    faults = summary.update([str(path)], [str(root / "results")], root, check=False)
    assert faults == [f"{root / 'results' / 'b' / 'x'}: no tables of it in {path}"]
    assert "former" not in path.read_text()


def test_the_command_checks_and_updates(root):
    path, runs = root / "doc.md", root / "results"
    path.write_text(document(f"{runs}/a {runs}/b columns=ece show=figures"))
    arguments = ("-m", "experiments.tables", runs, f"--update={path}")
    before = path.read_text()
    checked = helpers.command(*arguments, "--check")
    assert checked.returncode == 1 and path.read_text() == before
    assert f"{path}:5: not what the run files in {runs}/a, {runs}/b give" in checked.stderr
    assert "+| augmix | autolabel | 2 | 5.00 ± 0.00 |" in checked.stderr
    assert "Traceback" not in checked.stderr
    assert helpers.command(*arguments).returncode == 0
    assert "| mixup | one_hot | 1 | 5.00 |" in path.read_text()
    assert summary.update([str(path)], [str(runs)], root, check=True) == []
    path.write_text(path.read_text().replace(f"{runs}/a {runs}/b", f"{runs}/b"))
    faults = summary.update([str(path)], [str(runs)], root, check=True)
    assert f"{runs}/a/one_hot_0: no tables of it in {path}" in faults


def test_check_needs_documents():
    done = helpers.command("-m", "experiments.tables", "results", "--check")
    assert done.returncode == 1
    assert "error: --check: needs --update=DOCUMENT,…" in done.stderr
