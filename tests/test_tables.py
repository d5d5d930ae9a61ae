"""Tables against NumPy, SciPy and hand-written run folders."""

import html
import io
import json
import re
import warnings

import helpers
import numpy as np
import pandas as pd
import pytest
import run_folders
from run_folders import bold, column
from scipy import stats

import autolabel_jax
from experiments.reporting import frame as frames
from experiments.reporting import naming, rendering, run_files, summary
from experiments.reporting.naming import HEADERS, NOTES

# Three seeds where autolabel is better in each; the gap hardly varies, so the test passes.
ONE_HOT = [0.90, 0.92, 0.91]
AUTOLABEL = [0.93, 0.951, 0.939]


def write_block(root, figures=None, name="accuracy", **common):
    """One-hot and AutoLabel runs with the metric above, or those given, by rule."""
    for rule, values in (figures or {"one_hot": ONE_HOT, "autolabel": AUTOLABEL}).items():
        for seed, value in enumerate(values):
            given = common | {name: value}
            run_folders.write(root / f"{rule}_{seed}", rule=rule, seed=seed, **given)
    return root


def tables_of(folder):
    return summary.tables(*frames.load([str(folder)]))


def read_csv(folder):
    text = summary.as_csv(*frames.load([str(folder)]))
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def test_mean_standard_deviation_and_n(tmp_path):
    table = tables_of(write_block(tmp_path))[0]
    for row, values in enumerate((ONE_HOT, AUTOLABEL)):
        expected = f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}"
        assert column(table, "accuracy %")[row] == expected
    assert column(table, "n") == ["3", "3"]
    found = read_csv(tmp_path).set_index(["labels", "metric"]).loc[("autolabel", "accuracy")]
    # Fractions in full precision.
    assert float(found["mean"]) == pytest.approx(np.mean(AUTOLABEL), rel=1e-15)
    assert float(found["std"]) == pytest.approx(np.std(AUTOLABEL, ddof=1), rel=1e-14)
    assert found["seeds"] == "0 1 2"
    assert table.body.index[0] == ("digits", "mlp-16", "augmix", "one_hot", "300", "2")


def test_one_seed_has_no_standard_deviation(tmp_path):
    (table,) = tables_of(run_folders.write(tmp_path / "a"))
    shown = [column(table, name) for name in ("accuracy %", "NLL", "seconds")]
    assert shown == [["90.00"], ["0.4000"], ["12"]]
    row = read_csv(tmp_path / "a").set_index("metric").loc["accuracy"]
    assert (row["std"], float(row["mean"])) == ("", 0.9)


def test_paired_difference_is_scipys(tmp_path):
    # Seeds 1, 2, 3 of autolabel have 1 and 2 in common with one-hot's 0, 1, 2 and so on.
    for seed, value in zip((0, 1, 2, 3), (0.90, 0.92, 0.91, 0.95)):
        run_folders.write(tmp_path / f"o{seed}", seed=seed, nll=value)
    for seed, value in zip((1, 2, 3, 7), (0.80, 0.85, 0.81, 0.1)):
        run_folders.write(tmp_path / f"a{seed}", rule="autolabel", seed=seed, nll=value)
    expected = stats.ttest_rel([0.80, 0.85, 0.81], [0.92, 0.91, 0.95])
    interval = expected.confidence_interval(0.95)
    rows = read_csv(tmp_path).query("labels == 'autolabel'").set_index("metric")
    assert rows.loc["nll", "minus_one_hot_count"] == "3"
    assert rows.loc["seconds", "minus_one_hot_mean"] == ""
    np.testing.assert_allclose(
        [float(rows.loc["nll", f"minus_one_hot_{end}"]) for end in ("mean", "low", "high")],
        [np.mean([-0.12, -0.06, -0.14]), interval.low, interval.high],
        rtol=1e-12,
    )
    differences = tables_of(tmp_path)[1]
    shown = f"{-0.32 / 3:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
    assert column(differences, "NLL") == [shown.replace("-", "−")]
    assert column(differences, "n") == ["3"]


def test_bold_where_scipys_paired_test_passes(tmp_path):
    assert stats.ttest_rel(AUTOLABEL, ONE_HOT).pvalue < 0.05
    table = tables_of(write_block(tmp_path))[0]
    assert bold(table, "accuracy %") == [False, True]
    assert bold(table, "ECE %") == [False, False]  # equal
    assert any("paired t test" in note for note in table.notes)


@pytest.mark.parametrize(
    ("name", "header", "figures", "expected"),
    [
        ("ece", "ECE %", {"one_hot": ONE_HOT, "smoothing": AUTOLABEL}, [True, False]),
        ("ece_vs", "ECE % (VS)", {"one_hot": ONE_HOT, "smoothing": AUTOLABEL}, [True, False]),
        ("accuracy_vs", "accuracy % (VS)", {}, [False, True]),
        # Not significant, and too few seeds.
        ("accuracy", "accuracy %", {"one_hot": ONE_HOT, "autolabel": [0.93, 0.92, 0.92]}, []),
        ("accuracy", "accuracy %", {"one_hot": ONE_HOT[:2], "autolabel": [0.95, 0.97]}, []),
    ],
)
def test_what_is_best_of_each_metric(tmp_path, name, header, figures, expected):
    table = tables_of(write_block(tmp_path, figures, name))[0]
    assert bold(table, header) == (expected or [False, False])


def test_the_test_agrees_with_scipy_on_random_numbers():
    rng = np.random.default_rng(0)
    values = rng.normal(0.9, 0.02, (20, 2, 4))
    values[:, 1] += np.linspace(-0.06, 0.06, 20)[:, None]
    block, cell, seed = np.indices(values.shape).reshape(3, -1)
    frame = pd.DataFrame({"block": block, "cell": 2 * block + cell, "seed": seed})
    found = frames.best(frame.assign(accuracy=values.reshape(-1)), ["accuracy"])
    passes = np.array([stats.ttest_rel(*pair).pvalue < 0.05 for pair in values])
    is_higher = np.stack([values.mean(2).argmax(1) == i for i in (0, 1)], axis=1)
    expected = passes[:, None] & is_higher
    assert found == {(2 * i + j, "accuracy") for i, j in np.argwhere(expected)}
    assert expected.any(0).all() and not passes.all()


def test_budgets_and_settings_are_never_averaged(tmp_path):
    changes = ({}, {"train_examples": 100}, {"epochs": 3}, {"model__width": 32}, {"batch_size": 25})
    for seed, settings in enumerate(changes):
        run_folders.write(tmp_path / f"{seed}", seed=seed, settings=settings)
    (table,) = tables_of(tmp_path)
    assert column(table, "n") == ["1"] * 5
    # One data set, model and number of images together, as they come first.
    expected = ["one_hot, batch_size=50", "one_hot", "one_hot, batch_size=25", "one_hot", "one_hot"]
    assert column(table, "labels") == expected


def test_runs_from_before_a_field_existed_stand_with_those_that_have_its_default(tmp_path):
    options = {"labels__momentum": 0.0, "labels__monotone": False, "labels__alpha_decay": 0.0}
    options |= {"labels__ece_estimate": "plugin", "labels__eta": 1.0, "accumulate": 1}
    old = run_folders.write(tmp_path / "old", rule="autolabel", seed=0)
    config = json.loads((old / "config.json").read_text())
    del config["labels"]["alpha"]
    (old / "config.json").write_text(json.dumps(config))
    run_folders.write(tmp_path / "new", rule="autolabel", seed=1, settings=options)
    other = options | {"labels__momentum": 0.9}
    run_folders.write(tmp_path / "other", rule="autolabel", seed=1, settings=other)
    (table,) = tables_of(tmp_path)
    assert column(table, "labels") == ["autolabel", "autolabel, labels.momentum=0.9"]
    assert column(table, "n") == ["2", "1"]


@pytest.mark.parametrize(("rule", "reads"), [("bucket_temperature", True), ("one_hot", False)])
def test_a_learned_rule_reads_buckets_and_its_own_settings(tmp_path, rule, reads):
    settings = run_files.read(run_folders.write(tmp_path / "a", rule=rule)).settings
    for name in ("labels.eta", "buckets.num", "calibration.num_bins", "labels.update_every"):
        assert (name in settings) == reads
    assert "labels.momentum" not in settings


def test_settings_that_nothing_reads_do_not_split_a_cell(tmp_path):
    run_folders.write(tmp_path / "a", seed=0)
    unread = {"labels__alpha": 0.5, "model__depth": 10, "augment__concentration": 0.2}
    unread |= {"data_dir": "elsewhere", "name": "other", "checkpoint__keep": 5, "buckets__num": 3}
    run_folders.write(tmp_path / "b", seed=1, settings=unread)
    (table,) = tables_of(tmp_path)
    assert column(table, "n") == ["2"]


def test_step_and_alpha_of_autolabel_are_rows_of_one_block(tmp_path):
    run_folders.write(tmp_path / "o")
    for i, changes in enumerate(
        ({}, {"labels__step": "signed_gap"}, {"labels__alpha": 0.5}, {"buckets__num": 1})
    ):
        run_folders.write(tmp_path / f"a{i}", rule="autolabel", settings=changes, ece=0.04)
    figures, differences, _ = tables_of(tmp_path)
    assert column(figures, "labels") == [
        *("one_hot", "autolabel, buckets.num=1", "autolabel, buckets.num=3"),
        *("autolabel, signed gap", "autolabel, labels.alpha=0.5"),
    ]
    assert column(differences, "ECE %") == ["−1.00"] * 4


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
    names = ("none", "mixup", "adversarial")
    for i, method in enumerate(reversed(names)):
        for j, (rule, changes) in enumerate(reversed(RULES.values())):
            settings = changes | {"augment__name": method}
            folder = tmp_path / f"{i:02}_{j:02}"
            run_folders.write(folder, rule=rule, settings=settings)
            own, _ = naming.label_names(rule, run_files.read(folder).settings)
            assert own == list(RULES)[-1 - j]
    table = tables_of(tmp_path)[0]
    rows = list(zip(column(table, "augmentation"), column(table, "labels")))
    assert rows == [(method, name) for method in names for name in RULES]


def test_folders_may_be_of_different_revisions_and_are_not_averaged(tmp_path):
    for folder, revision in (("one", "a" * 40), ("two", "b" * 40)):
        for seed, rule in enumerate(("one_hot", "one_hot", "autolabel")):
            path = tmp_path / folder / f"{seed}"
            run_folders.write(path, rule=rule, seed=seed, revision=revision)
    late = run_folders.write(tmp_path / "two" / "late", seed=3, revision="c" * 40)
    figures, apart = tables_of(tmp_path)
    assert column(figures, "labels") == [
        *(f"{rule}, revision=aaaaaaa" for rule in ("one_hot", "autolabel")),
        *(f"{rule}, revision=bbbbbbb" for rule in ("one_hot", "autolabel")),
    ]
    assert column(figures, "n") == ["2", "1"] * 2
    of = "of numerics version 0, revision"
    reason = f"{of} {'c' * 40}, the others are {of} {'b' * 40}"
    assert apart.body.index.tolist() == [(str(late), reason)]


def test_a_repeated_run_counts_once(tmp_path):
    one = run_folders.write(tmp_path / "one", seed=5, accuracy=0.8)
    run_folders.write(tmp_path / "same", seed=5, accuracy=0.8)
    run_folders.write(tmp_path / "unlike", seed=5, accuracy=0.7)
    run_folders.write(tmp_path / "other", seed=6, accuracy=0.9)
    metrics, excluded = tables_of(tmp_path)
    assert column(metrics, "n") == ["2"]
    assert column(metrics, "accuracy %")[0].startswith("85.00")
    assert excluded.body.index.tolist() == [
        (str(tmp_path / name), f"repeats config and seed of {one}, with {what}; counted once")
        for name, what in (("same", "the same metrics"), ("unlike", "other metrics"))
    ]
    assert len(run_files.load([str(one), f"{one}/", str(tmp_path)])) == 4


def bad(file, text):
    return lambda folder: (folder / file).write_bytes(text)


def changed(file, name, value):
    def change(folder):
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return change


NAN_LINES = [run_folders.line(0), run_folders.line(1, train_loss=None)]
RESULT, CONFIG, LINES = "result.json", "config.json", "metrics.jsonl"


SPOILED = [
    ({"finished": False}, "not finished: no result.json; 2 of 2 epochs in metrics.jsonl; run"),
    ({"lines": [run_folders.line(0)]}, "not finished: 1 of 2 epochs in metrics.jsonl; run its"),
    ({"nll": float("nan")}, "wrong type, in result.json: nll"),
    (
        {"corrupted_ece": float("inf")},
        "wrong type, in result.json: corrupted_ece",
    ),
    ({"corrupted_ece_by_severity": [0.1, float("nan")]}, "corrupted_ece_by_severity"),
    ({"accuracy": None}, "result.json lacks accuracy"),
    ({"lines": NAN_LINES}, "not finite in epoch 2 of metrics.jsonl: train_loss"),
    ({"revision": "b" * 40}, f"of numerics version 0, revision {'b' * 40}, the others are of"),
    ({"numerics_version": 3}, "of numerics version 3, the others are of numerics version 0, r"),
    (bad(RESULT, b'{"accuracy": 0.'), "its result.json cannot be read as a JSON object"),
    (bad(RESULT, b""), "its result.json cannot be read as a JSON object; restore the file"),
    (bad(RESULT, b"[]"), "its result.json cannot be read"),
    (bad(RESULT, b'{"\xff": 1}'), "its result.json cannot be read"),
    (bad(CONFIG, b"{"), "its config.json cannot be read as a JSON object; restore the file"),
    (bad(CONFIG, b"\xff\xfe"), "its config.json cannot be read"),
    (bad(CONFIG, b"3"), "its config.json cannot be read"),
    (bad(CONFIG, b"{}"), "config.json lacks dataset, epochs, model.name, augment.name"),
    (bad(LINES, b"\xff\n"), "not finished: 0 of 2 epochs in metrics.jsonl"),
    (bad(LINES, b"1\n2\n"), "not finished: 0 of 2 epochs in metrics.jsonl"),
    (bad(LINES, b""), "not finished: 0 of 2 epochs"),
    (bad(LINES, b'{"label_confidence": "a"}\n{}'), "not finite in epoch 1"),
    (
        changed(RESULT, "accuracy", "high"),
        "wrong type, in result.json: accuracy",
    ),
    (
        changed(RESULT, "train_examples", ["a"]),
        "wrong type, in result.json: train_examples",
    ),
    (
        changed(RESULT, "ece_ts", "low"),
        "wrong type, in result.json: ece_ts",
    ),
    (changed(RESULT, "label_rule", None), "in result.json: label_rule"),
]


def test_what_does_not_count_is_listed_apart(tmp_path):
    for seed in (0, 1):
        run_folders.write(tmp_path / f"good_{seed}", seed=seed, accuracy=0.5)
    reasons = {}
    for i, (spoil, reason) in enumerate(SPOILED):
        changes = spoil if isinstance(spoil, dict) else {}
        given = {"seed": 2 + i, "accuracy": 0.9} | changes
        folder = run_folders.write(tmp_path / f"bad_{i}", **given)
        if not changes:
            spoil(folder)
        reasons[str(folder)] = reason
    figures, apart = tables_of(tmp_path)
    assert column(figures, "accuracy %") == ["50.00 ± 0.00"] and column(figures, "n") == ["2"]
    assert apart.title == "Runs left out"
    rows = read_csv(tmp_path).query("left_out != ''")
    assert (rows["mean"] == "").all()
    for found in (apart.body.index, zip(rows["run"], rows["left_out"], strict=True)):
        found = dict(found)
        assert found.keys() == reasons.keys()
        for folder, reason in reasons.items():
            assert reason in found[folder]


def test_no_run_that_counts_and_an_empty_bucket(tmp_path):
    lines = [run_folders.line(epoch, bucket_accuracy=[0.9, None, 0.7]) for epoch in (0, 1)]
    assert len(tables_of(run_folders.write(tmp_path / "a", lines=lines))) == 1
    begun = run_folders.write(tmp_path / "begun", finished=False)
    assert [table.title for table in tables_of(begun)] == ["Runs left out"]
    assert read_csv(begun)["run"].tolist() == [str(begun)]


def test_a_dirty_run_stands_with_those_of_its_commit_and_is_marked(tmp_path):
    for seed, end in enumerate(("", "-dirty", "-dirty")):
        run_folders.write(tmp_path / f"{seed}", seed=seed, revision="c0ffee" + end)
    (table,) = tables_of(tmp_path)
    assert column(table, "labels") == ["one_hot †"] and column(table, "n") == ["3"]
    assert any(note.startswith("† ") and "c0ffee-dirty" in note for note in table.notes)
    assert set(read_csv(tmp_path)["revisions"]) == {"c0ffee c0ffee-dirty"}


def test_runs_of_other_revisions_compare_where_the_numerics_version_agrees(tmp_path):
    (known, version) = list(run_files.VERSIONS.items())[-1]
    run_folders.write(tmp_path / "old", seed=0, revision=known)
    run_folders.write(tmp_path / "new", seed=1, revision="b" * 40, numerics_version=version)
    (table,) = tables_of(tmp_path)
    assert column(table, "n") == ["2"] and column(table, "labels") == ["one_hot"]


def test_of_two_equally_common_numerics_versions_the_newest_counts(tmp_path):
    for seed, version in enumerate((1, 2, 1, 2)):
        run_folders.write(tmp_path / f"{seed}", seed=seed, numerics_version=version)
    apart = tables_of(tmp_path)[1]
    assert column(apart, "run") == [str(tmp_path / name) for name in ("0", "2")]
    reason = "of numerics version 1, the others are of numerics version 2"
    assert column(apart, "reason") == [reason] * 2
    assert read_csv(tmp_path)["seeds"][0] == "1 3"


def test_old_versions_are_not_above_todays():
    versions = list(run_files.VERSIONS.values())
    assert versions == sorted(versions) and versions[0] == 1
    assert versions[-1] <= autolabel_jax.NUMERICS_VERSION


def test_a_figure_that_only_some_seeds_have_says_so(tmp_path):
    run_folders.write(tmp_path / "a", seed=0, adversarial_accuracy=0.4)
    run_folders.write(tmp_path / "b", seed=1)
    run_folders.write(tmp_path / "c", seed=2, adversarial_accuracy=0.5, pgd20_accuracy=0.5)
    clean, attacked = tables_of(tmp_path)
    assert attacked.title == "Figures on attacked test images"
    assert column(attacked, "adversarial acc %") == ["45.00 ± 7.07"]
    assert column(attacked, "PGD-20 acc %") == ["50.00 (n=1)"]
    assert (column(attacked, "n"), column(clean, "n")) == (["2"], ["3"])
    assert "adversarial acc %" not in clean.body


FULL = {"train_examples": 0, "dataset": "cifar10", "model__name": "wide_resnet"}
FULL |= {"model__width": 10, "augment__name": "none"}


def test_the_published_figure_stands_beside_ours(tmp_path):
    settings = {"settings": FULL, "train_examples": 45000, "corrupted_accuracy": 0.7}
    run_folders.write(tmp_path / "o", **settings, fgsm_accuracy=0.1)
    run_folders.write(tmp_path / "a", rule="autolabel", **settings)
    clean, corrupted, attacked = tables_of(tmp_path)[:3]
    shown = ("accuracy 96.0, ECE 2.31 [1]", "corrupted acc 76.1, corrupted ECE 15.3 [1]")
    for table, expected in zip((clean, corrupted), shown):
        assert column(table, "labels") == ["one_hot", "autolabel"]
        assert column(table, "published") == [expected, ""]
        notes = [note for note in table.notes if note.startswith("[1]")]
        assert len(notes) == 1 and "uncertainty-baselines, baselines/cifar/README" in notes[0]
    assert "published" not in attacked.body and NOTES["paper"] not in attacked.notes


def test_csv_runs_no_formula(tmp_path):
    names = ("=1+1", "+a", "-a", "@a", "plain", "-0.5")
    for seed, name in enumerate(names):
        settings = {"model__width": 16 + seed}
        run_folders.write(tmp_path / name, dataset=name, nll=-0.5, settings=settings)
    rows = read_csv(tmp_path)
    assert set(rows["dataset"]) == {"'=1+1", "'+a", "'-a", "'@a", "plain", "-0.5"}
    assert set(rows.loc[rows["metric"] == "nll", "mean"]) == {"-0.5"}


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
    assert column(intervals, "seed") == ["1"] and "ECE %" not in intervals.body
    assert column(intervals, "accuracy %") == ["90.00 [88.50, 91.20]"]
    assert column(intervals, "NLL (TS)") == ["0.3200 [0.3000, 0.3500]"]
    assert any("bootstrap resamples of the test images" in note for note in intervals.notes)
    assert column(attacked, "PGD-20 ECE %") == ["50.00"]
    assert column(figures, "accuracy % (VS)") == ["91.00"] and NOTES["vs"] in figures.notes


def test_superclasses_have_columns_of_their_own_and_a_note(tmp_path):
    run_folders.write(tmp_path / "plain", seed=0)
    assert NOTES["superclass"] not in tables_of(tmp_path)[0].notes
    run_folders.write(tmp_path / "fine", seed=1, superclass_accuracy=0.8, superclass_ece_ts=0.05)
    (table,) = tables_of(tmp_path)
    assert column(table, "superclass acc %") == ["80.00 (n=1)"]
    assert column(table, "superclass ECE % (TS)") == ["5.00 (n=1)"]
    assert NOTES["superclass"] in table.notes


NASTY = "a|b & 50% <i>_x_</i> #{$\\~^} ± 'q' \"r\""
TABLE = rendering.Table(
    title=NASTY,
    body=pd.DataFrame({"name": [NASTY, "b"], "figure %": ["\x021.5\x03", "2"]}).set_index("name"),
    notes=("<b>a note</b>",),
)


def test_html_is_escaped():
    page = rendering.html([TABLE], title=NASTY).replace("\xa0", " ")
    escaped = html.escape(NASTY).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    assert page.count(f">{escaped}<") == 4  # title, heading, caption, cell
    assert "<li>&lt;b&gt;a note&lt;/b&gt;</li>" in page and "<i>" not in page
    assert page.count("<b>") == page.count("<b>1.5</b>") == page.count("<table>") == 1


def test_markdown_has_one_pipe_a_column():
    lines = rendering.markdown([TABLE]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[1] == "|---|---:|"
    assert rows[2].endswith("| **1.5** |") and "<i>" not in rows[2]


def test_latex_is_escaped_and_uses_booktabs():
    text = rendering.latex([TABLE])
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lr}", r"\caption{a|b"):
        assert text.count(rule) == 1
    special = r"a|b \& 50\% \textless{}i\textgreater{}\_x\_\textless{}/i\textgreater{} \#\{\$"
    special += r"\textbackslash{}\textasciitilde{}\textasciicircum{}\} $\pm$ 'q' " + '"r"'
    assert f"{special} & \\textbf{{1.5}} \\\\" in text
    assert text.count("{") == text.count("}")


def test_text_fits_its_width_without_cutting_a_number(tmp_path):
    tables = tables_of(write_block(tmp_path))
    for wide in (40, 60, 80, 1000):
        lines = rendering.text(tables, wide).splitlines()
        rows = [line for line in lines if line.startswith(("one_hot ", "autolabel "))]
        assert len(rows) == 4 and max(map(len, rows)) <= max(wide, 60)
        assert all(re.search(r"9[14]\.00 ± 1\.0[05]", row) for row in rows[:2])
        hidden = [line for line in lines if line.startswith("not shown: ")]
        assert bool(hidden) == (wide < 1000)
        assert all(line.endswith("; --all shows them") for line in hidden)
    assert "**94.00 ± 1.05**" in rendering.text(tables, 80)


def test_text_without_numbers_wraps():
    rows = [["run", "reason"], ["runs/a", "not finished: no result.json; run its command again"]]
    lines = rendering.aligned(rows, num_names=2, wide=30).splitlines()
    assert len(lines) > 3 and max(map(len, lines)) <= 30
    assert "".join(lines).count("result.json") == 1


def test_the_command_writes_every_format(tmp_path):
    write_block(tmp_path / "runs")
    folders = sorted(map(str, (tmp_path / "runs").iterdir()))
    done = helpers.command(
        *("-m", "experiments.tables", *folders, "--format=text,markdown,latex,csv,html"),
        f"--out={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tables.txt", "tables.md", "tables.tex", "tables.csv", "tables.html"}
    for name in names - {"tables.csv"}:
        text = (tmp_path / "out" / name).read_text().replace(r"$\pm$", "±").replace("\xa0", " ")
        assert "94.00 ± 1.05" in text


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
        run_files.load([a.format(tmp=tmp_path) for a in arguments])


def test_the_command_says_what_is_wrong(tmp_path):
    done = helpers.command("-m", "experiments.tables", tmp_path, "--format=markdown,word")
    assert done.returncode == 1
    assert "--format: got ['word'], expected some of: text, markdown, latex" in done.stderr
    assert "Traceback" not in done.stderr


def test_hand_written_folders_are_like_real_ones():
    """What the folders here lack of a real config is nothing that tables read."""
    from configs import base

    real = json.loads(base.base().to_json())
    for name, value in run_folders.CONFIG.items():
        inner = isinstance(value, dict)
        assert value.keys() <= real[name].keys() if inner else name in real


def test_results_with_many_metrics_are_read_without_a_warning(tmp_path):
    many = {f"views_{n}": n / 200 for n in range(200)} | dict.fromkeys(HEADERS, 0.5)
    for seed in (0, 1):
        run_folders.write(tmp_path / f"r{seed}", seed=seed, **many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = frames.load([str(tmp_path)])
        assert summary.tables(*loaded)
