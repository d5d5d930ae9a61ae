"""Temperature and vector scaling after training (Guo et al. 2017, sec. 4.2), on held-out logits."""

import numpy as np

LOG_RANGE = (np.log(1e-2), np.log(1e2))

# Nats. The optimal bias of a class without examples is -infinity.
LARGEST_BIAS = 100.0


def _checked(logits, label):
    logits, label = np.asarray(logits, np.float64), np.asarray(label)
    if len(logits) == 0 or not np.isfinite(logits).all():
        raise ValueError(
            f"logits: got shape {logits.shape}; expected finite logits of 1 or more examples"
        )
    if label.shape != logits.shape[:1] or label.min() < 0 or label.max() >= logits.shape[1]:
        raise ValueError(
            f"label: got shape {label.shape}, {label.min()} to {label.max()}; expected one label "
            f"from 0 to {logits.shape[1] - 1} for each of {len(logits)} rows of logits"
        )
    return logits, label


def _nll(logits, label):
    from scipy import special  # slow to import

    rows = np.arange(len(label))
    return -np.mean(special.log_softmax(logits, axis=-1)[rows, label])


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """Finds the temperature T > 0 that minimises the NLL of softmax(logits / T).

    The NLL is convex in 1/T, so Brent's search in log T finds the minimum. T is limited to
    [0.01, 100], for data whose optimum is 0 or infinity.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].

    Raises:
      ValueError: there is no example, logits are not finite, or labels do not match them.
    """
    from scipy import optimize  # slow to import

    logits, label = _checked(logits, label)

    def nll(log_temperature):
        return _nll(logits / np.exp(log_temperature), label)

    fit = optimize.minimize_scalar(nll, bounds=LOG_RANGE, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(fit.x))


def fit_vector(logits: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds scales and biases (w, b) that minimise the NLL of softmax(logits · w + b).

    The NLL is convex in (w, b). L-BFGS starts from the better of no scaling and the fitted
    temperature, so on these logits the NLL is never above either. |w| is limited to 100 and |b| to
    100 nats, for data whose optimum is infinite. b has mean 0, as a constant added to every bias
    has no effect. Unlike a temperature, vector scaling may change the top class, and its 2K
    parameters need many calibration examples per class.

    Args:
      logits: float [n, K] on the calibration set, never on test.
      label: int [n].

    Returns:
      w float64 [K], b float64 [K].

    Raises:
      ValueError: as ``fit_temperature``.
    """
    from scipy import optimize, special  # slow to import

    logits, label = _checked(logits, label)
    num, num_classes = logits.shape
    rows, ones = np.arange(num), np.ones(num_classes)
    # In units of the logits' spread, scales and biases curve the NLL alike.
    spread = max(float(logits.std()), 1e-12)

    def nll_and_gradient(x):
        scale, bias = x[:num_classes] / spread, x[num_classes:]
        log_probability = special.log_softmax(logits * scale + bias, axis=-1)
        residual = np.exp(log_probability)
        residual[rows, label] -= 1
        gradient = (residual * logits).mean(0) / spread, residual.mean(0)
        return -log_probability[rows, label].mean(), np.concatenate(gradient)

    scales = (1.0, 1 / fit_temperature(logits, label))
    starts = [np.concatenate([s * spread * ones, 0 * ones]) for s in scales]
    start = min(starts, key=lambda x: nll_and_gradient(x)[0])
    widest = np.exp(LOG_RANGE[1]) * spread
    limits = np.repeat([widest, LARGEST_BIAS], num_classes)
    fit = optimize.minimize(
        nll_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([-limits, limits], 1),
        options={"maxiter": 1000, "maxfun": 2000, "ftol": 1e-13, "gtol": 1e-9},
    )
    best = min(fit.x, start, key=lambda x: nll_and_gradient(x)[0])
    scale, bias = best[:num_classes] / spread, best[num_classes:]
    return scale, bias - bias.mean()
