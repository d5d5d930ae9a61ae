"""Trains the network of configs/digits.py on labels that are half those of a finished run.

    python -m experiments.train --config=configs/digits.py --workdir=runs/teacher
    autolabel export --run=runs/teacher --out=predictor
    python -m experiments.train --config=configs/digits_distill.py --workdir=runs/digits_distill \
        --config.labels.teacher=predictor

The teacher is the AutoLabel run of configs/digits.py, with its probabilities as they are.
"""

from ml_collections import ConfigDict

from configs import base, digits


def get_config(arg: str | None = None) -> ConfigDict:
    config = digits.get_config()
    config.name = "digits_distill"
    config.labels.rule = "distill"
    config.labels.teacher_temperature = 1.0
    return base.variant(config, arg)
