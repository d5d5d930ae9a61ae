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
CHOSEN: dict[str, methods.Settings] = {
    "augmix": {"augment.severity": 3.0},
    "mixup": {"augment.concentration": 0.2},
    "randaugment": {"augment.max_magnitude": 10.0},
    "cutmix": {"augment.concentration": 0.2},
    "mixup_cutmix": {"augment.cutmix_share": 0.2},
    "cutout": {"augment.max_side": 0.75},
    "soft_crop": {"augment.offset_sigma": 0.2},
    "patch_gaussian": {"augment.max_sigma": 0.1},
    "auto_augment": {"augment.policy": "random"},
    "adversarial": {"augment.max_epsilon": 0.2},
    "augmix_jsd": {"loss.jsd": 1.0},
    "autolabel": {"labels.alpha": 3.0},
    "smoothing": {"labels.smoothing": 0.05},
    "autolabel_confusion": {"labels.pseudo_count": 100.0},
    "ema_teacher": {"labels.teacher_temperature": 2.0},
    "bucket_temperature": {"labels.eta": 0.1},
    "polynomial": {"labels.power": 8.0},
    "self_adaptive": {"labels.start_epoch": 30},
    "mbls": {"loss.margin": 10.0},
    "focal": {"loss.gamma": 2.0},
    "logit_norm": {"loss.temperature": 0.3},
    "mmel": {"loss.copies_temperature": 1.0},
    "distill": {"labels.teacher_temperature": 1.0},
}


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_methods"
    return base.variant(config, arg)


def get_sweep(add, name: str = "methods") -> None:
    """Adds the runs of a table with five seeds, or those of trials with two other seeds.

    'distill' and 'distill_trials' read the teacher, the predictor in the folder TEACHER.
    """
    taught = DISTILL | CHOSEN.get("distill", {})
    sweeps = {
        "methods": (range(5), methods.runs(CHOSEN)),
        "trials": (TRIAL_SEEDS, methods.trials()),
        "distill": (range(5), [methods.moved(name, CHOSEN) | taught for name in MOVED]),
        "distill_trials": (TRIAL_SEEDS, [DISTILL | {FIELD: value} for value in TEMPERATURES]),
    }
    if name not in sweeps:
        raise ValueError(f"--sweep={name}: expected one of: {', '.join(sweeps)}")
    seeds, runs = sweeps[name]
    for seed in seeds:
        for settings in runs:
            add(**settings, seed=seed)
