"""Packs run folders into one file for each study, which tables, figures and the report read.

    python -m experiments.results pack runs/digits/*/ --out=results/digits.jsonl

adds configs, results and label curves of finished runs to results/digits.jsonl and
results/curves.parquet, and makes them if they do not exist. Run folders are only read.
Checkpoints, test logits and other files of a run are not packed, and config.data_dir is emptied.
docs/sweeps.md says more.
"""

import pathlib
import sys

from absl import flags

from autolabel_jax import run_dir
from experiments import launch, packing
from experiments.reporting import run_files

_OUT = flags.DEFINE_string("out", None, "File of the study, in which to pack the runs.")


def main(argv: list[str]) -> None:
    action, *folders = argv[1:] or [""]
    study = pathlib.Path(_OUT.value)
    if action != "pack" or not folders:
        raise ValueError("expected: pack FOLDER … --out=results/STUDY.jsonl")
    if study.suffix != run_files.SUFFIX:
        raise ValueError(f"--out={study}: expected a name that ends in {run_files.SUFFIX}")
    workdirs = []
    for workdir in (inside for folder in folders for inside in run_dir.find(pathlib.Path(folder))):
        run = run_files.read(workdir)
        if run.result and not run.fault:
            workdirs.append(workdir)
        else:
            reason = run.fault or "not finished: no result.json"
            print(f"left out: {workdir}: {reason}", file=sys.stderr)
    if not workdirs:
        raise ValueError(f"{' '.join(folders)}: found no finished run there")
    new = packing.pack(workdirs, study)
    print(f"{study}: {new} new runs, {len(workdirs) - new} there before")


if __name__ == "__main__":
    launch.run(main, required=["out"])
