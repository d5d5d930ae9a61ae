"""Tables in docs/ and README.md are exactly those that the run files in results/ give."""

import pathlib
import re

import pytest

from experiments.reporting import documents, run_files, summary

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.name for path in (ROOT / "results").iterdir() if path.is_dir())
DOCUMENTS = ("README.md", "docs/results.md", "docs/studies.md")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_what_the_run_files_give(name):
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


def test_every_folder_of_runs_is_shown():
    blocks = [block for name in DOCUMENTS for block in documents.find(read(name), name)]
    assert not documents.not_shown(run_files.find([str(ROOT / "results")]), blocks, ROOT)


@pytest.mark.parametrize("folder", FOLDERS)
def test_runs_of_a_folder_share_a_clean_revision(folder):
    comparable, excluded = summary.load([str(ROOT / "results" / folder)])
    assert not [reason for _, reason in excluded if "revision" in reason]
    revisions = {run.result["revision"] for run in comparable}
    assert len(revisions) == 1
    assert "dirty" not in revisions.pop()
