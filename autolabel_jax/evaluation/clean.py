"""Evaluates the clean test split, before and after scaling, with intervals."""

import functools

import numpy as np

from autolabel_jax import metrics
from autolabel_jax.datasets import Dataset
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.metrics import bootstrap, superclasses

RESAMPLING_SEED = 0


def evaluate(
    predictor: Predictor, dataset: Dataset
) -> tuple[dict[str, float | str | list[float]], np.ndarray]:
    """Computes all metrics of the test split, and its logits.

    Args:
      predictor: the trained model.
      dataset: data whose test split is evaluated, with superclasses if it has them.

    Returns:
      Metrics by name, each also as ``…_ts`` (and ``…_vs``), with ``temperature``, the
      kind of its optimum and the intervals; and logits float32 [n, K].
    """
    logits, label, scaling = predictor.logits(dataset.test), dataset.test.label, predictor.scaling
    by_name: dict[str, float | str | list[float]] = {**scaled_scores(logits, label, scaling)}
    if dataset.superclass is not None:
        by_name |= superclass_metrics(logits, label, scaling, dataset.superclass)
    by_name |= {"temperature": scaling.temperature, **scaling.optima}
    by_name |= intervals(logits, label, scaling)
    return by_name, logits


def scores(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Computes accuracy, calibration errors, NLL, Brier, AUROC and AURC; see ``metrics``.

    Args:
      logits: float32 [n, K].
      label: int [n].
    """
    return metrics.from_logits(logits, label)


def scaled_scores(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, float]:
    """Computes ``scores`` before scaling, and after it as ``…_ts`` (vector: ``…_vs``)."""
    return {
        f"{name}{suffix}": value
        for suffix, scaled in scaling.scaled_logits(logits).items()
        for name, value in scores(scaled, label).items()
    }


def superclass_metrics(
    logits: np.ndarray, label: np.ndarray, scaling: Scaling, superclass: np.ndarray
) -> dict[str, float]:
    """Computes ``superclass_accuracy`` and ``superclass_ece``, before and after scaling.

    The temperature scales the logits of the classes, so it may change the top superclass.

    Args:
      logits: float32 [n, K], by class.
      label: int [n], classes.
      scaling: scaling of these logits.
      superclass: int [K], superclass of each class.
    """
    by_name = {}
    for suffix, scaled in scaling.scaled_logits(logits).items():
        rows = metrics.examples(superclasses.add_up(scaled, superclass), superclass[label])
        headline = metrics.headline(rows)
        by_name |= {f"superclass_{name}{suffix}": headline[name] for name in ("accuracy", "ece")}
    return by_name


def set_metrics(
    logits: np.ndarray, label: np.ndarray, scaling: Scaling
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Computes (headline metrics, their resamples) of one set, before and after scaling."""
    headline = {
        f"{name}{suffix}": value
        for suffix, scaled in scaling.scaled_logits(logits).items()
        for name, value in metrics.headline(metrics.examples(scaled, label)).items()
    }
    return headline, resamples(logits, label, scaling)


def intervals(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, list[float]]:
    """Computes ``…_interval``, [low, high], of every headline metric after each scaling.

    These are 95 % percentile intervals over 1,000 resamples of the examples, see ``bootstrap``.
    They show the uncertainty from the test set for this one trained model.
    """
    by_name = resamples(logits, label, scaling)
    return {f"{name}_interval": bootstrap.percentiles(values) for name, values in by_name.items()}


def resamples(logits: np.ndarray, label: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    """Computes each headline metric in 1,000 resamples of the examples, float32 [1000]."""
    counts = _counts(len(label))
    return {
        f"{name}{suffix}": values
        for suffix, scaled in scaling.scaled_logits(logits).items()
        for name, values in bootstrap.headline_resamples(
            metrics.examples(scaled, label), counts
        ).items()
    }


@functools.lru_cache(maxsize=1)  # the same for all sets of equal size
def _counts(num: int) -> np.ndarray:
    return bootstrap.resample_counts(num, seed=RESAMPLING_SEED)
