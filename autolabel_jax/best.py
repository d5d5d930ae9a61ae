"""Finds the epoch with the best held-out loss, and tells when training no longer improves it.

The loss is ``calibration_nll`` of ``metrics.jsonl``: the mean NLL of the calibration examples, not
moved. All functions are pure in these lines, which each checkpoint has, so a resumed run decides
as one that was never interrupted.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

METRIC = "calibration_nll"


def check(config: ConfigDict) -> None:
    """Checks ``checkpoint.patience``.

    Raises:
      ValueError: it is set, but the best checkpoint is not kept.
    """
    if config.checkpoint.patience and not config.checkpoint.best:
        raise ValueError(
            f"checkpoint.patience: got {config.checkpoint.patience} with checkpoint.best=False; "
            "use checkpoint.best=True, or checkpoint.patience=0"
        )


def losses(lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Returns the held-out loss of each epoch, from the lines of ``metrics.jsonl``."""
    return [line[METRIC] for line in lines]


def ranking(losses: Sequence[float | None]) -> list[int]:
    """Returns the epochs, from 0, the best first; the earlier one of equal losses.

    Args:
      losses: held-out loss of each epoch; those that are not finite, or None as JSON has it, come
        last.
    """
    values = [x if x is not None and math.isfinite(x) else math.inf for x in losses]
    return sorted(range(len(values)), key=values.__getitem__)


def is_over(losses: Sequence[float | None], patience: int) -> bool:
    """Returns whether the last ``patience`` epochs improved nothing; False if it is 0."""
    return 0 < patience <= len(losses) - 1 - ranking(losses)[0] if losses else False


def of_result(lines: Sequence[Mapping[str, Any]], kept_epoch: int) -> dict[str, Any]:
    """Returns what ``result.json`` says of the kept checkpoint.

    Args:
      lines: metrics of all epochs that were trained.
      kept_epoch: number of epochs before the kept checkpoint, at least 1.
    """
    kept = lines[kept_epoch - 1]
    return {
        "epochs": len(lines),
        "kept_epoch": kept_epoch,
        "kept_calibration_nll": kept[METRIC],
        "train_accuracy": kept["train_accuracy"],
    }


def sentence(result: Mapping[str, Any], config: ConfigDict) -> str:
    """Says which epoch was kept, and why training ended before the last one if it did."""
    loss, patience = result["kept_calibration_nll"], config.checkpoint.patience
    early = (
        f"stopped after {result['epochs']} of {config.epochs} epochs, the last {patience} without "
        "a better calibration NLL; "
    )
    return (
        (early if result["epochs"] < config.epochs else "")
        + f"kept epoch {result['kept_epoch']} of {result['epochs']}, calibration NLL "
        + ("not finite" if loss is None else f"{loss:.4f}")
    )
