"""Tables in docs/ and README.md are exactly those that the packed runs in results/ give."""

import functools
import itertools
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from autolabel_jax import files
from experiments import calibrator_tables
from experiments.reporting import frame as frames
from experiments.reporting import run_files, summary

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("digits", "cifar10", "cifar100", "settings", "remedies", "candidates", "methods")
FAMILIES = ("mixing", "boxes", "policies", "adversarial", "losses", "examples")
CALIBRATORS = ROOT / "results" / run_files.CALIBRATORS
CANDIDATES = ROOT / "results" / "candidates_calibrators.csv"
STUDIES = sorted({path.stem for path in (ROOT / "results").glob("*.jsonl")} - {CALIBRATORS.stem})
DOCUMENTS = (
    "README.md",
    "docs/text.md",
    "docs/pretrained.md",
    "docs/evaluation.md",
    *(f"docs/results/{name}.md" for name in PAGES),
    *(f"docs/methods/{name}.md" for name in FAMILIES),
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


LOAD = functools.cache(frames.load)  # of a study, once for all tests


def test_tables_are_what_the_runs_give_and_every_study_is_shown(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(frames, "load", LOAD)
    assert summary.update(DOCUMENTS, ["results"], ROOT, check=True) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_row_with_a_standard_deviation_is_made(name):
    text = read(name)
    by_hand = "".join(summary.split(text, name)[::4])
    assert re.search(r"(?m)^\|.* ± ", text) and not re.search(r"(?m)^\|.* ± ", by_hand)


@pytest.mark.parametrize("study", STUDIES)
def test_runs_of_a_study_share_a_known_numerics_version_and_a_clean_revision(study):
    frame, left_out = LOAD((str(ROOT / "results" / study),))
    assert len(frame) and not left_out["reason"].str.contains("numerics").any()
    versions = {run.settings["numerics_version"] for run in frame["record"]}
    assert len(versions - {run_files.UNKNOWN}) == 1
    assert frame["revision"].str.fullmatch("[0-9a-f]{40}").all()


def test_results_are_few_and_small():
    paths = {path for path in (ROOT / "results").rglob("*") if path.is_file()}
    assert len(paths) == len(STUDIES) + 5 <= 35
    # 8 MB for the first 22 studies, 3 MB for those of other papers' methods, .5 MB for later ones.
    assert sum(path.stat().st_size for path in paths - {CALIBRATORS}) <= 11.5e6
    assert CALIBRATORS.stat().st_size <= 2e6


def test_the_calibrator_that_the_protocol_recommends_is_marked():
    rows = files.read_json_lines(CALIBRATORS)
    found = calibrator_tables.recommended(calibrator_tables.differences(CALIBRATORS))
    assert {row["calibrator"] for row in rows if row.get("recommended")} == {found}
    assert all(row.get("recommended") for row in rows if row["calibrator"] == found)


def test_the_page_of_calibrators_has_the_tables_of_its_rows():
    made = calibrator_tables.markdown(CALIBRATORS)
    for table in made.strip().split("\n\n"):
        assert table in read("docs/results/calibrators.md")


def test_differences_of_calibrators_by_hand():
    rows = files.read_json_lines(CALIBRATORS)
    rows = [row for row in rows if (row["model"], row["augmentation"]) == ("resnet18", "augmix")]

    def of(name):
        chosen = [row for row in rows if row["calibrator"] == name]
        return np.array([row["nll"] for row in sorted(chosen, key=str_of_run)])

    def str_of_run(row):
        return [str(row[name]) for name in calibrator_tables.RUN]

    gap = of("drift_recentred") - of("temperature")
    low, high = stats.t.interval(0.95, len(gap) - 1, gap.mean(), stats.sem(gap))
    frame = calibrator_tables.differences(CALIBRATORS)
    frame = frame.xs(("resnet18", "augmix"), level=("model", "augmentation"))
    found = calibrator_tables.with_interval(frame.xs("drift_recentred", level="calibrator")["nll"])
    assert found == f"{gap.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    assert len(gap) == 12


def bed_rows(effect, ece=0.0, beds=4):
    """Rows of beds with five seeds, in which the candidates differ by ``effect``."""
    rng = np.random.default_rng(0)
    rows = []
    for bed, seed in itertools.product(range(beds), range(5)):
        run = {"dataset": f"d{bed}", "model": "m", "augmentation": "a", "train_examples": 9}
        run |= {"label_rule": "one_hot", "seed": seed}
        base = dict.fromkeys(calibrator_tables.METRICS, 0.5)
        moved = base | {n: 0.5 + effect + rng.normal(0, 1e-4) for n in calibrator_tables.DECIDING}
        moved |= {"ece": 0.5 + ece}
        rows.append({**run, "calibrator": "temperature", **base})
        rows += [{**run, "calibrator": name, **moved} for name in calibrator_tables.CANDIDATES]
    return rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (bed_rows(-0.01), "drift_recentred"),
        (bed_rows(-0.01, beds=3), "temperature"),  # too few beds
        (bed_rows(-0.01, ece=0.0021), "temperature"),
        (bed_rows(-0.01, ece=0.0019), "drift_recentred"),
        (bed_rows(0.0), "temperature"),
        (bed_rows(-0.01) + [r | {"dataset": "e"} for r in bed_rows(0.01, beds=1)], "temperature"),
    ],
)
def test_what_counts_by_the_protocol(tmp_path, rows, expected):
    path = write_rows(tmp_path, rows)
    differences = calibrator_tables.differences(path)
    assert calibrator_tables.recommended(differences) == expected
    text = calibrator_tables.markdown(path)
    assert f"Recommended by the protocol: `{expected}`." in text and "nan" not in text


def test_runs_that_the_columns_do_not_tell_apart_are_refused(tmp_path):
    rows = [row | {"run": run} for run in ("1a2b", "3c4d") for row in bed_rows(-0.01, beds=1)]
    with pytest.raises(ValueError, match="the runs 1a2b and 3c4d differ, but not in dataset, "):
        calibrator_tables.differences(write_rows(tmp_path, rows))


def test_a_bed_with_two_seeds_counts_for_nothing(tmp_path):
    higher = [r | {"dataset": "e"} for r in bed_rows(0.01, beds=1) if r["seed"] < 2]
    path = write_rows(tmp_path, bed_rows(-0.01) + higher)
    differences = calibrator_tables.differences(path)
    assert calibrator_tables.recommended(differences) == "drift_recentred"
    assert "e" not in calibrator_tables.by_bed(differences).index.get_level_values("dataset")


def test_calibrators_that_lack_a_feature_are_left_out_of_their_bed(tmp_path):
    rows = bed_rows(-0.01, beds=2)
    rows = [r for r in rows if r["calibrator"] == "temperature" or r["dataset"] == "d1"]
    path = write_rows(tmp_path, rows)
    found = calibrator_tables.by_bed(calibrator_tables.differences(path))
    assert found.loc["drift_recentred"].index.get_level_values("dataset").tolist() == ["d1"]


def write_rows(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_rows_that_cannot_be_compared_are_named(tmp_path):
    rows = bed_rows(-0.01, beds=1)
    clean = [{n: v for n, v in row.items() if n != "corrupted_nll"} for row in rows]
    with pytest.raises(ValueError, match="rows.jsonl: its rows lack corrupted_nll; expected"):
        calibrator_tables.markdown(write_rows(tmp_path, clean))
    with pytest.raises(ValueError, match="rows.jsonl: its rows lack"):
        calibrator_tables.markdown(write_rows(tmp_path, []))
    drifting = [row for row in rows if row["calibrator"] != "temperature"]
    with pytest.raises(ValueError, match="has no row of calibrator 'temperature'"):
        calibrator_tables.markdown(write_rows(tmp_path, drifting))


def test_rows_with_views_are_compared_with_the_plain_baseline(tmp_path):
    rows = bed_rows(-0.01, beds=1)
    viewed = [row | {"views": "mirror", "nll": row["nll"] - 0.1} for row in rows]
    found = calibrator_tables.differences(write_rows(tmp_path, [*rows, *viewed, *rows]))
    np.testing.assert_allclose(found.xs("temperature, mirror", level="calibrator")["nll"], -0.1)
    np.testing.assert_allclose(
        found.xs("drift_recentred, mirror", level="calibrator")["nll"], -0.11, atol=1e-3
    )
    assert "temperature, mirror" in calibrator_tables.markdown(
        write_rows(tmp_path, [*rows, *viewed])
    )


def test_the_page_of_candidates_has_the_tables_of_its_file(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    page = read("docs/results/candidates.md")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    printed = []
    for name in ("candidates", "candidates_cifar10"):
        exec(code.replace("candidates_calibrators", f"{name}_calibrators"), {})
        printed.append(capsys.readouterr().out.strip().split("\n\n"))
    tables = printed[0]
    assert len(tables) == len(printed[1]) == 3
    for table in (*tables, *printed[1][:2]):
        assert table in page
    rows = pd.read_csv(CANDIDATES)
    of = rows[(rows["augmentation"] == "mixup") & (rows["calibrator"] == "temperature")]
    nll = of.pivot_table(index="seed", columns="labels", values="nll")
    gap = (nll["ema_teacher"] - nll["one_hot, EMA"]).to_numpy()
    low, high = stats.t.interval(0.95, 4, gap.mean(), stats.sem(gap))
    (line,) = (x for x in tables[2].splitlines() if "mixup | ema_teacher | temperature" in x)
    assert f"{gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]" in line
