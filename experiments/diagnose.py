"""Diagnoses a run: distances moved, affinity and diversity, and sensitivity to frequencies.

    python -m experiments.diagnose --workdir=runs/a [--data_dir=…] [--examples=1000] [--out=FOLDER]
        --affinity --fourier --buckets --beyond
        [--baseline_workdir=runs/clean] [--augmentations=augmix,mixup,randaugment,none]

Reads the last checkpoint of a run, finished or not. --buckets: how far each bucket moves images,
its accuracy, confidence and label. --beyond: accuracy and temperature by distance, inside the range
of training and beyond it. --affinity: affinity and diversity of the augmentation
(Gontijo-Lopes et al. 2020), by a baseline trained on clean images. --fourier: error with
each Fourier basis image added (Yin et al. 2019). Figures are written as PNG and PDF, numbers to
``diagnosis.json`` of the run. Parts that were measured for the same checkpoint and examples are not
measured again. docs/diagnosis.md explains all terms.
"""

import functools
import pathlib
from typing import Any, Protocol

import matplotlib
from absl import flags
from ml_collections import ConfigDict

from autolabel_jax import augment
from autolabel_jax import trained as trained_lib
from autolabel_jax.run_dir import RunDir
from autolabel_jax.trained import Trained
from configs import base
from experiments import launch
from experiments.diagnosing import affinity as diagnose_affinity
from experiments.diagnosing import figures as diagnose_figures
from experiments.diagnosing import parts as diagnose_parts
from experiments.diagnosing import tables as diagnose_tables
from experiments.reporting import plots, run_files

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a training run.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data sets, if it has moved.")
_AFFINITY = flags.DEFINE_bool("affinity", False, "Affinity and diversity of the augmentation.")
_FOURIER = flags.DEFINE_bool("fourier", False, "Fourier heat map of the model.")
_BUCKETS = flags.DEFINE_bool("buckets", False, "Distance moved, accuracy, label of each bucket.")
_BEYOND = flags.DEFINE_bool("beyond", False, "Temperature by distance, beyond training's too.")
_BASELINE = flags.DEFINE_string(
    "baseline_workdir", None, "Folder of a run with augment.name=none, for --affinity."
)
_AUGMENTATIONS = flags.DEFINE_list(
    "augmentations", [], "For --affinity: other augmentations, at their defaults."
)
_EXAMPLES = flags.DEFINE_integer(
    "examples", 1000, "Measure on the first N images of each split (0 = all).", lower_bound=0
)
_NORM = flags.DEFINE_float(
    "norm",
    0.0,
    "For --fourier: L2 norm added to each channel; 0 = 4 at 32 px, 15.7 at 224 px.",
    lower_bound=0.0,
)
_RADIUS = flags.DEFINE_integer(
    "radius",
    None,
    "For --fourier: highest frequency. Default: all below 64 px, 31 for larger images.",
    lower_bound=0,
)
_OUT = flags.DEFINE_string("out", None, "Folder for figures. Default: the run's own diagnosis/.")


def _load(workdir: pathlib.Path) -> ConfigDict:
    config = RunDir(workdir).load_config(base.base())
    if _DATA_DIR.value is not None:
        config.data_dir = _DATA_DIR.value
    return config


def _baseline(workdir: pathlib.Path, config: ConfigDict) -> pathlib.Path | None:
    """Returns the folder of the run on clean images: the given one, or this run if it is one."""
    if _BASELINE.value is not None:
        return pathlib.Path(_BASELINE.value)
    return None if augment.find(config.augment.name).moves_inputs else workdir


def _check_flags() -> None:
    if not (_AFFINITY.value or _FOURIER.value or _BUCKETS.value or _BEYOND.value):
        raise ValueError(
            "nothing to measure; give one or more of --affinity, --fourier, --buckets, --beyond"
        )
    if not _AFFINITY.value and (_BASELINE.value or _AUGMENTATIONS.value):
        raise ValueError("--baseline_workdir, --augmentations: require --affinity")


def _say(workdir: pathlib.Path, todo: dict[str, str]) -> None:
    """Prints what will be measured."""
    images = f"the first {_EXAMPLES.value}" if _EXAMPLES.value else "all"
    print(f"measuring the last checkpoint of {workdir} on {images} images of a split:")
    for name, what in todo.items():
        print(f"  {name}: {what}")
    print("parts that were measured for this checkpoint before are not repeated", flush=True)


class Measure(Protocol):
    """Measures one part of a diagnosis."""

    def __call__(self, *, before: dict[str, Any] | None) -> dict[str, Any]:
        """Returns the part, given what the file has of it."""
        ...


def _keep(workdir: pathlib.Path, name: str, measure: Measure) -> Any:
    """Measures a part, given what the file has of it, and writes it to the file."""
    run_dir = RunDir(workdir)
    measured = measure(before=run_dir.read_diagnosis().get(name))
    run_dir.write_diagnosis(name, measured)
    return measured


def _restore(workdir: pathlib.Path) -> Trained:
    """Restores the last checkpoint; prints a line if the run is not finished."""
    trained = trained_lib.restore(workdir, _load(workdir))
    done, epochs = trained.epochs, trained.config.epochs
    if not trained.run_dir.is_finished and done < epochs:
        print(f"{workdir} is not finished: {done} of {epochs} epochs trained", flush=True)
    return trained


def _buckets(trained: Trained, folder: pathlib.Path) -> None:
    run = run_files.read(trained.run_dir.path)
    measure = functools.partial(diagnose_parts.buckets, trained, _EXAMPLES.value)
    measured = _keep(trained.run_dir.path, "buckets", measure)
    print(f"\n{diagnose_tables.buckets(measured, trained.config.augment.name)}")
    path = plots.save(diagnose_figures.buckets(measured, run), folder, "bucket_distance")
    print(f"written: {path}.png, .pdf")


def _beyond(trained: Trained, folder: pathlib.Path) -> None:
    run = run_files.read(trained.run_dir.path)
    measure = functools.partial(diagnose_parts.beyond, trained, _EXAMPLES.value)
    measured = _keep(trained.run_dir.path, "beyond", measure)
    print(f"\n{diagnose_tables.beyond(measured)}")
    columns = {name: values for name, values in measured.items() if name != "stamp"}
    figure = diagnose_figures.temperature_by_distance(columns, run)
    path = plots.save(figure, folder, "temperature_by_distance")
    print(f"written: {path}.png, .pdf")


def _affinity(
    workdir: pathlib.Path, config: ConfigDict, wanted: list[dict[str, Any]], baseline: Trained
) -> None:
    of_training = (config, workdir, baseline.config, baseline.run_dir.path)
    diversity = {"diversity": diagnose_affinity.diversity(*of_training)}

    def save(part):
        RunDir(workdir).write_diagnosis("affinity", part | diversity)

    settings = (baseline, config, wanted, _EXAMPLES.value)
    measure = functools.partial(diagnose_affinity.measure, *settings, save=save)
    measured = _keep(workdir, "affinity", lambda before: measure(before=before) | diversity)
    own = diagnose_affinity.settings_of(config.augment)
    print(f"\n{diagnose_tables.affinity(measured, wanted, own)}")


def _fourier(trained: Trained, folder: pathlib.Path) -> None:
    run = run_files.read(trained.run_dir.path)
    settings = (_EXAMPLES.value, _NORM.value, _RADIUS.value)
    measure = functools.partial(diagnose_parts.fourier_map, trained, *settings)
    measured = _keep(trained.run_dir.path, "fourier", measure)
    print(f"\n{diagnose_tables.fourier(measured)}")
    path = plots.save(diagnose_figures.fourier(measured, run), folder, "fourier_heat_map")
    print(f"written: {path}.png, .pdf")


def main(argv: list[str]) -> None:
    launch.no_more(argv)
    matplotlib.use("Agg")
    _check_flags()
    workdir = pathlib.Path(_WORKDIR.value)
    config = _load(workdir)
    wanted = diagnose_affinity.wanted(config, _AUGMENTATIONS.value)
    clean = _baseline(workdir, config) if _AFFINITY.value else None
    if clean:
        diagnose_affinity.check_baseline(config, _load(clean))
    todo = {}
    if _BUCKETS.value:
        todo["buckets"] = "distance moved, accuracy, confidence and label, on the calibration split"
    if _BEYOND.value:
        todo["beyond"] = "accuracy and temperature by distance, on the calibration split"
    if _AFFINITY.value:
        names = ", ".join(settings["name"] for settings in wanted)
        where = f"of {names}, by the model of {clean}, on its calibration split"
        todo["affinity and diversity"] = where if clean else f"skipped: {diagnose_affinity.NEEDS}"
    if _FOURIER.value:
        todo["fourier"] = "error with each frequency added, on the test split"
    _say(workdir, todo)
    folder = pathlib.Path(_OUT.value) if _OUT.value else RunDir(workdir).figures
    load = functools.cache(_restore)
    if _BUCKETS.value:
        _buckets(load(workdir), folder)
    if _BEYOND.value:
        _beyond(load(workdir), folder)
    if clean:
        _affinity(workdir, config, wanted, load(clean))
    if _FOURIER.value:
        _fourier(load(workdir), folder)


if __name__ == "__main__":
    launch.run(main, required=["workdir"])
