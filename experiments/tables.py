"""Makes tables of finished runs: one row per setting, mean and standard deviation over seeds.

    python -m experiments.tables runs/*/ [--format=markdown,latex,csv,html] [--out=DIR]
    python -m experiments.tables results/ --update=README.md,docs/results.md [--check]

Without --out the tables are printed. A folder may be a run or hold runs; results/digits may also be
the packed study results/digits.jsonl. With --update the tables between the markers of these
documents are regenerated, as docs/sweeps.md describes.
"""

import pathlib
import sys

from absl import flags

from experiments import launch
from experiments.reporting import documents, rendering, spreadsheet, summary

ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}

_FORMAT = flags.DEFINE_list("format", ["markdown"], f"Formats, some of: {', '.join(ENDINGS)}.")
_OUT = flags.DEFINE_string("out", None, "Folder to write tables.md, .tex, .csv and .html to.")
_UPDATE = flags.DEFINE_list("update", [], "Documents whose tables to regenerate.")
_CHECK = flags.DEFINE_bool(
    "check", False, "With --update: write nothing, exit with 1 if a table differs."
)


def text(form: str, arguments: list[str]) -> str:
    """Returns the tables of the runs in some folders, in one format."""
    comparable, excluded = summary.load(arguments)
    if form == "csv":
        return spreadsheet.as_csv(comparable, excluded)
    return getattr(rendering, form)(summary.tables(comparable, excluded))


def main(argv: list[str]) -> None:
    if _UPDATE.value:
        root = pathlib.Path.cwd()
        faults = documents.update(_UPDATE.value, argv[1:], root, check=_CHECK.value)
        sys.exit("\n".join(faults) or 0)
    if _CHECK.value:
        raise ValueError("--check: needs --update=DOCUMENT,…, whose tables are checked")
    unknown = [form for form in _FORMAT.value if form not in ENDINGS]
    if unknown or not _FORMAT.value:
        raise ValueError(
            f"--format: got {unknown or 'none'}, expected some of: {', '.join(ENDINGS)}"
        )
    texts = {form: text(form, argv[1:]) for form in _FORMAT.value}
    if _OUT.value is None:
        print("\n".join(texts.values()))
        return
    folder = pathlib.Path(_OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for form, content in texts.items():
        path = folder / f"tables.{ENDINGS[form]}"
        path.write_text(content, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    launch.run(main)
