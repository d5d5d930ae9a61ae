"""Compares augmentations and rules of other papers on digits, with the network of digits.py.

    python -m experiments.sweep --config=configs/digits_methods.py --workdir=runs/digits_methods \
        --corruptions --processes=2

`make table-methods` runs it. CHOSEN has the value of one setting of each method, of the four of
methods.TRIALS, with the lowest NLL on the clean calibration images, mean of seeds 10 and 11, which
the tables do not contain. These runs are those of

    python -m experiments.sweep --config=configs/digits_methods.py --workdir=runs/digits_trials \
        --sweep=trials

The results are in docs/results/methods.md.
"""

from ml_collections import ConfigDict

from configs import base, digits, methods

TRIAL_SEEDS = (10, 11)
TEACHER = "runs/digits_teacher"  # of the one-hot run without an augmentation, seed 0
DISTILL = {"labels.rule": "distill", "labels.teacher": TEACHER}
FIELD, TEMPERATURES = "labels.teacher_temperature", (1.0, 2.0, 4.0, 8.0)
MOVED = ("none", "augmix")
CHOSEN: dict[str, methods.Settings] = {}


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_methods"
    return base.variant(config, arg)


def get_sweep(add, name: str = "methods") -> None:
    """Adds the runs of a table with five seeds, or those of trials with two other seeds.

    'distill' and 'distill_trials' read the teacher, the predictor in the folder TEACHER.
    """
    sweeps = {
        "methods": (range(5), methods.runs(CHOSEN)),
        "trials": (TRIAL_SEEDS, methods.trials()),
        "distill": (range(5), [DISTILL | {"augment.name": n} | CHOSEN.get(n, {}) for n in MOVED]),
        "distill_trials": (TRIAL_SEEDS, [DISTILL | {FIELD: value} for value in TEMPERATURES]),
    }
    if name not in sweeps:
        raise ValueError(f"--sweep={name}: expected one of: {', '.join(sweeps)}")
    seeds, runs = sweeps[name]
    for seed in seeds:
        for settings in runs:
            add(**settings, seed=seed)
