"""Checks every field of a config against limits that hold for all runs.

Settings of methods have their own limits, see ``registry.Setting``.
"""

import functools
import math

from ml_collections import ConfigDict

from autolabel_jax import registry

LIMITS: dict[str, tuple[int, int | None]] = {  # smallest and largest value (None = no limit)
    "seed": (0, 2**32 - 1),  # larger ones would give the random numbers of smaller ones
    "train_examples": (0, None),
    "test_examples": (0, None),
    "image_size": (1, 4096),
    "data.max_words": (1, 10**6),
    "data.max_tokens": (1, 4096),
    "data.sample_rate": (0, 10**6),
    "data.mel_bands": (1, 1024),
    "data.window_ms": (1, 10_000),
    "data.hop_ms": (1, 10_000),
    "loader_workers": (0, 1024),
    "epochs": (1, 10**6),
    "batch_size": (1, 10**6),
    "accumulate": (1, 10**6),
    "eval_batch_size": (1, 10**6),
    "crop_pad": (0, None),
    "buckets.num": (1, 1000),
    "labels.update_every": (1, None),
    "labels.warmup_epochs": (0, None),
    "calibration.images": (0, None),
    "calibration.images_per_update": (0, None),
    "calibration.beyond_every": (0, None),
    "calibration.num_bins": (1, 10_000),
    "checkpoint.keep": (1, 10**6),
    "checkpoint.every_epochs": (1, None),
    "checkpoint.patience": (0, None),
}


def check(config: ConfigDict) -> None:
    """Checks LIMITS, and that all numbers are finite and fit 64 bits, and all text is one line.

    Raises:
      ValueError: a field is out of its limits.
    """
    _check_values(config, "")
    for field, (low, high) in LIMITS.items():
        value = functools.reduce(lambda tree, name: tree[name], field.split("."), config)
        registry.Setting(None, low=low, high=high).check(field, value)


def _check_values(config: ConfigDict, prefix: str) -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _check_values(value, f"{prefix}{name}.")
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, float) and not math.isfinite(part):
                raise ValueError(f"{prefix}{name}: got {value}, must be finite")
            if isinstance(part, int) and not -(2**63) <= part < 2**63:
                raise ValueError(f"{prefix}{name}: got {value}, must fit 64 bits")
            if isinstance(part, str) and ("\0" in part or part.splitlines() not in ([], [part])):
                raise ValueError(f"{prefix}{name}: got {value!r}, must be one line of text")
