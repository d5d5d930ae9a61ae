"""Tables in docs/ and README.md are those that the run files in results/ give."""

import pathlib

import pytest

from experiments.reporting import rendering, summary

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.name for path in (ROOT / "results").iterdir() if path.is_dir())


def rows(text):
    return {line for line in text.splitlines() if line.startswith("|")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_docs_hold_the_tables_of_the_run_files(folder):
    good, apart = summary.load([str(ROOT / "results" / folder)])
    assert not apart
    made = rows(rendering.markdown(summary.tables(good, apart)))
    assert made
    assert made <= rows((ROOT / "docs" / "results.md").read_text())


@pytest.mark.parametrize("folder", FOLDERS)
def test_runs_of_a_table_share_a_clean_revision(folder):
    good, _ = summary.load([str(ROOT / "results" / folder)])
    revisions = {run.result["revision"] for run in good}
    assert len(revisions) == 1
    assert "dirty" not in revisions.pop()


def test_readme_holds_figures_of_the_docs():
    def cells(row):
        return {cell.strip() for cell in row.strip("|").split("|")}

    docs = [cells(row) for row in rows((ROOT / "docs" / "results.md").read_text())]
    shown = [row for row in rows((ROOT / "README.md").read_text()) if " ± " in row]
    assert shown
    for row in shown:
        assert any(cells(row) <= known for known in docs), row
