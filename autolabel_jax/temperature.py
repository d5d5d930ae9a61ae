"""Temperature scaling after training (Guo et al. 2017, sec. 4.2), on held-out logits."""

import numpy as np
from scipy import optimize, special

LOG_RANGE = (np.log(1e-2), np.log(1e2))


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The temperature T > 0 that minimises the NLL of softmax(logits / T).

    The NLL is convex in 1/T, so Brent's search in log T finds the minimum;
    it stays within [0.01, 100] where the data ask for 0 or infinity.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].

    Raises:
      ValueError: no example, or logits that are not finite.
    """
    logits = np.asarray(logits, np.float64)
    if len(logits) == 0 or not np.isfinite(logits).all():
        raise ValueError(f"logits: got shape {logits.shape}; needs finite logits of ≥ 1 example")
    rows = np.arange(len(label))

    def nll(log_temperature):
        scaled = logits / np.exp(log_temperature)
        return -np.mean(special.log_softmax(scaled, axis=-1)[rows, label])

    fit = optimize.minimize_scalar(nll, bounds=LOG_RANGE, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(fit.x))
