"""Tables against NumPy, SciPy and hand-written run folders."""

import csv
import html.parser
import io
import json
import re

import helpers
import numpy as np
import pytest
import run_folders
from scipy import stats

import autolabel_jax
from experiments.reporting import (
    cells,
    columns,
    label_names,
    numerics,
    printing,
    rendering,
    run_files,
    spreadsheet,
    summary,
)

# Three seeds where autolabel is better in each; the gap hardly varies, so the test passes.
ONE_HOT = [0.90, 0.92, 0.91]
AUTOLABEL = [0.93, 0.951, 0.939]


def write_block(root, figures=None, **common):
    """One-hot and AutoLabel runs with the accuracies above, or those given, by rule."""
    figures = figures or {"one_hot": ONE_HOT, "autolabel": AUTOLABEL}
    for rule, values in figures.items():
        for seed, value in enumerate(values):
            run_folders.write(
                root / f"{rule}_{seed}", rule=rule, seed=seed, accuracy=value, **common
            )
    return root


def read_all(*folders):
    return [run_files.read(path) for path in run_files.find([str(f) for f in folders])]


def tables_of(*folders):
    return summary.tables(*run_files.split_comparable(read_all(*folders)))


def read_csv(*folders):
    return list(
        csv.DictReader(io.StringIO(spreadsheet.as_csv(*summary.load(list(map(str, folders))))))
    )


def column(table, row, name):
    return table.rows[row][table.header.index(name)]


def test_mean_standard_deviation_and_n(tmp_path):
    table = tables_of(write_block(tmp_path))[0]
    for row, values in enumerate((ONE_HOT, AUTOLABEL)):
        expected = f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}"
        assert column(table, row, "accuracy %").text == expected
        assert column(table, row, "n").text == "3"
    names = [entry.text for entry in table.rows[0][: table.num_names]]
    assert names == ["digits", "mlp-16", "augmix", "one_hot", "300", "2"]


def test_one_seed_has_no_standard_deviation(tmp_path):
    (table,) = tables_of(run_folders.write(tmp_path / "a"))
    assert column(table, 0, "accuracy %").text == "90.00"
    assert column(table, 0, "NLL").text == "0.4000"
    assert column(table, 0, "seconds").text == "12"
    (row,) = read_csv(tmp_path / "a")
    assert row["accuracy_sd"] == ""
    assert float(row["accuracy_mean"]) == 0.9


def test_paired_difference_is_scipys(tmp_path):
    # Seeds 1, 2, 3 of autolabel have 1 and 2 in common with one-hot's 0, 1, 2 and so on.
    for seed, value in zip((0, 1, 2, 3), (0.90, 0.92, 0.91, 0.95)):
        run_folders.write(tmp_path / f"o{seed}", seed=seed, nll=value)
    for seed, value in zip((1, 2, 3, 7), (0.80, 0.85, 0.81, 0.1)):
        run_folders.write(tmp_path / f"a{seed}", rule="autolabel", seed=seed, nll=value)
    expected = stats.ttest_rel([0.80, 0.85, 0.81], [0.92, 0.91, 0.95])
    interval = expected.confidence_interval(0.95)
    row = next(r for r in read_csv(tmp_path) if r["labels"] == "autolabel")
    assert row["nll_minus_one_hot_n"] == "3"
    np.testing.assert_allclose(
        [float(row[f"nll_minus_one_hot{end}"]) for end in ("", "_low", "_high")],
        [np.mean([-0.12, -0.06, -0.14]), interval.low, interval.high],
        rtol=1e-12,
    )
    differences = tables_of(tmp_path)[1]
    text = column(differences, 0, "NLL").text
    shown = f"{-0.32 / 3:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
    assert text == shown.replace("-", "−")
    assert column(differences, 0, "n").text == "3"


def test_bold_where_scipys_paired_test_passes(tmp_path):
    assert stats.ttest_rel(AUTOLABEL, ONE_HOT).pvalue < 0.05
    table = tables_of(write_block(tmp_path))[0]
    assert column(table, 1, "accuracy %").bold
    assert not column(table, 0, "accuracy %").bold
    assert not any(column(table, row, "ECE %").bold for row in (0, 1))  # equal
    assert any("paired t test" in note for note in table.notes)


@pytest.mark.parametrize(
    "figures",
    [
        {"one_hot": [0.90, 0.92, 0.91], "autolabel": [0.93, 0.92, 0.92]},  # not significant
        {"one_hot": ONE_HOT[:2], "autolabel": [0.95, 0.97]},  # too few seeds
    ],
)
def test_not_bold_otherwise(tmp_path, figures):
    few = len(figures["one_hot"]) < 3
    assert few or stats.ttest_rel(figures["autolabel"], figures["one_hot"]).pvalue > 0.05
    table = tables_of(write_block(tmp_path, figures))[0]
    assert not any(entry.bold for row in table.rows for entry in row)


def test_lower_is_better_for_errors(tmp_path):
    for seed, gap in enumerate((0.01, 0.011, 0.012)):
        run_folders.write(tmp_path / f"o{seed}", seed=seed, ece=0.05)
        run_folders.write(tmp_path / f"a{seed}", rule="smoothing", seed=seed, ece=0.05 + gap)
    table = tables_of(tmp_path)[0]
    rules = [row[3].text for row in table.rows]
    bold = [column(table, row, "ECE %").bold for row in range(2)]
    assert bold == [rule == "one_hot" for rule in rules]


def test_the_test_agrees_with_scipy_on_random_numbers(tmp_path):
    rng = np.random.default_rng(0)
    values = {rule: rng.normal(0.9, 0.02, (20, 4)) for rule in ("one_hot", "smoothing")}
    values["smoothing"] += np.linspace(-0.06, 0.06, 20)[:, None]
    winners, expected = [], []
    for i in range(20):
        block = [
            cells.Cell(
                tuple(
                    run_files.RunRecord(tmp_path, {}, [], {"seed": s, "accuracy": v[i, s]})
                    for s in range(4)
                )
            )
            for v in values.values()
        ]
        best = cells.winner(block, "accuracy", higher=True)
        winners.append(None if best is None else block.index(best))
        pair = [v[i] for v in values.values()]
        passes = stats.ttest_rel(*pair).pvalue < 0.05
        expected.append(int(pair[1].mean() > pair[0].mean()) if passes else None)
    assert winners == expected
    assert {0, 1, None} <= set(winners)


def test_budgets_and_settings_are_never_averaged(tmp_path):
    run_folders.write(tmp_path / "a", seed=0)
    run_folders.write(tmp_path / "b", seed=1, settings={"train_examples": 100})
    run_folders.write(tmp_path / "c", seed=2, settings={"epochs": 3})
    run_folders.write(tmp_path / "d", seed=3, settings={"model__width": 32})
    run_folders.write(tmp_path / "e", seed=4, settings={"batch_size": 25})
    (table,) = tables_of(tmp_path)
    assert [column(table, row, "n").text for row in range(5)] == ["1"] * 5
    labels = [column(table, row, "labels").text for row in range(5)]
    # One data set, model and number of images together, as they come first.
    assert (
        labels == ["one_hot, batch_size=50", "one_hot", "one_hot, batch_size=25"] + ["one_hot"] * 2
    )


def test_runs_from_before_a_field_existed_stand_with_those_that_have_its_default(tmp_path):
    options = {"labels__momentum": 0.0, "labels__monotone": False, "labels__alpha_decay": 0.0}
    options |= {"labels__ece_estimate": "plugin", "labels__eta": 1.0, "accumulate": 1}
    folder = tmp_path / "runs"
    run_folders.write(folder / "old", rule="autolabel", seed=0)
    run_folders.write(folder / "new", rule="autolabel", seed=1, settings=options)
    other = options | {"labels__momentum": 0.9}
    run_folders.write(folder / "other", rule="autolabel", seed=1, settings=other)
    (block,) = cells.make(read_all(folder))
    num_runs = {cell.names["labels"]: len(cell.runs) for cell in block}
    assert num_runs == {"autolabel": 2, "autolabel, labels.momentum=0.9": 1}


@pytest.mark.parametrize(("rule", "reads"), [("bucket_temperature", True), ("one_hot", False)])
def test_a_learned_rule_reads_buckets_and_its_own_settings(tmp_path, rule, reads):
    run = run_files.read(run_folders.write(tmp_path / "a", rule=rule))
    settings = run_files.settings(run)
    for name in ("labels.eta", "buckets.num", "calibration.num_bins", "labels.update_every"):
        assert (name in settings) == reads
    assert "labels.momentum" not in settings


def test_settings_that_nothing_reads_do_not_split_a_cell(tmp_path):
    run_folders.write(tmp_path / "a", seed=0)
    unread = {"labels__alpha": 0.5, "model__depth": 10, "augment__concentration": 0.2}
    unread |= {"data_dir": "elsewhere", "name": "other", "checkpoint__keep": 5, "buckets__num": 3}
    run_folders.write(tmp_path / "b", seed=1, settings=unread)
    (table,) = tables_of(tmp_path)
    assert len(table.rows) == 1
    assert column(table, 0, "n").text == "2"


def test_step_and_alpha_of_autolabel_are_rows_of_one_block(tmp_path):
    run_folders.write(tmp_path / "o")
    for i, changes in enumerate(
        ({}, {"labels__step": "signed_gap"}, {"labels__alpha": 0.5}, {"buckets__num": 1})
    ):
        run_folders.write(tmp_path / f"a{i}", rule="autolabel", settings=changes, ece=0.04)
    figures, differences, _ = tables_of(tmp_path)
    assert [row[3].text for row in figures.rows] == [
        "one_hot",
        "autolabel, buckets.num=1",
        "autolabel, buckets.num=3",
        "autolabel, signed gap",
        "autolabel, labels.alpha=0.5",
    ]
    assert len(differences.rows) == 4
    assert {column(differences, row, "ECE %").text for row in range(4)} == {"−1.00"}


RULES = {
    "one_hot": ("one_hot", {}),
    "smoothing .05": ("smoothing", {"labels__smoothing": 0.05}),
    "smoothing .1": ("smoothing", {}),
    "autolabel": ("autolabel", {}),
    "autolabel, signed gap": ("autolabel", {"labels__step": "signed_gap"}),
    "autolabel, labels.alpha=0.5": ("autolabel", {"labels__alpha": 0.5}),
    "autolabel, signed gap, labels.alpha=0.5": (
        *("autolabel", {"labels__step": "signed_gap", "labels__alpha": 0.5}),
    ),
    "autolabel, labels.alpha=10.0": ("autolabel", {"labels__alpha": 10.0}),
    "bucket_accuracy": ("bucket_accuracy", {}),
    "polynomial": ("polynomial", {}),
    "polynomial, labels.power=4.0": ("polynomial", {"labels__power": 4.0}),
    "ccat": ("ccat", {}),
}


def test_rules_have_names_of_their_own_and_stand_in_order(tmp_path):
    methods = ("none", "augmix", "mixup", "randaugment", "adversarial")
    for i, method in enumerate(reversed(methods)):
        for j, (rule, changes) in enumerate(reversed(RULES.values())):
            settings = changes | {"augment__name": method}
            folder = tmp_path / f"{i:02}_{j:02}"
            run_folders.write(folder, rule=rule, settings=settings)
            assert label_names.name(run_files.read(folder)) == list(RULES)[-1 - j]
    rows = [(row[2].text, row[3].text) for row in tables_of(tmp_path)[0].rows]
    assert rows == [(method, name) for method in methods for name in RULES]


def test_a_run_from_before_a_field_existed_has_its_default(tmp_path):
    old = run_folders.write(tmp_path / "old", rule="autolabel", seed=0)
    run_folders.write(tmp_path / "new", rule="autolabel", seed=1)
    config = json.loads((old / "config.json").read_text())
    del config["labels"]["alpha"]
    (old / "config.json").write_text(json.dumps(config))
    (table,) = tables_of(tmp_path)
    assert len(table.rows) == 1 and column(table, 0, "labels").text == "autolabel"


def test_folders_may_be_of_different_revisions_and_are_not_averaged(tmp_path):
    for folder, revision in (("one", "a" * 40), ("two", "b" * 40)):
        for seed, rule in enumerate(("one_hot", "one_hot", "autolabel")):
            run_folders.write(
                tmp_path / folder / f"{seed}", rule=rule, seed=seed, revision=revision
            )
    run_folders.write(tmp_path / "two" / "late", seed=3, revision="c" * 40)
    figures, apart = tables_of(tmp_path)
    assert [row[3].text for row in figures.rows] == [
        *(f"{rule}, revision=aaaaaaa" for rule in ("one_hot", "autolabel")),
        *(f"{rule}, revision=bbbbbbb" for rule in ("one_hot", "autolabel")),
    ]
    assert [column(figures, row, "n").text for row in range(4)] == ["2", "1"] * 2
    assert [row[0].text for row in apart.rows] == [str(tmp_path / "two" / "late")]
    assert apart.rows[0][1].text == (
        f"of numerics version 0, revision {'c' * 40}, "
        f"the others are of numerics version 0, revision {'b' * 40}"
    )


def test_a_repeated_run_counts_once(tmp_path):
    one = run_folders.write(tmp_path / "one", seed=5, accuracy=0.8)
    run_folders.write(tmp_path / "same", seed=5, accuracy=0.8)
    run_folders.write(tmp_path / "unlike", seed=5, accuracy=0.7)
    run_folders.write(tmp_path / "other", seed=6, accuracy=0.9)
    metrics, excluded = tables_of(tmp_path)[0], tables_of(tmp_path)[-1]
    assert column(metrics, 0, "n").text == "2"
    assert column(metrics, 0, "accuracy %").text.startswith("85.00")
    assert [(row[0].text, row[1].text) for row in excluded.rows] == [
        (str(tmp_path / name), f"repeats config and seed of {one}, with {what}; counted once")
        for name, what in (("same", "the same metrics"), ("unlike", "other metrics"))
    ]


def test_the_same_folder_given_twice_counts_once(tmp_path):
    folder = run_folders.write(tmp_path / "a")
    assert len(run_files.find([str(folder), f"{folder}/", str(tmp_path)])) == 1


NAN_LINES = [run_folders.line(0), run_folders.line(1, train_loss=None)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"finished": False}, "not finished: no result.json; 2 of 2 epochs"),
        ({"lines": [run_folders.line(0)]}, "not finished: 1 of 2 epochs in metrics.jsonl"),
        ({"nll": float("nan")}, "not finite in result.json: nll"),
        ({"corrupted_ece": float("inf")}, "not finite in result.json: corrupted_ece"),
        ({"corrupted_ece_by_severity": [0.1, float("nan")]}, "corrupted_ece_by_severity"),
        ({"accuracy": None}, "result.json lacks accuracy"),
        ({"lines": NAN_LINES}, "not finite in epoch 2 of metrics.jsonl: train_loss"),
        ({"revision": "b" * 40}, f"of numerics version 0, revision {'b' * 40}, the others are of"),
        ({"numerics_version": 3}, "of numerics version 3, the others are of numerics version 0, r"),
    ],
)
def test_what_does_not_count_is_listed_apart(tmp_path, changes, reason):
    for seed in (0, 1):
        run_folders.write(tmp_path / f"good_{seed}", seed=seed, accuracy=0.5)
    bad = run_folders.write(tmp_path / "bad", **({"seed": 2, "accuracy": 0.9} | changes))
    figures, apart = tables_of(tmp_path)
    assert column(figures, 0, "accuracy %").text == "50.00 ± 0.00"
    assert column(figures, 0, "n").text == "2"
    assert apart.title == "Runs left out"
    ((folder, why),) = apart.rows
    assert folder.text == str(bad)
    assert reason in why.text
    last = read_csv(tmp_path)[-1]
    assert last["run"] == str(bad) and reason in last["left_out"] and not last["accuracy_mean"]


def test_a_result_cut_off_is_listed_apart(tmp_path):
    folder = run_folders.write(tmp_path / "a")
    (folder / "result.json").write_text('{"accuracy": 0.')
    (apart,) = tables_of(folder)
    assert "its result.json cannot be read" in apart.rows[0][1].text


def test_an_empty_bucket_is_no_fault(tmp_path):
    lines = [run_folders.line(epoch, bucket_accuracy=[0.9, None, 0.7]) for epoch in (0, 1)]
    assert len(tables_of(run_folders.write(tmp_path / "a", lines=lines))) == 1


def test_dirty_revisions_are_marked(tmp_path):
    for seed in (0, 1):
        run_folders.write(tmp_path / f"{seed}", seed=seed, revision="c0ffee-dirty")
    (table,) = tables_of(tmp_path)
    assert column(table, 0, "labels").text == "one_hot †"
    assert any(note.startswith("† ") and "c0ffee-dirty" in note for note in table.notes)


def test_a_dirty_run_stands_with_those_of_its_commit(tmp_path):
    for seed, end in enumerate(("", "-dirty", "-dirty")):
        run_folders.write(tmp_path / f"{seed}", seed=seed, revision="c0ffee" + end)
    (table,) = tables_of(tmp_path)
    assert column(table, 0, "n").text == "3"
    (row,) = read_csv(tmp_path)
    assert row["revision"] == "c0ffee c0ffee-dirty"


def test_runs_of_other_revisions_compare_where_the_numerics_version_agrees(tmp_path):
    (known, version) = list(numerics.VERSIONS.items())[-1]
    run_folders.write(tmp_path / "old", seed=0, revision=known)
    run_folders.write(tmp_path / "new", seed=1, revision="b" * 40, numerics_version=version)
    (table,) = tables_of(tmp_path)
    assert column(table, 0, "n").text == "2"
    assert column(table, 0, "labels").text == "one_hot"


def test_of_two_equally_common_numerics_versions_the_newest_counts(tmp_path):
    for seed, version in enumerate((1, 2, 1, 2)):
        run_folders.write(tmp_path / f"{seed}", seed=seed, numerics_version=version)
    figures, apart = tables_of(tmp_path)
    assert [row[0].text for row in apart.rows] == [str(tmp_path / name) for name in ("0", "2")]
    assert "of numerics version 1, the others are of numerics version 2" in apart.rows[0][1].text
    (row, *_) = read_csv(tmp_path)
    assert row["numerics_version"] == "2" and row["seeds"] == "1 3"


def test_old_versions_are_not_above_todays():
    versions = list(numerics.VERSIONS.values())
    assert versions == sorted(versions) and versions[0] == 1
    assert versions[-1] <= autolabel_jax.NUMERICS_VERSION


def test_a_figure_that_only_some_seeds_have_says_so(tmp_path):
    run_folders.write(tmp_path / "a", seed=0, adversarial_accuracy=0.4)
    run_folders.write(tmp_path / "b", seed=1)
    run_folders.write(tmp_path / "c", seed=2, adversarial_accuracy=0.5, pgd20_accuracy=0.5)
    clean, attacked = tables_of(tmp_path)
    assert attacked.title == "Figures on attacked test images"
    assert column(attacked, 0, "n").text == "2"
    assert column(attacked, 0, "adversarial acc %").text == "45.00 ± 7.07"
    assert column(attacked, 0, "PGD-20 acc %").text == "50.00 (n=1)"
    assert column(clean, 0, "n").text == "3"
    assert "adversarial acc %" not in clean.header


FULL = {"train_examples": 0, "dataset": "cifar10", "model__name": "wide_resnet"}
FULL |= {"model__width": 10, "augment__name": "none"}


def test_the_published_figure_stands_beside_ours(tmp_path):
    settings = {"settings": FULL, "train_examples": 45000, "corrupted_accuracy": 0.7}
    run_folders.write(tmp_path / "o", **settings)
    run_folders.write(tmp_path / "a", rule="autolabel", **settings)
    clean, corrupted = tables_of(tmp_path)[:2]
    shown = ("accuracy 96.0, ECE 2.31 [1]", "corrupted acc 76.1, corrupted ECE 15.3 [1]")
    for table, expected in zip((clean, corrupted), shown):
        cell = {row[3].text: row[-1].text for row in table.rows}
        assert cell == {"one_hot": expected, "autolabel": ""}
        notes = [note for note in table.notes if note.startswith("[1]")]
        assert len(notes) == 1 and "uncertainty-baselines, baselines/cifar/README" in notes[0]
    row = next(row for row in read_csv(tmp_path) if row["labels"] == "one_hot")
    assert float(row["published_ece"]) == 0.0231


@pytest.mark.parametrize("changes", [{"train_examples": 5000}, {"model__width": 4}])
def test_nothing_published_beside_another_budget_or_model(tmp_path, changes):
    (table,) = tables_of(run_folders.write(tmp_path / "o", settings=FULL | changes))
    assert table.rows[0][-1].text == ""


def test_csv_is_fractions_in_full_precision(tmp_path):
    rows = read_csv(write_block(tmp_path))
    values = {row["labels"]: row for row in rows}
    assert float(values["autolabel"]["accuracy_mean"]) == np.mean(AUTOLABEL)
    assert float(values["autolabel"]["accuracy_sd"]) == np.std(AUTOLABEL, ddof=1)
    assert values["autolabel"]["seeds"] == "0 1 2"
    assert "seconds_minus_one_hot" not in rows[0]


NASTY = "a|b & 50% <i>_x_</i> #{$\\~^} ± 'q' \"r\""
TABLE = rendering.Table(
    title=NASTY,
    header=("name", "figure %"),
    rows=((rendering.Entry(NASTY), rendering.Entry("1.5", bold=True)),),
    num_names=1,
    notes=("<b>a note</b>",),
)


class Collector(html.parser.HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_intervals_of_a_run_that_is_alone_stand_in_a_table_of_their_own(tmp_path):
    with_them = {
        **{"accuracy_interval": [0.885, 0.912], "nll_ts_interval": [0.3, 0.35]},
        **{"pgd20_accuracy": 0.25, "pgd20_ece": 0.5, "accuracy_vs": 0.91},
    }
    plain = run_folders.write(tmp_path / "plain", seed=0)
    run_folders.write(tmp_path / "more", seed=1, accuracy=0.9, nll_ts=0.32, **with_them)
    assert [table.title for table in tables_of(plain)] == ["Figures on the test set"]
    two_seeds = [table.title for table in tables_of(tmp_path)]
    assert two_seeds == ["Figures on the test set", "Figures on attacked test images"]
    figures, attacked, intervals = tables_of(tmp_path / "more")
    assert intervals.title == "95 % intervals over the test images, of single seeds"
    assert len(intervals.rows) == 1
    assert column(intervals, 0, "seed").text == "1"
    assert column(intervals, 0, "accuracy %").text == "90.00 [88.50, 91.20]"
    assert column(intervals, 0, "NLL (TS)").text == "0.3200 [0.3000, 0.3500]"
    assert "ECE %" not in intervals.header
    assert any("bootstrap resamples of the test images" in note for note in intervals.notes)
    assert column(attacked, 0, "PGD-20 ECE %").text == "50.00"
    assert column(figures, 0, "accuracy % (VS)").text == "91.00"
    assert any(note.startswith("VS: after vector scaling") for note in figures.notes)
    rows = read_csv(tmp_path / "more")
    assert (rows[0]["accuracy_low"], rows[0]["accuracy_high"]) == ("0.885", "0.912")
    assert "accuracy_low" not in read_csv(plain)[0]


def test_the_best_accuracy_after_vector_scaling_is_the_highest(tmp_path):
    figures = {"one_hot": ONE_HOT, "autolabel": AUTOLABEL}
    for rule, values in figures.items():
        for seed, value in enumerate(values):
            path = tmp_path / f"{rule}_{seed}"
            run_folders.write(path, rule=rule, seed=seed, accuracy_vs=value, ece_vs=1 - value)
    table = tables_of(tmp_path)[0]
    for name in ("accuracy % (VS)", "ECE % (VS)"):
        assert [column(table, row, name).bold for row in (0, 1)] == [False, True]


def test_superclasses_have_columns_of_their_own_and_a_note(tmp_path):
    figures = {"superclass_accuracy": 0.8, "superclass_ece": 0.1, "superclass_ece_ts": 0.05}
    plain = run_folders.write(tmp_path / "plain", seed=0)
    run_folders.write(tmp_path / "fine", seed=1, **figures)
    (table,) = tables_of(tmp_path)
    for name, text in (("acc %", "80.00"), ("ECE %", "10.00"), ("ECE % (TS)", "5.00")):
        assert column(table, 0, f"superclass {name}").text == f"{text} (n=1)"
    assert summary.SUPERCLASS in table.notes
    assert summary.SUPERCLASS not in tables_of(plain)[0].notes


def test_html_is_escaped():
    page = Collector(rendering.html([TABLE], title=NASTY))
    assert "i" not in page.tags
    assert page.text.count(NASTY) == 4  # title, heading, caption, cell
    assert "<b>a note</b>" in page.text
    assert page.tags.count("b") == 1 and page.tags.count("table") == 1


def test_markdown_has_one_pipe_a_column():
    lines = rendering.markdown([TABLE]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[1] == "|---|---:|"
    assert rows[2].endswith("| **1.5** |")
    assert "<i>" not in rows[2]


def test_latex_is_escaped_and_uses_booktabs():
    text = rendering.latex([TABLE])
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lr}"):
        assert text.count(rule) == 1
    special = r"a|b \& 50\% \textless{}i\textgreater{}\_x\_\textless{}/i\textgreater{} \#\{\$"
    special += r"\textbackslash{}\textasciitilde{}\textasciicircum{}\} $\pm$ 'q' " + '"r"'
    assert f"{special} & \\textbf{{1.5}} \\\\" in text
    assert text.count("{") == text.count("}")


def test_columns_agree_with_those_of_a_single_run():
    for name, shown in columns.COLUMNS.items():
        assert printing.COLUMNS.get(name, shown) == shown
    assert {"accuracy", "ece", "nll", "brier", "ece_ts"} <= columns.COLUMNS.keys()


def test_the_command_writes_every_format(tmp_path):
    write_block(tmp_path / "runs")
    folders = sorted(map(str, (tmp_path / "runs").iterdir()))
    done = helpers.command(
        *("-m", "experiments.tables", *folders, "--format=markdown,latex,csv,html"),
        f"--out={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tables.md", "tables.tex", "tables.csv", "tables.html"}
    for name in names - {"tables.csv"}:
        assert "94.00 ± 1.05" in (tmp_path / "out" / name).read_text().replace(r"$\pm$", "±")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run given"),
        (["{tmp}/missing"], "{tmp}/missing: no such folder"),
        (["{tmp}"], "{tmp}: found no config.json there"),
    ],
)
def test_errors_name_the_folder(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message.format(tmp=tmp_path))):
        run_files.find([a.format(tmp=tmp_path) for a in arguments])


def test_a_config_that_is_no_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}: config.json cannot be read"):
        read_all(tmp_path)


def test_the_command_says_what_is_wrong(tmp_path):
    done = helpers.command("-m", "experiments.tables", tmp_path, "--format=markdown,word")
    assert done.returncode == 1
    assert "--format: got ['word'], expected some of: markdown, latex, csv, html" in done.stderr
    assert "Traceback" not in done.stderr


def test_hand_written_folders_are_like_real_ones():
    """What the folders here lack of a real config is nothing that tables read."""
    from configs import base

    real = json.loads(base.base().to_json())
    for name, value in run_folders.CONFIG.items():
        inner = isinstance(value, dict)
        assert value.keys() <= real[name].keys() if inner else name in real
