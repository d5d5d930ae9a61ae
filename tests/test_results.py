"""Tables in docs/ and README.md are exactly those that the packed runs in results/ give."""

import pathlib
import re

import pytest

from experiments.reporting import documents, numerics, run_files
from experiments.reporting import frame as frames

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("digits", "cifar10", "cifar100", "settings", "remedies")
STUDIES = sorted(path.stem for path in (ROOT / "results").glob("*.jsonl"))
DOCUMENTS = ("README.md", *(f"docs/results/{name}.md" for name in PAGES))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_what_the_runs_give(name):
    made = documents.regenerated(read(name), name, ROOT)
    assert not documents.differences(read(name), made, name)
    assert made == read(name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_row_with_a_standard_deviation_is_made(name):
    blocks = documents.find(read(name), name)
    assert blocks
    made = {i for block in blocks for i in range(block.start, block.stop)}
    by_hand = [i for i, line in enumerate(read(name).splitlines()) if re.match(r"\|.* ± ", line)]
    assert by_hand and set(by_hand) <= made


def test_every_study_is_shown():
    blocks = [block for name in DOCUMENTS for block in documents.find(read(name), name)]
    assert not documents.not_shown(run_files.find([str(ROOT / "results")]), blocks, ROOT)


@pytest.mark.parametrize("study", STUDIES)
def test_runs_of_a_study_share_a_known_numerics_version_and_a_clean_revision(study):
    frame, left_out = frames.load([str(ROOT / "results" / study)])
    assert len(frame) and not left_out["reason"].str.contains("numerics").any()
    assert len({numerics.version(run.result) for run in frame["record"]} - {numerics.UNKNOWN}) == 1
    (revision,) = frame["revision"].unique()
    assert "dirty" not in revision


def test_results_are_few_and_small():
    paths = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert len(paths) == len(STUDIES) + 1 <= 35
    assert sum(path.stat().st_size for path in paths) <= 8e6
