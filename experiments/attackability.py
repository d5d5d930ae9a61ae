"""Writes the data of a run with the distance of AR-AdaLS: how easily its model is attacked.

    python -m experiments.attackability --workdir=runs/first --out=data/attackability

The folder gets train.npz, calibration.npz and test.npz for dataset='arrays', with the splits of the
run. Training and calibration examples have as ``distance`` their rank by the smallest perturbation
that changes the prediction of the last checkpoint, each split on its own; the most easily attacked
has almost 1. configs/digits_ar_adals.py trains on them.
"""

import pathlib

import numpy as np
from absl import flags

from autolabel_jax import files, trained
from autolabel_jax.datasets import StreamedSplit
from autolabel_jax.diagnosis import attackability
from autolabel_jax.run_dir import RunDir
from configs import base
from experiments import launch

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_OUT = flags.DEFINE_string("out", None, "Folder for the arrays.")
_STEPS = flags.DEFINE_integer("steps", 100, "Steps of the attack on each class.", lower_bound=1)


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    config = RunDir(_WORKDIR.value).load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    run = trained.restore(_WORKDIR.value, config)
    _check(run)
    model, variables = run.experiment.model, run.variables
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("train", "calibration", "test"):
        split = getattr(run.dataset, name)
        arrays = {"input": split.input, "label": split.label, "kind": "image"}
        arrays["num_classes"] = run.dataset.num_classes
        if name != "test":
            found = attackability.smallest_perturbation(
                lambda image: model.apply(variables, image, train=False),
                split,
                num_classes=run.dataset.num_classes,
                num_steps=_STEPS.value,
            )
            arrays |= {"distance": attackability.rank_distance(found), "perturbation": found}
            inside = found[np.isfinite(found) & (found > 0)]
            print(
                f"{name}: {len(split)} images, {np.mean(found == 0):.1%} misclassified, "
                f"{np.mean(np.isinf(found)):.1%} not broken, median perturbation "
                f"{np.median(inside) if inside.size else np.nan:.4f}"
            )
        files.write_npz(out / f"{name}.npz", **arrays)


def _check(run: trained.Trained) -> None:
    """Checks that the run has images in memory, which can be attacked."""
    spec = run.dataset.spec
    in_range = spec.dtype == "uint8" or (spec.low >= 0 and spec.high <= 1)
    if isinstance(run.dataset.train, StreamedSplit) or spec.kind != "image" or not in_range:
        raise ValueError(
            f"--workdir={_WORKDIR.value}: is a run on {run.dataset.name!r}; expected images in "
            "memory, uint8 or float in [0, 1]"
        )


if __name__ == "__main__":
    launch.run(main, required=["workdir", "out"])
