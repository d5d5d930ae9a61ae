"""Fits calibrators on held-out examples of runs, and evaluates them on their test splits.

    python -m experiments.calibrators runs/a [runs/b …] [--data_dir=…] [--corruptions]
        [--examples=2000] [--views=mirror] [--ood=cifar100,noise]
        [--out=calibrators.jsonl] [--dump=outputs.npz]

    python -m experiments.calibrators --compare=results/calibrators.jsonl

Prints a row for each calibrator, and appends the rows to --out; a run whose rows are there is not
evaluated again. --dump keeps logits and features of one run, compressed. --compare prints the
tables of docs/results/calibrators.md. docs/experiments/calibrators.md describes the held-out
examples and the calibrators.
"""

import pathlib
from typing import Any

from absl import flags

from autolabel_jax import files
from autolabel_jax.evaluation import ood
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import calibrating, calibrator_tables, launch
from experiments.reporting import rendering

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_CORRUPTIONS = flags.DEFINE_bool("corruptions", False, "15 corruptions at 5 severities.")
_EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "Corrupt the first N test images (0 = all).", lower_bound=0
)
_VIEWS = flags.DEFINE_list("views", [], "Average the image and these views, as evaluate does.")
_OOD = flags.DEFINE_list("ood", [], "Tell the test split from these data, as evaluate does.")
_OUT = flags.DEFINE_string("out", None, "File of JSON lines to append the rows to.")
_DUMP = flags.DEFINE_string("dump", None, "File (.npz) for logits and features.")

_COMPARE = flags.DEFINE_string(
    "compare", None, "File of rows: print differences to temperature scaling, and nothing else."
)

# Metric → (header, factor, number of decimal places).
COLUMNS = {
    "accuracy": ("accuracy %", 100, 2),
    "ece": ("ECE %", 100, 2),
    "nll": ("NLL", 1, 4),
    "auroc": ("AUROC", 1, 4),
    "corrupted_ece": ("corrupted ECE %", 100, 2),
    "corrupted_nll": ("corrupted NLL", 1, 4),
    "severe_ece": ("severe ECE %", 100, 2),
    "severe_nll": ("severe NLL", 1, 4),
}


def main(argv: list[str]) -> None:
    if _COMPARE.value:
        launch.no_more(argv)
        print(calibrator_tables.markdown(pathlib.Path(_COMPARE.value)), end="")
        return
    folders = [*([_WORKDIR.value] if _WORKDIR.value else []), *argv[1:]]
    if not folders:
        raise ValueError("expected folders of training runs, or --compare=ROWS.jsonl")
    if _DUMP.value and len(folders) > 1:
        raise ValueError(f"--dump: keeps the outputs of one run, got {len(folders)} folders")
    for folder in folders:
        _evaluate(pathlib.Path(folder))


def _evaluate(folder: pathlib.Path) -> None:
    """Evaluates one run, unless --out has its rows, and prints its table."""
    config = RunDir(folder).load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    out = pathlib.Path(_OUT.value) if _OUT.value else None
    own = calibrating.describe(config, _VIEWS.value)
    names = ("run", "views")
    done = [[row.get(name) for name in names] for row in files.read_json_lines(out)] if out else []
    if [own.get(name) for name in names] in done:
        print(f"{folder}: {out} has its rows; not evaluated again")
        return
    print(f"{folder}:", flush=True)
    rows = calibrating.evaluate(
        folder,
        config,
        corrupted=_CORRUPTIONS.value,
        examples=_EXAMPLES.value,
        dump=pathlib.Path(_DUMP.value) if _DUMP.value else None,
        view_names=_VIEWS.value,
        ood_names=_OOD.value,
    )
    if out:
        files.append_json_line(out, *rows)
    print(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    """Makes a table with a line for each calibrator."""
    chosen = {name: column for name, column in COLUMNS.items() if name in rows[0]}
    others = [name for name in rows[0] if name.startswith(ood.PREFIX)]
    chosen |= {name: (name.removeprefix(ood.PREFIX), 100, 2) for name in others}
    lines = [["calibrator", *(header for header, _, _ in chosen.values())]]
    for row in rows:
        values = [f"{factor * row[name]:.{n}f}" for name, (_, factor, n) in chosen.items()]
        lines.append([row["calibrator"], *values])
    return rendering.aligned(lines, num_names=1)


if __name__ == "__main__":
    launch.run(main)
