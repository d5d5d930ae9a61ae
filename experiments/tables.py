"""Tables of finished runs: one row a setting, mean and standard deviation over its seeds.

    python -m experiments.tables runs/*/ [--format=markdown,latex,csv,html] [--out=DIR]

Without --out they are printed. A folder may be a run or hold runs.
"""

import pathlib

from absl import flags

from experiments import launch
from experiments.reporting import rendering, spreadsheet, summary

ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}

_FORMAT = flags.DEFINE_list("format", ["markdown"], f"Some of {', '.join(ENDINGS)}.")
_OUT = flags.DEFINE_string("out", None, "Folder to write tables.md, .tex, .csv and .html to.")


def text(form: str, arguments: list[str]) -> str:
    """The tables of the runs in some folders, in one format."""
    good, apart = summary.load(arguments)
    if form == "csv":
        return spreadsheet.as_csv(good, apart)
    return getattr(rendering, form)(summary.tables(good, apart))


def main(argv: list[str]) -> None:
    unknown = [form for form in _FORMAT.value if form not in ENDINGS]
    if unknown or not _FORMAT.value:
        raise ValueError(f"--format: got {unknown or 'none'}, known are {', '.join(ENDINGS)}")
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
