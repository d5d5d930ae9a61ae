"""Lists the calibrators by name."""

from autolabel_jax.calibrators import (
    disagreement,
    drift,
    drift_entropy_trust,
    drift_entropy_trust_neighbours,
    entropy_trust_neighbours,
)
from autolabel_jax.calibrators.adjusted import FittedOnClean, Recentred
from autolabel_jax.calibrators.base import Method
from autolabel_jax.calibrators.pooled_temperature import PooledTemperature
from autolabel_jax.calibrators.temperature import Temperature
from autolabel_jax.calibrators.vector import Vector

# Rules with a temperature for each input, by name.
RULES = {
    rule.CALIBRATOR.name: rule.CALIBRATOR
    for rule in (
        drift,
        drift_entropy_trust,
        entropy_trust_neighbours,
        drift_entropy_trust_neighbours,
    )
}

# Calibrators that need no known distance, by name: rules also recentred, and fitted on clean
# examples alone, as controls.
TABLE: dict[str, Method] = {
    "temperature": Temperature(),
    "vector": Vector(),
    "pooled_temperature": PooledTemperature(),
    **RULES,
    **{f"{name}_recentred": Recentred(rule) for name, rule in RULES.items()},
    **{f"{name}_clean": FittedOnClean(rule) for name, rule in RULES.items()},
}

# Calibrators that need several views of each image, by name.
WITH_VIEWS: dict[str, Method] = {
    name: calibrator
    for rule in (disagreement.CALIBRATOR, disagreement.WITH_DRIFT)
    for name, calibrator in ((rule.name, rule), (f"{rule.name}_recentred", Recentred(rule)))
}
