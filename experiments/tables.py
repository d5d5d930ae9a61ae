"""Makes tables of finished runs: one row per setting, mean and standard deviation over seeds.

    python -m experiments.tables runs/*/ [--all]
    python -m experiments.tables runs/*/ --out=DIR [--format=markdown,latex,csv,html]
    python -m experiments.tables results/ --update=README.md,docs/results/digits.md [--check]

Text fits the width of the terminal; --all shows all columns. A folder may be a run, hold runs, or
be a packed study. --update regenerates the tables between markers, see docs/sweeps.md.
"""

import functools
import pathlib
import sys

from absl import flags

from autolabel_jax import files
from experiments import launch

ENDINGS = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}

_FORMAT = flags.DEFINE_list(
    "format", [], f"Formats, some of: {', '.join(ENDINGS)}. Default: text, with --out markdown."
)
_ALL = flags.DEFINE_bool("all", False, "Print all columns, also where they do not fit.")
_OUT = flags.DEFINE_string("out", None, "Folder to write tables.md, .tex, .csv and .html to.")
_UPDATE = flags.DEFINE_list("update", [], "Documents whose tables to regenerate.")
_CHECK = flags.DEFINE_bool("check", False, "With --update: write nothing, exit with 1 on a change.")


def main(argv: list[str]) -> None:
    # Slow to import, and --help needs none of them.
    from experiments.reporting import frame, rendering, summary

    if _UPDATE.value:
        faults = summary.update(_UPDATE.value, argv[1:], pathlib.Path.cwd(), check=_CHECK.value)
        sys.exit("\n".join(faults) or 0)
    if _CHECK.value:
        raise ValueError("--check: needs --update=DOCUMENT,…, whose tables are checked")
    forms = _FORMAT.value or ["markdown" if _OUT.value else "text"]
    if unknown := [form for form in forms if form not in ENDINGS]:
        raise ValueError(f"--format: got {unknown}, expected some of: {', '.join(ENDINGS)}")
    runs = frame.load(argv[1:])
    tables = summary.tables(*runs)
    wide = rendering.ALL if _ALL.value or _OUT.value else rendering.width()
    make = {"markdown": rendering.markdown, "latex": rendering.latex, "html": rendering.html}
    make["text"] = functools.partial(rendering.text, wide=wide)
    make["csv"] = lambda _: summary.as_csv(*runs)
    for form in forms:
        made = make[form](tables)
        if _OUT.value is not None:
            path = pathlib.Path(_OUT.value) / f"tables.{ENDINGS[form]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, made)
        print(made if _OUT.value is None else path)


if __name__ == "__main__":
    launch.run(main)
